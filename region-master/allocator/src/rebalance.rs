//! Moves that would empty nodes. Nothing moves by itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use skerry_types::{AllocationId, Labels, NodeName, WorkloadKey};

use crate::cluster::Cluster;
use crate::demand::Demand;
use crate::fit::{Held, Need};
use crate::round::Round;

/// An allocation that could go to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub allocation: AllocationId,
    /// Where it is.
    pub from: NodeName,
    /// Where it would go.
    pub to: NodeName,
}

/// What workloads ask for, by allocation; `None` for one that must stay where it is. `existing` is not looked at.
pub type Asked<'a> = dyn Fn(&AllocationId) -> Option<Demand<'a>> + 'a;

impl Cluster {
    /// Proposes moves that leave nodes empty, `max_moves` at most, and changes nothing. The nodes with the fewest allocations are emptied
    /// first, a node wholly or not at all, onto nodes that hold something; none that is emptied or received something is touched again, and
    /// no allocation moves twice. Carried out in order, every move goes to the best node that has room at that time, and
    /// afterwards what held before holds: room, `require`, taints, `max_skew`, and the musts among the affinities of all
    /// allocations that `asked` knows. Nodes that are cordoned or cut off are left alone.
    pub fn rebalance(&self, max_moves: usize, asked: &Asked<'_>) -> Vec<Move> {
        let mut plan = Plan {
            cluster: self.clone(),
            moves: Vec::new(),
            receivers: BTreeSet::new(),
            watched: Vec::new(),
        };
        plan.watched = plan.with_musts(asked);
        for slot in self.slots().filter(|slot| self.slot_load(*slot).held.is_empty()) {
            plan.cluster.set_barred(slot, true);
        }
        let busy = |slot: &usize| self.room(*slot).open && !self.slot_load(*slot).held.is_empty();
        let mut sources: Vec<usize> = self.slots().filter(busy).collect();
        sources.sort_by_key(|slot| (self.slot_load(*slot).allocations(), self.room(*slot).fullness, *slot));
        for slot in sources {
            let count = self.slot_load(slot).held.len();
            if plan.moves.len() + count > max_moves {
                break;
            }
            if !plan.receivers.contains(&slot) {
                plan.empty(slot, asked);
            }
        }
        plan.moves
    }
}

/// Moves that were found, and the cluster as it would be after them.
struct Plan {
    cluster: Cluster,
    moves: Vec<Move>,
    receivers: BTreeSet<usize>,
    /// Allocations with wishes about others that are met, and must stay so.
    watched: Vec<AllocationId>,
}

/// A move that was tried.
struct Step {
    id: AllocationId,
    held: Held,
    key: WorkloadKey,
    labels: Labels,
    to: usize,
}

impl Plan {
    /// Moves everything off a node, or nothing.
    fn empty(&mut self, slot: usize, asked: &Asked<'_>) {
        self.cluster.set_barred(slot, true);
        let held = &self.cluster.slot_load(slot).held;
        let mut ids: Vec<AllocationId> = held.keys().cloned().collect();
        // What is hard to place goes first.
        ids.sort_by_key(|id| {
            let need = &held[id].resources;
            (Reverse(need.gpu), Reverse(need.cpu), Reverse(need.memory), id.clone())
        });
        let mut steps = Vec::new();
        for id in ids {
            match self.step(slot, &id, asked) {
                Some(step) => steps.push(step),
                None => return self.undo(slot, steps),
            }
        }
        if !self.keeps_musts(asked) {
            return self.undo(slot, steps);
        }
        for step in steps {
            self.receivers.insert(step.to);
            self.moves.push(Move {
                allocation: step.id,
                from: self.cluster.nodes()[slot].clone(),
                to: self.cluster.nodes()[step.to].clone(),
            });
        }
    }

