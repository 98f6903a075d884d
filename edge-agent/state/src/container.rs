//! One container's steps.

mod watching;

use std::sync::Arc;
use std::time::Duration;

use skerry_types::mutant::{self, Mutant};
use skerry_types::{
    AllocationIntent, ContainerName, ContainerSpec, ContainerState, ContainerStatus, Exit, ExitKind,
    MonoTime, Now, Probes, RestartPolicy, RestartWhen, WallTime,
};

use crate::effects::Effects;
use crate::ending::{self, Cause, Ending, Verdict};
use crate::ledger::ContainerHistory;
use crate::probe::Watch;
use crate::restart::{self, wait};
use crate::{ContainerRef, Failure, Fence, OpId, Operation, Outcome, StopSignal};

/// One container of an allocation.
#[derive(Debug)]
pub(crate) struct ContainerLife {
    pub(crate) name: ContainerName,
    /// Whether it runs to an end before others start.
    pub(crate) is_init: bool,
    pub(crate) history: ContainerHistory,
    /// Whether it was running at some time since its allocation was brought up.
    pub(crate) came_up: bool,
    stop_signal: Option<u8>,
    probes: Probes,
    step: Step,
    /// While it runs.
    watches: Vec<Watch>,
    /// What a health probe saw, from then on until the end.
    unwell: Option<String>,
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
    /// It runs.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// It went badly.
    Bad(Ending),
    /// A probe's judgement is another than before.
    Judged,
}

