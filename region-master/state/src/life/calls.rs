//! What operators ask of the life of workloads, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_rollout::rolling::{Progress, State};
use skerry_types::{
    Generation, InstanceIndex, NodeLayers, NodeName, RegionName, SiteName, WallTime, WorkloadKey,
    WorkloadSpec,
};

use super::RevisionRecord;
use crate::api::ApiError;
use crate::records::WorkloadRecord;
use crate::state::RegionState;

/// A call about the life of workloads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum LifeCall {
    /// How far a workload's rollout is.
    Status(WorkloadKey),
    /// Hold it.
    Pause(WorkloadKey),
    /// Let it go on.
    Resume(WorkloadKey),
    /// Let it go on after its canaries.
    Promote(WorkloadKey),
    /// Go back to an earlier generation; to the last one that was well when `None`.
    Undo(WorkloadKey, Option<Generation>),
    /// The generations that a workload had.
    History(WorkloadKey),
    /// What a rollout would do.
    Plan(Arc<WorkloadSpec>),
    /// Change how many instances there are.
    Scale(WorkloadKey, u32),
    /// Let a node take nothing more, or take allocations again.
    Cordon {
        /// Which.
        node: NodeName,
        /// Whether it takes nothing more.
        on: bool,
    },
    /// Empty nodes.
    Drain {
        /// Which.
        what: DrainWhat,
        /// After this long what is left is stopped all the same.
        deadline: Option<Duration>,
        /// Stop everything at once.
        force: bool,
    },
}

/// What is to be emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainWhat {
    /// A node.
    Node(NodeName),
    /// All nodes of a site.
    Site(SiteName),
}

/// A good answer.
#[derive(Debug, Clone)]
pub enum LifeReply {
    /// To calls about a rollout.
    Rollout(RolloutView),
    /// To [`LifeCall::History`]: the newest first.
    History(Vec<RevisionView>),
    /// To [`LifeCall::Plan`].
    Plan(PlanView),
    /// To [`LifeCall::Scale`].
    Scaled {
        /// The workload's generation.
        generation: Generation,
        /// How many instances there were to be.
        before: u32,
    },
    /// To [`LifeCall::Cordon`]: whether it was otherwise before.
    Cordoned(bool),
    /// To [`LifeCall::Drain`].
    Draining {
        /// The nodes.
        nodes: Vec<NodeName>,
        /// How many allocations have to go.
        allocations: u32,
    },
}

/// A bad answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifeError {
    /// No such thing.
    #[error("there is no {what} '{name}'")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Nothing is under way.
    #[error("no rollout of '{key}' is under way: generation {generation} is on all instances")]
    NoRollout {
        /// Of which workload.
        key: WorkloadKey,
        /// Its generation.
        generation: Generation,
    },
    /// It does not wait for that.
    #[error("the rollout of '{key}' to generation {generation} does not wait to be promoted: it is {state}")]
    NotWaiting {
        /// Of which workload.
        key: WorkloadKey,
        /// To which generation.
        generation: Generation,
        /// What it does instead.
        state: RolloutState,
    },
    /// There is nothing to go back to.
    #[error("'{key}' has no earlier generation that was well: generation {generation} is all there is")]
    NoHistory {
        /// Which workload.
        key: WorkloadKey,
        /// Its generation.
        generation: Generation,
    },
    /// That generation is not kept.
    #[error(
        "generation {wanted} of '{key}' is not kept: 'skerry rollout history {key}' shows those that are"
    )]
    NoRevision {
        /// Which workload.
        key: WorkloadKey,
        /// The generation.
        wanted: Generation,
    },
    /// It scales by itself.
    #[error("'{key}' scales by itself between {min} and {max}: change 'scale' in its manifest")]
    ScalesItself {
        /// Which workload.
        key: WorkloadKey,
        /// Fewest.
        min: u32,
        /// Most.
        max: u32,
    },
    /// Its count is not an operator's to set.
    #[error("'{key}' is a {kind}: its count cannot be set")]
    NoCount {
        /// Which workload.
        key: WorkloadKey,
        /// What kind it is.
        kind: &'static str,
    },
    /// It is going away.
    #[error("workload '{key}' is being deleted")]
    Deleting {
        /// Which.
        key: WorkloadKey,
    },
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutView {
    /// Of which workload.
    pub key: WorkloadKey,
    /// To which generation.
    pub generation: Generation,
    /// From which.
    pub from: Option<Generation>,
    /// What it does.
    pub state: RolloutState,
    /// Counts and waves.
    pub progress: Progress,
    /// What it waits for, or why it ended as it did.
    pub message: String,
    /// When it began.
    pub started_at: Option<WallTime>,
    /// When it was over, or was given up; `None` while it goes on.
    pub ended_at: Option<WallTime>,
}

