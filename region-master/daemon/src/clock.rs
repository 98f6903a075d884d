//! The brain's two clocks.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use skerry_link::LinkClock;
use skerry_types::{MonoTime, Now, WallTime};

/// Reads both clocks. The wall clock is the machine's until the master of the region above has told the time; then it is
/// that one's, carried on by the monotonic clock.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    start: Instant,
    wall: Arc<LinkClock>,
}

impl Clock {
    pub(crate) fn new(wall: Arc<LinkClock>) -> Self {
        Self { start: Instant::now(), wall }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: MonoTime(self.start.elapsed()), wall: self.wall.now() }
    }

    /// Waits until a moment, for ever if there is none. Cancel-safe.
    pub(crate) async fn at(&self, moment: Option<MonoTime>) {
        match moment {
            Some(MonoTime(since)) => tokio::time::sleep_until((self.start + since).into()).await,
            None => std::future::pending().await,
        }
    }
}

/// The machine's wall clock; zero if it stands before 1970.
pub(crate) fn machine() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
