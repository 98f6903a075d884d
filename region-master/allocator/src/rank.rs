//! The order of the nodes that may take an instance.

use std::cmp::Reverse;

use crate::fit::{Load, Need};

/// A node that may take an instance; the greatest is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    pub(crate) points: i64,
    pub(crate) own: Reverse<u32>,
    /// Millionths of the unit of money for a megabyte over the site's link.
    pub(crate) link: Reverse<u64>,
    pub(crate) tier: Tier,
    pub(crate) fullness: u64,
    pub(crate) slot: Reverse<usize>,
}

/// How well a node's graphics processors suit an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// The instance would break a processor that is whole, or take the room beside processors that it does not use.
    Breaks,
    /// It wants whole processors, or none on a node that has none, or part of one that is broken already.
    Suits,
}

impl Tier {
    /// For a node with or without processors, as far as that alone can tell: the best that is possible.
    pub(crate) fn most(need: &Need, has_gpus: bool) -> Self {
        if need.gpus.is_empty() && has_gpus { Self::Breaks } else { Self::Suits }
    }

    /// For a node with `load`.
    pub(crate) fn of(need: &Need, load: &Load) -> Self {
        match need.gpus.part() {
            Some(share) if !load.gpus.has_broken(share) => Self::Breaks,
            _ => Self::most(need, load.gpus.count() > 0),
        }
    }
}