/// What a rollout does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutState {
    /// It goes on.
    Running,
    /// An operator holds it.
    Paused,
    /// Its canaries are well; it waits for an operator's word.
    WaitingPromotion,
    /// It takes back one that failed.
    Reverting,
    /// It was given up.
    Failed,
    /// Nothing is left to do.
    Done,
}

impl std::fmt::Display for RolloutState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::WaitingPromotion => "waiting_promotion",
            Self::Reverting => "reverting",
            Self::Failed => "failed",
            Self::Done => "done",
        })
    }
}

/// What became of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevisionState {
    /// It is the present one, and not on all instances.
    Running,
    /// It was on all instances.
    Done,
    /// It was given up.
    Failed,
    /// Another one came before it was on all instances.
    Superseded,
}

impl std::fmt::Display for RevisionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        })
    }
}

/// A generation that a workload had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionView {
    /// Which.
    pub generation: Generation,
    /// When it was applied.
    pub at: WallTime,
    /// What became of it.
    pub state: RevisionState,
    /// When it came to that; `None` while it is on its way.
    pub ended_at: Option<WallTime>,
    /// What it is.
    pub spec: Arc<WorkloadSpec>,
}

/// What a rollout would move here: the waves are made of the members of all regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanView {
    /// Members on the own nodes, in order of their numbers.
    pub members: Vec<PlannedMember>,
    /// Regions below that have a part of the workload, in the order in which seats of waves are dealt out.
    pub regions: Vec<RegionName>,
}

/// A member of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMember {
    /// Which instance.
    pub instance: InstanceIndex,
    /// Its site.
    pub site: SiteName,
    /// Its node.
    pub node: NodeName,
    /// Its node's processor architecture as images name it; empty while the node said nothing of itself.
    pub arch: String,
    /// Layers of images that its node holds, as far as it said.
    pub layers: Option<Arc<NodeLayers>>,
    /// A bit for each wave that it matches, the first the lowest.
    pub matching: u64,
    /// Whether its node is not heard from.
    pub is_deferred: bool,
}

impl RegionState {
    pub(crate) fn life_call(&mut self, call: LifeCall) -> Result<LifeReply, ApiError> {
        Ok(match call {
            LifeCall::Status(key) => self.known_record(&key).map(|record| self.rollout_reply(&record))?,
            LifeCall::Pause(key) => self.hold(&key, true)?,
            LifeCall::Resume(key) => self.hold(&key, false)?,
            LifeCall::Promote(key) => self.promote(&key)?,
            LifeCall::Undo(key, to) => self.undo(&key, to)?,
            LifeCall::History(key) => self.history(&key)?,
            LifeCall::Plan(spec) => self.plan_rollout(&spec),
            LifeCall::Scale(key, instances) => self.set_count(&key, instances)?,
            LifeCall::Cordon { node, on } => self.cordon(&node, on)?,
            LifeCall::Drain { what, deadline, force } => self.drain_nodes(&what, deadline, force)?,
        })
    }

