//! What brings an allocation to rest though it is wanted, and what wakes it: its end, its deadline, its schedule, its link.

use skerry_types::{
    Desired, EventLevel, MonoTime, Now, Overlap, Reason, ReasonCode, WallTime, show_duration,
};

use super::{Lifecycle, Stage, Want};
use crate::Operation;
use crate::container::ContainerLife;
use crate::effects::Effects;
use crate::ending::Verdict;
use crate::ledger::{Run, Settled};
use crate::timetable::{Due, Timetable};

impl Lifecycle {
    /// Whether the run came to its end by itself: all containers did, or one did without which the others do not start.
    pub(super) fn is_over(&self) -> bool {
        let failed = |c: &ContainerLife| c.is_init && c.history.verdict == Verdict::Bad;
        self.containers.iter().all(ContainerLife::is_over) || self.containers.iter().any(failed)
    }

    /// The first container of the run starts, if it is that.
    pub(super) fn run_began(&mut self, now: Now) {
        if let Some(run) = &mut self.course.run
            && run.started.is_none()
        {
            run.started = Some(now.wall);
            self.set_deadline(now);
        }
    }

    pub(super) fn set_deadline(&mut self, now: Now) {
        let started = self.course.run.as_ref().and_then(|run| run.started);
        let left = |started, deadline: std::time::Duration| deadline.saturating_sub(now.wall.since(started));
        self.course.deadline_at = started
            .zip(self.intent.spec.deadline)
            .map(|(started, deadline)| now.mono + left(started, deadline));
    }

    pub(super) fn look_at_deadline(&mut self, fx: &mut Effects) {
        let has_come = self.course.deadline_at.is_some_and(|at| fx.now().mono >= at);
        if !has_come || self.wants_stop() || self.is_over() {
            return;
        }
        if let (Some(run), Some(deadline)) = (&mut self.course.run, self.intent.spec.deadline)
            && !std::mem::replace(&mut run.is_exceeded, true)
        {
            let message = format!("the run takes longer than its deadline of {}", show_duration(deadline));
            self.rest_for(ReasonCode::DeadlineExceeded, message, fx);
        }
    }

    pub(super) fn rest_for(&mut self, code: ReasonCode, message: String, fx: &mut Effects) {
        self.unsaved = true;
        self.tell(EventLevel::Warning, &code.to_string(), message.clone(), fx);
        self.reason = Some(Reason::new(code, message));
    }

    /// The parent is away: at `at` for too long. Or it is back: at `at` for long enough.
    pub(crate) fn set_link_at(&mut self, at: Option<MonoTime>) {
        self.tether.at = at;
    }

