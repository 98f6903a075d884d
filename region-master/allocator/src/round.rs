//! One call of `place`: which nodes may take the workload, and the best of them for each instance.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use skerry_types::Rule;

use crate::SPREAD_POINTS;
use crate::cluster::Cluster;
use crate::demand::Demand;
use crate::fit::Need;
use crate::queues::Queues;
use crate::rank::{Candidate, Rank, suits};
use crate::room::in_use;
use crate::shortlist::Shortlist;
use crate::spread::{Evenness, is_soft_over_nodes};
use crate::standing::{Group, Standing, Terms};
use crate::typical::Typical;
use crate::wishes::Wishes;

/// From how many instances on it pays to queue all nodes once rather than to look through the blocks for each.
const QUEUED: u32 = 12;

/// The workload's instances on each node, by slot.
#[derive(Debug)]
enum Own {
    /// For few of them: no work for the nodes that have none.
    Few(BTreeMap<usize, u32>),
    /// For as many as there are nodes.
    Many(Vec<u32>),
}

impl Own {
    fn new(count: u32, nodes: usize) -> Self {
        if count < QUEUED { Self::Few(BTreeMap::new()) } else { Self::Many(vec![0; nodes]) }
    }

    fn at(&self, slot: usize) -> u32 {
        match self {
            Self::Few(counts) => counts.get(&slot).copied().unwrap_or_default(),
            Self::Many(counts) => counts[slot],
        }
    }

    fn add(&mut self, slot: usize) {
        match self {
            Self::Few(counts) => *counts.entry(slot).or_default() += 1,
            Self::Many(counts) => counts[slot] += 1,
        }
    }
}

/// What is known while instances of one workload are placed.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) standing: Standing,
    pub(crate) wishes: Wishes,
    pub(crate) evenness: Evenness,
    own: Own,
    /// What each of them costs the node in points, where the workload asks to be spread over nodes.
    own_cost: i64,
    /// Nodes that their group says too little of: those with own instances, and those that a wish by nodes marks.
    special: Vec<usize>,
    /// What instances are like, those of this call included. It stays while they are placed.
    typical: Typical,
    /// All nodes with room, for many instances.
    queues: Option<Queues>,
}

impl Round {
    /// Makes ready to place `count` instances.
    pub(crate) fn new(cluster: &mut Cluster, demand: &Demand<'_>, need: &Need, count: u32) -> Self {
        let placement = demand.placement;
        let standing = cluster.standing(Terms::of(placement));
        let cluster = &*cluster;
        let wishes = Wishes::new(cluster, &standing, demand);
        let existing: Vec<usize> = demand.existing.iter().filter_map(|node| cluster.slot(node)).collect();
        let evenness = Evenness::new(cluster.columns(), placement, &standing, &existing, |group| {
            may_take(cluster, &standing, &wishes, group)
        });
        let over_nodes = placement.spread.iter().filter(|spread| is_soft_over_nodes(spread));
        let asked = i64::try_from(over_nodes.count()).expect("a manifest has few spreads");
        let mut round = Self {
            own: Own::new(count, cluster.slots().len()),
            own_cost: SPREAD_POINTS * asked,
            special: wishes.marked().collect(),
            typical: cluster.typical(need, count),
            queues: None,
            standing,
            wishes,
            evenness,
        };
        for slot in existing {
            round.count_own(slot);
        }
        if count >= QUEUED {
            round.queues = Some(Queues::new(cluster, &round, need));
        }
        round
    }

    /// The best node, if any may take one more instance. Follow with [`Round::placed`].
    pub(crate) fn next_node(&mut self, cluster: &Cluster, need: &Need) -> Option<usize> {
        match &mut self.queues {
            Some(queues) => queues.next_node(&self.standing, &self.evenness),
            None => self.best(cluster, need).map(|candidate| candidate.slot.0),
        }
    }

    /// Counts an instance that was placed on the node in `slot`.
    pub(crate) fn placed(&mut self, cluster: &Cluster, need: &Need, slot: usize) {
        self.count_own(slot);
        let group = self.standing.group(slot).expect("a node that was chosen has a group");
        let gave_way = self.evenness.add(&self.standing.groups[group]);
        match self.queues.take() {
            Some(mut queues) => {
                let candidate = self.weighed_candidate(cluster, need, slot);
                queues.put_back(group, candidate, gave_way, &self.standing, &self.evenness);
                self.queues = Some(queues);
            }
            None => self.standing.catch_up(cluster),
        }
    }

