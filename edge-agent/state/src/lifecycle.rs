//! One allocation's life on this node.
//!
//! Level-triggered: news changes what is known, then [`Lifecycle::advance`] compares it with what is wanted and begins what
//! is missing. So the order in which news arrives does not matter.

use std::net::Ipv4Addr;
use std::sync::Arc;

use skerry_types::{
    AllocationId, AllocationIntent, AllocationStatus, Desired, EventLevel, EventSubject, Exit, MonoTime,
    Phase, Reason, WallTime,
};

use crate::container::{ContainerLife, Ending, News};
use crate::effects::Effects;
use crate::ledger::Life;
use crate::restart::{PERMANENT, TRANSIENT, wait};
use crate::{Failure, FoundContainer, FoundState, OpId, Operation, Outcome};

/// One allocation on this node, from the arrival of its intent until nothing of it is left.
#[derive(Debug)]
pub struct Lifecycle {
    intent: Arc<AllocationIntent>,
    /// The master's row is gone: stop, and then forget.
    disowned: bool,
    stage: Stage,
    containers: Vec<ContainerLife>,
    address: Option<Ipv4Addr>,
    reason: Option<Reason>,
    /// Failures in a row of what comes before the containers.
    failures: u32,
    /// A start failed while nothing else ran: image and network are looked at anew before the next.
    refresh: bool,
    shown: (Phase, WallTime),
    unsaved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is known to be there.
    New,
    Pulling {
        op: OpId,
        cancelled: bool,
    },
    Preparing(OpId),
    /// Image and network are there; the rest is the containers' affair.
    Up,
    /// What comes before the containers failed.
    Wait(MonoTime),
    Removing(OpId),
    RemoveAgain(MonoTime),
    /// Nothing is left.
    Gone,
}

impl Lifecycle {
    pub(crate) fn new(intent: Arc<AllocationIntent>, life: &Life, now: WallTime) -> Self {
        let history = |name| life.containers.get(name).cloned().unwrap_or_default();
        let containers =
            intent.spec.containers.iter().map(|c| ContainerLife::new(c.name.clone(), history(&c.name)));
        Self {
            containers: containers.collect(),
            intent,
            disowned: false,
            stage: Stage::New,
            address: life.address,
            reason: None,
            failures: 0,
            refresh: false,
            shown: (Phase::Pending, now),
            unsaved: false,
        }
    }

    /// What the master wants.
    pub fn intent(&self) -> &Arc<AllocationIntent> {
        &self.intent
    }

    /// Whether nothing of it is left on the node.
    pub fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    pub(crate) fn is_disowned(&self) -> bool {
        self.disowned
    }

    /// The intent row changed. Only what is desired ever does.
    pub(crate) fn intend(&mut self, intent: Arc<AllocationIntent>) {
        let stopping = self.wants_stop();
        self.intent = intent;
        self.disowned = false;
        if stopping && !self.wants_stop() {
            self.containers.iter_mut().for_each(ContainerLife::revive);
            self.unsaved = true;
        }
    }

    /// The intent row is gone.
    pub(crate) fn disown(&mut self) {
        self.disowned = true;
    }

    /// What to keep on disk, when that changed since the last call.
    pub(crate) fn take_unsaved(&mut self) -> Option<Life> {
        std::mem::take(&mut self.unsaved).then(|| Life {
            address: self.address,
            containers: self.containers.iter().map(|c| (c.name.clone(), c.history.clone())).collect(),
        })
    }

    /// When it wants to be looked at again.
    pub fn timeout(&self) -> Option<MonoTime> {
        let stop = self.wants_stop();
        let stage = match self.stage {
            Stage::Wait(at) if !stop => Some(at),
            Stage::RemoveAgain(at) if stop => Some(at),
            _ => None,
        };
        // Only where `advance` looks at them: a time that nobody acts upon would be due for ever.
        let waits = match self.stage {
            Stage::Up => self.containers.as_slice(),
            Stage::New | Stage::Wait(_) if stop => self.containers.as_slice(),
            _ => &[],
        };
        waits.iter().filter_map(ContainerLife::timeout).chain(stage).min()
    }

    fn wants_stop(&self) -> bool {
        self.disowned || self.intent.desired == Desired::Stop
    }

    /// Compares what is with what is wanted, and begins what is missing.
    pub(crate) fn advance(&mut self, fx: &mut Effects) {
        if self.wants_stop() { self.advance_stop(fx) } else { self.advance_run(fx) }
    }

