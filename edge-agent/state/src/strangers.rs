//! Allocations found on the node that nothing is known of: they are removed.

use std::time::Duration;

use skerry_types::{AllocationId, MonoTime};

use crate::restart::{TRANSIENT, wait};
use crate::{AgentState, Failure, OpId, Operation, Outcome};

/// From the stop signal to the kill, for a container that nothing is known of.
const DISCARD_GRACE: Duration = Duration::from_secs(10);
/// Attempts at a removal that others wait for. One that fails for good must not keep the node empty.
const AWAITED_ATTEMPTS: u32 = 4;

/// The removal of an allocation that should not be here.
#[derive(Debug)]
pub(crate) struct Stranger {
    failures: u32,
    step: Step,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Discarding(OpId),
    Again(MonoTime),
}

impl Stranger {
    /// When it wants to be looked at again.
    pub(crate) fn timeout(&self) -> Option<MonoTime> {
        match self.step {
            Step::Again(at) => Some(at),
            Step::Discarding(_) => None,
        }
    }
}

impl AgentState {
    /// Begins, or tries again, to remove an allocation.
    pub(crate) fn discard(&mut self, id: &AllocationId) {
        let failures = self.strangers.get(id).map_or(0, |stranger| stranger.failures);
        let operation = Operation::Discard { allocation: id.clone(), grace: DISCARD_GRACE };
        let step = Step::Discarding(self.fx.begin(operation));
        self.strangers.insert(id.clone(), Stranger { failures, step });
    }

    /// Whether something is being removed that may hold room and ports which others were given.
    pub(crate) fn awaits_strangers(&self) -> bool {
        self.strangers.values().any(|stranger| stranger.failures < AWAITED_ATTEMPTS)
    }

    pub(crate) fn stranger_done(&mut self, id: &AllocationId, op: OpId, result: &Result<Outcome, Failure>) {
        let Some(stranger) = self.strangers.get_mut(id) else { return };
        if !matches!(stranger.step, Step::Discarding(mine) if mine == op) {
            return;
        }
        let Err(failure) = result else {
            self.strangers.remove(id);
            return;
        };
        let pause = wait(&TRANSIENT, stranger.failures, id.as_str());
        stranger.failures = stranger.failures.saturating_add(1);
        stranger.step = Step::Again(self.fx.now().mono + pause);
        let message = format!("{id} is not wanted here and could not be removed: {}", failure.reason.message);
        self.warn("DiscardFailed", message);
    }

    pub(crate) fn discard_again(&mut self) {
        let now = self.fx.now().mono;
        let due = |stranger: &Stranger| stranger.timeout().is_some_and(|at| now >= at);
        let again: Vec<AllocationId> =
            self.strangers.iter().filter(|(_, stranger)| due(stranger)).map(|(id, _)| id.clone()).collect();
        for id in &again {
            self.discard(id);
        }
    }
}
