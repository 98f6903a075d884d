//! Why an instance is where it is, or nowhere.

use serde::{Deserialize, Serialize};

use crate::{InstanceSet, NodeName, Refusal, RegionName, SiteName};

/// Where a workload's instances are or would be, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Instances that have a place or would get one.
    pub placed: Vec<PlacedWhy>,
    /// Instances that have none, with the rules that say no, most nodes first.
    pub refused: Vec<RefusedWhy>,
}

/// Instances with a place, and what spoke for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedWhy {
    /// Which.
    pub instances: InstanceSet,
    /// Where.
    pub target: Target,
    /// Whether they are there already; otherwise they would go there.
    pub present: bool,
    /// The parts of the score, in the order in which they count.
    pub score: Vec<ScorePart>,
}

/// Where instances go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// To a node of this region.
    Node {
        /// Its site.
        site: SiteName,
        /// The node.
        node: NodeName,
    },
    /// To a region below this one.
    Region(RegionName),
}

/// A part of a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScorePart {
    /// What it is for: `prefers site.tier=edge`, `2 of its own on this site`.
    pub what: String,
    /// How much it adds; negative speaks against.
    pub points: i64,
}

/// Instances without a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedWhy {
    /// Which.
    pub instances: InstanceSet,
    /// The rules that say no, most nodes first.
    pub reasons: Vec<Refusal>,
    /// What would have to change for one of them to fit, the smallest change first: sentences for people.
    pub remedies: Vec<String>,
}
