//! One container's steps.

use std::sync::Arc;

use skerry_types::{
    AllocationIntent, ContainerName, ContainerState, ContainerStatus, Exit, ExitKind, MonoTime, Now, Reason,
    ReasonCode, WallTime,
};

use crate::effects::Effects;
use crate::ledger::ContainerHistory;
use crate::restart::{restarts, wait, was_stable};
use crate::{ContainerRef, Failure, OpId, Operation, Outcome, StopSignal, restart};

/// One container of an allocation.
#[derive(Debug)]
pub(crate) struct ContainerLife {
    pub(crate) name: ContainerName,
    pub(crate) history: ContainerHistory,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Not there, and may start at once.
    Waiting,
    Starting(OpId),
    Running {
        pid: u32,
        started_at: WallTime,
        stop: Stop,
    },
    /// Ended; what it leaves is being removed.
    Removing(OpId, Then),
    /// Removing failed; it is tried again.
    RemoveAgain(MonoTime, Then),
    Backoff {
        until: MonoTime,
        shown: WallTime,
    },
    Ended,
}

/// How far a stop of a running container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    Asked { kill_at: MonoTime },
    Killed { again_at: MonoTime },
}

/// What comes after an ended container is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Backoff { until: MonoTime, shown: WallTime },
    Start,
    End,
}

/// What the end of an operation means for a container.
pub(crate) enum News {
    /// It was another's operation.
    NotMine,
    /// It went well.
    Good,
    /// It went badly.
    Bad(Ending),
}

/// What an exit or a failure leaves to tell.
pub(crate) struct Ending {
    pub(crate) reason: Reason,
    pub(crate) restarts: bool,
}

