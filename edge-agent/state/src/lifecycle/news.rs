//! What an allocation hears of.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use skerry_types::{EventLevel, EventSubject, Exit, RestartWhen};

use super::{Lifecycle, Stage, Want};
use crate::container::{ContainerLife, News};
use crate::effects::Effects;
use crate::ending::Ending;
use crate::restart::{PERMANENT, TRANSIENT, wait};
use crate::{Failure, FoundContainer, FoundState, OpId, Outcome};

impl Lifecycle {
    /// What the keeper has of this allocation: at the start, or after the keeper was away.
    pub(crate) fn found(&mut self, found: &[&FoundContainer], fx: &mut Effects) {
        let intent = Arc::clone(&self.intent);
        let once = intent.spec.restart.when == RestartWhen::Never;
        self.lease_found(found.iter().filter_map(|found| found.deadline).max());
        for at in 0..self.containers.len() {
            let container = &mut self.containers[at];
            let mine = found.iter().find(|f| f.container.container == container.name);
            let running = container.is_running();
            let is_new = self.stage == Stage::New;
            let ending = match mine.map(|f| (f.attempt, &f.state)) {
                Some((_, FoundState::Running { .. })) if running => None,
                Some((attempt, FoundState::Running { pid, started_at })) if is_new => {
                    container.adopt(&intent, (attempt, *pid, *started_at), fx.now());
                    self.is_made = true;
                    None
                }
                Some((_, FoundState::Exited { .. })) if is_new && container.is_over() => {
                    container.remove_left(&intent, fx);
                    None
                }
                Some((attempt, FoundState::Exited { exit, log_tail }))
                    if running
                        || (container.is_starting() && container.is_current(attempt))
                        || (is_new && container.is_latest(attempt)) =>
                {
                    Some(container.exited(&intent, *exit, log_tail.clone(), fx))
                }
                None if running => Some(container.vanished(&intent, fx)),
                // It ran, and a reboot took it: it must not run again.
                None if is_new && once && container.has_begun() => Some(container.vanished(&intent, fx)),
                // It ran in this boot, and a listing may miss what is there: nothing of it is to be left when it starts again.
                None if is_new && self.course.is_of_this_boot && container.may_be_there() => {
                    container.remove_unseen(&intent, fx);
                    None
                }
                Some(_) | None => None,
            };
            self.note(at, ending, fx);
        }
        self.extend(fx);
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
                self.images_are_here();
                if self.want() == Want::Run {
                    self.prepare(fx);
                } else {
                    self.stage = Stage::New;
                }
            }
            (Stage::Preparing(mine), Ok(Outcome::Prepared { address })) if mine == op => {
                self.prepared(*address);
            }
            (Stage::Pulling { op: mine, .. } | Stage::Preparing(mine), Err(failure)) if mine == op => {
                self.stage_failed(failure, fx);
            }
            (Stage::Releasing(mine), Ok(_)) if mine == op => {
                self.stage = Stage::Rest;
                self.is_made = false;
                self.failures = 0;
                self.unsaved = true;
                self.end_run();
            }
            (Stage::Releasing(mine), Err(failure)) if mine == op => {
                self.stage = Stage::ReleaseAgain(fx.now().mono + self.next_wait(failure));
            }
            (Stage::Removing(mine), Ok(_)) if mine == op => {
                self.stage = Stage::Gone;
                self.reason = None;
                self.is_made = false;
                self.unsaved = true;
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
        self.stage = Stage::Up { is_stale: false };
        self.failures = 0;
        if self.want() == Want::Run {
            self.reason = None;
        }
    }

    fn stage_failed(&mut self, failure: &Failure, fx: &mut Effects) {
        let pause = self.next_wait(failure);
        if matches!(self.stage, Stage::Pulling { .. }) {
            self.unsaved |= std::mem::replace(&mut self.course.has_images, false);
        }
        self.stage = Stage::Wait(fx.now().mono + pause);
        // What keeps it from running is the greater news.
        if self.want() != Want::Run && (!self.looks_ahead() || self.is_held_back()) {
            return;
        }
        if self.reason.as_ref() != Some(&failure.reason) {
            let message = format!("{}; next try in {} s", failure.reason.message, pause.as_secs());
            self.tell(EventLevel::Warning, &failure.reason.code.to_string(), message, fx);
        }
        self.reason = Some(failure.reason.clone());
    }

    fn next_wait(&mut self, failure: &Failure) -> Duration {
        let policy = if failure.transient { &TRANSIENT } else { &PERMANENT };
        let pause = wait(policy, self.failures, self.intent.id.as_str());
        self.failures = self.failures.saturating_add(1);
        pause
    }

    fn container_done(&mut self, op: OpId, result: &Result<Outcome, Failure>, fx: &mut Effects) {
        let intent = Arc::clone(&self.intent);
        for at in 0..self.containers.len() {
            match self.containers[at].done(&intent, op, result, fx) {
                News::NotMine => continue,
                News::Good => {}
                News::Judged => self.unsaved = true,
                News::Started { pid } => self.started(at, pid, fx),
                News::Bad(ending) => {
                    self.grows_stale();
                    self.note(at, Some(ending), fx);
                }
            }
            return;
        }
    }

    /// A start failed: if nothing else runs, image or network may be why.
    fn grows_stale(&mut self) {
        let runs = self.containers.iter().any(ContainerLife::is_running);
        if let Stage::Up { is_stale } = &mut self.stage {
            *is_stale |= !runs;
        }
    }

    fn started(&mut self, at: usize, pid: u32, fx: &mut Effects) {
        let message = format!("container {} runs as process {pid}", self.containers[at].name);
        self.tell(EventLevel::Info, "Started", message, fx);
        // The lease may have been renewed while it was being started.
        self.extend(fx);
        let goes_on = self.want() == Want::Run;
        if goes_on && self.containers.iter().all(|c| c.is_running() || c.is_over()) {
            self.reason = None;
        }
    }

    /// Keeps and tells what an ending means.
    fn note(&mut self, at: usize, ending: Option<Ending>, fx: &mut Effects) {
        let Some(ending) = ending else { return };
        self.unsaved = true;
        // A stop or a rest has a reason of its own.
        let asked = self.want() != Want::Run && !self.containers[at].is_over();
        if self.wants_stop() || asked {
            return;
        }
        let level = if ending.is_good { EventLevel::Info } else { EventLevel::Warning };
        self.tell(level, &ending.reason.code.to_string(), ending.reason.message.clone(), fx);
        let exceeded = self.course.run.as_ref().is_some_and(|run| run.is_exceeded);
        let goes_well = ending.is_good && self.containers[at].is_init;
        if !goes_well && !exceeded {
            self.reason = Some(ending.reason);
        }
    }

    pub(super) fn tell(&self, level: EventLevel, reason: &str, message: String, fx: &mut Effects) {
        let subject = EventSubject::Allocation(self.intent.id.clone(), self.intent.workload.clone());
        fx.event(level, subject, reason, message);
    }
}
