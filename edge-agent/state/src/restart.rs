//! How long to wait before the next try.

use std::hash::Hasher;
use std::time::Duration;

use skerry_types::{Exit, RestartPolicy, RestartWhen};

/// A container that ran this long counts as stable, whatever its policy: its next wait begins at the policy's first.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// Waits after a failure that may pass by itself.
pub(crate) const TRANSIENT: RestartPolicy = RestartPolicy {
    when: RestartWhen::Always,
    backoff: Duration::from_secs(1),
    max_backoff: Duration::from_secs(30),
};
/// Waits after a failure that only a person can mend.
pub(crate) const PERMANENT: RestartPolicy = RestartPolicy {
    when: RestartWhen::Always,
    backoff: Duration::from_secs(5),
    max_backoff: Duration::from_mins(5),
};

/// Whether a container starts again after this end.
pub(crate) fn restarts(policy: &RestartPolicy, exit: &Exit) -> bool {
    match policy.when {
        RestartWhen::Always => true,
        RestartWhen::OnFailure => !exit.is_success(),
        RestartWhen::Never => false,
    }
}

/// Whether a run was long enough to forget the failures before it.
pub(crate) fn was_stable(policy: &RestartPolicy, exit: &Exit) -> bool {
    exit.ran_for >= STABLE_AFTER.max(policy.backoff.saturating_mul(4))
}

/// The wait before a try: doubles with each failure in a row and never passes the policy's longest. It is up to a quarter
/// longer, or shorter where the cap leaves no room, by a share that depends on `name` and `failures` only, so that a site's
/// containers do not all start in the same instant.
pub(crate) fn wait(policy: &RestartPolicy, failures: u32, name: &str) -> Duration {
    let doubled = policy.backoff.saturating_mul(1_u32.checked_shl(failures.min(30)).unwrap_or(u32::MAX));
    let capped = doubled.min(policy.max_backoff);
    let most = capped.saturating_add(capped / 4).min(policy.max_backoff);
    let least = most.saturating_sub(capped / 4).max(policy.backoff.min(policy.max_backoff));
    least + share_of(most.saturating_sub(least), name, failures)
}

/// A part of `whole` that depends on `name` and `number` only.
pub(crate) fn share_of(whole: Duration, name: &str, number: u32) -> Duration {
    let mut hasher = Fnv::default();
    hasher.write(name.as_bytes());
    hasher.write_u32(number);
    let share = u32::try_from(hasher.finish() % 256).unwrap_or(0);
    whole / 256 * share
}

/// FNV-1a: the same on every machine and in every release, which the standard library's hasher does not promise.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_are_capped_and_spread() {
        let check = |failures: u32, least: u64| {
            let got = wait(&TRANSIENT, failures, "web-0-1/main");
            let least = Duration::from_secs(least);
            assert!(got >= least && got <= least + least / 4, "{failures}: {got:?}");
        };
        check(0, 1);
        check(1, 2);
        check(4, 16);
        assert_ne!(wait(&TRANSIENT, 0, "web-0-1/main"), wait(&TRANSIENT, 0, "web-1-2/main"));
    }

    #[test]
    fn the_longest_wait_is_never_passed_and_still_spread() {
        for failures in [5, 6, 30, u32::MAX] {
            let got = wait(&TRANSIENT, failures, "web-0-1/main");
            let longest = TRANSIENT.max_backoff;
            assert!(got <= longest && got >= longest * 3 / 4, "{failures}: {got:?}");
        }
        let waits: std::collections::BTreeSet<Duration> =
            (0..20).map(|at| wait(&TRANSIENT, 30, &format!("web-{at}-1/main"))).collect();
        assert!(waits.len() > 10, "{waits:?}");
        let fixed = RestartPolicy { max_backoff: TRANSIENT.backoff, ..TRANSIENT };
        assert_eq!(wait(&fixed, 3, "web-0-1/main"), TRANSIENT.backoff);
    }
}
