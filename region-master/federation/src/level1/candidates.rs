//! The classes of nodes that a workload's instances may go to.

use skerry_types::{LinkClass, Resources, Rule, SiteDigest, SketchClass, SpreadBy};

use super::grouping::Grouping;
use super::score::Scoring;
use super::{Demand, RegionView};
use crate::estimate::{Fit, Need, Rules};

/// A class of nodes at a site that may take instances, full or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// Index of its region.
    pub(crate) region: usize,
    /// Its site's number among all regions' sites.
    pub(crate) site_at: usize,
    pub(crate) site: &'a SiteDigest,
    pub(crate) class: &'a SketchClass,
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
}

/// All candidates, those of one region side by side, and the values of their groups.
pub(crate) struct Candidates<'a> {
    pub(crate) all: Vec<Candidate<'a>>,
    pub(crate) grouping: Grouping<'a>,
}

/// Whether this region may get instances at all.
pub(crate) fn is_open(demand: &Demand<'_>, region: &RegionView) -> bool {
    region.reachable && region.handed_back.is_none() && closed_by(demand, region).is_none()
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

impl<'a> Candidates<'a> {
    /// Holds every class of every open region against the hard rules, once.
    pub(crate) fn new(
        demand: &Demand<'a>,
        regions: &'a [RegionView],
        need: &Need,
        rules: &mut Rules<'a>,
        scoring: &mut Scoring<'a>,
    ) -> Self {
        let mut grouping = Grouping::new(demand);
        let mut all = Vec::new();
        let mut site_at = 0;
        for (at, region) in regions.iter().enumerate() {
            if !is_open(demand, region) {
                site_at += region.sites.len();
                continue;
            }
            read_ahead(region);
            let region_points = scoring.of_region(region);
            let first = all.len();
            for site in &region.sites {
                let mut shared = None;
                for class in &site.sketch.classes {
                    let certain = match rules.judge(site, class) {
                        Fit::Yes => true,
                        Fit::Unknown(_) => false,
                        Fit::No(_) => continue,
                    };
                    let (points, free) = *shared.get_or_insert_with(|| {
                        (region_points + scoring.of_site(site_at), free_part(site, &need.resources))
                    });
                    all.push(Candidate {
                        region: at,
                        site_at,
                        site,
                        class,
                        certain,
                        room: need.room(class),
                        points: points + scoring.of_class(site, class),
                        link: link_cost(&site.spec.link),
                        free,
                        group: grouping.group(site, class, site_at),
                    });
                }
                site_at += 1;
            }
            take_pending(&mut all[first..], need, &region.pending);
        }
        Self { all, grouping }
    }
}

/// Touches what is about to be looked at. Digests lie all over the memory: asked for together they come together, asked for one
/// after the other each is waited for, which takes longer than all the rest.
fn read_ahead(region: &RegionView) {
    let classes: usize = region.sites.iter().map(|site| site.sketch.classes.len()).sum();
    let classes_of = |site: &'_ std::sync::Arc<SiteDigest>| {
        site.sketch.classes.iter().map(|class| class.buckets.len()).sum::<usize>()
    };
    let buckets: usize = region.sites.iter().map(classes_of).sum();
    let all = region.sites.iter().flat_map(|site| &site.sketch.classes).flat_map(|class| &class.buckets);
    let nodes: u32 = all.fold(0, |sum, bucket| sum.wrapping_add(bucket.nodes));
    std::hint::black_box((classes, buckets, nodes));
}

/// Metered links are dearer than all that are not.
fn link_cost(link: &LinkClass) -> u64 {
    (u64::from(link.metered) << 63) | link.micros_per_mb.min(u64::MAX >> 1)
}

/// The part of a site that is free, in 2^-32, of that resource of which the need is the largest part.
fn free_part(site: &SiteDigest, need: &Resources) -> u64 {
    let (capacity, reserved) = (&site.capacity, &site.reserved);
    let amounts = [
        (need.cpu.0, capacity.cpu.0, reserved.cpu.0),
        (need.memory.0, capacity.memory.0, reserved.memory.0),
        (need.disk.0, capacity.disk.0, reserved.disk.0),
        (need.bandwidth.0, capacity.bandwidth.0, reserved.bandwidth.0),
        (need.gpu.0, capacity.gpu.0, reserved.gpu.0),
    ];
    // The largest of need/capacity, compared crosswise so that nothing is divided.
    let scarcer = |a: &(u64, u64, u64), b: &(u64, u64, u64)| {
        (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1)))
    };
    let known = amounts.into_iter().filter(|(need, capacity, _)| *need > 0 && *capacity > 0);
    let (_, capacity, reserved) = known.max_by(scarcer).unwrap_or((0, 1, 0));
    let part = (u128::from(capacity.saturating_sub(reserved)) << 32) / u128::from(capacity);
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// Takes what is under way to a region out of its room, from each class in proportion.
fn take_pending(candidates: &mut [Candidate<'_>], need: &Need, pending: &Resources) {
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