    fn known_record(&self, key: &WorkloadKey) -> Result<WorkloadRecord, LifeError> {
        let known = self.workloads.get(key).map(|workload| workload.record.clone());
        known.ok_or_else(|| LifeError::NotFound { what: "workload", name: key.to_string() })
    }

    fn rollout_reply(&self, record: &WorkloadRecord) -> LifeReply {
        LifeReply::Rollout(self.rollout_view(record))
    }

    pub(crate) fn rollout_view(&self, record: &WorkloadRecord) -> RolloutView {
        let key = &record.spec.key;
        let rollout = self.life.rollouts.get(key);
        let progress = self.life.moving.get(key).map(|moving| moving.progress.clone()).unwrap_or_default();
        let pending = self.workloads.get(key).into_iter().flat_map(|workload| &workload.pending);
        let homeless = pending.map(|pending| pending.instances.len()).sum();
        let revision = self.life.revisions.get(&(key.clone(), record.generation));
        let was_done = revision.is_some_and(|revision| revision.state == RevisionState::Done);
        let state = match (&progress.state, rollout) {
            // What was out once is out, also while an instance of it is down or this master has just begun.
            (State::Running, None) if !was_done => RolloutState::Running,
            (_, None) => RolloutState::Done,
            (_, Some(rollout)) if rollout.failed.is_some() => RolloutState::Failed,
            (_, Some(rollout)) if rollout.paused => RolloutState::Paused,
            (State::Failed(_), Some(_)) => RolloutState::Failed,
            (State::Paused, Some(_)) => RolloutState::Paused,
            (State::WaitingPromotion, Some(_)) => RolloutState::WaitingPromotion,
            (_, Some(rollout)) if rollout.reverts.is_some() => RolloutState::Reverting,
            _ => RolloutState::Running,
        };
        let is_over = matches!(state, RolloutState::Done | RolloutState::Failed);
        RolloutView {
            key: key.clone(),
            generation: record.generation,
            from: rollout.map(|rollout| rollout.from),
            state,
            message: rollout
                .and_then(|rollout| rollout.failed.clone())
                .unwrap_or_else(|| waits_for(key, &progress, homeless)),
            started_at: rollout.map(|rollout| rollout.started_at).or(revision.map(|revision| revision.at)),
            ended_at: revision.and_then(|revision| revision.ended_at).filter(|_| is_over),
            progress,
        }
    }

    fn hold(&mut self, key: &WorkloadKey, paused: bool) -> Result<LifeReply, ApiError> {
        self.check_owned(key)?;
        let record = self.known_record(key)?;
        let generation = record.generation;
        let Some(rollout) = self.life.rollouts.get(key).filter(|rollout| rollout.failed.is_none()).cloned()
        else {
            return Err(LifeError::NoRollout { key: key.clone(), generation }.into());
        };
        if rollout.paused != paused {
            let (reason, word) =
                if paused { ("RolloutPaused", "is held") } else { ("RolloutResumed", "goes on") };
            self.tell_workload(
                key,
                reason,
                format!("the rollout of {key} to generation {generation} {word}"),
            );
            if let Some(moving) = self.life.moving.get_mut(key) {
                moving.at = self.now.mono;
            }
            self.save_rollout(key, super::RolloutRecord { paused, ..rollout });
        }
        Ok(self.rollout_reply(&record))
    }

    fn promote(&mut self, key: &WorkloadKey) -> Result<LifeReply, ApiError> {
        self.check_owned(key)?;
        let record = self.known_record(key)?;
        let view = self.rollout_view(&record);
        let (generation, state) = (view.generation, view.state);
        let Some(rollout) = self.life.rollouts.get(key).cloned() else {
            return Err(LifeError::NoRollout { key: key.clone(), generation }.into());
        };
        if state != RolloutState::WaitingPromotion {
            return Err(LifeError::NotWaiting { key: key.clone(), generation, state }.into());
        }
        self.tell_workload(
            key,
            "RolloutPromoted",
            format!("generation {generation} of {key} goes on after its canaries"),
        );
        self.save_rollout(key, super::RolloutRecord { promoted: true, ..rollout });
        Ok(self.rollout_reply(&record))
    }