    fn advance_run(&mut self, fx: &mut Effects) {
        match self.stage {
            Stage::New if self.containers.iter().any(ContainerLife::is_running) => self.prepare(fx),
            Stage::New if self.containers.iter().all(ContainerLife::has_ended) => self.stage = Stage::Up,
            Stage::New => {
                let op = fx.begin(Operation::Pull { intent: Arc::clone(&self.intent) });
                self.stage = Stage::Pulling { op, cancelled: false };
            }
            Stage::Wait(at) if fx.now().mono >= at => {
                self.stage = Stage::New;
                self.advance_run(fx);
            }
            // An earlier stop got as far as removing; all of it is made anew.
            Stage::Gone | Stage::RemoveAgain(_) => {
                self.stage = Stage::New;
                self.advance_run(fx);
            }
            Stage::Up if self.refresh && self.may_refresh(fx) => {
                self.refresh = false;
                self.stage = Stage::New;
                self.advance_run(fx);
            }
            Stage::Up => self.advance_containers(fx),
            Stage::Pulling { .. } | Stage::Preparing(_) | Stage::Wait(_) | Stage::Removing(_) => {}
        }
    }

    fn may_refresh(&self, fx: &Effects) -> bool {
        self.containers.iter().all(ContainerLife::is_absent)
            && self.containers.iter().any(|c| c.is_due(fx.now()))
    }

    fn advance_containers(&mut self, fx: &mut Effects) {
        let intent = Arc::clone(&self.intent);
        for container in &mut self.containers {
            container.remove_again(&intent, fx);
            if container.is_stopping() {
                container.stop(&intent, fx);
            }
            if container.is_due(fx.now()) {
                container.start(&intent, fx);
                self.unsaved = true;
            }
        }
    }

    fn prepare(&mut self, fx: &mut Effects) {
        let intent = Arc::clone(&self.intent);
        self.stage = Stage::Preparing(fx.begin(Operation::Prepare { intent, address: self.address }));
    }

    fn advance_stop(&mut self, fx: &mut Effects) {
        match &mut self.stage {
            Stage::Pulling { op, cancelled } => {
                if !std::mem::replace(cancelled, true) {
                    fx.cancel(*op);
                }
                return;
            }
            Stage::Preparing(_) | Stage::Removing(_) | Stage::Gone => return,
            Stage::RemoveAgain(at) if fx.now().mono < *at => return,
            Stage::New | Stage::Up | Stage::Wait(_) | Stage::RemoveAgain(_) => {}
        }
        for container in &mut self.containers {
            container.stop(&self.intent, fx);
        }
        if self.containers.iter().all(ContainerLife::has_ended) {
            let allocation = self.intent.id.clone();
            self.stage = Stage::Removing(fx.begin(Operation::RemoveAllocation { allocation }));
        }
    }

    /// What the keeper has of this allocation: at the start, or after the keeper was away.
    pub(crate) fn found(&mut self, found: &[&FoundContainer], fx: &mut Effects) {
        let intent = Arc::clone(&self.intent);
        for at in 0..self.containers.len() {
            let container = &mut self.containers[at];
            let mine = found.iter().find(|f| f.container.container == container.name);
            let running = container.is_running();
            let ending = match mine.map(|f| (f.attempt, &f.state)) {
                Some((_, FoundState::Running { .. })) if running => None,
                Some((attempt, FoundState::Running { pid, started_at })) if self.stage == Stage::New => {
                    container.adopt(attempt, *pid, *started_at);
                    None
                }
                Some((attempt, FoundState::Exited { exit, log_tail }))
                    if running
                        || (container.is_starting() && container.is_current(attempt))
                        || (self.stage == Stage::New && container.is_latest(attempt)) =>
                {
                    Some(container.exited(&intent, *exit, log_tail.clone(), fx))
                }
                None if running => Some(container.vanished(&intent, fx)),
                Some(_) | None => None,
            };
            self.note(at, ending, fx);
        }
    }

    /// A container ended.
    pub(crate) fn exited(
        &mut self,
        container: &str,
        attempt: u32,
        exit: Exit,
        log_tail: String,
        fx: &mut Effects,
    ) {
        let Some(at) = self.containers.iter().position(|c| c.name.as_str() == container) else { return };
        let life = &mut self.containers[at];
        // The end may be told before the answer to the start.
        if (life.is_running() || life.is_starting()) && life.is_current(attempt) {
            let ending = life.exited(&self.intent, exit, log_tail, fx);
            self.note(at, Some(ending), fx);
        }
    }

    /// An operation of this allocation ended.
    pub(crate) fn done(&mut self, op: OpId, result: &Result<Outcome, Failure>, fx: &mut Effects) {
        match (self.stage, result) {
            (Stage::Pulling { op: mine, .. }, Ok(_)) if mine == op => {
                if self.wants_stop() {
                    self.stage = Stage::New;
                } else {
                    self.prepare(fx);
                }
            }
            (Stage::Preparing(mine), Ok(Outcome::Prepared { address })) if mine == op => {
                self.prepared(*address);
            }
            (Stage::Pulling { op: mine, .. } | Stage::Preparing(mine), Err(failure)) if mine == op => {
                self.stage_failed(failure, fx);
            }
            (Stage::Removing(mine), Ok(_)) if mine == op => {
                self.stage = Stage::Gone;
                self.reason = None;
                let message = format!("everything of {} is removed", self.intent.id);
                self.tell(EventLevel::Info, "Stopped", message, fx);
            }
            (Stage::Removing(mine), Err(failure)) if mine == op => {
                self.reason = Some(failure.reason.clone());
                self.stage = Stage::RemoveAgain(fx.now().mono + self.next_wait(failure));
            }
            _ => self.container_done(op, result, fx),
        }
    }

