//! The brain's two clocks, read from the machine.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use skerry_types::{MonoTime, Now, WallTime};

/// Reads both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        Now { mono: MonoTime(self.start.elapsed()), wall: wall() }
    }
}

/// The machine's wall clock; zero if it stands before 1970.
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
