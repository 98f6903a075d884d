//! Memory that a wave of work left free goes back to the system once the wave is over.
//!
//! Links come and go by the thousand, and what they leave behind is holes. With one to three thousand nodes they were 6 to 15 % of
//! what was resident.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(10);
/// Above this share of a core, in thousandths, there is work that should not wait for the heaps.
const BUSY_AT: u128 = 200;
/// Giving back takes time: nothing is done for a growth of less than one part in so many.
const GROWTH_PART: u64 = 32;

/// Gives back until `cancel`.
pub(crate) async fn keep(cancel: CancellationToken) {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut quiet = Quiet::default();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            // Cancel-safe: a tick that was not taken comes again.
            _ = ticks.tick() => {}
        }
        let Some(pages) = resident() else { continue };
        if !quiet.is_due(spent(), pages) {
            continue;
        }
        match tokio::task::spawn_blocking(skerry_heap::give_back).await {
            Ok(_) => quiet.gave_back(resident().unwrap_or(pages)),
            Err(error) => tracing::warn!(%error, "giving memory back failed, it is tried again"),
        }
    }
}

/// When giving back is worth it.
#[derive(Debug, Default)]
struct Quiet {
    /// Processor time at the last look.
    spent: Duration,
    /// Resident pages after giving back.
    left: u64,
}

impl Quiet {
    /// Takes a look, with the process's processor time and resident pages.
    fn is_due(&mut self, spent: Duration, pages: u64) -> bool {
        let busy = spent.saturating_sub(self.spent).as_micros() * 1000 / PAUSE.as_micros();
        self.spent = spent;
        busy < BUSY_AT && pages > self.left + self.left / GROWTH_PART
    }

    fn gave_back(&mut self, pages: u64) {
        self.left = pages;
    }
}

/// Processor time of this process so far.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Resident pages of this process; `None` where `/proc` is not there.
fn resident() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_after_the_work_and_once() {
        let mut quiet = Quiet::default();
        let mut check = |spent: u64, pages: u64, due: bool| {
            assert_eq!(quiet.is_due(Duration::from_millis(spent), pages), due, "{spent} ms, {pages} pages");
            if due {
                quiet.gave_back(pages / 2);
            }
        };
        check(5_000, 4_000, false);
        check(6_999, 6_000, true);
        check(7_000, 3_000, false);
        check(7_000, 3_000 + 3_000 / 32, false);
        check(7_000, 3_001 + 3_000 / 32, true);
        check(9_000, 6_000, false);
        check(9_001, 6_000, true);
    }

    #[test]
    fn this_process_has_pages_and_has_worked() {
        assert!(resident().is_some_and(|pages| pages > 0));
        assert!(spent() > Duration::ZERO);
    }
}
