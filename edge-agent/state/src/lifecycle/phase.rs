//! What the master is told of an allocation.

use skerry_types::{AllocationStatus, Desired, EventLevel, Now, Phase, Reason, ReasonCode, WallTime};

use super::{Lifecycle, Stage};
use crate::container::ContainerLife;
use crate::effects::Effects;
use crate::ending::Verdict;

impl Lifecycle {
    /// Keeps since when it is ready.
    pub(crate) fn observe(&mut self, fx: &mut Effects) {
        let phase = self.phase();
        let ready = self.is_ready(phase);
        if ready == self.ready_since.is_some() {
            return;
        }
        self.ready_since = ready.then(|| self.became_ready(phase, fx.now()));
        self.unsaved = true;
        let has_probes = self.containers.iter().any(ContainerLife::has_probes);
        if ready && has_probes {
            self.tell(EventLevel::Info, "Ready", "all containers are well and ready".to_owned(), fx);
        } else if phase == Phase::Running
            && let Some(reason) = self.why_unready()
        {
            self.tell(EventLevel::Warning, "NotReady", reason.message, fx);
        }
    }

    /// Without probes it is ready since it runs, whoever looks.
    fn became_ready(&self, phase: Phase, now: Now) -> WallTime {
        let has_probes = self.containers.iter().any(ContainerLife::has_probes);
        let started = self.containers.iter().filter_map(ContainerLife::started_at).max();
        started.filter(|_| phase == Phase::Running && !has_probes).unwrap_or(now.wall)
    }

    /// What runs by a schedule is ready as long as it keeps it.
    fn is_ready(&self, phase: Phase) -> bool {
        if self.intent.spec.schedule.is_some() {
            let can_run = self.course.has_images || self.course.run.is_some();
            let begins = can_run && self.intent.desired != Desired::Keep;
            return self.course.timetable.is_some() && begins && !self.wants_stop() && !self.is_held_back();
        }
        phase == Phase::Running && self.containers.iter().all(|c| c.is_ready() || c.is_over())
    }

    fn why_unready(&self) -> Option<Reason> {
        let unready = |c: &ContainerLife| {
            c.why_unready().map(|why| format!("container {} is not ready: {why}", c.name))
        };
        let why = self.containers.iter().find_map(unready)?;
        Some(Reason::new(ReasonCode::Unhealthy, why))
    }

    /// What to tell the master.
    pub(crate) fn status(&mut self, now: WallTime) -> AllocationStatus {
        let phase = self.phase();
        if self.shown.0 != phase {
            self.shown = (phase, now);
        }
        let started = self.containers.iter().filter_map(ContainerLife::started_at).max();
        let since = if phase == Phase::Running { started.unwrap_or(self.shown.1) } else { self.shown.1 };
        let unready = if phase == Phase::Running { self.why_unready() } else { None };
        AllocationStatus {
            id: self.intent.id.clone(),
            generation: self.intent.generation,
            phase,
            reason: (self.reason.clone().or(unready))
                .or_else(|| self.awaits_lease())
                .or_else(|| self.awaits_room()),
            address: self.address.filter(|_| phase != Phase::Stopped),
            containers: self.containers.iter().map(ContainerLife::status).collect(),
            since,
            ready_since: self.ready_since,
            last_due: self.course.timetable.as_ref().and_then(crate::timetable::Timetable::last_run),
            token: self.token(),
        }
    }

    fn phase(&self) -> Phase {
        let containers = &self.containers;
        let main = || containers.iter().filter(|c| !c.is_init);
        match self.stage {
            _ if self.wants_stop() => {
                if self.stage == Stage::Gone {
                    Phase::Stopped
                } else {
                    Phase::Stopping
                }
            }
            _ if self.intent.spec.schedule.is_some() && self.course.timetable.is_none() => Phase::Failed,
            _ if self.is_over() => {
                let good = containers.iter().all(|c| c.history.verdict == Verdict::Good);
                if good { Phase::Completed } else { Phase::Failed }
            }
            Stage::Rest | Stage::Gone => Phase::Pending,
            Stage::Pulling { .. } if self.looks_ahead() => Phase::Pulling,
            Stage::Wait(_) if self.looks_ahead() => Phase::Backoff,
            Stage::New if self.is_resting() && containers.iter().all(ContainerLife::is_absent) => {
                Phase::Pending
            }
            _ if self.is_resting() => Phase::Stopping,
            _ if main().all(|c| c.is_running() || c.is_over()) => Phase::Running,
            Stage::New => Phase::Pending,
            Stage::Pulling { .. } => Phase::Pulling,
            Stage::Wait(_) if self.awaits_room().is_some() => Phase::Pending,
            Stage::Wait(_) => Phase::Backoff,
            Stage::Up { .. } if containers.iter().any(ContainerLife::is_failing) => Phase::Backoff,
            Stage::Preparing(_) | Stage::Up { .. } => Phase::Starting,
            Stage::Removing(_) | Stage::RemoveAgain(_) | Stage::Releasing(_) | Stage::ReleaseAgain(_) => {
                Phase::Stopping
            }
        }
    }
}
