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

/// The wait before a try: doubles with each failure in a row, is capped, and is up to a quarter longer by a share that
/// depends on `name` and `failures` only, so that a site's containers do not all start in the same instant.
pub(crate) fn wait(policy: &RestartPolicy, failures: u32, name: &str) -> Duration {
    let doubled = policy.backoff.saturating_mul(1_u32.checked_shl(failures.min(30)).unwrap_or(u32::MAX));
    let capped = doubled.min(policy.max_backoff);
    let mut hasher = Fnv::default();
    hasher.write(name.as_bytes());
    hasher.write_u32(failures);
    let share = u32::try_from(hasher.finish() % 256).unwrap_or(0);
    capped + capped / 1024 * share
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
        check(5, 30);
        check(u32::MAX, 30);
        assert_ne!(wait(&TRANSIENT, 0, "web-0-1/main"), wait(&TRANSIENT, 0, "web-1-2/main"));
    }
}
