//! What is kept between two calls: the standings of nodes, and which nodes changed.

use crate::cluster::Cluster;
use crate::standing::{Standing, Terms};

/// Most standings that are kept: workloads that select alike share one.
const STANDINGS: usize = 32;
/// Most nodes over all standings that are kept, one apart: about 25 bytes each, so 50 MB.
const STANDING_NODES: usize = 2_000_000;

/// The standings that were used last, the latest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standings {
    kept: Vec<Standing>,
}

impl Standings {
    /// The standing of some terms, if it is kept and true of the cluster.
    pub(crate) fn take(&mut self, terms: &Terms, generation: u64) -> Option<Standing> {
        self.kept.retain(|standing| standing.generation == generation);
        let at = self.kept.iter().position(|standing| standing.terms == *terms)?;
        Some(self.kept.remove(at))
    }

    /// Keeps a standing for the next call.
    pub(crate) fn put(&mut self, standing: Standing, cluster_nodes: usize) {
        self.kept.insert(0, standing);
        self.kept.truncate((STANDING_NODES / cluster_nodes.max(1)).clamp(1, STANDINGS));
    }
}

/// Slots whose room changed, in order. Old entries are forgotten: whoever is behind looks at everything again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    forgotten: u64,
    slots: Vec<usize>,
}

impl Journal {
    /// The node in `slot` changed, one of `nodes`.
    pub(crate) fn touch(&mut self, slot: usize, nodes: usize) {
        // More changes than nodes are of no use to anyone.
        if self.slots.len() > nodes {
            self.forgotten = self.end();
            self.slots.clear();
        }
        self.slots.push(slot);
    }

    /// How many changes there were.
    pub(crate) fn end(&self) -> u64 {
        self.forgotten + u64::try_from(self.slots.len()).expect("a length fits 64 bits")
    }

    /// The changes after the first `seen`, unless they are forgotten.
    pub(crate) fn since(&self, seen: u64) -> Option<&[usize]> {
        let known = usize::try_from(seen.checked_sub(self.forgotten)?).ok()?;
        self.slots.get(known..)
    }
}

impl Cluster {
    /// The standing of all nodes for some terms, up to date, made anew or as it was kept. Give it back with [`Cluster::keep`].
    pub(crate) fn standing(&mut self, terms: Terms) -> Standing {
        let generation = self.generation();
        match self.standings_mut().take(&terms, generation) {
            Some(mut standing) => {
                standing.blocks.catch_up(self);
                standing
            }
            None => Standing::new(self, terms),
        }
    }

    pub(crate) fn keep(&mut self, standing: Standing) {
        let nodes = self.nodes().len();
        self.standings_mut().put(standing, nodes);
    }
}
