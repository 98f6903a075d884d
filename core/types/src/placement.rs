//! Where instances may and should go, and why they could not.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    AllocationLimit, Bandwidth, Bytes, MilliCpu, MilliGpu, Point, Protocol, Selector, SiteName, Taint,
};

/// Where instances may and should go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Hard: a node must match.
    pub require: Selector,
    /// Soft: matching nodes score higher.
    pub prefer: Vec<Preference>,
    /// Even over values of these.
    pub spread: Vec<Spread>,
    /// Taints that do not keep this workload away.
    pub tolerate: Vec<Taint>,
    /// Places to be near to.
    pub near: Vec<Near>,
    /// Workloads to be beside.
    pub affinity: Vec<Affinity>,
    /// Workloads to be apart from.
    pub anti_affinity: Vec<Affinity>,
}

/// A wish to be near to a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    /// Which place.
    pub to: Place,
    /// How much: 1 to 100 for the nearest, less in proportion for places further away.
    pub weight: i32,
}

/// A place to be near to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A point on earth.
    Point(Point),
    /// A site that has a point of its own.
    Site(SiteName),
}

/// A wish about other workloads' instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// Which workloads of the tenant, by their labels.
    pub matches: Selector,
    /// The same what.
    pub by: SpreadBy,
    /// How much, 1 to 100; a must when `None`.
    pub weight: Option<i32>,
}

/// One soft wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    /// Which nodes.
    pub matches: Selector,
    /// How much: -100 to 100.
    pub weight: i32,
}

/// One wish for evenness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Over what.
    pub by: SpreadBy,
    /// When given, the counts of any two values may differ by this at most, and placement refuses rather than break it.
    pub max_skew: Option<u32>,
}

/// What a spread counts over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpreadBy {
    /// Sites.
    Site,
    /// Nodes.
    Node,
    /// Values of an attribute such as `node.rack`.
    Attribute(String),
}

impl fmt::Display for SpreadBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Site => "site",
            Self::Node => "node",
            Self::Attribute(name) => name,
        })
    }
}

/// One rule that kept an instance off some nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// Which rule.
    pub rule: Rule,
    /// How many nodes it kept the instance off.
    pub nodes: u32,
}

/// A rule of placement that said no, with the numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rule {
    /// The region has no node at all.
    NoNodes,
    /// Nodes are not connected.
    Unreachable,
    /// Nodes do not match a term of `require`.
    Require {
        /// The first term that does not hold.
        term: String,
    },
    /// Nodes carry a taint that is not tolerated.
    Taint {
        /// The taint.
        taint: Taint,
    },
    /// Not enough free processor time.
    Cpu {
        /// What the instance needs.
        need: MilliCpu,
        /// The most that any of the refused nodes has free.
        most_free: MilliCpu,
    },
    /// Not enough free memory.
    Memory {
        /// What the instance needs.
        need: Bytes,
        /// The most that any of the refused nodes has free.
        most_free: Bytes,
    },
    /// Not enough free disk.
    Disk {
        /// What the instance needs.
        need: Bytes,
        /// The most that any of the refused nodes has free.
        most_free: Bytes,
    },
    /// Not enough free bandwidth.
    Bandwidth {
        /// What the instance needs.
        need: Bandwidth,
        /// The most that any of the refused nodes has free.
        most_free: Bandwidth,
    },
    /// Not enough free graphics processors, whole or in part.
    Gpu {
        /// What the instance needs.
        need: MilliGpu,
        /// The most that any of the refused nodes could give one instance.
        most_free: MilliGpu,
    },
    /// No instance of the workloads to be beside is there.
    Affinity {
        /// Which workloads.
        matches: String,
        /// The same what.
        by: String,
    },
    /// An instance of the workloads to be apart from is there.
    AntiAffinity {
        /// Which workloads.
        matches: String,
        /// The same what.
        by: String,
    },
    /// The node takes nothing more: it is cordoned or drained.
    Cordoned,
    /// A region is not heard from. Counts regions, not nodes.
    RegionUnreachable,
    /// A region has handed instances back. Counts regions, not nodes.
    HandedBack {
        /// Its main reason.
        why: String,
    },
    /// A node that is not heard from, or has not said that it stopped it, may still run a copy of what is exclusive.
    MayStillRun,
    /// A tenant's limit is reached.
    Quota {
        /// Whose.
        tenant: String,
        /// How much of what is used.
        excess: String,
    },
    /// A fixed host port is taken.
    HostPort {
        /// The port.
        port: u16,
        /// Its transport.
        protocol: Protocol,
    },
    /// No free port is left in the node's range.
    HostPortRange {
        /// How many the instance needs.
        need: u32,
    },
    /// A spread with `max_skew` would be broken.
    MaxSkew {
        /// Over what.
        by: String,
        /// The bound.
        max_skew: u32,
    },
    /// The node holds as many allocations as it may.
    AllocationLimit,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNodes => write!(
                f,
                "the region has no nodes: join one with 'skerry token create' and 'skerry-agent join'"
            ),
            Self::Unreachable => write!(f, "not connected"),
            Self::Require { term } => write!(f, "does not match '{term}'"),
            Self::Taint { taint } => write!(f, "has the taint '{taint}', which is not tolerated"),
            Self::Cpu { need, most_free } => write!(f, "needs {need} cpu, at most {most_free} free"),
            Self::Memory { need, most_free } => write!(f, "needs {need} memory, at most {most_free} free"),
            Self::Disk { need, most_free } => write!(f, "needs {need} disk, at most {most_free} free"),
            Self::Bandwidth { need, most_free } => {
                write!(f, "needs {need} bit/s of bandwidth, at most {most_free} free")
            }
            Self::Gpu { need, most_free } => write!(f, "needs {need} gpu, at most {most_free} free"),
            Self::Affinity { matches, by } => write!(f, "no workload with '{matches}' is on the same {by}"),
            Self::AntiAffinity { matches, by } => {
                write!(f, "a workload with '{matches}' is on the same {by}")
            }
            Self::Cordoned => write!(f, "cordoned"),
            Self::RegionUnreachable => write!(f, "region not heard from"),
            Self::HandedBack { why } => write!(f, "region handed it back: {why}"),
            Self::MayStillRun => write!(f, "may still run it: it is exclusive, and its lease is not over"),
            Self::Quota { tenant, excess } => write!(f, "tenant {tenant} would use {excess}"),
            Self::HostPort { port, protocol } => write!(f, "host port {port}/{protocol} is taken"),
            Self::HostPortRange { need } => write!(f, "needs {need} host ports, fewer are free"),
            Self::MaxSkew { by, max_skew } => write!(f, "would break max_skew {max_skew} over {by}"),
            Self::AllocationLimit => write!(
                f,
                "already holds as many allocations as it may: {}, or fewer where its agent's 'pool' of addresses is smaller",
                AllocationLimit::MAX.get()
            ),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.rule, self.nodes) {
            (Rule::NoNodes, _) => self.rule.fmt(f),
            (rule, 1) => write!(f, "1 node {rule}"),
            (rule, nodes) => write!(f, "{nodes} nodes: {rule}"),
        }
    }
}
