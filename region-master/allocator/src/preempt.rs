//! Whose room an instance of higher priority may take.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use skerry_types::{AllocationId, NodeName, Resources, TenantName};

use crate::cluster::Cluster;
use crate::demand::Demand;
use crate::fit::{Held, Load, Need};
use crate::round::Round;
use crate::victims::Search;

/// Sets of victims, unfinished ones included, that one call looks at over all nodes: some tens of milliseconds.
const SETS_MAX: u32 = 100_000;

/// Allocations whose room an instance could have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    /// The node.
    pub node: NodeName,
    /// What would have to leave it, by id.
    pub victims: Vec<AllocationId>,
}

/// An allocation that may have to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Victim<'a> {
    pub(crate) id: &'a AllocationId,
    pub(crate) held: &'a Held,
    pub(crate) tenant: &'a TenantName,
}

/// What would be taken from each tenant in all.
pub type Taken = BTreeMap<TenantName, Resources>;

/// What speaks against a set of victims; the least is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    pub(crate) victims: usize,
    /// The highest priority of any.
    pub(crate) highest: u8,
    /// All priorities added.
    pub(crate) priorities: u32,
}

impl Cluster {
    /// Finds a node where one instance would fit if others left, and which. Takes and releases nothing. Only what has a strictly lower
    /// priority leaves, so a chain of preemptions goes down and ends; and only a set that `allowed` says yes to, which is asked
    /// with what would be taken from each tenant in all: answer no when one of them, or one above it, would have
    /// less than its guarantee. An answer of no must hold for every larger set.
    ///
    /// Of all nodes and sets the one with the fewest victims is taken, then the one whose highest priority is lowest, then the lowest
    /// sum of priorities, then the better node. On nodes with very many different allocations the search is cut short, and may then answer
    /// with a larger set, of which no part could stay.
    ///
    /// Without victims when the instance fits as it is. `None` when it has no place even then: rules other than room do not give way.
    pub fn preempt(&mut self, demand: &Demand<'_>, allowed: &dyn Fn(&Taken) -> bool) -> Option<Preemption> {
        let need = Need::of(demand.spec);
        let round = Round::new(self, demand, &need, 1);
        let found = match round.best(self, &need) {
            Some(best) => Some(Preemption { node: self.nodes()[best.slot.0].clone(), victims: Vec::new() }),
            None => self.find_victims(demand.priority, &need, &round, allowed),
        };
        self.keep(round.standing);
        found
    }

    fn find_victims(
        &self,
        priority: u8,
        need: &Need,
        round: &Round,
        allowed: &dyn Fn(&Taken) -> bool,
    ) -> Option<Preemption> {
        let mut searches: Vec<(usize, _, usize)> = self
            .slots()
            .filter(|slot| round.may_ever_take(self, *slot))
            .filter_map(|slot| {
                let search = Search::new(self.slot_load(slot), self.victims(slot, priority), need)?;
                Some((search.fewest(), round.merit(slot), slot))
            })
            .collect();
        searches.sort_by_key(|(fewest, merit, slot)| (*fewest, Reverse(*merit), *slot));
        let mut best: Option<(Cost, usize, Vec<AllocationId>)> = None;
        let mut sets = SETS_MAX;
        for (fewest, _, slot) in searches {
            if best.as_ref().is_some_and(|(cost, ..)| fewest > cost.victims || sets == 0) {
                break;
            }
            let search = Search::new(self.slot_load(slot), self.victims(slot, priority), need);
            let bound = best.as_ref().map(|(cost, ..)| *cost);
            let found = search.and_then(|search| search.run(bound, &mut sets, allowed));
            if let Some((cost, victims)) = found {
                let better = match &best {
                    Some((known, at, _)) => {
                        (cost, Reverse(round.merit(slot)), slot) < (*known, Reverse(round.merit(*at)), *at)
                    }
                    None => true,
                };
                if better {
                    best = Some((cost, slot, victims));
                }
            }
        }
        best.map(|(_, slot, victims)| Preemption { node: self.nodes()[slot].clone(), victims })
    }

    fn victims(&self, slot: usize, priority: u8) -> Vec<Victim<'_>> {
        let lower = self.slot_load(slot).held.iter().filter(|(_, held)| held.priority < priority);
        lower
            .map(|(id, held)| Victim { id, held, tenant: &self.footprints().get(held.workload).key.tenant })
            .collect()
    }
}

/// Whether `need` fits a node that some allocations have left.
pub(crate) fn fits_without(load: &Load, leaving: &[Victim<'_>], need: &Need) -> bool {
    let left = leaving.iter().fold(load.used, |used, victim| used.saturating_sub(&victim.held.resources));
    let count = load.allocations().saturating_sub(u32::try_from(leaving.len()).unwrap_or(u32::MAX));
    if count >= load.limit.get() || !load.capacity.saturating_sub(&left).fits(&need.resources) {
        return false;
    }
    if !need.gpus.is_empty() {
        let mut gpus = load.gpus.clone();
        for victim in leaving {
            gpus.give_back(&victim.held.gpus);
        }
        if !gpus.fits(&need.gpus) {
            return false;
        }
    }
    if load.ports.check(&need.ports).is_ok() {
        return true;
    }
    let mut ports = load.ports.clone();
    leaving.iter().flat_map(|victim| &victim.held.ports).for_each(|port| ports.give_back(*port));
    ports.check(&need.ports).is_ok()
}
