//! The search for victims on one node.

use std::cmp::Reverse;

use skerry_types::{AllocationId, Resources};

use crate::fit::{Load, Need};
use crate::preempt::{Cost, Taken, Victim, fits_without};

/// The search for victims on one node.
pub(crate) struct Search<'a> {
    load: &'a Load,
    need: &'a Need,
    /// Lowest priority first.
    candidates: Vec<Victim<'a>>,
    /// What has to come free.
    missing: Resources,
}

/// A search that looks for sets of one size.
struct Dive<'s, 'a> {
    search: &'s Search<'a>,
    chosen: Vec<Victim<'a>>,
    best: Option<(Cost, Vec<Victim<'a>>)>,
    bound: Option<Cost>,
    sets: &'s mut u32,
    allowed: &'s dyn Fn(&Taken) -> bool,
}

fn cost(victims: &[Victim<'_>]) -> Cost {
    Cost {
        victims: victims.len(),
        highest: victims.iter().map(|victim| victim.held.priority).max().unwrap_or_default(),
        priorities: victims.iter().map(|victim| u32::from(victim.held.priority)).sum(),
    }
}

fn taken(victims: &[Victim<'_>]) -> Taken {
    let mut taken = Taken::new();
    for victim in victims {
        *taken.entry(victim.tenant.clone()).or_default() += victim.held.resources;
    }
    taken
}

fn sorted_ids(victims: &[Victim<'_>]) -> Vec<AllocationId> {
    let mut ids: Vec<AllocationId> = victims.iter().map(|victim| victim.id.clone()).collect();
    ids.sort_unstable();
    ids
}

impl<'a> Search<'a> {
    /// `None` when there is no room even without all of `candidates`.
    pub(crate) fn new(load: &'a Load, mut candidates: Vec<Victim<'a>>, need: &'a Need) -> Option<Self> {
        if candidates.is_empty() || !fits_without(load, &candidates, need) {
            return None;
        }
        candidates.sort_by_key(|victim| (victim.held.priority, victim.id));
        let missing = (load.used + need.resources).saturating_sub(&load.capacity);
        Some(Self { load, need, candidates, missing })
    }

    /// No fewer victims than this can do.
    pub(crate) fn fewest(&self) -> usize {
        let parts: [fn(&Resources) -> u64; 5] =
            [|r| r.cpu.0, |r| r.memory.0, |r| r.disk.0, |r| r.bandwidth.0, |r| r.gpu.0];
        let fewest = parts.iter().map(|part| {
            let mut amounts: Vec<u64> =
                self.candidates.iter().map(|victim| part(&victim.held.resources)).collect();
            amounts.sort_unstable_by_key(|amount| Reverse(*amount));
            let mut missing = part(&self.missing);
            amounts
                .iter()
                .take_while(|amount| {
                    let more = missing > 0;
                    missing = missing.saturating_sub(**amount);
                    more
                })
                .count()
        });
        fewest.max().unwrap_or_default().max(1)
    }

    /// The best set, if it is no worse than `bound`. Every set that is looked at takes one from `sets`; when none is left, any set of which
    /// no part could stay.
    pub(crate) fn run(
        &self,
        bound: Option<Cost>,
        sets: &mut u32,
        allowed: &dyn Fn(&Taken) -> bool,
    ) -> Option<(Cost, Vec<AllocationId>)> {
        let most = bound.map_or(self.candidates.len(), |cost| cost.victims).min(self.candidates.len());
        for size in self.fewest()..=most {
            let distinct = self.distinct(size);
            let mut dive =
                Dive { search: self, chosen: Vec::new(), best: None, bound, sets: &mut *sets, allowed };
            dive.look(&distinct, size, Resources::ZERO);
            if let Some((cost, victims)) = dive.best {
                return Some((cost, sorted_ids(&victims)));
            }
            if *sets == 0 {
                return self.greedy(allowed).filter(|(cost, _)| bound.is_none_or(|bound| *cost <= bound));
            }
        }
        None
    }

    /// The candidates without those of which there are `size` others that are no different and no higher.
    fn distinct(&self, size: usize) -> Vec<Victim<'a>> {
        let mut kept: Vec<Victim<'a>> = Vec::new();
        for victim in &self.candidates {
            let plain = victim.held.gpus.is_empty() && victim.held.ports.is_empty();
            let alike = |other: &&Victim<'_>| {
                other.tenant == victim.tenant
                    && other.held.resources == victim.held.resources
                    && other.held.gpus.is_empty()
                    && other.held.ports.is_empty()
            };
            if !plain || kept.iter().filter(alike).count() < size {
                kept.push(*victim);
            }
        }
        kept
    }

    /// Takes the lowest priorities until it fits, then lets stay whom it can, the highest first.
    fn greedy(&self, allowed: &dyn Fn(&Taken) -> bool) -> Option<(Cost, Vec<AllocationId>)> {
        let mut chosen: Vec<Victim<'a>> = Vec::new();
        for victim in &self.candidates {
            if fits_without(self.load, &chosen, self.need) {
                break;
            }
            chosen.push(*victim);
            if !allowed(&taken(&chosen)) {
                chosen.pop();
            }
        }
        for at in (0..chosen.len()).rev() {
            let victim = chosen.remove(at);
            if !fits_without(self.load, &chosen, self.need) {
                chosen.insert(at, victim);
            }
        }
        fits_without(self.load, &chosen, self.need).then(|| (cost(&chosen), sorted_ids(&chosen)))
    }
}

impl<'a> Dive<'_, 'a> {
    /// Tries all sets of the chosen ones and `more` of `rest`, which is in order of priority.
    fn look(&mut self, rest: &[Victim<'a>], more: usize, freed: Resources) {
        if *self.sets == 0 {
            return;
        }
        *self.sets -= 1;
        if more == 0 {
            return self.judge();
        }
        // No `more` of the rest free more than as often the most of each kind.
        let most = rest.iter().fold(Resources::ZERO, |most, victim| most.max(&victim.held.resources));
        let most = most.times(u32::try_from(more).unwrap_or(u32::MAX));
        if !(freed + most).fits(&self.search.missing) {
            return;
        }
        for at in 0..(rest.len() + 1).saturating_sub(more) {
            self.chosen.push(rest[at]);
            // Those that follow have no lower priority.
            let hopeless = self.known().is_some_and(|known| {
                let (size, cost) = (self.chosen.len() + more - 1, cost(&self.chosen));
                Cost { victims: size, ..cost } > known
            });
            if !hopeless {
                self.look(&rest[at + 1..], more - 1, freed + rest[at].held.resources);
            }
            self.chosen.pop();
            if hopeless {
                break;
            }
        }
    }

    fn judge(&mut self) {
        let cost = cost(&self.chosen);
        let better = match &self.best {
            Some((known, _)) => cost < *known,
            None => self.bound.is_none_or(|bound| cost <= bound),
        };
        if better
            && fits_without(self.search.load, &self.chosen, self.search.need)
            && (self.allowed)(&taken(&self.chosen))
        {
            self.best = Some((cost, self.chosen.clone()));
        }
    }

    /// The cost that a set must not pass.
    fn known(&self) -> Option<Cost> {
        self.best.as_ref().map(|(cost, _)| *cost).or(self.bound)
    }
}
