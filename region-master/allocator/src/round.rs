//! One call of `place`: which nodes may take the workload, and the best of them for each instance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use skerry_types::{Placement, Rule, Taint};

use crate::SPREAD_POINTS;
use crate::cluster::Cluster;
use crate::columns::Classes;
use crate::demand::Demand;
use crate::fit::Need;
use crate::spread::{Evenness, is_soft_over_nodes};

/// What is known while instances of one workload are placed. Only the node that was chosen last changes between two
/// instances, so every other candidate keeps its place in its queue.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    standing: Standing<'a>,
    evenness: Evenness,
    /// The workload's instances on each node.
    own: Vec<u32>,
    /// What each of them costs the node in points, where the workload asks to be spread over nodes.
    own_cost: i64,
    /// For each class of nodes that are the same to every spread, those with room, the best first.
    queues: Vec<BinaryHeap<Candidate>>,
}

/// A node with room; the greatest is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    points: i64,
    own: Reverse<u32>,
    fullness: u64,
    slot: Reverse<usize>,
}

/// Which nodes may take the workload whatever room they have.
#[derive(Debug)]
struct Standing<'a> {
    tolerate: &'a [Taint],
    classes: Classes,
    /// For each class of nodes that are the same to every selector: the points of the preferences, or the term that misses.
    verdicts: Vec<Result<i64, String>>,
}

impl<'a> Round<'a> {
    /// Looks at every node once, to place `count` instances.
    pub(crate) fn new(cluster: &Cluster, demand: &Demand<'a>, need: &Need, count: u32) -> Self {
        let placement = demand.placement;
        let standing = Standing::new(cluster, placement);
        let existing: Vec<usize> = demand.existing.iter().filter_map(|node| cluster.slot(node)).collect();
        let evenness = Evenness::new(cluster.columns(), placement, &existing, cluster.slots(), |slot| {
            standing.points(cluster, slot).is_some()
        });
        let mut own = vec![0; cluster.slots().len()];
        for slot in existing {
            own[slot] += 1;
        }
        let over_nodes = placement.spread.iter().filter(|spread| is_soft_over_nodes(spread));
        let asked = i64::try_from(over_nodes.count()).expect("a manifest has few spreads");
        let mut round = Self { queues: Vec::new(), own_cost: SPREAD_POINTS * asked, standing, evenness, own };
        round.fill_queues(cluster, need, count);
        round
    }

    /// Takes the best node out of the queues.
    pub(crate) fn next_node(&mut self) -> Option<usize> {
        let floors = self.evenness.floors();
        let best = self.queues.iter().enumerate().filter_map(|(class, queue)| {
            let top = *queue.peek()?;
            if self.evenness.broken(class, &floors).is_some() {
                return None;
            }
            let points = top.points - self.evenness.cost(class);
            Some((Candidate { points, ..top }, class))
        });
        let (_, class) = best.max()?;
        self.queues[class].pop().map(|candidate| candidate.slot.0)
    }

    /// Counts an instance that was placed on the node in `slot`, which goes back into its queue if it has more room.
    pub(crate) fn placed(&mut self, cluster: &Cluster, need: &Need, slot: usize) {
        let class = self.evenness.class(slot);
        self.own[slot] += 1;
        self.evenness.add(class);
        if let Some(candidate) = self.candidate(cluster, need, slot) {
            self.queues[class].push(candidate);
        }
    }

    /// The first rule that keeps one more instance off the node in `slot`.
    pub(crate) fn refusal(
        &self,
        cluster: &Cluster,
        need: &Need,
        slot: usize,
        floors: &[u32],
    ) -> Option<Rule> {
        self.standing
            .refusal(cluster, slot)
            .or_else(|| cluster.slot_load(slot).refusal(need))
            .or_else(|| self.evenness.broken(self.evenness.class(slot), floors))
    }

    /// What [`Round::refusal`] needs to know of the spreads.
    pub(crate) fn floors(&self) -> Vec<u32> {
        self.evenness.floors()
    }

    fn fill_queues(&mut self, cluster: &Cluster, need: &Need, count: u32) {
        let mut queues = vec![Vec::new(); self.evenness.classes()];
        for slot in cluster.slots() {
            let Some(candidate) = self.candidate(cluster, need, slot) else {
                continue;
            };
            let queue: &mut Vec<Candidate> = &mut queues[self.evenness.class(slot)];
            match queue.first_mut() {
                // For one instance only the best of each class can matter.
                Some(best) if count == 1 => *best = candidate.max(*best),
                _ => queue.push(candidate),
            }
        }
        self.queues = queues.into_iter().map(BinaryHeap::from).collect();
    }

    fn candidate(&self, cluster: &Cluster, need: &Need, slot: usize) -> Option<Candidate> {
        let preferred = self.standing.points(cluster, slot)?;
        let load = cluster.slot_load(slot);
        if !load.fits(need) {
            return None;
        }
        let own = self.own[slot];
        Some(Candidate {
            points: preferred - self.own_cost * i64::from(own),
            own: Reverse(own),
            fullness: load.fullness(need),
            slot: Reverse(slot),
        })
    }
}

impl<'a> Standing<'a> {
    fn new(cluster: &Cluster, placement: &'a Placement) -> Self {
        let mut keys: Vec<&str> = placement
            .prefer
            .iter()
            .flat_map(|preference| preference.matches.keys())
            .chain(placement.require.keys())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let classes = cluster.columns().classes(&keys);
        let verdict = |values: &Vec<u32>| {
            let attributes = cluster.columns().attributes(&keys, values);
            match placement.require.first_miss(&attributes) {
                Some(term) => Err(term),
                None => Ok(placement
                    .prefer
                    .iter()
                    .filter(|preference| preference.matches.matches(&attributes))
                    .map(|preference| i64::from(preference.weight))
                    .sum()),
            }
        };
        Self {
            tolerate: &placement.tolerate,
            verdicts: classes.values.iter().map(verdict).collect(),
            classes,
        }
    }

    fn verdict(&self, slot: usize) -> &Result<i64, String> {
        &self.verdicts[self.classes.of(slot)]
    }

    fn taint<'c>(&self, cluster: &'c Cluster, slot: usize) -> Option<&'c Taint> {
        let mut taints = cluster.side(slot).taints.iter();
        taints.find(|taint| !self.tolerate.contains(taint))
    }

    /// The points of the preferences, if the node may take the workload.
    fn points(&self, cluster: &Cluster, slot: usize) -> Option<i64> {
        let side = cluster.side(slot);
        if !side.reachable || !side.schedulable || self.taint(cluster, slot).is_some() {
            return None;
        }
        self.verdict(slot).as_ref().ok().copied()
    }

    fn refusal(&self, cluster: &Cluster, slot: usize) -> Option<Rule> {
        if !cluster.side(slot).reachable {
            return Some(Rule::Unreachable);
        }
        if !cluster.side(slot).schedulable {
            return Some(Rule::Cordoned);
        }
        if let Err(term) = self.verdict(slot) {
            return Some(Rule::Require { term: term.clone() });
        }
        let taint = self.taint(cluster, slot)?.clone();
        Some(Rule::Taint { taint })
    }
}
