//! One region's brain: what was asked for, where it goes, what its children say.
//!
//! A region is a node of a tree. Its children are nodes and other regions, alike as far as they can be: a link, rows down, rows
//! up. To the region above it is such a child itself. Workloads come from its own operators or as shares from above; level 1
//! (`split`) deals their instances out to the own nodes and the regions below, and level 2 (`placing`) binds them to nodes.
//! What a region cannot hold is handed back, and goes elsewhere in a bounded number of rounds. Everything goes on while a link
//! is down.
//!
//! [`RegionState`] is a synchronous state machine. A shell feeds it [`Input`]s and carries out its [`Action`]s; the simulator
//! does the same with virtual time. Everything it answers or sends waits until what it depends on is on disk.
//!
//! Deliberately lacks: IO, clocks, randomness, certificates (it decides who may have one, the shell signs), and image tags
//! (the shell resolves them before a workload comes here).

mod allocations;
mod api;
mod capacity;
mod child;
mod children;
mod digests;
mod disconnected;
mod enroll;
mod events;
mod input;
mod lease;
mod leaving;
mod ledger;
mod life;
mod listing;
mod load;
mod nodes;
mod order;
mod orphans;
mod outdated;
mod past;
mod places;
mod placing;
mod preempting;
mod query;
mod received;
mod records;
mod regions;
mod retry;
mod sites;
mod split;
mod state;
mod tenants;
mod tokens;
mod uplink;
mod waiting;
mod why;
mod workloads;

#[cfg(test)]
mod tests;

pub use api::{ApiCall, ApiError, ApiReply, Applied, AppliedHow, ExplainWhat, Move, NewToken};
pub use enroll::{EnrollRefusal, EnrollWish, Enrolled};
pub use input::{Action, CallId, ChildIdentity, Input, LinkId, NodeIdentity, RegionIdentity};
pub use ledger::{LedgerRow, LoadError, TABLES};
pub use life::{
    DrainView, DrainWhat, JobResult, JobView, LifeCall, LifeError, LifeReply, PlanView, PlannedMember,
    RevisionState, RevisionView, RolloutState, RolloutView, to_pull,
};
pub use listing::{
    AllocationView, DueView, EventView, Filter, LeaseView, NodeTotal, NodeView, Page, PartView, PendingView,
    RegionView, SiteView, TenantView, WorkloadView,
};
pub use records::{SecretHash, TokenId, TokenRecord, TokenScope};
/// How a plan deals out the waves of an update among the members of all regions.
pub use skerry_rollout::waves::assign as assign_waves;
pub use state::{RegionConfig, RegionState};
