//! How long to wait before the next attempt.

use std::time::Duration;

use rand::Rng;

/// Bounds of the waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffSettings {
    /// Upper bound of the first wait.
    pub first: Duration,
    /// Upper bound of every wait.
    pub max: Duration,
}

impl Default for BackoffSettings {
    /// Half a second, doubling to three seconds. A healed link is tried within three seconds, and a neighbour that did not
    /// answer may be asked for again a second late: what the parent shows is right within five. An attempt at a parent that
    /// does not answer sends 3 datagrams of 1,228 bytes in five to six seconds: 2.5 MB an hour while cut off, which a metered
    /// uplink should not pay; see [`BackoffSettings::metered`].
    fn default() -> Self {
        Self { first: Duration::from_millis(500), max: Duration::from_secs(3) }
    }
}

impl BackoffSettings {
    /// One second, doubling to a minute: under half a megabyte an hour while cut off.
    pub fn metered() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_mins(1) }
    }
}

/// Capped exponential backoff with jitter over the upper half: each wait is between half and all of a bound that doubles up
/// to the maximum. The lower half is kept so that an attempt never follows another at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    settings: BackoffSettings,
    failures: u32,
}

impl Backoff {
    /// No failure so far.
    pub fn new(settings: BackoffSettings) -> Self {
        Self { settings, failures: 0 }
    }

    /// The next wait; counts one more failure.
    pub fn next_wait(&mut self, rng: &mut impl Rng) -> Duration {
        let doubled = self.settings.first.saturating_mul(2_u32.saturating_pow(self.failures));
        let bound = doubled.min(self.settings.max);
        self.failures = self.failures.saturating_add(1);
        rng.random_range(bound / 2..=bound)
    }

    /// Forgets the failures. To be called only when a connection proved good for a while: one that is accepted and lost at
    /// once, over and over, must slow down like one that is not accepted.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last reset.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_again() {
        let settings = BackoffSettings::metered();
        let mut backoff = Backoff::new(settings);
        let mut rng = StdRng::seed_from_u64(1);
        let mut check = |backoff: &mut Backoff, bound_s: u64| {
            let bound = Duration::from_secs(bound_s);
            let wait = backoff.next_wait(&mut rng);
            assert!(wait >= bound / 2 && wait <= bound, "{wait:?} for {bound:?}");
        };
        for bound in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            check(&mut backoff, bound);
        }
        backoff.reset();
        check(&mut backoff, 1);
    }

    #[test]
    fn ten_thousand_children_do_not_come_at_once() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            let mut backoff = Backoff::new(BackoffSettings::default());
            backoff.failures = 9;
            let wait = backoff.next_wait(&mut rng);
            let tenth = (wait.as_millis() - 1500) * 10 / 1501;
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn any_number_of_failures_stays_within_bounds(failures in any::<u32>(), first_ms in 0_u64..10_000, max_ms in 0_u64..100_000, seed in any::<u64>()) {
            let settings = BackoffSettings { first: Duration::from_millis(first_ms), max: Duration::from_millis(max_ms) };
            let mut backoff = Backoff { settings, failures };
            let wait = backoff.next_wait(&mut StdRng::seed_from_u64(seed));
            prop_assert!(wait <= settings.max);
            prop_assert!(backoff.failures() >= failures);
        }
    }
}
