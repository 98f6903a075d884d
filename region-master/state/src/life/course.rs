//! How a workload goes from one generation to the next, kept over restarts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skerry_rollout::rolling::{Course, Progress, State};
use skerry_types::{EventLevel, EventSubject, Generation, MonoTime, WallTime, WorkloadKey, WorkloadSpec};

use super::parts::Given;
use super::seats::Waves;
use crate::api::ApiError;
use crate::ledger::{ROLLOUT, Value, put, workload_key};
use crate::records::Origin;
use crate::state::RegionState;

/// A move that is not over, or was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolloutRecord {
    /// To which generation.
    pub(crate) to: Generation,
    /// The last generation that was well before it.
    pub(crate) from: Generation,
    /// What that was.
    pub(crate) former: Arc<WorkloadSpec>,
    pub(crate) started_at: WallTime,
    pub(crate) paused: bool,
    pub(crate) promoted: bool,
    /// Why it was given up.
    pub(crate) failed: Option<String>,
    /// The generation that it takes back, if that failed.
    pub(crate) reverts: Option<Generation>,
    /// How many of the own nodes' members each wave takes, as far as waves are dealt out.
    pub(crate) seats: Vec<u32>,
}

/// What this process saw of a workload's moves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moving {
    pub(crate) progress: Progress,
    /// Of which generation that is.
    pub(crate) generation: Generation,
    /// What regions below were told.
    pub(crate) given: Option<Given>,
    /// When it last got further.
    pub(crate) at: MonoTime,
    /// The most that were well at a time: one that is well again is no progress, however often.
    pub(crate) best: u32,
    /// When its allocations were last held against its spec.
    pub(crate) looked: MonoTime,
    /// The waves of its members.
    pub(crate) waves: Waves,
}

impl RegionState {
    pub(crate) fn save_rollout(&mut self, key: &WorkloadKey, rollout: RolloutRecord) {
        put(self.outbox.batch(), &Value::RolloutV1(key.clone(), rollout.clone()));
        self.life.rollouts.insert(key.clone(), rollout);
        self.dirty.insert(key.clone());
        self.changed = true;
    }

    fn end_rollout(&mut self, key: &WorkloadKey) -> Option<RolloutRecord> {
        let ended = self.life.rollouts.remove(key)?;
        self.outbox.batch().delete(ROLLOUT, workload_key(key));
        self.changed = true;
        Some(ended)
    }

    /// A generation whose instances run something else than those of the one before.
    pub(crate) fn begin_rollout(
        &mut self,
        key: &WorkloadKey,
        former: (Generation, Arc<WorkloadSpec>),
        to: Generation,
        reverts: Option<Generation>,
    ) {
        // A newer one supersedes one under way; what that came from is still the last that was well, unless it takes back one
        // that failed.
        let present =
            self.life.rollouts.get(key).filter(|present| reverts.is_none() && present.reverts.is_none());
        let (from, former) = match present {
            Some(present) => (present.from, Arc::clone(&present.former)),
            None => former,
        };
        let started_at = self.now.wall;
        self.life.moving.remove(key);
        let rollout = RolloutRecord {
            to,
            from,
            former,
            started_at,
            paused: false,
            promoted: false,
            failed: None,
            reverts,
            seats: Vec::new(),
        };
        self.save_rollout(key, rollout);
    }

    /// What the planner has to know of a move beside its members.
    pub(crate) fn course(&self, key: &WorkloadKey) -> Course {
        let moving = self.life.moving.get(key);
        let rollout = self.life.rollouts.get(key);
        let record = self.workloads.get(key).map(|workload| &workload.record);
        let told = record.and_then(|record| record.received()).map(|received| received.leave.clone());
        // What takes a failed one back has nothing to go back to.
        let reverts = told.as_ref().is_some_and(|leave| leave.reverts);
        // Where nothing moves, here or for an owner further up, nothing waits for who is away.
        let moves = record.filter(|_| rollout.is_some() || told.is_some());
        Course {
            paused: rollout.is_some_and(|rollout| rollout.paused),
            promoted: rollout.is_some_and(|rollout| rollout.promoted),
            failed: rollout.and_then(|rollout| rollout.failed.clone()),
            // What begins at this look, after a wait between waves or for a window, is not late.
            since_progress: moving
                .filter(|moving| moving.progress.under_way > 0)
                .map(|moving| self.now.mono.since(moving.at))
                .unwrap_or_default(),
            has_former: rollout.is_some_and(|rollout| rollout.reverts.is_none()) && !reverts,
            // Where nothing moves, or all may, there is nothing to settle.
            dealt: rollout
                .filter(|_| told.as_ref().is_none_or(|leave| leave.waves < u32::MAX))
                .map_or(usize::MAX, |rollout| rollout.seats.len()),
            told,
            parts: self.moving_parts(key),
            homeless: record.map_or(0, |record| self.homeless(record)),
            unsure_for: moves.and_then(|record| self.next_absence(record)),
        }
    }