    fn prepared(&mut self, address: Ipv4Addr) {
        self.unsaved |= self.address != Some(address);
        self.address = Some(address);
        self.stage = Stage::Up;
        self.failures = 0;
        self.reason = None;
    }

    fn stage_failed(&mut self, failure: &Failure, fx: &mut Effects) {
        let pause = self.next_wait(failure);
        self.stage = Stage::Wait(fx.now().mono + pause);
        if self.wants_stop() {
            return;
        }
        if self.reason.as_ref() != Some(&failure.reason) {
            let message = format!("{}; next try in {} s", failure.reason.message, pause.as_secs());
            self.tell(EventLevel::Warning, &failure.reason.code.to_string(), message, fx);
        }
        self.reason = Some(failure.reason.clone());
    }

    fn next_wait(&mut self, failure: &Failure) -> std::time::Duration {
        let policy = if failure.transient { &TRANSIENT } else { &PERMANENT };
        let pause = wait(policy, self.failures, self.intent.id.as_str());
        self.failures = self.failures.saturating_add(1);
        pause
    }

    fn container_done(&mut self, op: OpId, result: &Result<Outcome, Failure>, fx: &mut Effects) {
        let intent = Arc::clone(&self.intent);
        for at in 0..self.containers.len() {
            let ending = match self.containers[at].done(&intent, op, result, fx) {
                News::NotMine => continue,
                News::Good => None,
                News::Bad(ending) => Some(ending),
            };
            if let Ok(Outcome::Started { pid, .. }) = result {
                let message = format!("container {} runs as process {pid}", self.containers[at].name);
                self.tell(EventLevel::Info, "Started", message, fx);
            }
            if ending.is_some() && !self.containers.iter().any(ContainerLife::is_running) {
                self.refresh = true;
            }
            if self.containers.iter().all(ContainerLife::is_running) {
                self.reason = None;
            }
            self.note(at, ending, fx);
            return;
        }
    }

    /// Keeps and tells what an ending means.
    fn note(&mut self, at: usize, ending: Option<Ending>, fx: &mut Effects) {
        let Some(ending) = ending else { return };
        self.unsaved = true;
        if self.wants_stop() {
            return;
        }
        let success = self.containers[at].history.last_exit.is_some_and(|exit| exit.is_success());
        let level = if success && !ending.restarts { EventLevel::Info } else { EventLevel::Warning };
        self.tell(level, &ending.reason.code.to_string(), ending.reason.message.clone(), fx);
        self.reason = Some(ending.reason);
    }

    fn tell(&self, level: EventLevel, reason: &str, message: String, fx: &mut Effects) {
        let subject = EventSubject::Allocation(self.intent.id.clone(), self.intent.workload.clone());
        fx.event(level, subject, reason, message);
    }

    /// What to tell the master.
    pub(crate) fn status(&mut self, now: WallTime) -> AllocationStatus {
        let phase = self.phase();
        if self.shown.0 != phase {
            self.shown = (phase, now);
        }
        let started = self.containers.iter().filter_map(ContainerLife::started_at).max();
        let since = if phase == Phase::Running { started.unwrap_or(self.shown.1) } else { self.shown.1 };
        AllocationStatus {
            id: self.intent.id.clone(),
            generation: self.intent.generation,
            phase,
            reason: self.reason.clone(),
            address: self.address.filter(|_| phase != Phase::Stopped),
            containers: self.containers.iter().map(ContainerLife::status).collect(),
            since,
            ready_since: (phase == Phase::Running).then_some(since),
            last_due: None,
        }
    }

    fn phase(&self) -> Phase {
        let containers = &self.containers;
        match self.stage {
            Stage::Gone => Phase::Stopped,
            _ if self.wants_stop() => Phase::Stopping,
            _ if containers.iter().all(ContainerLife::has_ended) => {
                let success = |c: &ContainerLife| c.history.last_exit.is_some_and(|exit| exit.is_success());
                if containers.iter().all(success) { Phase::Completed } else { Phase::Failed }
            }
            _ if containers.iter().all(|c| c.is_running() || c.has_ended()) => Phase::Running,
            Stage::New => Phase::Pending,
            Stage::Pulling { .. } => Phase::Pulling,
            Stage::Wait(_) => Phase::Backoff,
            Stage::Up if containers.iter().any(ContainerLife::is_failing) => Phase::Backoff,
            Stage::Preparing(_) | Stage::Up => Phase::Starting,
            Stage::Removing(_) | Stage::RemoveAgain(_) => Phase::Stopping,
        }
    }

    /// Its id.
    pub fn id(&self) -> &AllocationId {
        &self.intent.id
    }
}
