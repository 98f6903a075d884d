//! The life of workloads after they are placed: which instances there are, in which generation, and how they move.
//!
//! `skerry-rollout` plans; this room tells it what is so, keeps what has to outlive the process, and carries plans out.

mod calls;
mod course;
mod daemon;
mod drain;
mod due;
mod history;
mod homes;
mod job;
mod load;
mod members;
mod parts;
mod preview;
mod pulls;
mod scale;
mod seats;
mod service;
mod timers;

use std::collections::BTreeMap;

use skerry_rollout::scale::Scaler;
use skerry_types::{AllocationId, AllocationLoad, Generation, MonoTime, NodeName, WorkloadKey};

pub use calls::{
    DrainWhat, LifeCall, LifeError, LifeReply, PlanView, PlannedMember, RevisionState, RevisionView,
    RolloutState, RolloutView,
};
pub(crate) use course::{Moving, RolloutRecord};
pub(crate) use drain::DrainRecord;
pub use drain::DrainView;
pub(crate) use history::RevisionRecord;
pub(crate) use homes::Homes;
pub(crate) use job::JobRecord;
pub use job::{JobResult, JobView};
pub use pulls::to_pull;
pub(crate) use timers::Timers;

/// What is known of the life of workloads.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) rollouts: BTreeMap<WorkloadKey, RolloutRecord>,
    pub(crate) revisions: BTreeMap<(WorkloadKey, Generation), RevisionRecord>,
    pub(crate) drains: BTreeMap<NodeName, DrainRecord>,
    pub(crate) jobs: BTreeMap<WorkloadKey, JobRecord>,
    /// How many instances a service that scales by itself is to have.
    pub(crate) scaled: BTreeMap<WorkloadKey, u32>,
    /// When each was looked at last.
    pub(crate) scalers: BTreeMap<WorkloadKey, (MonoTime, Scaler)>,
    pub(crate) loads: BTreeMap<AllocationId, AllocationLoad>,
    /// Since when a node is not heard from. All begin with the process: its own absence is nobody's loss.
    pub(crate) away: BTreeMap<NodeName, MonoTime>,
    /// When the process began.
    pub(crate) began: MonoTime,
    pub(crate) moving: BTreeMap<WorkloadKey, Moving>,
    pub(crate) timers: Timers,
    /// Where the instances of daemons belong.
    pub(crate) homes: Homes,
}
