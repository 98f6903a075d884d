//! When to renew, and how often to try.

use std::time::Duration;

use skerry_types::WallTime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::certificate::Validity;
use crate::clock::LinkClock;

/// First wait after a renewal that failed; it doubles up to [`RENEW_RETRY_MAX`].
pub const RENEW_RETRY_FIRST: Duration = Duration::from_secs(5);
/// A refusal sooner than this after a renewal is of a connection that showed the former certificate.
const REFUSAL_SETTLES: Duration = Duration::from_mins(1);
/// Longest sleep at a time: a machine that was suspended, or whose clock jumped, looks again within this time.
const LOOK_AGAIN: Duration = Duration::from_hours(1);
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

/// What a link tells whoever renews its certificate.
#[derive(Debug, Default)]
pub struct RenewalSignals {
    refused: Notify,
    told_time: Notify,
}

impl RenewalSignals {
    /// The other side does not take the certificate any more because it ran out.
    pub fn refused(&self) {
        self.refused.notify_one();
    }

    /// The other side told the time, so a wait that was measured by a wrong clock is measured again.
    pub fn told_time(&self) {
        self.told_time.notify_one();
    }
}

/// Waits until a certificate is to be renewed: by its time ([`renew_in`]), or because the other side refused it. `renewed_at`
/// is when it was renewed, if this process did so. Cancel-safe.
pub async fn due(
    certificate: Validity,
    spread: u8,
    clock: &LinkClock,
    signals: &RenewalSignals,
    renewed_at: Option<Instant>,
) {
    loop {
        let wait = renew_in(certificate, clock.now(), spread);
        if wait.is_zero() {
            return;
        }
        tokio::select! {
            // All are cancel-safe: a notice is kept until it is taken.
            () = sleep(wait.min(LOOK_AGAIN)) => {}
            () = signals.refused.notified() => {
                if renewed_at.is_none_or(|at| at.elapsed() >= REFUSAL_SETTLES) {
                    return;
                }
            }
            () = signals.told_time.notified() => {}
        }
    }
}

/// The waits between attempts at a renewal that does not succeed.
#[derive(Debug)]
pub struct RetryPace {
    pause: Duration,
}

impl Default for RetryPace {
    fn default() -> Self {
        Self { pause: RENEW_RETRY_FIRST }
    }
}

impl RetryPace {
    /// Waits before the next attempt. A link that came up and was refused is a sign that the other side is there: then not
    /// for long.
    pub async fn wait(&mut self, signals: &RenewalSignals) {
        tokio::select! {
            // Both are cancel-safe.
            () = sleep(self.pause) => {}
            () = signals.refused.notified() => sleep(RENEW_RETRY_FIRST.min(self.pause)).await,
        }
        self.pause = (self.pause * 2).min(RENEW_RETRY_MAX);
    }
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
