//! The classes of nodes that a workload's instances may go to.

use skerry_types::{Resources, Rule, SpreadBy};

use super::grouping::Grouping;
use super::score::Scoring;
use super::{Demand, RegionView};
use crate::estimate::{Fit, Need, Rules};
use crate::number;
use crate::roster::{Roster, Site};

/// A class of nodes at a site that may take instances, full or not. Small, because there are thousands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Index of its region.
    pub(crate) region: u32,
    /// Its site's number among all regions' sites.
    pub(crate) site: u32,
    pub(crate) kind: u32,
    /// Whether the sketch tells that it matches.
    pub(crate) certain: bool,
    /// How many instances fit as the sketch tells.
    pub(crate) room: u32,
    /// In thousandths.
    pub(crate) points: i64,
    /// What its link costs; metered above all that is not.
    pub(crate) link: u64,
    /// The part of the site that is free, in 2^-32, of what an instance needs most of.
    pub(crate) free: u64,
    /// Which group it belongs to: same group, same values of all spreads.
    pub(crate) group: u32,
    /// Whether its site is large enough for an instance when it is empty.
    pub(crate) hopeful: bool,
}

/// All candidates, those of one region side by side, and the values of their groups.
pub(crate) struct Candidates {
    pub(crate) all: Vec<Candidate>,
    pub(crate) grouping: Grouping,
}

/// Whether this region may get instances at all.
pub(crate) fn is_open(demand: &Demand<'_>, region: &RegionView) -> bool {
    region.reachable && region.handed_back.is_none() && closed_by(demand, region).is_none()
}

/// Whether instances of a region that is offered nothing more hold up the others: a full one counts for bounds of spreads, as a
/// full node does, and one that can take none of it does not.
fn is_full(demand: &Demand<'_>, region: &RegionView) -> bool {
    let bounded = demand.placement.spread.iter().any(|spread| spread.max_skew.is_some());
    let Some(back) = region.handed_back.as_ref().filter(|_| bounded && region.reachable) else {
        return false;
    };
    let never = |rule: &Rule| {
        use Rule::{Affinity, AntiAffinity, Cordoned, HandedBack, NoNodes, Require, Taint, Unreachable};
        matches!(
            rule,
            Require { .. }
                | Taint { .. }
                | Affinity { .. }
                | AntiAffinity { .. }
                | HandedBack { .. }
                | Cordoned
                | Unreachable
                | NoNodes
        )
    };
    back.reasons.iter().any(|reason| !never(&reason.rule)) && closed_by(demand, region).is_none()
}

/// The hard affinity that closes a region.
pub(crate) fn closed_by(demand: &Demand<'_>, region: &RegionView) -> Option<Rule> {
    let placement = demand.placement;
    let mut wished = placement.affinity.iter().zip(&region.beside.affinity);
    let lonely = wished.find(|(affinity, count)| affinity.weight.is_none() && **count == 0);
    if let Some((affinity, _)) = lonely {
        let (matches, by) = (affinity.matches.to_string(), affinity.by.to_string());
        return Some(Rule::Affinity { matches, by });
    }
    let by_region = |by: &SpreadBy| *by == SpreadBy::Attribute("region.name".to_owned());
    let mut shunned = placement.anti_affinity.iter().zip(&region.beside.anti_affinity);
    let crowded =
        shunned.find(|(affinity, count)| affinity.weight.is_none() && **count > 0 && by_region(&affinity.by));
    crowded.map(|(affinity, _)| {
        let (matches, by) = (affinity.matches.to_string(), affinity.by.to_string());
        Rule::AntiAffinity { matches, by }
    })
}

