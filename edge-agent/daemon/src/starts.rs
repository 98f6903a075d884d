//! Puts what the runtime tells into the order that the brain relies on. Pure.
//!
//! A start and what becomes of its container come by two ways, an operation's answer and the keeper's events, and either may be
//! first. The brain has to hear that a container runs before it hears that it ended, and an inventory must not be older than
//! an answer that it already had.

use std::collections::{BTreeMap, BTreeSet};

use skerry_agent_state::{ContainerRef, Failure, FoundContainer, FoundState, Input, OpId, Outcome};
use skerry_types::{Exit, MonoTime, WallTime};

/// An end of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) container: ContainerRef,
    pub(crate) attempt: u32,
    pub(crate) exit: Exit,
    pub(crate) log_tail: String,
}

impl From<Ended> for Input {
    fn from(ended: Ended) -> Self {
        let Ended { container, attempt, exit, log_tail } = ended;
        Self::Exited { container, attempt, exit, log_tail }
    }
}

/// Starts under way, and those answered since the last inventory.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    under_way: BTreeMap<OpId, (ContainerRef, u32)>,
    /// Ends that came before the answer of their start.
    held: Vec<Ended>,
    answered: BTreeMap<ContainerRef, FoundContainer>,
}

impl Starts {
    pub(crate) fn begin(&mut self, op: OpId, container: ContainerRef, attempt: u32) {
        self.under_way.insert(op, (container, attempt));
    }

    /// An operation's answer is about to be told. Gives the end that has to be told right after it.
    pub(crate) fn answered(&mut self, op: OpId, result: &Result<Outcome, Failure>) -> Option<Ended> {
        let (container, attempt) = self.under_way.remove(&op)?;
        let of_it = |ended: &Ended| ended.container == container && ended.attempt == attempt;
        let held = self.held.iter().position(of_it).map(|at| self.held.swap_remove(at));
        let Ok(Outcome::Started { pid, started_at }) = result else { return None };
        if held.is_none() {
            let state = FoundState::Running { pid: *pid, started_at: *started_at };
            self.answered
                .insert(container.clone(), FoundContainer { container, attempt, state, deadline: None });
        }
        held
    }

    /// A container ended. `None` when that has to wait for its start's answer.
    pub(crate) fn ended(&mut self, ended: Ended) -> Option<Ended> {
        if self.is_under_way(&ended.container, ended.attempt) {
            self.held.push(ended);
            return None;
        }
        self.answered.remove(&ended.container);
        Some(ended)
    }

    /// Containers that the brain believes to run by an answer, and that an inventory does not have: it may be older than the
    /// answer. The caller finds out which of them are there and adds them.
    pub(crate) fn missing(&mut self, found: &[FoundContainer]) -> Vec<FoundContainer> {
        for found in found {
            if let FoundState::Exited { exit, log_tail } = &found.state
                && self.is_under_way(&found.container, found.attempt)
            {
                let (container, attempt) = (found.container.clone(), found.attempt);
                self.held.push(Ended { container, attempt, exit: *exit, log_tail: log_tail.clone() });
            }
        }
        let present: BTreeSet<&ContainerRef> = found.iter().map(|found| &found.container).collect();
        let answered = std::mem::take(&mut self.answered).into_values();
        answered.filter(|answered| !present.contains(&answered.container)).collect()
    }

    fn is_under_way(&self, container: &ContainerRef, attempt: u32) -> bool {
        self.under_way.values().any(|(other, number)| other == container && *number == attempt)
    }
}

/// The words of the runtime in those of the brain.
pub(crate) fn reference(container: skerry_runtime::ContainerRef) -> ContainerRef {
    let skerry_runtime::ContainerRef { allocation, container } = container;
    ContainerRef { allocation, container }
}

/// The words of the brain in those of the runtime.
pub(crate) fn runtime_reference(container: ContainerRef) -> skerry_runtime::ContainerRef {
    let ContainerRef { allocation, container } = container;
    skerry_runtime::ContainerRef { allocation, container }
}

