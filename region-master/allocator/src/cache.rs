//! What is kept between two calls: the standings of nodes, their layouts, and which nodes changed.

use crate::cluster::Cluster;
use crate::layout::{By, Layout};
use crate::standing::{Standing, Terms};

/// Most standings that are kept, and most layouts: workloads that select alike share one.
const STANDINGS: usize = 32;
/// Most nodes over all standings that are kept, and over all layouts, one apart: a layout takes about 25 bytes for each, so 50 MB.
const NODES: usize = 2_000_000;

/// The standings and layouts that were used last, the latest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standings {
    /// Without their layouts.
    kept: Vec<Standing>,
    layouts: Vec<Layout>,
}

impl Standings {
    /// The standing of some terms without its layout, if it is kept.
    fn take(&mut self, terms: &Terms) -> Option<Standing> {
        let at = self.kept.iter().position(|standing| standing.terms == *terms)?;
        Some(self.kept.remove(at))
    }

    /// The layout by some attributes, if it is kept.
    fn take_layout(&mut self, by: &By) -> Option<Layout> {
        let at = self.layouts.iter().position(|layout| layout.by == *by)?;
        Some(self.layouts.remove(at))
    }

    /// Forgets what is not true of the cluster any more.
    fn forget_old(&mut self, generation: u64) {
        self.kept.retain(|standing| standing.generation == generation);
        self.layouts.retain(|layout| layout.generation == generation);
    }

    /// Keeps a standing and its layout for the next call.
    fn put(&mut self, mut standing: Standing, cluster_nodes: usize) {
        let most = (NODES / cluster_nodes.max(1)).clamp(1, STANDINGS);
        self.layouts.insert(0, std::mem::take(&mut standing.layout));
        self.layouts.truncate(most);
        self.kept.insert(0, standing);
        self.kept.truncate(most);
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
        let (generation, by) = (self.generation(), terms.by(self));
        let standings = self.standings_mut();
        standings.forget_old(generation);
        let (kept, layout) = (standings.take(&terms), standings.take_layout(&by));
        let layout = layout.unwrap_or_else(|| Layout::new(self, by));
        match kept {
            Some(mut standing) => {
                // Layouts by the same attributes are the same, whenever they are made.
                standing.layout = layout;
                standing.catch_up(self);
                standing
            }
            None => Standing::new(self, terms, layout),
        }
    }

    pub(crate) fn keep(&mut self, standing: Standing) {
        let nodes = self.nodes().len();
        self.standings_mut().put(standing, nodes);
    }
}
