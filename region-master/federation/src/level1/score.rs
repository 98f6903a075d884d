//! What speaks for a site, apart from what is there already.

use std::collections::HashMap;

use skerry_types::{Place, Placement, Point, ScorePart, SiteDigest, SiteName, SketchClass, SpreadBy};

use super::RegionView;
use crate::selecting::{Holds, Selecting};

/// Points are compared in thousandths, so that the nearer of two distant places still wins.
pub(crate) const MILLI: i64 = 1000;

/// Places nearer than this are told apart little: it is added to every distance.
const NEAR_KM: u64 = 10;

/// Kilometres that a millisecond of round trip stands for: light in fibre goes 200 km in a millisecond, there and back.
const KM_PER_RTT_MS: u64 = 100;

/// The soft wishes of a placement.
pub(crate) struct Scoring<'a> {
    placement: &'a Placement,
    prefer: Vec<Selecting<'a>>,
    /// For each place to be near to: kilometres from each site in the order of all regions' sites, if known, and the least.
    near: Vec<(Vec<Option<u64>>, u64)>,
}

impl<'a> Scoring<'a> {
    pub(crate) fn new(placement: &'a Placement, regions: &'a [RegionView]) -> Self {
        let prefer = placement.prefer.iter().map(|wish| Selecting::new(&wish.matches)).collect();
        let near = placement.near.iter().map(|near| distances(&near.to, regions)).collect();
        Self { placement, prefer, near }
    }

    /// Points that are the same for all of a region, in thousandths as all points that are compared.
    pub(crate) fn of_region(&self, region: &RegionView) -> i64 {
        if self.placement.affinity.is_empty() && self.placement.anti_affinity.is_empty() {
            return 0;
        }
        MILLI * self.affinity_parts(region).into_iter().map(|(_, points)| points).sum::<i64>()
    }

    /// Points of a site; `at` is its number among all regions' sites.
    pub(crate) fn of_site(&self, at: usize) -> i64 {
        let points = (0..self.near.len()).map(|near| self.nearness(near, at).map_or(0, |(points, _)| points));
        points.sum()
    }

    /// Points of the nodes of a class.
    pub(crate) fn of_class(&mut self, site: &'a SiteDigest, class: &'a SketchClass) -> i64 {
        let wishes = self.placement.prefer.iter().zip(&mut self.prefer);
        let met = wishes.filter_map(|(wish, matches)| {
            (matches.holds(site, class) == Holds::Yes).then_some(MILLI * i64::from(wish.weight))
        });
        met.sum()
    }

    /// All points of a class as parts.
    pub(crate) fn parts(
        &mut self,
        region: &RegionView,
        at: usize,
        site: &'a SiteDigest,
        class: &'a SketchClass,
    ) -> Vec<ScorePart> {
        let mut parts = Vec::new();
        for (wish, matches) in self.placement.prefer.iter().zip(&mut self.prefer) {
            if matches.holds(site, class) == Holds::Yes {
                parts.push((format!("prefers {}", wish.matches), i64::from(wish.weight)));
            }
        }
        for (near, wish) in self.placement.near.iter().enumerate() {
            if let Some((points, km)) = self.nearness(near, at) {
                parts.push((format!("{km} km from {}", place(&wish.to)), points / MILLI));
            }
        }
        parts.extend(self.affinity_parts(region));
        parts.into_iter().map(|(what, points)| ScorePart { what, points }).collect()
    }

    fn nearness(&self, near: usize, at: usize) -> Option<(i64, u64)> {
        let (distances, least) = self.near.get(near)?;
        let km = distances.get(at).copied().flatten()?;
        let weight = MILLI * i64::from(self.placement.near.get(near)?.weight);
        let [least, most] = [least + NEAR_KM, km + NEAR_KM].map(|km| i64::try_from(km).unwrap_or(i64::MAX));
        Some((weight.saturating_mul(least) / most, km))
    }

    fn affinity_parts(&self, region: &RegionView) -> Vec<(String, i64)> {
        let placement = self.placement;
        let wished = placement.affinity.iter().zip(&region.beside.affinity).map(|pair| (pair, 1));
        let shunned = placement.anti_affinity.iter().zip(&region.beside.anti_affinity).map(|pair| (pair, -1));
        let present = wished.chain(shunned).filter(|((_, count), _)| **count > 0);
        let parts = present.filter_map(|((affinity, count), sign)| {
            let what = format!("{count} of '{}' in the region", affinity.matches);
            Some((what, sign * i64::from(affinity.weight?)))
        });
        parts.collect()
    }
}

/// The name of the attribute that a spread counts over at level 1.
pub(crate) fn spread_key(by: &SpreadBy) -> &str {
    match by {
        SpreadBy::Site => "site.name",
        SpreadBy::Node => "node.name",
        SpreadBy::Attribute(name) => name,
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::Point(point) => point.to_string(),
        Place::Site(site) => site.to_string(),
    }
}

fn distances(to: &Place, regions: &[RegionView]) -> (Vec<Option<u64>>, u64) {
    let named = match to {
        Place::Point(_) => None,
        Place::Site(name) => Some(name),
    };
    let point = match to {
        Place::Point(point) => Some(*point),
        Place::Site(name) => point_of(name, regions),
    };
    let mut measured: HashMap<Point, u64> = HashMap::new();
    let mut distances = Vec::new();
    for region in regions {
        let rtt = named.and_then(|name| region.rtt_ms.get(name)).map(|ms| u64::from(*ms) * KM_PER_RTT_MS);
        for site in &region.sites {
            let by_point = || {
                let (here, there) = (site.spec.point?, point?);
                Some(*measured.entry(here).or_insert_with(|| u64::from(here.distance_km(&there))))
            };
            let itself = named.is_some_and(|name| *name == site.spec.name).then_some(0);
            distances.push(itself.or(rtt).or_else(by_point));
        }
    }
    let least = distances.iter().flatten().copied().min().unwrap_or_default();
    (distances, least)
}

/// Where the first site of this name lies.
fn point_of(name: &SiteName, regions: &[RegionView]) -> Option<Point> {
    let mut sites = regions.iter().flat_map(|region| &region.sites);
    sites.find(|site| site.spec.name == *name && site.spec.point.is_some())?.spec.point
}