    /// Moves one allocation, if another node may take it.
    fn step(&mut self, from: usize, id: &AllocationId, asked: &Asked<'_>) -> Option<Step> {
        let demand = asked(id)?;
        let (key, labels) = self.cluster.footprint_of(from, id)?;
        let held = self.cluster.strike(from, id)?;
        let existing = self.nodes_of(&key);
        let demand = Demand { existing: &existing, labels: &labels, ..demand };
        let need = Need::of(demand.spec);
        let mut round = Round::new(&mut self.cluster, &demand, &need, 1);
        let to = round.best(&self.cluster, &need).map(|best| best.slot.0);
        if let Some(to) = to {
            let workload = self.cluster.footprints_mut().id(&key, &labels);
            self.cluster.take(to, workload, &demand, &need, id.clone());
            round.placed(&self.cluster, &need, to);
        }
        let even = round.evenness.holds();
        self.cluster.keep(round.standing);
        match to {
            Some(to) if even => Some(Step { id: id.clone(), held, key, labels, to }),
            to => {
                if let Some(to) = to {
                    self.cluster.strike(to, id);
                }
                self.put_back(from, id, held, &key, &labels);
                None
            }
        }
    }

    fn put_back(&mut self, slot: usize, id: &AllocationId, held: Held, key: &WorkloadKey, labels: &Labels) {
        // Its number may have been freed with its last instance.
        let workload = self.cluster.footprints_mut().id(key, labels);
        self.cluster.enter(slot, id.clone(), Held { workload, ..held });
    }

    fn undo(&mut self, slot: usize, steps: Vec<Step>) {
        for Step { id, held, key, labels, to } in steps.into_iter().rev() {
            self.cluster.strike(to, &id);
            self.put_back(slot, &id, held, &key, &labels);
        }
        self.cluster.set_barred(slot, false);
    }

    /// The nodes of a workload's instances.
    fn nodes_of(&self, key: &WorkloadKey) -> Vec<NodeName> {
        let footprints = self.cluster.footprints();
        let seats = footprints.of(key).flat_map(|id| &footprints.get(id).seats);
        seats
            .flat_map(|(seat, count)| {
                let node = &self.cluster.nodes()[self.cluster.seats().slot(*seat)];
                std::iter::repeat_n(node.clone(), usize::try_from(*count).unwrap_or(usize::MAX))
            })
            .collect()
    }

    /// The allocations whose wishes about others are musts, and met.
    fn with_musts(&mut self, asked: &Asked<'_>) -> Vec<AllocationId> {
        let has_musts = |demand: &Demand<'_>| {
            let mut wishes = demand.placement.affinity.iter().chain(&demand.placement.anti_affinity);
            wishes.any(|wish| wish.weight.is_none())
        };
        let all: Vec<(usize, AllocationId)> = self
            .cluster
            .slots()
            .flat_map(|slot| self.cluster.slot_load(slot).held.keys().map(move |id| (slot, id.clone())))
            .filter(|(_, id)| asked(id).is_some_and(|demand| has_musts(&demand)))
            .collect();
        all.into_iter().filter(|(slot, id)| self.is_met(*slot, id, asked)).map(|(_, id)| id).collect()
    }

    fn is_met(&mut self, slot: usize, id: &AllocationId, asked: &Asked<'_>) -> bool {
        let Some(demand) = asked(id) else { return true };
        let round = Round::new(&mut self.cluster, &demand, &Need::of(demand.spec), 1);
        let met = round.wishes_met(slot);
        self.cluster.keep(round.standing);
        met
    }

    fn keeps_musts(&mut self, asked: &Asked<'_>) -> bool {
        if self.watched.is_empty() {
            return true;
        }
        let watched: BTreeSet<&AllocationId> = self.watched.iter().collect();
        let places: Vec<(usize, AllocationId)> = self
            .cluster
            .slots()
            .flat_map(|slot| self.cluster.slot_load(slot).held.keys().map(move |id| (slot, id)))
            .filter(|(_, id)| watched.contains(id))
            .map(|(slot, id)| (slot, id.clone()))
            .collect();
        places.into_iter().all(|(slot, id)| self.is_met(slot, &id, asked))
    }
}
