//! The order of the nodes that may take an instance.

use std::cmp::Reverse;

use crate::fit::Need;

/// A node that may take an instance; the greatest is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    pub(crate) rank: Rank,
    /// What the instance makes useless of the node's room: see [`crate::typical::Typical::strands`]. Zero where nobody has looked.
    pub(crate) strands: Reverse<i64>,
    pub(crate) fullness: u64,
    pub(crate) slot: Reverse<usize>,
}

/// What counts before the packing of a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) points: i64,
    pub(crate) own: Reverse<u32>,
    /// Millionths of the unit of money for a megabyte over the site's link.
    pub(crate) link: Reverse<u64>,
    /// Whether the node holds something already.
    pub(crate) in_use: bool,
    pub(crate) suits: bool,
}

/// Whether a node with or without graphics processors suits an instance: one that needs none takes the room beside them.
pub(crate) fn suits(need: &Need, has_gpus: bool) -> bool {
    !(need.gpus.is_empty() && has_gpus)
}
