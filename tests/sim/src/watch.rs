//! Ends the process when something in it never ends.
//!
//! A brain that goes round for ever within one input cannot be stopped from outside, and a run that hangs tells nobody its seed.
//! So somebody looks on: when no event is done for long by the clock on the wall, it says which seed hangs where, and the process
//! fails. What goes round over many events is counted by the world itself, see [`World::run`](crate::world::World::run).

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::Options;

/// Looks within the longest time that an event may take. A machine that slept, or a process that was stopped, misses one of them.
const LOOKS: u32 = 10;

/// How far a run is.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    steps: AtomicU64,
    now_us: AtomicU64,
}

impl Pulse {
    /// Another event begins, the `steps`th, at this virtual time.
    pub(crate) fn beat(&self, steps: u64, now_us: u64) {
        self.now_us.store(now_us, Ordering::Relaxed);
        self.steps.store(steps, Ordering::Relaxed);
    }
}

/// Plays something while somebody looks on.
pub(crate) fn watched<Played>(options: &Options, play: impl FnOnce(Arc<Pulse>) -> Played) -> Played {
    let pulse = Arc::new(Pulse::default());
    thread::scope(|scope| {
        // Dropped when the run is over, also when it panics.
        let (_runs, over) = channel();
        let seen = Arc::clone(&pulse);
        scope.spawn(move || {
            if hangs(&seen, options.patience, &over) {
                give_up(options, &seen);
            }
        });
        play(pulse)
    })
}

/// Waits until a run is over, or hangs.
fn hangs(pulse: &Pulse, patience: Duration, over: &Receiver<()>) -> bool {
    let mut quiet = Quiet::default();
    while over.recv_timeout(patience / LOOKS) == Err(RecvTimeoutError::Timeout) {
        if quiet.is_too_long(pulse.steps.load(Ordering::Relaxed)) {
            return true;
        }
    }
    false
}

/// For how long nothing was done.
#[derive(Debug, Default)]
struct Quiet {
    steps: u64,
    looks: u32,
}

impl Quiet {
    /// Another look finds the run at this event.
    fn is_too_long(&mut self, steps: u64) -> bool {
        self.looks = if steps == self.steps { self.looks + 1 } else { 0 };
        self.steps = steps;
        self.looks == LOOKS
    }
}

fn give_up(options: &Options, pulse: &Pulse) -> ! {
    let at = Duration::from_micros(pulse.now_us.load(Ordering::Relaxed));
    let (seed, steps) = (options.seed, pulse.steps.load(Ordering::Relaxed));
    let what = format!(
        "seed {seed}, after {at:?}: event {steps} is not done after {:?}, something in it goes round for ever\nreplay: {options}\n",
        options.patience
    );
    // Past what tests capture, which is lost with the process. Where nobody can read it there is nothing else to do.
    drop(std::io::stderr().write_all(what.as_bytes()));
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_still_at_every_look_hangs() {
        let check = |steps: &mut dyn FnMut(u32) -> u64, expect: bool| {
            let mut quiet = Quiet::default();
            assert_eq!((0..3 * LOOKS).any(|look| quiet.is_too_long(steps(look))), expect);
        };
        check(&mut |_| 0, true);
        check(&mut |look| u64::from(look.min(LOOKS)), true);
        check(&mut |look| u64::from(look / (LOOKS - 1)), false);
    }

    #[test]
    fn a_run_that_is_over_is_not_waited_for() {
        let options = Options { patience: Duration::MAX, ..Options::of_seed(1) };
        assert_eq!(watched(&options, |_| 7), 7);
    }
}
