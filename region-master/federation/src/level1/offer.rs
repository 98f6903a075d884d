//! The plan: what stays, what is dealt out by estimate, and what is offered beyond it.

use std::cmp::Reverse;

use skerry_types::{InstanceSet, Placement};

use super::candidates::{Candidate, Candidates};
use super::fill::Fill;
use super::refuse::refusals;
use super::score::Scoring;
use super::{Demand, Part, Plan, ROUNDS_MAX, RegionView, TRIES_MAX};
use crate::estimate::{Need, Rules};
use crate::index;
use crate::roster::Roster;

/// Decides which region gets which instances. Looks at each site once: a quarter of a microsecond for each site and each
/// instance.
pub fn plan(demand: &Demand<'_>, regions: &[RegionView]) -> Plan {
    let (kept, missing) = keep(demand.wanted, regions);
    if missing.is_empty() {
        return number(regions, &kept, &missing, &[], &[]);
    }
    Dealing::new(demand, regions).deal(false).plan
}

/// A plan on its way, with what explains it.
pub(crate) struct Dealing<'a> {
    pub(crate) demand: Demand<'a>,
    pub(crate) regions: &'a [RegionView],
    pub(crate) need: Need,
    pub(crate) roster: Roster<'a>,
    pub(crate) rules: Rules<'a>,
    pub(crate) scoring: Scoring<'a>,
    pub(crate) candidates: Candidates,
    /// For each region, what it keeps.
    kept: Vec<InstanceSet>,
    missing: InstanceSet,
}

/// What was dealt out.
pub(crate) struct Dealt {
    /// For each candidate, how many it got.
    pub(crate) given: Vec<u32>,
    /// For each candidate, the thousandths of points that spreads take from it, before the first and after the last instance.
    pub(crate) costs: Vec<(i64, i64)>,
    pub(crate) plan: Plan,
}

impl<'a> Dealing<'a> {
    pub(crate) fn new(demand: &Demand<'a>, regions: &'a [RegionView]) -> Self {
        let placement: &'a Placement = demand.placement;
        let need = Need::of(demand.instance);
        let roster = Roster::new(regions.iter().map(|region| &*region.sites), placement);
        let rules = Rules::new(placement, &roster);
        let scoring = Scoring::new(placement, regions, &roster);
        let candidates = Candidates::new(demand, regions, &roster, &need, &rules, &scoring);
        let (kept, missing) = keep(demand.wanted, regions);
        Self { demand: *demand, regions, need, roster, rules, scoring, candidates, kept, missing }
    }

    /// `with_costs`: whether somebody wants to know what spreads took.
    pub(crate) fn deal(&self, with_costs: bool) -> Dealt {
        let existing: Vec<u32> = self.kept.iter().map(InstanceSet::len).collect();
        let local = self.regions.iter().position(|region| region.local);
        let mut fill = Fill::new(&self.candidates, &existing, local);
        let costs = |fill: &Fill<'_>| -> Vec<i64> {
            let asked = self.candidates.all.iter().filter(|_| with_costs);
            asked.map(|one| fill.cost(index(one.group))).collect()
        };
        let before = costs(&fill);
        let count = if self.demand.round < ROUNDS_MAX { self.missing.len() } else { 0 };
        fill.deal(count, |candidate| if candidate.certain { candidate.room } else { 0 });
        let certain = self.by_region(&fill.given);
        let left = count - certain.iter().sum::<u32>();
        if left > 0 && self.demand.round < TRIES_MAX {
            self.offer_rest(&mut fill, left);
        }
        let all = self.by_region(&fill.given);
        let after = costs(&fill);
        let given = fill.given;
        let mut plan = number(self.regions, &self.kept, &self.missing, &certain, &all);
        if !plan.unplaced.is_empty() {
            plan.reasons = refusals(self);
        }
        Dealt { given, costs: before.into_iter().zip(after).collect(), plan }
    }

    fn by_region(&self, given: &[u32]) -> Vec<u32> {
        let mut counts = vec![0; self.regions.len()];
        for (candidate, given) in self.candidates.all.iter().zip(given) {
            counts[index(candidate.region)] += given;
        }
        counts
    }

    /// Offers what fits nowhere by estimate to the regions that are likeliest to have room after all.
    fn offer_rest(&self, fill: &mut Fill<'_>, rest: u32) {
        let by_region = self.candidates.all.chunk_by(|a, b| a.region == b.region);
        let mut hopes: Vec<(u64, u64, Reverse<usize>)> = by_region
            .filter_map(|region| {
                let hopes = || region.iter().filter(|candidate| candidate.hopeful);
                let untold =
                    hopes().filter(|candidate| !candidate.certain).map(|one| u64::from(one.room)).sum();
                let free = hopes().map(|candidate| candidate.free).max()?;
                Some((untold, free, Reverse(index(region.first()?.region))))
            })
            .collect();
        hopes.sort_unstable_by_key(|hope| Reverse(*hope));
        hopes.truncate(1 << self.demand.round.min(TRIES_MAX));
        let mut asked = vec![false; self.regions.len()];
        for (_, _, Reverse(region)) in &hopes {
            asked[*region] = true;
        }
        let hopeful = |candidate: &Candidate| candidate.hopeful && asked[index(candidate.region)];
        fill.deal(rest, |candidate| if hopeful(candidate) { rest } else { 0 });
    }
}

