//! A node's idea of the time, for judging certificates when its clock may be wrong.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use skerry_types::WallTime;

use crate::certificate::Validity;

/// How far past a certificate's end an unconfirmed clock may stand before the certificate is refused.
///
/// A week covers a wrong time zone, a wrong day and a clock that drifted through a long power cut. It is also the longest
/// that a stolen, expired master key stays useful against a node that has heard no authenticated time since.
pub const CLOCK_TOLERANCE: Duration = Duration::from_hours(7 * 24);

/// What the clock says, and what is known for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The best guess.
    pub now: WallTime,
    /// A moment that has certainly passed: told by an authenticated master.
    pub floor: WallTime,
}

/// The time as this process knows it. Until a master has told the time it is the machine's clock, but never before the
/// floor that was kept from earlier; afterwards it is the master's time, carried on by the monotonic clock, so that a jump
/// of the machine's clock changes nothing.
pub struct LinkClock {
    wall: Box<dyn Fn() -> WallTime + Send + Sync>,
    known: Mutex<Known>,
}

struct Known {
    floor: WallTime,
    anchor: Option<(Instant, WallTime)>,
}

impl LinkClock {
    /// The machine's clock, with the floor that was stored by an earlier process (zero if there is none).
    pub fn system(floor: WallTime) -> Self {
        Self::with_source(floor, system_time)
    }

    /// A clock of the caller's, for tests of wrong ones.
    pub fn with_source(floor: WallTime, wall: impl Fn() -> WallTime + Send + Sync + 'static) -> Self {
        Self { wall: Box::new(wall), known: Mutex::new(Known { floor, anchor: None }) }
    }

    /// Takes the time from an authenticated master. The last one told holds, also when it lies before an earlier one: a
    /// master whose clock was wrong and is put right must not leave its nodes in the future.
    pub fn observe(&self, told: WallTime) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.floor = told;
        known.anchor = Some((Instant::now(), told));
    }

    /// The present.
    pub fn reading(&self) -> Reading {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.anchor {
            Some((at, told)) => {
                let elapsed = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
                let now = WallTime(told.0.saturating_add(elapsed));
                Reading { now, floor: now }
            }
            None => Reading { now: (self.wall)().max(known.floor), floor: known.floor },
        }
    }

    /// The best guess of the present.
    pub fn now(&self) -> WallTime {
        self.reading().now
    }
}

impl fmt::Debug for LinkClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkClock").field("reading", &self.reading()).finish_non_exhaustive()
    }
}

/// The machine's clock; 1970 if it stands before that.
pub(crate) fn system_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Reading {
    /// The moment at which to judge a chain that holds for `window`, or for how long it has been over.
    ///
    /// A clock before the window is moved to its beginning, however far it is off: our own CA signed that this moment has
    /// come, so it is the clock that is wrong (a machine without a battery starts in 1970). A clock past the window is
    /// moved to its end if it is at most `tolerance` past it and the floor is not.
    pub fn judge(&self, window: Validity, tolerance: Duration) -> Result<WallTime, Duration> {
        if self.now < window.not_before {
            return Ok(window.not_before);
        }
        let Some(over) = window.expired_for(self.now) else {
            return Ok(self.now);
        };
        if self.floor > window.not_after || over > tolerance {
            return Err(over);
        }
        Ok(window.not_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    #[test]
    fn a_wrong_clock_is_moved_into_the_window() {
        let window = Validity { not_before: WallTime(100 * DAY), not_after: WallTime(107 * DAY) };
        let check = |now: u64, floor: u64, expect: Result<u64, u64>| {
            let reading = Reading { now: WallTime(now), floor: WallTime(floor) };
            let got = reading.judge(window, CLOCK_TOLERANCE);
            let expect = expect.map(WallTime).map_err(Duration::from_millis);
            assert_eq!(got, expect, "now {now} floor {floor}");
        };
        check(103 * DAY, 0, Ok(103 * DAY));
        check(0, 0, Ok(100 * DAY));
        check(98 * DAY, 0, Ok(100 * DAY));
        check(107 * DAY, 0, Ok(107 * DAY));
        check(109 * DAY, 0, Ok(107 * DAY));
        check(114 * DAY, 107 * DAY, Ok(107 * DAY));
        check(114 * DAY + 1, 0, Err(7 * DAY + 1));
        check(108 * DAY, 107 * DAY + 1, Err(DAY));
    }

    #[test]
    fn the_masters_time_outlives_a_jump() {
        let clock = LinkClock::with_source(WallTime(5), || WallTime(1));
        assert_eq!(clock.now(), WallTime(5));
        clock.observe(WallTime(50 * DAY));
        assert!(clock.now() >= WallTime(50 * DAY));
        assert!(clock.now() < WallTime(51 * DAY));
        clock.observe(WallTime(40 * DAY));
        assert!(clock.now() < WallTime(41 * DAY), "the last authenticated time holds");
    }
}