    /// The best node, looked for through all blocks: of those that come first in their order, the one on which the instance strands
    /// least.
    pub(crate) fn best(&self, cluster: &Cluster, need: &Need) -> Option<Candidate> {
        let first = self.shortlist(cluster, need).into_candidates();
        first.map(|candidate| self.weighed(cluster, need, candidate)).max()
    }

    fn shortlist(&self, cluster: &Cluster, need: &Need) -> Shortlist {
        let mut list = Shortlist::default();
        for slot in &self.special {
            if let Some(candidate) = self.full_candidate(cluster, need, *slot) {
                list.offer(candidate);
            }
        }
        let Ok(others) = self.wishes.others() else { return list };
        for group in &self.standing.groups {
            let Ok(wished) = self.wishes.group(group) else { continue };
            let head = Candidate {
                rank: Rank {
                    points: group.points + wished + others - self.evenness.cost(group),
                    own: Reverse(0),
                    link: Reverse(group.link),
                    in_use: true,
                    suits: suits(need, group.gpus),
                },
                strands: Reverse(0),
                fullness: u64::MAX,
                slot: Reverse(0),
            };
            if list.admits(&head) && !self.evenness.breaks(group) {
                self.offer_group(&mut list, cluster, need, group, head);
            }
        }
        list
    }

    /// Offers the nodes of a group, whose candidates are at most `head`. Special nodes are left out.
    fn offer_group(
        &self,
        list: &mut Shortlist,
        cluster: &Cluster,
        need: &Need,
        group: &Group,
        head: Candidate,
    ) {
        let candidate = |fullness: u64, slot: usize| Candidate {
            rank: Rank { in_use: in_use(fullness), ..head.rank },
            fullness,
            slot: Reverse(slot),
            ..head
        };
        let blocks = self.standing.blocks();
        for block in self.standing.blocks_of(group) {
            let bound = candidate(block.fullness, blocks.first_slot(block));
            if !block.takes || !list.admits(&bound) || !block.most.may_fit(need) {
                continue;
            }
            for slot in blocks.slots(block) {
                let room = cluster.room(slot);
                let candidate = candidate(room.fullness, slot);
                let may = room.takes && list.admits(&candidate) && room.most.may_fit(need);
                if may && !self.is_special(slot) && cluster.slot_load(slot).fits(need) {
                    list.offer(candidate);
                }
            }
        }
    }

    /// A candidate with what the instance strands there.
    fn weighed(&self, cluster: &Cluster, need: &Need, candidate: Candidate) -> Candidate {
        let strands = self.typical.strands(need, cluster.slot_load(candidate.slot.0));
        Candidate { strands: Reverse(strands), ..candidate }
    }

    fn is_special(&self, slot: usize) -> bool {
        self.own.at(slot) > 0 || self.wishes.is_marked(slot)
    }

    fn count_own(&mut self, slot: usize) {
        if !self.is_special(slot) {
            self.special.push(slot);
        }
        self.own.add(slot);
    }

    /// The workload's instances on a node.
    pub(crate) fn own(&self, slot: usize) -> u32 {
        self.own.at(slot)
    }

    /// What each of the workload's own instances on a node costs it.
    pub(crate) fn own_cost(&self) -> i64 {
        self.own_cost
    }

    /// The node in `slot`, if it may take one more instance.
    fn full_candidate(&self, cluster: &Cluster, need: &Need, slot: usize) -> Option<Candidate> {
        let group = &self.standing.groups[self.standing.group(slot).ok()?];
        if self.evenness.breaks(group) {
            return None;
        }
        let candidate = self.candidate(cluster, need, slot)?;
        let points = candidate.rank.points - self.evenness.cost(group);
        Some(Candidate { rank: Rank { points, ..candidate.rank }, ..candidate })
    }

    /// The node in `slot` with what the instance strands there, as if no spread were counted.
    pub(crate) fn weighed_candidate(&self, cluster: &Cluster, need: &Need, slot: usize) -> Option<Candidate> {
        self.candidate(cluster, need, slot).map(|candidate| self.weighed(cluster, need, candidate))
    }