impl Candidates {
    /// Holds every class of every open region against the hard rules, once. Those of full regions are there to be counted: they have
    /// no room and no hope.
    pub(crate) fn new(
        demand: &Demand<'_>,
        regions: &[RegionView],
        roster: &Roster<'_>,
        need: &Need,
        rules: &Rules<'_>,
        scoring: &Scoring<'_>,
    ) -> Self {
        let classes = regions.iter().map(|region| region.sites.classes.len()).sum();
        let mut found = Self { all: Vec::with_capacity(classes), grouping: Grouping::new(demand, roster) };
        let mut wishes = Vec::new();
        for (at, region) in regions.iter().enumerate() {
            let open = is_open(demand, region);
            if !open && !is_full(demand, region) {
                continue;
            }
            let region_points = scoring.of_region(region);
            let first = found.all.len();
            for site in roster.sites(at) {
                let at_site = rules.at_site(&site);
                scoring.wishes_at(&site, &mut wishes);
                let mut shared = None;
                for class in region.sites.classes_of(site.row) {
                    let kind = roster.kind(at, class);
                    let certain = match rules.judge(at_site, kind) {
                        Fit::Yes => true,
                        Fit::Unknown(_) => false,
                        Fit::No(_) => continue,
                    };
                    let of_site = shared.get_or_insert_with(|| {
                        let of_site = of_site(at, &site, need, region_points + scoring.of_site(site.at));
                        Candidate { hopeful: open && of_site.hopeful, ..of_site }
                    });
                    found.all.push(Candidate {
                        kind,
                        certain,
                        room: if open { need.room(region.sites.buckets_of(class)) } else { 0 },
                        points: of_site.points + scoring.of_kind(kind, &wishes),
                        group: found.grouping.group(&site, kind),
                        ..*of_site
                    });
                }
            }
            take_pending(&mut found.all[first..], need, &region.pending);
        }
        found
    }
}

/// What all candidates of a site have in common.
fn of_site(region: usize, site: &Site<'_>, need: &Need, points: i64) -> Candidate {
    Candidate {
        region: number(region),
        site: number(site.at),
        kind: 0,
        certain: false,
        room: 0,
        points,
        link: site.row.link,
        free: free_part(site, &need.resources),
        group: 0,
        hopeful: asked_of(site, &need.resources).all(|(need, capacity, _)| need <= capacity),
    }
}

/// What a site may reserve and has reserved of each resource that is asked for, with how much is asked for.
fn asked_of<'a>(site: &Site<'a>, need: &Resources) -> impl Iterator<Item = (u64, u64, u64)> + use<'a> {
    let Resources { cpu, memory, disk, bandwidth, gpu } = *need;
    let (row, digest) = (site.row, site.digest);
    let usual = [cpu.0, memory.0].into_iter().zip(row.capacity).zip(row.reserved);
    let usual = usual.map(|((need, capacity), reserved)| (need, capacity, reserved));
    let asks_for_rare = (disk.0, bandwidth.0, gpu.0) != (0, 0, 0);
    let rare = asks_for_rare.then(|| {
        let (capacity, reserved) = (&digest.capacity, &digest.reserved);
        [
            (disk.0, capacity.disk.0, reserved.disk.0),
            (bandwidth.0, capacity.bandwidth.0, reserved.bandwidth.0),
            (gpu.0, capacity.gpu.0, reserved.gpu.0),
        ]
    });
    usual.chain(rare.into_iter().flatten()).filter(|(need, _, _)| *need > 0)
}

/// The part of a site that is free, in 2^-32, of that resource of which the need is the largest part.
fn free_part(site: &Site<'_>, need: &Resources) -> u64 {
    // The largest of need/capacity, compared crosswise so that nothing is divided.
    let scarcer = |a: &(u64, u64, u64), b: &(u64, u64, u64)| {
        (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1)))
    };
    let known = asked_of(site, need).filter(|(_, capacity, _)| *capacity > 0);
    let (_, capacity, reserved) = known.max_by(scarcer).unwrap_or((0, 1, 0));
    let part = (u128::from(capacity.saturating_sub(reserved)) << 32) / u128::from(capacity);
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// Takes what is under way to a region out of its room, from each class in proportion.
fn take_pending(candidates: &mut [Candidate], need: &Need, pending: &Resources) {
    if *pending == Resources::ZERO {
        return;
    }
    let rooms = candidates.iter().map(|candidate| u64::from(candidate.room));
    let (total, taken) = (rooms.sum::<u64>(), slots_of(pending, &need.resources));
    for candidate in candidates.iter_mut().filter(|_| total > 0) {
        let share = (u128::from(candidate.room) * u128::from(taken)).div_ceil(u128::from(total));
        candidate.room = candidate.room.saturating_sub(u32::try_from(share).unwrap_or(u32::MAX));
    }
}

/// How many of `need` an amount is, rounded up, by the resource that makes the most.
fn slots_of(amount: &Resources, need: &Resources) -> u64 {
    let pairs = [
        (amount.cpu.0, need.cpu.0),
        (amount.memory.0, need.memory.0),
        (amount.disk.0, need.disk.0),
        (amount.bandwidth.0, need.bandwidth.0),
        (amount.gpu.0, need.gpu.0),
    ];
    pairs
        .into_iter()
        .filter(|(_, need)| *need > 0)
        .map(|(amount, need)| amount.div_ceil(need))
        .fold(0, u64::max)
}