    /// Takes up how far a move is, and what follows from that.
    pub(crate) fn progressed(&mut self, key: &WorkloadKey, progress: &Progress) {
        let now = self.now.mono;
        let moving =
            self.life.moving.entry(key.clone()).or_insert_with(|| Moving { at: now, ..Moving::default() });
        // Where nothing is under way there is nothing that could be late.
        if progress.settled > moving.best || moving.progress.under_way == 0 || progress.under_way == 0 {
            moving.at = now;
        }
        // Fewer instances are fewer that can be well.
        moving.best = moving.best.max(progress.settled).min(progress.total);
        let changed = moving.progress != *progress;
        let present = self.workloads.get(key).map(|workload| workload.record.generation);
        moving.generation = present.unwrap_or_default();
        moving.progress = progress.clone();
        moving.looked = now;
        self.changed |= changed;
        if changed {
            self.mark_share(key);
        }
        if let Some(generation) = present.filter(|_| progress.settled > 0) {
            self.keep_ran(key, generation);
        }
        match &progress.state {
            State::Done => self.rollout_done(key, progress),
            State::Failed(why) => self.rollout_failed(key, why.clone()),
            State::Running | State::Paused | State::WaitingPromotion => {}
        }
    }

    fn rollout_done(&mut self, key: &WorkloadKey, progress: &Progress) {
        let Some(ended) = self.end_rollout(key) else {
            // The first generation of all, or one that changed no instance.
            if progress.settled == progress.total
                && let Some(generation) = self.workloads.get(key).map(|workload| workload.record.generation)
            {
                self.keep_well(key, generation);
            }
            return;
        };
        self.keep_well(key, ended.to);
        let deferred = match progress.deferred {
            0 => String::new(),
            count => format!("; {count} are not heard from and catch up when they return"),
        };
        let message =
            format!("generation {} of {key} is on all {} instances{deferred}", ended.to, progress.total);
        self.tell_workload(key, "RolloutDone", message);
    }

    fn rollout_failed(&mut self, key: &WorkloadKey, why: String) {
        // A share is given up, and goes back, when its owner says so.
        let is_own = self.workloads.get(key).is_some_and(|workload| workload.record.origin == Origin::Own);
        let under_way = self.life.rollouts.get(key).filter(|rollout| rollout.failed.is_none());
        let Some(rollout) = under_way.filter(|_| is_own) else { return };
        let (mut rollout, from) = (rollout.clone(), rollout.from);
        // Nothing goes back to what never was well.
        let was_well = self.revisions(key).any(|(generation, revision)| generation == from && revision.ran);
        let auto = self.workloads.get(key).is_some_and(|workload| workload.record.spec.update.auto_revert);
        let reverts = auto && was_well;
        let next = if reverts {
            format!("it goes back to generation {from}")
        } else {
            format!(
                "instances that have not moved stay in generation {from}: 'skerry rollout undo {key}' or apply a better one"
            )
        };
        let message = format!("generation {} of {key} fails: {why}; {next}", rollout.to);
        self.tell(EventLevel::Warning, EventSubject::Workload(key.clone()), "RolloutFailed", message);
        rollout.failed = Some(why);
        let (former, failed) = (Arc::clone(&rollout.former), rollout.to);
        self.keep_failed(key, failed);
        self.save_rollout(key, rollout);
        if reverts && let Err(error) = self.go_back(key, &former, Some(failed)) {
            let message = format!("{key} cannot go back to generation {from}: {error}");
            self.tell(EventLevel::Warning, EventSubject::Workload(key.clone()), "RevertRefused", message);
        }
    }

    /// Makes a former spec the newest generation, if its tenant may have that. How many instances there are stays as it is.
    pub(crate) fn go_back(
        &mut self,
        key: &WorkloadKey,
        former: &WorkloadSpec,
        reverts: Option<Generation>,
    ) -> Result<(), ApiError> {
        let Some(record) = self.workloads.get(key).map(|workload| workload.record.clone()) else {
            return Ok(());
        };
        let mut spec = former.clone();
        spec.instances = record.spec.instances;
        self.admit(Some(&record.spec), &spec, false)?;
        let next = self.next_generation(&record, Arc::new(spec));
        let generation = next.generation;
        self.tell_workload(
            key,
            "Reverted",
            format!("generation {generation} of {key} is what was well before"),
        );
        self.begin_rollout(key, (record.generation, Arc::clone(&record.spec)), generation, reverts);
        self.keep_revision(&next);
        self.save_workload(next);
        Ok(())
    }

    /// Forgets what is only known of workloads that are there.
    pub(crate) fn forget_life(&mut self, key: &WorkloadKey) {
        self.end_rollout(key);
        let kept: Vec<Generation> = self.revisions(key).map(|(generation, _)| generation).collect();
        for generation in kept {
            self.drop_revision(key, generation);
        }
        self.forget_job(key);
        self.forget_scale(key);
        self.life.moving.remove(key);
        self.life.timers.clear(key);
        self.life.homes.forget(key);
    }

    /// Begins with what was on disk: all nodes are away from this moment on, for the process's own absence is nobody's loss.
    pub(crate) fn restore_life(&mut self) {
        self.life.began = self.now.mono;
        self.life.away = self.nodes.keys().map(|name| (name.clone(), self.now.mono)).collect();
        let gone: Vec<_> =
            self.life.drains.keys().filter(|name| !self.nodes.contains_key(*name)).cloned().collect();
        for name in gone {
            self.forget_drain(&name);
        }
    }

    /// The next time at which something is to be looked at though nothing happened.
    pub(crate) fn life_timeout(&self) -> Option<MonoTime> {
        self.life.timers.next()
    }

    pub(crate) fn life_timed_out(&mut self) {
        let due = self.life.timers.take_due(self.now.mono);
        self.dirty.extend(due);
    }
}
