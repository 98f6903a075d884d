//! From a run in which something was found to the smallest one in which it still is.

use std::time::Duration;

use crate::knobs::Knobs;
use crate::{Options, Violation, run};

/// What is still found when less happens. Anything that is found counts: two faults of one cause rarely say the same.
pub fn shrink(found: Box<Violation>) -> Box<Violation> {
    let mut best = found;
    // Nothing after the moment can be a cause of it.
    let storm = best.options.storm.min(best.at);
    best = better(best, |options| options.storm = storm);
    for nodes in 1..best.nodes {
        let fewer = better(best, |options| options.nodes = Some(nodes));
        best = fewer;
        if best.options.nodes == Some(nodes) {
            break;
        }
    }
    for kind in Knobs::each() {
        best = better(best, |options| options.without = options.without.and(kind));
    }
    // What is left may be found earlier.
    let mut step = best.options.storm / 2;
    while step > Duration::from_secs(20) {
        let shorter = best.options.storm.saturating_sub(step);
        best = better(best, |options| options.storm = shorter);
        step /= 2;
    }
    best
}

/// The run with a change, if something is found in it as well.
fn better(best: Box<Violation>, change: impl FnOnce(&mut Options)) -> Box<Violation> {
    let mut options = Options { trace: false, ..best.options };
    change(&mut options);
    if options == best.options {
        return best;
    }
    run(options).err().unwrap_or(best)
}
