//! Which region gets which of a workload's instances, decided from digests alone.
//!
//! [`plan`] never moves an instance that has a region. It deals out the missing ones, one by one, to the class of nodes at a
//! site that is best by these in turn:
//!
//! 1. points: the weights of matching preferences; for each place to be near to, its weight for the nearest site and less in
//!    proportion to the distance for others; the weights of affinities; less [`SPREAD_POINTS`](crate::SPREAD_POINTS) for each
//!    instance that has the same value of a spread;
//! 2. the cheaper link, unmetered first;
//! 3. the larger part that is free, so that regions fill evenly;
//! 4. the own nodes, then the order in which regions were given.
//!
//! # Rounds
//!
//! A digest may be stale and a sketch may hide room, so what fits nowhere by estimate is still offered: to the regions that may
//! match, did not hand back, and have the most free; to one in round 0, two in round 1, 2^r in round r. A full region may also
//! make room by preemption, which only level 2 sees. A region that hands instances back gets nothing more of this workload until
//! its parent forgets that it did. So each round that does not end with everything placed takes at least one region out, after
//! [`TRIES_MAX`] of them only estimates count, and after [`ROUNDS_MAX`] it is over. A wrong digest costs rounds, never a wrong placement: what an
//! instance finally gets, level 2 of its region decides.
//!
//! # What it cannot see
//!
//! Instances that a region has are taken to lie evenly over its matching sites; a `max_skew` over sites therefore holds in each
//! region (level 2 sees to it) and only nearly over all of them, while one over `region.name` holds exactly. Spreads over nodes
//! are left to level 2. Hard affinity to workloads is looked at by region; level 2 looks closer.

mod candidates;
mod deal;
mod explain;
mod fill;
mod grouping;
mod heaps;
mod offer;
mod refuse;
mod score;

use std::collections::BTreeMap;
use std::sync::Arc;

use skerry_types::{InstanceSet, InstanceSpec, Placement, Refusal, RegionName, Resources, SiteName};

use crate::table::SiteTable;

pub use explain::explain;
pub use offer::plan;

/// Rounds in which a workload's rest is offered beyond the estimates. The last one asks 2^7 = 128 regions at once, and all
/// together 255.
pub const TRIES_MAX: u32 = 8;

/// Rounds after which nothing is offered until something changes, however good the estimates look: as many again.
pub const ROUNDS_MAX: u32 = 2 * TRIES_MAX;

/// What is to be dealt out.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// What each instance runs.
    pub instance: &'a InstanceSpec,
    /// Where instances may and should go.
    pub placement: &'a Placement,
    /// All instances that should exist: the whole workload at its owner, the share further down.
    pub wanted: &'a InstanceSet,
    /// How often instances of it were handed back since it, or room, last changed: 0 at first.
    pub round: u32,
}

/// A region as level 1 sees it: a child with everything below it, or the master's own nodes.
#[derive(Debug, Clone)]
pub struct RegionView {
    /// Its name.
    pub name: RegionName,
    /// Whether these are the master's own nodes.
    pub local: bool,
    /// Whether it is heard from. One that is not keeps what it has and gets nothing.
    pub reachable: bool,
    /// Its sites and those of regions further down.
    pub sites: Arc<SiteTable>,
    /// The workload's instances that it has, without those that it handed back.
    pub existing: InstanceSet,
    /// Those of `existing` that get a replacement in another region, as [`Disconnect`](crate::Disconnect) decided. Only looked at
    /// while the region is not reachable.
    pub given_up: InstanceSet,
    /// What was offered to it, of any workload, and is not in the digests: it may be taken.
    pub pending: Resources,
    /// What it handed back of this workload and may not be offered again.
    pub handed_back: Option<HandBack>,
    /// Measured round trips to sites, in milliseconds; where there is none, distance counts.
    pub rtt_ms: BTreeMap<SiteName, u32>,
    /// Other workloads in it that the placement names.
    pub beside: Beside,
}

impl RegionView {
    /// A reachable child without sites or instances.
    pub fn new(name: RegionName) -> Self {
        Self {
            name,
            local: false,
            reachable: true,
            sites: Arc::default(),
            existing: InstanceSet::default(),
            given_up: InstanceSet::default(),
            pending: Resources::ZERO,
            handed_back: None,
            rtt_ms: BTreeMap::new(),
            beside: Beside::default(),
        }
    }
}

/// Instances that a region handed back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandBack {
    /// How many.
    pub count: u32,
    /// Why: the child's refusals, most nodes first.
    pub reasons: Vec<Refusal>,
}

/// How many instances of the workloads that a placement names are in a region. Entries that are missing count as unknown: they
/// refuse nothing and score nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// For each of `Placement::affinity`, in its order.
    pub affinity: Vec<u32>,
    /// For each of `Placement::anti_affinity`, in its order.
    pub anti_affinity: Vec<u32>,
}

/// Who has which instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The part of each region that has one.
    pub parts: BTreeMap<RegionName, Part>,
    /// Instances that no region gets.
    pub unplaced: InstanceSet,
    /// Why, most nodes first; empty when there are none.
    pub reasons: Vec<Refusal>,
}

/// A region's part of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// What it has and keeps.
    pub kept: InstanceSet,
    /// What it gets beside that.
    pub added: InstanceSet,
    /// Those of `added` for which its digests show no room: a try.
    pub speculative: InstanceSet,
}

impl Part {
    /// The whole share.
    pub fn instances(&self) -> InstanceSet {
        self.kept.union(&self.added)
    }
}