    fn undo(&mut self, key: &WorkloadKey, to: Option<Generation>) -> Result<LifeReply, ApiError> {
        self.check_owned(key)?;
        let record = self.known_record(key)?;
        let generation = record.generation;
        if record.deleting {
            return Err(LifeError::Deleting { key: key.clone() }.into());
        }
        let wanted = if let Some(to) = to {
            let kept = self.life.revisions.get(&(key.clone(), to)).map(|revision| Arc::clone(&revision.spec));
            kept.ok_or_else(|| LifeError::NoRevision { key: key.clone(), wanted: to })?
        } else {
            let runs_another = |revision: &RevisionRecord| revision.spec.instance != record.spec.instance;
            let mut earlier = self.revisions(key).rev().filter(|(g, r)| *g < generation && runs_another(r));
            let well = earlier.find(|(_, revision)| revision.state == RevisionState::Done);
            let well = well.map(|(_, revision)| Arc::clone(&revision.spec));
            well.ok_or_else(|| LifeError::NoHistory { key: key.clone(), generation })?
        };
        self.go_back(key, &wanted, None)?;
        let record = self.known_record(key)?;
        Ok(self.rollout_reply(&record))
    }

    fn history(&self, key: &WorkloadKey) -> Result<LifeReply, LifeError> {
        self.known_record(key)?;
        let revisions = self.revisions(key).rev().map(|(generation, revision)| RevisionView {
            generation,
            at: revision.at,
            state: revision.state,
            ended_at: revision.ended_at,
            spec: Arc::clone(&revision.spec),
        });
        Ok(LifeReply::History(revisions.collect()))
    }

    fn set_count(&mut self, key: &WorkloadKey, instances: u32) -> Result<LifeReply, ApiError> {
        self.check_owned(key)?;
        let record = self.known_record(key)?;
        if record.deleting {
            return Err(LifeError::Deleting { key: key.clone() }.into());
        }
        if let Some(scale) = &record.spec.scale {
            return Err(LifeError::ScalesItself { key: key.clone(), min: scale.min, max: scale.max }.into());
        }
        if record.spec.kind == skerry_types::WorkloadKind::Daemon {
            return Err(LifeError::NoCount { key: key.clone(), kind: record.spec.kind.word() }.into());
        }
        let before = record.spec.instances;
        if before == instances {
            return Ok(LifeReply::Scaled { generation: record.generation, before });
        }
        let mut spec = (*record.spec).clone();
        spec.instances = instances;
        self.admit(Some(&record.spec), &spec, false)?;
        let next = self.next_generation(&record, Arc::new(spec));
        let generation = next.generation;
        self.tell_workload(
            key,
            "Scaled",
            format!("{key} goes from {before} to {instances} instances, as generation {generation}"),
        );
        self.keep_revision(&next);
        self.save_workload(next);
        Ok(LifeReply::Scaled { generation, before })
    }
}

/// What a move waits for, in a sentence.
fn waits_for(key: &WorkloadKey, progress: &Progress, homeless: u32) -> String {
    let mut parts = Vec::new();
    if homeless > 0 {
        parts.push(format!("{homeless} have no place: 'skerry explain {key}' says why"));
    }
    if progress.state == State::WaitingPromotion {
        parts.push("canaries are well: promote it".to_owned());
    }
    if progress.waiting > 0 {
        parts.push(format!("{} wait for their maintenance window", progress.waiting));
    }
    if progress.updated > 0 && progress.settled == 0 && progress.under_way == 0 {
        parts.push(
            "those that have moved are not heard from, and no more move before one of them is".to_owned(),
        );
    }
    if progress.deferred > 0 {
        parts.push(format!("{} are not heard from and catch up when they return", progress.deferred));
    }
    parts.join("; ")
}
