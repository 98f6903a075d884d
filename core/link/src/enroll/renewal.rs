//! When to renew.

use std::time::Duration;

use skerry_types::WallTime;

use crate::certificate::Validity;

/// Longest wait between two attempts at a renewal that fails for a passing reason.
pub const RENEW_RETRY_MAX: Duration = Duration::from_mins(15);

/// How long until a certificate is to be renewed: at half of its life, a tenth earlier or later so that nodes enrolled
/// together do not come together. Zero when that is past. `spread` is 0 to 255, random but fixed per node.
///
/// `now` is to be the master's time as [`LinkClock`](crate::LinkClock) carries it on. With the machine's own wrong clock the
/// answer may be zero once; the renewal then tells the clock, and the next answer is right: no wrong clock makes it a loop.
pub fn renew_in(certificate: Validity, now: WallTime, spread: u8) -> Duration {
    let life = certificate.not_after.since(certificate.not_before);
    let offset = life * 2 / 5 + life / 5 * u32::from(spread) / 255;
    let due = WallTime(
        certificate.not_before.0.saturating_add(u64::try_from(offset.as_millis()).unwrap_or(u64::MAX)),
    );
    // A clock before the beginning is wrong by however much; the wait is bounded by what is right at the beginning.
    due.since(now.max(certificate.not_before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_life_give_or_take_a_tenth() {
        let certificate = Validity { not_before: WallTime(1_000_000), not_after: WallTime(2_000_000) };
        let check = |now: u64, spread: u8, expect_ms: u64| {
            let wait = renew_in(certificate, WallTime(now), spread);
            assert_eq!(wait, Duration::from_millis(expect_ms), "now {now} spread {spread}");
        };
        check(1_000_000, 0, 400_000);
        check(1_000_000, 255, 600_000);
        check(1_300_000, 0, 100_000);
        check(1_400_000, 0, 0);
        check(9_000_000, 128, 0);
        check(0, 0, 400_000);
    }
}