/// Gives each region its numbers: the lowest missing ones to the first region. `certain` and `all` say how many each gets.
fn number(
    regions: &[RegionView],
    kept: &[InstanceSet],
    missing: &InstanceSet,
    certain: &[u32],
    all: &[u32],
) -> Plan {
    let mut left = missing.clone();
    let count = |counts: &[u32], at: usize| counts.get(at).copied().unwrap_or_default();
    let parts = regions.iter().zip(kept).enumerate().filter_map(|(at, (region, kept))| {
        let (certain, all) = (count(certain, at), count(all, at));
        if all == 0 && kept.is_empty() {
            return None;
        }
        let added = left.split_first(all);
        let mut speculative = added.clone();
        // The first ones are certain; what is left are tries.
        drop(speculative.split_first(certain));
        Some((region.name.clone(), Part { kept: kept.clone(), added, speculative }))
    });
    let parts = parts.collect();
    Plan { parts, unplaced: left, reasons: Vec::new() }
}

/// What each region keeps, and what no region has. Where two have the same instance, the first keeps it, one that is heard from
/// before one that is not; what is given up counts as missing unless another region has it.
fn keep(wanted: &InstanceSet, regions: &[RegionView]) -> (Vec<InstanceSet>, InstanceSet) {
    let mut kept: Vec<InstanceSet> =
        regions.iter().map(|region| region.existing.intersection(wanted)).collect();
    let mut held: Vec<InstanceSet> = Vec::with_capacity(kept.len());
    for (region, kept) in regions.iter().zip(&kept) {
        let given_up = !region.reachable && !region.given_up.is_empty();
        held.push(if given_up { kept.difference(&region.given_up) } else { kept.clone() });
    }
    let ranges = held.iter().flat_map(InstanceSet::ranges).map(|range| (*range.start(), *range.end()));
    let placed = InstanceSet::from(ranges.collect::<Vec<_>>());
    let claims = held.iter().map(|held| u64::from(held.len())).sum::<u64>();
    if claims > u64::from(placed.len()) {
        settle(regions, &mut kept, &held);
    }
    (kept, wanted.difference(&placed))
}

fn settle(regions: &[RegionView], kept: &mut [InstanceSet], held: &[InstanceSet]) {
    let mut order: Vec<usize> = (0..regions.len()).collect();
    order.sort_by_key(|at| !regions[*at].reachable);
    let mut claimed = InstanceSet::default();
    for at in order {
        let doubled = held[at].intersection(&claimed);
        kept[at] = kept[at].difference(&doubled);
        claimed = claimed.union(&held[at]);
    }
}
