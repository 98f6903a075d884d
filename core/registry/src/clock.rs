//! The time by which registries' certificates are judged.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// Tells the time since 1970; `None` when it is not known, which refuses every certificate.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Option<Duration> + Send + Sync>);

impl Clock {
    pub(crate) fn system() -> Self {
        Self(Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).ok()))
    }

    pub(crate) fn with_source(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Some(now())))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&(self.0)()).finish()
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        (self.0)().map(UnixTime::since_unix_epoch)
    }
}