impl ContainerLife {
    pub(crate) fn new(spec: &ContainerSpec, is_init: bool, history: ContainerHistory) -> Self {
        let step = if history.verdict == Verdict::Open { Step::Waiting } else { Step::Ended };
        Self {
            name: spec.name.clone(),
            is_init,
            history,
            came_up: false,
            stop_signal: spec.stop_signal,
            probes: spec.probes.clone(),
            step,
            watches: Vec::new(),
            unwell: None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.step, Step::Running { .. })
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self.step {
            Step::Running { pid, .. } => Some(pid),
            _ => None,
        }
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

    /// Whether it ended by itself and does not start again.
    pub(crate) fn is_over(&self) -> bool {
        self.history.verdict != Verdict::Open
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

    /// When a removal or a stop of it goes on.
    pub(crate) fn timeout(&self) -> Option<MonoTime> {
        match self.step {
            Step::RemoveAgain(until, _) => Some(until),
            Step::Running { stop: Stop::Asked { kill_at: at } | Stop::Killed { again_at: at }, .. } => {
                Some(at)
            }
            _ => None,
        }
    }

    /// When it starts again.
    pub(crate) fn start_timeout(&self) -> Option<MonoTime> {
        match self.step {
            Step::Backoff { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether its wait is over.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        matches!(self.step, Step::Backoff { until, .. } if now.mono >= until) || self.step == Step::Waiting
    }

    /// The keeper has it running.
    pub(crate) fn adopt(
        &mut self,
        intent: &AllocationIntent,
        (attempt, pid, started_at): (u32, u32, WallTime),
        now: Now,
    ) {
        let same = self.history.begun && self.is_current(attempt);
        self.history.starts = self.history.starts.max(attempt.saturating_add(1));
        self.history.begun = true;
        self.history.verdict = Verdict::Open;
        self.history.healthy &= same;
        self.history.ready &= same;
        self.step = Step::Running { pid, started_at, stop: Stop::No };
        self.runs(intent, now.wall.since(started_at), now);
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

    /// Whether a start of it began, of whose end nothing is known.
    pub(crate) fn has_begun(&self) -> bool {
        self.history.begun
    }

    /// Wanted again after it was stopped, or while it is: the stop goes on to its end, then it starts.
    pub(crate) fn revive(&mut self) {
        self.history.verdict = Verdict::Open;
        self.resume();
    }

    /// Like [`ContainerLife::revive`], but one that ended by itself for good stays so.
    pub(crate) fn resume(&mut self) {
        self.came_up = self.is_running();
        if self.is_over() {
            return;
        }
        match &mut self.step {
            Step::Ended => self.step = Step::Waiting,
            Step::Removing(_, then) | Step::RemoveAgain(_, then) if *then == Then::End => *then = Then::Start,
            _ => {}
        }
    }

    /// Another run begins: what the last one left counts no more.
    pub(crate) fn begin_run(&mut self) {
        self.history.base = self.history.starts;
        self.history.failures = 0;
        self.revive();
    }

    /// It has no part in the run any more.
    pub(crate) fn give_up(&mut self) {
        if !self.is_over() {
            self.history.verdict = Verdict::Bad;
        }
    }

    pub(crate) fn start(&mut self, intent: &Arc<AllocationIntent>, fence: Option<Fence>, fx: &mut Effects) {
        let attempt = self.history.starts;
        self.history.starts += 1;
        self.history.begun = true;
        (self.history.healthy, self.history.ready) = (false, false);
        let container = self.name.clone();
        // What must never run twice must not run before the ledger knows of it, and no token is given twice.
        let once = intent.spec.restart.when == RestartWhen::Never || fence.is_some();
        let start = Operation::Start { intent: Arc::clone(intent), container, attempt, fence };
        self.step = Step::Starting(if once { fx.begin_saved(start) } else { fx.begin(start) });
    }

    /// Goes on with removals whose wait is over.
    pub(crate) fn remove_again(&mut self, intent: &AllocationIntent, fx: &mut Effects) {
        if let Step::RemoveAgain(at, then) = self.step
            && fx.now().mono >= at
        {
            self.remove(intent, then, fx);
        }
    }

    /// The keeper still has it, though its part is over.
    pub(crate) fn remove_left(&mut self, intent: &AllocationIntent, fx: &mut Effects) {
        self.remove(intent, Then::End, fx);
    }

    /// Whether something of it may be there that a listing does not name.
    pub(crate) fn may_be_there(&self) -> bool {
        (self.history.begun || self.history.is_left) && !self.is_over()
    }

    /// A start of it began, and a listing does not name it: something may be there all the same.
    pub(crate) fn remove_unseen(&mut self, intent: &AllocationIntent, fx: &mut Effects) {
        if !mutant::is(Mutant::TrustsListings) {
            self.remove(intent, Then::Start, fx);
        }
    }

    fn remove(&mut self, intent: &AllocationIntent, then: Then, fx: &mut Effects) {
        let removal = Operation::RemoveContainer { container: self.reference(intent) };
        // Its record at the keeper is the only witness of an end until the ledger has it.
        let op = if self.is_over() { fx.begin_saved(removal) } else { fx.begin(removal) };
        self.step = Step::Removing(op, then);
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
                    let signal = StopSignal::Ask { signal: self.stop_signal };
                    fx.begin(Operation::Signal { container, signal });
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
        let cause = match self.unwell.take() {
            Some(why) => Cause::Unwell(why),
            // Told to end, its end says nothing of what it would do by itself.
            None if self.is_stopping() => Cause::Asked,
            None => Cause::Itself,
        };
        let policy = ending::policy(intent);
        let was_well = self.watches.iter().all(|watch| watch.was_well);
        if restart::was_stable(&policy, &exit) && (was_well || cause == Cause::Itself) {
            self.history.failures = 0;
        }
        self.watches.clear();
        let verdict = ending::verdict(&cause, &policy, self.is_init, &exit);
        let history = &mut self.history;
        history.last_exit = Some(exit);
        history.log_tail = ending::bounded(log_tail);
        (history.begun, history.healthy, history.ready) = (false, false, false);
        history.verdict = verdict;
        self.after_failure(intent, &policy, fx);
        Ending::of(&self.name, self.is_init, &cause, &exit, verdict)
    }

    /// Removes what it leaves; then it waits, or rests for good.
    fn after_failure(&mut self, intent: &AllocationIntent, policy: &RestartPolicy, fx: &mut Effects) {
        let pause = wait(policy, self.history.failures, &format!("{}/{}", intent.id, self.name));
        self.history.failures = self.history.failures.saturating_add(1);
        let then = if self.is_over() { Then::End } else { then_backoff(pause, fx.now()) };
        self.remove(intent, then, fx);
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
                self.runs(intent, Duration::ZERO, fx.now());
                News::Started { pid: *pid }
            }
            (Step::Starting(mine), result) if mine == op => {
                (self.history.begun, self.history.is_left) = (false, true);
                self.after_failure(intent, &ending::policy(intent), fx);
                News::Bad(Ending::of_start(result))
            }
            (Step::Removing(mine, then), Ok(_)) if mine == op => {
                self.history.is_left = false;
                self.step = match then {
                    Then::Backoff { until, shown } => Step::Backoff { until, shown },
                    Then::Start => Step::Waiting,
                    Then::End => Step::Ended,
                };
                News::Good
            }
            (Step::Removing(mine, then), Err(failure)) if mine == op => {
                self.step = Step::RemoveAgain(fx.now().mono + restart::TRANSIENT.backoff, then);
                News::Bad(Ending::of_removal(failure))
            }
            _ => self.looked(op, result, fx.now()),
        }
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
            restarts: self.history.starts.saturating_sub(self.history.base).saturating_sub(1),
            last_exit: self.history.last_exit,
            log_tail: self.history.log_tail.clone(),
        }
    }
}

fn then_backoff(pause: Duration, now: Now) -> Then {
    let shown = WallTime(now.wall.0.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)));
    Then::Backoff { until: now.mono + pause, shown }
}