    fn candidate(&self, cluster: &Cluster, need: &Need, slot: usize) -> Option<Candidate> {
        let room = cluster.room(slot);
        if !room.takes || !room.most.may_fit(need) {
            return None;
        }
        let group = &self.standing.groups[self.standing.group(slot).ok()?];
        let wished = self.wishes.group(group).ok()? + self.wishes.node(slot).ok()?;
        if !cluster.slot_load(slot).fits(need) {
            return None;
        }
        let own = self.own.at(slot);
        Some(Candidate {
            rank: Rank {
                points: group.points + wished - self.own_cost * i64::from(own),
                own: Reverse(own),
                link: Reverse(group.link),
                in_use: in_use(room.fullness),
                suits: suits(need, group.gpus),
            },
            strands: Reverse(0),
            fullness: room.fullness,
            slot: Reverse(slot),
        })
    }

    /// Whether the node in `slot` may take one more instance as far as everything but room goes.
    pub(crate) fn may_ever_take(&self, cluster: &Cluster, slot: usize) -> bool {
        cluster.room(slot).open && self.would_take(slot)
    }

    /// Whether the node in `slot` may take one more instance as far as everything but room and its being open goes.
    pub(crate) fn would_take(&self, slot: usize) -> bool {
        let Ok(group) = self.standing.group(slot) else { return false };
        let group = &self.standing.groups[group];
        self.wishes.group(group).is_ok() && self.wishes.node(slot).is_ok() && !self.evenness.breaks(group)
    }

    /// Whether the musts among the affinities hold for a node.
    pub(crate) fn wishes_met(&self, slot: usize) -> bool {
        let Ok(group) = self.standing.group(slot) else { return true };
        self.wishes.group(&self.standing.groups[group]).is_ok() && self.wishes.node(slot).is_ok()
    }

    /// What speaks for a node, room apart; the greatest is the best. Zero for a node that may not take the workload.
    pub(crate) fn merit(&self, slot: usize) -> (i64, Reverse<u32>, Reverse<u64>) {
        let own = self.own.at(slot);
        let Ok(group) = self.standing.group(slot) else { return (0, Reverse(own), Reverse(u64::MAX)) };
        let group = &self.standing.groups[group];
        let wished =
            self.wishes.group(group).and_then(|sum| Ok(sum + self.wishes.node(slot)?)).unwrap_or_default();
        let cost = self.evenness.cost(group) + self.own_cost * i64::from(own);
        (group.points + wished - cost, Reverse(own), Reverse(group.link))
    }

    /// The first rule that keeps one more instance off the node in `slot` whatever room it has, spreads apart.
    pub(crate) fn standing_refusal(&self, cluster: &Cluster, slot: usize) -> Option<Rule> {
        let side = cluster.side(slot);
        if !side.reachable {
            return Some(Rule::Unreachable);
        }
        if !side.schedulable {
            return Some(Rule::Cordoned);
        }
        let group = match self.standing.group(slot) {
            Ok(group) => &self.standing.groups[group],
            Err(rule) => return Some(rule.clone()),
        };
        let wished = self.wishes.group(group).and_then(|_| self.wishes.node(slot));
        wished.err().cloned()
    }

    /// The first rule that keeps one more instance off the node in `slot`.
    pub(crate) fn refusal(&self, cluster: &Cluster, need: &Need, slot: usize) -> Option<Rule> {
        let standing = self.standing_refusal(cluster, slot);
        standing.or_else(|| cluster.slot_load(slot).refusal(need)).or_else(|| {
            let group = self.standing.group(slot).ok()?;
            self.evenness.broken(&self.standing.groups[group])
        })
    }
}

/// Whether any node of a group may take the workload whatever room it has.
fn may_take(cluster: &Cluster, standing: &Standing, wishes: &Wishes, group: usize) -> bool {
    let group = &standing.groups[group];
    if wishes.is_empty() {
        return standing.blocks_of(group).any(|block| block.open > 0);
    }
    let open = |slot: usize| cluster.room(slot).open && wishes.node(slot).is_ok();
    wishes.group(group).is_ok() && standing.slots_of(group).any(open)
}
