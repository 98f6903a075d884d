//! Notices that the clock on the wall was set.

use std::time::Duration;

use skerry_types::{MonoTime, Now};

/// While a schedule waits, the clocks are compared at least this often, so a run is at most this late after the clock was set
/// forwards. Nothing else is done then: an idle node wakes for a few microseconds.
const COMPARE_EVERY: Duration = Duration::from_secs(30);
/// The wall clock may go wrong by this much against the other one before timers are made anew.
const TOLERANCE_MS: u64 = 1000;

/// The two clocks against each other.
#[derive(Debug)]
pub(crate) struct Drift {
    seen: Now,
    /// Where they stood when timers were made.
    made: Now,
}

impl Drift {
    pub(crate) fn new(now: Now) -> Self {
        Self { seen: now, made: now }
    }

    /// Takes in the time. True when the wall clock was set since timers were made.
    pub(crate) fn was_set(&mut self, now: Now) -> bool {
        self.seen = now;
        let passed = u64::try_from(now.mono.since(self.made.mono).as_millis()).unwrap_or(u64::MAX);
        let expected = self.made.wall.0.saturating_add(passed);
        let was_set = expected.abs_diff(now.wall.0) > TOLERANCE_MS;
        if was_set {
            self.made = now;
        }
        was_set
    }

    /// When to compare again.
    pub(crate) fn timeout(&self) -> MonoTime {
        self.seen.mono + COMPARE_EVERY
    }
}