    /// Whether it was stopped for want of a link.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.tether.is_cut_off
    }

    /// Stops, or goes on, when the link was away, or is back, for long enough.
    pub(super) fn look_at_link(&mut self, fx: &mut Effects) {
        if self.wants_stop() || self.tether.at.is_none_or(|at| fx.now().mono < at) {
            return;
        }
        self.tether.at = None;
        self.unsaved = true;
        if std::mem::replace(&mut self.tether.is_cut_off, false) {
            self.containers.iter_mut().for_each(ContainerLife::resume);
            self.reason = None;
            self.tell(EventLevel::Info, "Reconnected", "the link is back; it goes on".to_owned(), fx);
        } else if !self.is_over() {
            self.tether.is_cut_off = true;
            let message = "the node is without a link for as long as the workload allows".to_owned();
            self.rest_for(ReasonCode::Disconnected, message, fx);
        }
    }

    pub(super) fn read_schedule(&mut self, settled: Option<&Settled>, now: WallTime) {
        let Some(schedule) = &self.intent.spec.schedule else { return };
        match Timetable::new(schedule, &self.intent, settled, now) {
            Ok(timetable) => {
                self.course.timetable = Some(timetable);
                self.unsaved |= settled.is_none();
            }
            Err(message) => self.reason = Some(Reason::new(ReasonCode::CreateFailed, message)),
        }
    }

    /// Whether it has due times.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.course.timetable.is_some()
    }

    /// When the next due time comes, if that changes anything: while a run is under way that the next waits for, its end does.
    pub(super) fn due_timeout(&self, now: Now) -> Option<MonoTime> {
        let timetable = self.course.timetable.as_ref()?;
        let waits = match timetable.overlap {
            Overlap::Allow => self.course.run.is_some(),
            Overlap::Replace => self.course.is_replaced,
            Overlap::Forbid => false,
        };
        let ignored = waits || self.ignores_schedule();
        if ignored { None } else { timetable.timeout(now) }
    }

    /// Whether no run begins, whatever is due. Nobody is known who wants further runs of an orphan.
    fn ignores_schedule(&self) -> bool {
        let is_orphan = self.intent.desired == Desired::Keep;
        is_orphan || self.is_held_back() || self.wants_stop() || self.course.run.is_some() && self.is_over()
    }

    pub(super) fn look_at_schedule(&mut self, fx: &mut Effects) {
        if self.ignores_schedule() {
            return;
        }
        let Some(timetable) = &mut self.course.timetable else { return };
        let (before, overlap) = (timetable.settled().clone(), timetable.overlap);
        match timetable.due(fx.now().wall) {
            None => {}
            Some(Due::TooLate(due)) => {
                timetable.settle(due);
                let late = show_duration(fx.now().wall.since(due));
                let message = format!("a run is left out: it was due {late} ago, which is too late for it");
                self.tell(EventLevel::Warning, "RunMissed", message, fx);
            }
            Some(Due::Run(due)) if self.course.run.is_none() => {
                timetable.run(due);
                self.begin_run();
            }
            Some(Due::Run(due)) => self.overlaps(due, overlap, fx),
        }
        self.unsaved |=
            self.course.timetable.as_ref().is_some_and(|timetable| *timetable.settled() != before);
    }

    fn begin_run(&mut self) {
        self.containers.iter_mut().for_each(ContainerLife::begin_run);
        self.look_no_more();
        self.course.run = Some(Run::default());
        self.course.deadline_at = None;
        self.reason = None;
        self.failures = 0;
    }

    fn overlaps(&mut self, due: WallTime, overlap: Overlap, fx: &mut Effects) {
        match overlap {
            // One network and one set of names: it waits for the end of the one before it.
            Overlap::Allow => {}
            Overlap::Forbid => {
                if let Some(timetable) = &mut self.course.timetable {
                    timetable.settle(due);
                }
                let message = "the run that is due is left out: the last one goes on still".to_owned();
                self.tell(EventLevel::Info, "RunSkipped", message, fx);
            }
            Overlap::Replace if self.course.is_replaced => {}
            Overlap::Replace => {
                self.course.is_replaced = true;
                let message = "the run under way is ended for the one that is due".to_owned();
                self.tell(EventLevel::Info, "RunReplaced", message, fx);
            }
        }
    }

    /// Ends what runs and gives the network back.
    pub(super) fn advance_rest(&mut self, fx: &mut Effects) {
        let ahead = self.looks_ahead();
        match &mut self.stage {
            Stage::Pulling { op, cancelled } => {
                if !ahead && !std::mem::replace(cancelled, true) {
                    fx.cancel(*op);
                }
                return;
            }
            Stage::Preparing(_) | Stage::Removing(_) | Stage::Releasing(_) => return,
            Stage::ReleaseAgain(at) if fx.now().mono < *at => return,
            Stage::Wait(at) if ahead && !self.is_made && fx.now().mono < *at => return,
            Stage::Rest | Stage::Gone => return self.comes_to_rest(fx),
            _ => {}
        }
        if !self.stop_containers(fx) {
            return;
        }
        if self.is_made {
            let allocation = self.intent.id.clone();
            self.stage = Stage::Releasing(fx.begin(Operation::Release { allocation }));
        } else {
            self.comes_to_rest(fx);
        }
    }

    /// Nothing is on the node but logs and images.
    fn comes_to_rest(&mut self, fx: &mut Effects) {
        self.stage = Stage::Rest;
        self.end_run();
        self.fetch_ahead(fx);
    }

    /// Nothing runs any more. What did not come to its end by itself failed, unless it goes on later.
    pub(super) fn end_run(&mut self) {
        let exceeded = self.course.run.as_ref().is_some_and(|run| run.is_exceeded);
        if exceeded && !self.is_over() {
            self.containers.iter_mut().for_each(ContainerLife::give_up);
            self.unsaved = true;
        }
        let ends = self.course.run.is_some() && (self.is_over() || self.course.is_replaced);
        if self.course.timetable.is_some() && ends {
            self.course.run = None;
            self.course.is_replaced = false;
            self.course.deadline_at = None;
            self.unsaved = true;
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.want() == Want::Rest
    }
}