/// What the runtime found, in the words of the brain.
pub(crate) fn found(found: skerry_runtime::FoundContainer) -> FoundContainer {
    let state = match found.state {
        skerry_runtime::FoundState::Running { pid, started_at } => running(pid, started_at),
        skerry_runtime::FoundState::Exited { exit, log_tail } => FoundState::Exited { exit, log_tail },
    };
    let deadline = found.kill_at_ms.map(|at| MonoTime(std::time::Duration::from_millis(at)));
    FoundContainer { container: reference(found.container), attempt: found.attempt, state, deadline }
}

fn running(pid: u32, started_at: WallTime) -> FoundState {
    FoundState::Running { pid, started_at }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skerry_types::{AllocationId, ContainerName, ExitKind, ReasonCode};

    use super::*;

    fn container(name: &str) -> ContainerRef {
        ContainerRef {
            allocation: AllocationId::new("web-0-1").unwrap(),
            container: ContainerName::new(name).unwrap(),
        }
    }

    fn ended(name: &str, attempt: u32) -> Ended {
        let exit =
            Exit { kind: ExitKind::Code(1), out_of_memory: false, at: WallTime(5), ran_for: Duration::ZERO };
        Ended { container: container(name), attempt, exit, log_tail: String::new() }
    }

    const STARTED: Result<Outcome, Failure> = Ok(Outcome::Started { pid: 7, started_at: WallTime(1) });

    #[test]
    fn an_end_waits_for_the_answer_of_its_start() {
        let mut starts = Starts::default();
        starts.begin(OpId(1), container("a"), 3);
        assert_eq!(starts.ended(ended("b", 0)), Some(ended("b", 0)));
        assert_eq!(starts.ended(ended("a", 2)), Some(ended("a", 2)), "of an earlier start");
        assert_eq!(starts.ended(ended("a", 3)), None);
        assert_eq!(starts.answered(OpId(9), &STARTED), None, "of another operation");
        assert_eq!(starts.answered(OpId(1), &STARTED), Some(ended("a", 3)));
        assert_eq!(starts.missing(&[]), [], "what has ended is not missed");
    }

    #[test]
    fn the_end_of_a_failed_start_is_nobodys() {
        let mut starts = Starts::default();
        starts.begin(OpId(1), container("a"), 0);
        assert_eq!(starts.ended(ended("a", 0)), None);
        let failed = Err(Failure::transient(ReasonCode::CreateFailed, "no"));
        assert_eq!(starts.answered(OpId(1), &failed), None);
    }

    #[test]
    fn what_was_answered_since_an_old_inventory_is_missed() {
        let mut starts = Starts::default();
        starts.begin(OpId(1), container("a"), 0);
        starts.begin(OpId(2), container("b"), 4);
        assert_eq!(starts.answered(OpId(1), &STARTED), None);
        assert_eq!(starts.answered(OpId(2), &STARTED), None);
        let state = running(7, WallTime(1));
        let b =
            FoundContainer { container: container("b"), attempt: 4, state: state.clone(), deadline: None };
        let a = FoundContainer { container: container("a"), attempt: 0, state, deadline: None };
        assert_eq!(starts.missing(&[b]), [a]);
        assert_eq!(starts.missing(&[]), [], "an inventory settles all answers before it");
    }

    #[test]
    fn an_end_in_an_inventory_waits_too() {
        let mut starts = Starts::default();
        starts.begin(OpId(1), container("a"), 0);
        let Ended { container, attempt, exit, log_tail } = ended("a", 0);
        let state = FoundState::Exited { exit, log_tail };
        assert_eq!(starts.missing(&[FoundContainer { container, attempt, state, deadline: None }]), []);
        assert_eq!(starts.answered(OpId(1), &STARTED), Some(ended("a", 0)));
    }
}
