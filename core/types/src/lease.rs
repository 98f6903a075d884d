//! Leases and fencing: how long a node may run what must never run twice, and the number that tells two runs apart.
//!
//! A clock may go wrong by [`Lease::DRIFT_PERCENT`] either way. The holder counts the lease shorter by that and the one who
//! waits for its end counts it longer, each by a clock of its own that also counts while the machine sleeps. So by true time
//! a holder never counts more than the lease's length and the one who waits never less.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{MonoTime, show_duration};

/// How long a node may run an exclusive instance after it last asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Duration", into = "Duration")]
pub struct Lease(Duration);

/// Why a duration is no lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a lease is {} at least and {} at most, not {}", show_duration(Lease::MIN), show_duration(Lease::MAX), show_duration(*.length))]
pub struct LeaseError {
    /// The duration.
    pub length: Duration,
}

impl Lease {
    /// Shortest: time for three renewals of two seconds each and for the margin before the end.
    pub const MIN: Duration = Duration::from_secs(10);
    /// Longest: whoever can wait longer can replace by hand.
    pub const MAX: Duration = Duration::from_hours(1);
    /// What a workload gets that says nothing of it: rides out a link that is dialled anew.
    pub const DEFAULT: Self = Self(Duration::from_mins(1));
    /// How wrong a clock may go, in hundredths; crystals go wrong by a ten-thousandth.
    pub const DRIFT_PERCENT: u32 = 1;
    /// From the kill to the end of the lease: what the keeper needs to see the deadline and the kernel to end a process.
    pub const KILL_MARGIN: Duration = Duration::from_secs(1);
    /// From the end of the grace to the end of the lease.
    pub const STOP_MARGIN: Duration = Duration::from_secs(2);

    /// A lease of this length.
    pub fn new(length: Duration) -> Result<Self, LeaseError> {
        if (Self::MIN..=Self::MAX).contains(&length) { Ok(Self(length)) } else { Err(LeaseError { length }) }
    }

    /// Its length by true time.
    pub fn length(self) -> Duration {
        self.0
    }

    /// When it ends for a node that asked for it at `asked`, by the node's clock.
    pub fn ends(self, asked: MonoTime) -> MonoTime {
        asked + self.0 * (100 - Self::DRIFT_PERCENT) / 100
    }

    /// When it has ended whatever the node's clock says, for a master that heard the node ask at `heard`, by the master's clock.
    pub fn is_over_at(self, heard: MonoTime) -> MonoTime {
        heard + self.0 * (100 + Self::DRIFT_PERCENT) / 100
    }

    /// How often a node asks for it anew when a stop takes this long: two answers in a row may be lost before a stop begins.
    pub fn renew_every(self, stop: Duration) -> Duration {
        let length = self.ends(MonoTime::default()).0;
        length.saturating_sub(stop.saturating_add(Self::STOP_MARGIN)) / 3
    }

    /// The shortest lease under which a stop may take this long: nearly half of it is left to renew it in.
    pub fn shortest_for(stop: Duration) -> Duration {
        (stop.saturating_add(Self::STOP_MARGIN)).saturating_mul(2).max(Self::MIN)
    }
}

impl TryFrom<Duration> for Lease {
    type Error = LeaseError;
    fn try_from(length: Duration) -> Result<Self, LeaseError> {
        Self::new(length)
    }
}

impl From<Lease> for Duration {
    fn from(lease: Lease) -> Self {
        lease.0
    }
}

/// Tells the runs of an instance apart: every start of it has a greater one than all before it, wherever they were. What an
/// instance writes to may refuse a smaller one than it has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FencingToken(pub u64);

impl FencingToken {
    /// Bits for the starts of one allocation: a million, of which one that fails every second takes twelve days.
    const START_BITS: u32 = 20;

    /// The token of a start: by the running number of its allocation, and then by which start of the allocation it is.
    pub fn new(serial: u64, start: u32) -> Self {
        let most = (1 << Self::START_BITS) - 1;
        Self(serial << Self::START_BITS | u64::from(start).min(most))
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_bounds() {
        let check = |secs: u64, good: bool| assert_eq!(Lease::new(Duration::from_secs(secs)).is_ok(), good);
        check(9, false);
        check(10, true);
        check(3600, true);
        check(3601, false);
        let error = Lease::new(Duration::from_secs(9)).unwrap_err().to_string();
        assert_eq!(error, "a lease is 10s at least and 1h at most, not 9s");
    }

    #[test]
    fn a_holder_never_counts_longer_than_the_one_who_waits() {
        let lease = Lease::new(Duration::from_secs(100)).unwrap();
        let true_time = |clock: Duration, rate: f64| clock.as_secs_f64() / rate;
        for node in [0.99, 1.0, 1.01] {
            for master in [0.99, 1.0, 1.01] {
                let held = true_time(lease.ends(MonoTime::default()).0, node);
                let waited = true_time(lease.is_over_at(MonoTime::default()).0, master);
                assert!(held <= 100.0 + 1e-9 && waited >= 100.0 - 1e-9, "{node} {master}: {held} {waited}");
            }
        }
    }

    #[test]
    fn tokens_grow_with_starts_and_with_allocations() {
        let tokens = [(1, 0), (1, 1), (1, u32::MAX), (2, 0), (3, 7)].map(|(a, s)| FencingToken::new(a, s));
        assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    }
}
