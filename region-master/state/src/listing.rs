//! What lists show, a page at a time. Rows are shared, not copied.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_types::{
    AllocationIntent, AllocationStatus, Attributes, Event, Generation, InstanceSet, NodeFacts, NodeName,
    NodeUsage, Quota, Refusal, RegionName, Resources, Selector, ShareStatus, SiteName, SiteSpec, TenantName,
    TenantSpec, WallTime, WorkloadSpec,
};

use crate::life::{DrainView, JobView, RolloutView};

/// Most items in one page.
pub(crate) const PAGE_MAX: usize = 500;

/// What a list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Only of this tenant.
    pub tenant: Option<TenantName>,
    /// Only this one; for events, what they are about.
    pub name: Option<String>,
    /// Allocations and events: only of this workload.
    pub workload: Option<String>,
    /// Over labels, or the attributes of nodes.
    pub selector: Selector,
    /// Regions, sites, nodes and tenants: of everything below, not only of this region.
    pub below: bool,
    /// At most this many; zero for as many as a page may hold.
    pub limit: usize,
    /// Go on behind this, from an earlier page.
    pub after: Option<String>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
    /// The number of the last change that is in here.
    pub change: u64,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadView {
    /// What was asked for.
    pub spec: Arc<WorkloadSpec>,
    /// The present generation.
    pub generation: Generation,
    /// When it was first applied.
    pub created_at: WallTime,
    /// When it last changed.
    pub changed_at: WallTime,
    /// Whether it is being removed.
    pub deleting: bool,
    /// Allocations of the present spec that should run.
    pub placed: u32,
    /// Those of them that run, as last heard.
    pub running: u32,
    /// Those of the running whose node is not heard from.
    pub unreachable: u32,
    /// Instances without a place.
    pub pending: Vec<PendingView>,
    /// How far its move to the present generation is.
    pub rollout: RolloutView,
    /// How far it is, if it is a job.
    pub job: Option<JobView>,
    /// When it ran and will run, if it goes by a schedule.
    pub due: DueView,
    /// The region whose master owns it; this one's, or one above.
    pub owner: RegionName,
    /// The instances that this region looks after, with the regions below it.
    pub instances: InstanceSet,
    /// What regions below have of it, and say of it. Counted in `placed`, `running` and `unreachable` too.
    pub parts: Vec<PartView>,
}

/// When something runs by its schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DueView {
    /// The newest due time that was run for, as last heard of.
    pub last: Option<WallTime>,
    /// The first due time to come, by the master's clock; `None` where none is known.
    pub next: Option<WallTime>,
}

/// What a region below has of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartView {
    /// Which region.
    pub region: RegionName,
    /// The instances that it looks after.
    pub instances: InstanceSet,
    /// What it says of them, if it spoke of this share.
    pub status: Option<Arc<ShareStatus>>,
    /// Whether it is heard from.
    pub reachable: bool,
    /// When it was last heard from.
    pub last_seen: WallTime,
}

/// Instances without a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingView {
    /// Which.
    pub instances: InstanceSet,
    /// Why.
    pub reasons: Vec<Refusal>,
}

/// The lease by which a node runs an exclusive allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseView {
    /// Its length.
    pub length: Duration,
    /// When the node asked for it; `None` when it has not since this master started.
    pub renewed_at: Option<WallTime>,
    /// When nothing of it can run any more, if the node is not heard before.
    pub over_at: WallTime,
}

/// An allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationView {
    /// The region of its node.
    pub region: RegionName,
    /// What its node should hold.
    pub intent: Arc<AllocationIntent>,
    /// What its node says, if it spoke of it.
    pub status: Option<Arc<AllocationStatus>>,
    /// Its node.
    pub node: NodeName,
    /// Its node's site.
    pub site: Option<SiteName>,
    /// Its node's facts.
    pub facts: Option<Arc<NodeFacts>>,
    /// When it was placed.
    pub placed_at: WallTime,
    /// When it ran and will run, if it goes by a schedule.
    pub due: DueView,
    /// Its node's lease, if it is exclusive.
    pub lease: Option<LeaseView>,
    /// Whether its node is heard from.
    pub reachable: bool,
    /// When its node was last heard from.
    pub last_seen: WallTime,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its region.
    pub region: RegionName,
    /// Its name.
    pub name: NodeName,
    /// Its site.
    pub site: SiteName,
    /// What it said of itself; known of this region's own nodes only.
    pub facts: Option<Arc<NodeFacts>>,
    /// What workloads may have.
    pub capacity: Resources,
    /// What placement selects it by.
    pub attributes: Attributes,
    /// What is in use, as it last said.
    pub usage: NodeUsage,
    /// What allocations reserve.
    pub reserved: Resources,
    /// How many allocations it holds.
    pub allocations: u32,
    /// How many of them are orphans: a former life of this master placed them, and nobody asked for them since.
    pub orphans: u32,
    /// Whether it is heard from.
    pub reachable: bool,
    /// When it was last heard from; zero if never.
    pub last_seen: WallTime,
    /// When it joined.
    pub joined_at: WallTime,
    /// When its certificate runs out; zero while unknown.
    pub certificate_expires: WallTime,
    /// Whether it takes nothing more.
    pub cordoned: bool,
    /// How far it is emptied, if it is.
    pub drain: Option<DrainView>,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteView {
    /// Its region.
    pub region: RegionName,
    /// Its name.
    pub name: SiteName,
    /// What operators said of it; only its name when nothing.
    pub spec: SiteSpec,
    /// The sum over its nodes.
    pub total: NodeTotal,
    /// When any of its nodes was last heard from; zero if never.
    pub last_seen: WallTime,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionView {
    /// Its name.
    pub name: RegionName,
    /// The regions between this one and it, nearest first.
    pub path: Vec<RegionName>,
    /// Whether it is heard from: every link on the way to it is up.
    pub reachable: bool,
    /// When it was last heard from; zero if never.
    pub last_seen: WallTime,
    /// Its sites.
    pub sites: u32,
    /// Its workloads.
    pub workloads: u32,
    /// The sum over its sites.
    pub total: NodeTotal,
}

/// A sum over nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeTotal {
    /// Nodes.
    pub nodes: u32,
    /// Nodes that are heard from.
    pub reachable: u32,
    /// Allocations.
    pub allocations: u32,
    /// Allocations that run, as last heard.
    pub running: u32,
    /// What workloads may have.
    pub capacity: Resources,
    /// What allocations reserve.
    pub reserved: Resources,
}

impl NodeTotal {
    pub(crate) fn add(&mut self, other: &Self) {
        self.nodes += other.nodes;
        self.reachable += other.reachable;
        self.allocations += other.allocations;
        self.running += other.running;
        self.capacity += other.capacity;
        self.reserved += other.reserved;
    }
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantView {
    /// What was said of it.
    pub spec: TenantSpec,
    /// What this region, with those below it, may charge to it; without bound where nothing is said.
    pub held: Quota,
    /// What is charged to it and to the tenants below it, here and in the regions below.
    pub used: Resources,
    /// Of that, what regions below have been granted.
    pub granted: Quota,
    /// Workloads of its own here.
    pub workloads: u32,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// Its number.
    pub number: u64,
    /// What happened.
    pub event: Event,
    /// The node that saw it.
    pub node: Option<NodeName>,
}