impl ContainerLife {
    pub(crate) fn new(name: ContainerName, history: ContainerHistory) -> Self {
        let step = if history.ended { Step::Ended } else { Step::Waiting };
        Self { name, history, step }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.step, Step::Running { .. })
    }

    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.step, Step::Starting(_))
    }

    /// Whether it runs, and was told to end.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.step, Step::Running { stop: Stop::Asked { .. } | Stop::Killed { .. }, .. })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.step == Step::Ended
    }

    /// Whether nothing of it is on the node and nothing is under way.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.step, Step::Waiting | Step::Backoff { .. } | Step::Ended)
    }

    /// Whether it failed and is on its way to the next try.
    pub(crate) fn is_failing(&self) -> bool {
        let then_backoff = |then| matches!(then, Then::Backoff { .. });
        match self.step {
            Step::Backoff { .. } => true,
            Step::Removing(_, then) | Step::RemoveAgain(_, then) => then_backoff(then),
            _ => false,
        }
    }

    pub(crate) fn started_at(&self) -> Option<WallTime> {
        match self.step {
            Step::Running { started_at, .. } => Some(started_at),
            _ => None,
        }
    }

    /// When it wants to be looked at again.
    pub(crate) fn timeout(&self) -> Option<MonoTime> {
        match self.step {
            Step::Backoff { until, .. } | Step::RemoveAgain(until, _) => Some(until),
            Step::Running { stop: Stop::Asked { kill_at: at } | Stop::Killed { again_at: at }, .. } => {
                Some(at)
            }
            _ => None,
        }
    }

    /// Whether its wait is over.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        matches!(self.step, Step::Backoff { until, .. } if now.mono >= until) || self.step == Step::Waiting
    }

    /// The keeper has it running.
    pub(crate) fn adopt(&mut self, attempt: u32, pid: u32, started_at: WallTime) {
        self.history.starts = self.history.starts.max(attempt.saturating_add(1));
        self.history.ended = false;
        self.step = Step::Running { pid, started_at, stop: Stop::No };
    }

    /// Whether this is news of the start that the brain has in mind.
    pub(crate) fn is_current(&self, attempt: u32) -> bool {
        attempt.saturating_add(1) == self.history.starts
    }

    /// Takes up an end that came while nobody looked. False when it is of an earlier start than the last.
    pub(crate) fn is_latest(&mut self, attempt: u32) -> bool {
        self.history.starts = self.history.starts.max(attempt.saturating_add(1));
        self.is_current(attempt)
    }

    /// Wanted again after it was stopped, or while it is: the stop goes on to its end, then it starts.
    pub(crate) fn revive(&mut self) {
        match &mut self.step {
            Step::Ended => self.step = Step::Waiting,
            Step::Removing(_, then) | Step::RemoveAgain(_, then) if *then == Then::End => *then = Then::Start,
            _ => {}
        }
        self.history.ended = false;
    }

    pub(crate) fn start(&mut self, intent: &Arc<AllocationIntent>, fx: &mut Effects) {
        let attempt = self.history.starts;
        self.history.starts += 1;
        let container = self.name.clone();
        self.step =
            Step::Starting(fx.begin(Operation::Start { intent: Arc::clone(intent), container, attempt }));
    }

    /// Goes on with removals whose wait is over.
    pub(crate) fn remove_again(&mut self, intent: &AllocationIntent, fx: &mut Effects) {
        if let Step::RemoveAgain(at, then) = self.step
            && fx.now().mono >= at
        {
            self.remove(intent, then, fx);
        }
    }

    fn remove(&mut self, intent: &AllocationIntent, then: Then, fx: &mut Effects) {
        let container = self.reference(intent);
        self.step = Step::Removing(fx.begin(Operation::RemoveContainer { container }), then);
    }

    fn reference(&self, intent: &AllocationIntent) -> ContainerRef {
        ContainerRef { allocation: intent.id.clone(), container: self.name.clone() }
    }

    /// Goes a step towards being gone.
    pub(crate) fn stop(&mut self, intent: &AllocationIntent, fx: &mut Effects) {
        let now = fx.now().mono;
        let container = self.reference(intent);
        match &mut self.step {
            Step::Running { stop, .. } => match *stop {
                Stop::No => {
                    *stop = Stop::Asked { kill_at: now + intent.spec.stop_grace };
                    fx.begin(Operation::Signal { container, signal: StopSignal::Ask });
                }
                Stop::Asked { kill_at: at } | Stop::Killed { again_at: at } if now >= at => {
                    *stop = Stop::Killed { again_at: now + restart::TRANSIENT.max_backoff };
                    fx.begin(Operation::Signal { container, signal: StopSignal::Kill });
                }
                Stop::Asked { .. } | Stop::Killed { .. } => {}
            },
            Step::Waiting | Step::Backoff { .. } => self.step = Step::Ended,
            Step::Removing(_, then) | Step::RemoveAgain(_, then) => *then = Then::End,
            Step::Starting(_) | Step::Ended => {}
        }
        self.remove_again(intent, fx);
    }

    /// It ended. Tells why and whether it will start again.
    pub(crate) fn exited(
        &mut self,
        intent: &AllocationIntent,
        exit: Exit,
        log_tail: String,
        fx: &mut Effects,
    ) -> Ending {
        // Told to end, its end says nothing of what it would do by itself.
        let asked = self.is_stopping();
        let policy = &intent.spec.restart;
        if was_stable(policy, &exit) {
            self.history.failures = 0;
        }
        self.history.last_exit = Some(exit);
        self.history.log_tail = log_tail;
        let again = asked || restarts(policy, &exit);
        let pause = wait(policy, self.history.failures, &self.seed(intent));
        self.history.failures = self.history.failures.saturating_add(1);
        self.history.ended = !again;
        self.remove(intent, then(again, pause, fx.now()), fx);
        let code = if exit.out_of_memory { ReasonCode::OutOfMemory } else { ReasonCode::Exited };
        let next = if again { "it starts again after a wait" } else { "its restart policy lets it rest" };
        Ending {
            reason: Reason::new(code, format!("container {}: {exit}; {next}", self.name)),
            restarts: again,
        }
    }

    /// It is not among what the keeper knows of, though it ran.
    pub(crate) fn vanished(&mut self, intent: &AllocationIntent, fx: &mut Effects) -> Ending {
        let ran_for = self.started_at().map(|at| fx.now().wall.since(at)).unwrap_or_default();
        let exit = Exit { kind: ExitKind::Unknown, out_of_memory: false, at: fx.now().wall, ran_for };
        self.exited(intent, exit, String::new(), fx)
    }

    /// An operation ended.
    pub(crate) fn done(
        &mut self,
        intent: &AllocationIntent,
        op: OpId,
        result: &Result<Outcome, Failure>,
        fx: &mut Effects,
    ) -> News {
        match (self.step, result) {
            (Step::Starting(mine), Ok(Outcome::Started { pid, started_at })) if mine == op => {
                self.step = Step::Running { pid: *pid, started_at: *started_at, stop: Stop::No };
                News::Good
            }
            (Step::Starting(mine), result) if mine == op => News::Bad(self.start_failed(intent, result, fx)),
            (Step::Removing(mine, then), Ok(_)) if mine == op => {
                self.step = match then {
                    Then::Backoff { until, shown } => Step::Backoff { until, shown },
                    Then::Start => Step::Waiting,
                    Then::End => Step::Ended,
                };
                News::Good
            }
            (Step::Removing(mine, then), Err(failure)) if mine == op => {
                self.step = Step::RemoveAgain(fx.now().mono + restart::TRANSIENT.backoff, then);
                News::Bad(Ending { reason: failure.reason.clone(), restarts: true })
            }
            _ => News::NotMine,
        }
    }

    fn start_failed(
        &mut self,
        intent: &AllocationIntent,
        result: &Result<Outcome, Failure>,
        fx: &mut Effects,
    ) -> Ending {
        let reason = match result {
            Err(failure) => failure.reason.clone(),
            Ok(other) => {
                Reason::new(ReasonCode::CreateFailed, format!("the runtime answered a start with {other:?}"))
            }
        };
        let pause = wait(&intent.spec.restart, self.history.failures, &self.seed(intent));
        self.history.failures = self.history.failures.saturating_add(1);
        self.remove(intent, then(true, pause, fx.now()), fx);
        Ending { reason, restarts: true }
    }

    fn seed(&self, intent: &AllocationIntent) -> String {
        format!("{}/{}", intent.id, self.name)
    }

    pub(crate) fn status(&self) -> ContainerStatus {
        let state = match self.step {
            Step::Waiting
            | Step::Starting(_)
            | Step::Removing(_, Then::Start)
            | Step::RemoveAgain(_, Then::Start) => ContainerState::Waiting,
            Step::Running { pid, started_at, .. } => ContainerState::Running { pid, started_at },
            Step::Backoff { shown, .. }
            | Step::Removing(_, Then::Backoff { shown, .. })
            | Step::RemoveAgain(_, Then::Backoff { shown, .. }) => ContainerState::Backoff { until: shown },
            Step::Removing(_, Then::End) | Step::RemoveAgain(_, Then::End) | Step::Ended => {
                ContainerState::Ended
            }
        };
        ContainerStatus {
            name: self.name.clone(),
            state,
            restarts: self.history.starts.saturating_sub(1),
            last_exit: self.history.last_exit,
            log_tail: self.history.log_tail.clone(),
        }
    }
}

fn then(again: bool, pause: std::time::Duration, now: Now) -> Then {
    if !again {
        return Then::End;
    }
    let shown = WallTime(now.wall.0.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)));
    Then::Backoff { until: now.mono + pause, shown }
}
