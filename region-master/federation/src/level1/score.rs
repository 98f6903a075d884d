//! What speaks for a site, apart from what is there already.

use skerry_types::{Place, Placement, ScorePart, SiteName, SpreadBy};

use super::RegionView;
use crate::position::Position;
use crate::roster::{Roster, Site};
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
    prefer: Vec<Selecting>,
    /// For each place to be near to: kilometres from each site in the order of all regions' sites, if known, and the least.
    near: Vec<(Vec<Option<u64>>, u64)>,
}

impl<'a> Scoring<'a> {
    pub(crate) fn new(placement: &'a Placement, regions: &[RegionView], roster: &Roster<'_>) -> Self {
        let prefer = placement.prefer.iter().map(|wish| Selecting::new(&wish.matches, roster)).collect();
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

    /// The points of each preference of which a site does not fall short; what it asks of nodes is asked of each kind.
    pub(crate) fn wishes_at(&self, site: &Site<'_>, points: &mut Vec<i64>) {
        points.clear();
        let wishes = self.placement.prefer.iter().zip(&self.prefer);
        points.extend(wishes.map(|(wish, matches)| match matches.at_site(site) {
            Holds::Yes => MILLI * i64::from(wish.weight),
            Holds::Unknown(_) | Holds::No(_) => 0,
        }));
    }

    /// Points of a kind of nodes at a site with these points for each preference.
    pub(crate) fn of_kind(&self, kind: u32, points: &[i64]) -> i64 {
        let wishes = self.prefer.iter().zip(points);
        let met = wishes.filter(|(matches, _)| matches.for_kind(kind) == Holds::Yes);
        met.map(|(_, points)| points).sum()
    }

    /// All points of a kind of nodes at a site as parts.
    pub(crate) fn parts(&self, region: &RegionView, site: &Site<'_>, kind: u32) -> Vec<ScorePart> {
        let mut parts = Vec::new();
        for (wish, matches) in self.placement.prefer.iter().zip(&self.prefer) {
            if matches.at_site(site).min(matches.for_kind(kind)) == Holds::Yes {
                parts.push((format!("prefers {}", wish.matches), i64::from(wish.weight)));
            }
        }
        for (near, wish) in self.placement.near.iter().enumerate() {
            if let Some((points, km)) = self.nearness(near, site.at) {
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
    let position = match to {
        Place::Point(point) => Some(Position::of(*point)),
        Place::Site(name) => position_of(name, regions),
    };
    let mut distances = Vec::new();
    for region in regions {
        let rtt = named.and_then(|name| region.rtt_ms.get(name)).map(|ms| u64::from(*ms) * KM_PER_RTT_MS);
        for (here, digest) in region.sites.positions.iter().zip(region.sites.digests()) {
            let by_position = || Some(here.as_ref()?.distance_km(position.as_ref()?));
            let itself = named.is_some_and(|name| *name == digest.spec.name).then_some(0);
            distances.push(itself.or(rtt).or_else(by_position));
        }
    }
    let least = distances.iter().flatten().copied().min().unwrap_or_default();
    (distances, least)
}

/// Where the first site of this name lies.
fn position_of(name: &SiteName, regions: &[RegionView]) -> Option<Position> {
    let tables = regions.iter().map(|region| &region.sites);
    let mut sites = tables.flat_map(|table| table.positions.iter().zip(table.digests()));
    sites.find_map(|(here, digest)| here.filter(|_| digest.spec.name == *name))
}
