//! All nodes with room, queued by group, for the placement of many instances at once.

use std::collections::BinaryHeap;

use crate::cluster::Cluster;
use crate::fit::Need;
use crate::rank::{Candidate, Rank};
use crate::round::Round;
use crate::spread::Evenness;
use crate::standing::Standing;

/// Queues of candidates. While instances are added, neither a candidate nor a group ever gets better, but for a bound that gives way;
/// so what was best of a group some time ago bounds what it is, and only the group at the top needs to be looked at again.
#[derive(Debug)]
pub(crate) struct Queues {
    /// By group, without the costs of spreads.
    groups: Vec<BinaryHeap<Candidate>>,
    /// The best of each group as it once was, with the costs of spreads.
    tops: BinaryHeap<(Candidate, usize)>,
    /// Groups that a bound holds back.
    parked: Vec<usize>,
}

impl Queues {
    pub(crate) fn new(cluster: &Cluster, round: &Round, need: &Need) -> Self {
        let standing = &round.standing;
        let candidates = standing.groups.iter().map(|group| {
            let slots = standing.slots_of(group);
            slots.filter_map(|slot| round.weighed_candidate(cluster, need, slot)).collect::<Vec<_>>()
        });
        let groups: Vec<BinaryHeap<Candidate>> = candidates.map(BinaryHeap::from).collect();
        let mut queues = Self { groups, tops: BinaryHeap::new(), parked: Vec::new() };
        let tops = (0..queues.groups.len())
            .filter_map(|group| Some((queues.top(group, standing, &round.evenness)?, group)));
        queues.tops = tops.collect::<Vec<_>>().into();
        queues
    }

    /// Takes the best node out.
    pub(crate) fn next_node(&mut self, standing: &Standing, evenness: &Evenness) -> Option<usize> {
        loop {
            let (known, group) = self.tops.pop()?;
            if evenness.breaks(&standing.groups[group]) {
                self.parked.push(group);
                continue;
            }
            let Some(top) = self.top(group, standing, evenness) else { continue };
            if top == known {
                return self.groups[group].pop().map(|candidate| candidate.slot.0);
            }
            self.tops.push((top, group));
        }
    }

    /// Puts a node of a group back if it has room still, and looks at groups again that were held back if a bound gave way.
    pub(crate) fn put_back(
        &mut self,
        group: usize,
        candidate: Option<Candidate>,
        gave_way: bool,
        standing: &Standing,
        evenness: &Evenness,
    ) {
        self.groups[group].extend(candidate);
        let parked = if gave_way { std::mem::take(&mut self.parked) } else { Vec::new() };
        for group in parked.into_iter().chain([group]) {
            if let Some(top) = self.top(group, standing, evenness) {
                self.tops.push((top, group));
            }
        }
    }

    fn top(&self, group: usize, standing: &Standing, evenness: &Evenness) -> Option<Candidate> {
        let top = self.groups[group].peek()?;
        let points = top.rank.points - evenness.cost(&standing.groups[group]);
        Some(Candidate { rank: Rank { points, ..top.rank }, ..*top })
    }
}
