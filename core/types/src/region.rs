//! Sites and regions: where things are, and what a region tells its parent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    Attributes, Generation, InstanceSet, Labels, Leave, NodeName, PartProgress, Refusal, RegionName,
    Resources, SiteName, Taint, TenantName, WallTime, WorkloadKey, WorkloadSpec,
};

/// A site as an operator describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSpec {
    /// Its name, unique in its region.
    pub name: SiteName,
    /// Labels; placement sees them as `site.LABEL`.
    pub labels: Labels,
    /// IANA time zone such as `Europe/Oslo`; UTC when `None`.
    pub timezone: Option<String>,
    /// Where it lies.
    pub point: Option<Point>,
    /// What its link to the rest of the federation is like.
    pub link: LinkClass,
}

/// What a site's link to the rest of the federation is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkClass {
    /// Whether traffic is paid for by amount.
    pub metered: bool,
    /// Millionths of the operator's unit of money for a megabyte.
    pub micros_per_mb: u64,
}

/// A place on earth, in millionths of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Point {
    /// North is positive: -90 to 90 degrees.
    pub latitude: i32,
    /// East is positive: -180 to 180 degrees.
    pub longitude: i32,
}

/// Why a text is no point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a place: write latitude and longitude in degrees, as in '59.91,10.75'")]
pub struct PointError {
    /// The text.
    pub text: String,
}

impl Point {
    const DEGREE: i32 = 1_000_000;

    /// Kilometres along the surface to another place, by the haversine formula (Sinnott 1984) on a sphere of 6,371 km; the
    /// earth's shape makes it wrong by half of a hundredth at most.
    pub fn distance_km(&self, other: &Self) -> u32 {
        let radians = |millionths: i32| (f64::from(millionths) / f64::from(Self::DEGREE)).to_radians();
        let (lat, other_lat) = (radians(self.latitude), radians(other.latitude));
        let (dlat, dlon) = (other_lat - lat, radians(other.longitude) - radians(self.longitude));
        let half_chord =
            (dlat / 2.0).sin().powi(2) + lat.cos() * other_lat.cos() * (dlon / 2.0).sin().powi(2);
        let km = 2.0 * 6_371.0 * half_chord.sqrt().min(1.0).asin();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 20,016")]
        let whole = km.round() as u32;
        whole
    }
}

impl FromStr for Point {
    type Err = PointError;

    fn from_str(text: &str) -> Result<Self, PointError> {
        let error = || PointError { text: text.chars().take(64).collect() };
        let degrees = |part: &str, most: f64| {
            let value: f64 = part.trim().parse().ok().filter(|value: &f64| value.abs() <= most)?;
            #[expect(clippy::cast_possible_truncation, reason = "180 million at most")]
            Some((value * f64::from(Self::DEGREE)).round() as i32)
        };
        let (latitude, longitude) = text.split_once(',').ok_or_else(error)?;
        let point = degrees(latitude, 90.0).zip(degrees(longitude, 180.0));
        point.map(|(latitude, longitude)| Self { latitude, longitude }).ok_or_else(error)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let degrees = |millionths: i32| f64::from(millionths) / f64::from(Self::DEGREE);
        write!(f, "{},{}", degrees(self.latitude), degrees(self.longitude))
    }
}

/// What a parent hands a child region: a workload and which of its instances the child looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The workload; its `instances` is the whole count, of which this share has a part. The child never changes it.
    pub spec: WorkloadSpec,
    /// The generation of the workload at its owner.
    pub generation: Generation,
    /// The region whose master owns the workload.
    pub owner: RegionName,
    /// The child's part.
    pub instances: InstanceSet,
    /// Grows each time the parent offers something anew; what the child handed back of an earlier offer is open again.
    pub offer: u64,
    /// Allocations for it get running numbers above this, so that fencing tokens grow wherever an instance goes; zero for what
    /// is not exclusive.
    pub floor: u64,
    /// How far the child may move its part to this generation. It may change with nothing else of the share.
    pub leave: Leave,
}

/// What a child region says of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareStatus {
    /// Which workload.
    pub key: WorkloadKey,
    /// The generation that the child works towards.
    pub generation: Generation,
    /// The offer that this answers.
    pub offer: u64,
    /// Instances that have an allocation.
    pub placed: InstanceSet,
    /// Instances that run, in any generation, as last heard of.
    pub running: InstanceSet,
    /// Instances that run and are healthy in `generation`.
    pub current: InstanceSet,
    /// Instances that failed in `generation` and do not run.
    pub failed: InstanceSet,
    /// How far the child is on its way to `generation`.
    pub progress: PartProgress,
    /// Instances that ended well and will not start again.
    pub completed: InstanceSet,
    /// Instances on nodes that are not heard from.
    pub unreachable: InstanceSet,
    /// Instances that the child could not place and will not try again until a later offer.
    pub handed_back: Vec<HandedBack>,
    /// Why the child does not take the share at all, if so.
    pub refused: Option<String>,
    /// No allocation for it here or below has a greater running number; zero for what is not exclusive.
    pub serial: u64,
    /// The newest due time that was run for there, if it goes by a schedule.
    pub last_due: Option<WallTime>,
    /// The first due time there to come, as of when this was said.
    pub next_due: Option<WallTime>,
}

/// Instances that a region could not place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedBack {
    /// Which.
    pub instances: InstanceSet,
    /// Why.
    pub reasons: Vec<Refusal>,
}

/// What a region tells its parent of one site, its own or one further down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteDigest {
    /// The region that the site is in.
    pub region: RegionName,
    /// What operators said of it.
    pub spec: SiteSpec,
    /// Its nodes.
    pub nodes: u32,
    /// Those that are heard from.
    pub reachable: u32,
    /// Allocations on it.
    pub allocations: u32,
    /// Those that run, as last heard.
    pub running: u32,
    /// What workloads may reserve.
    pub capacity: Resources,
    /// What allocations reserve.
    pub reserved: Resources,
    /// When any of its nodes was last heard from; zero if never.
    pub last_seen: WallTime,
    /// What is free.
    pub sketch: Sketch,
}

/// Free room of a site: for each class of nodes that placement cannot tell apart, how many nodes have how much.
///
/// Amounts are rounded down, and nodes of about the same room are counted together, so that a site takes about two kilobytes
/// however many nodes it has. What a sketch says is free was free; there may be more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// The classes.
    pub classes: Vec<SketchClass>,
}

impl Sketch {
    /// How many nodes it tells of: those that take allocations.
    pub fn nodes(&self) -> u32 {
        self.classes.iter().flat_map(|class| &class.buckets).map(|bucket| bucket.nodes).sum()
    }
}

/// Nodes that placement cannot tell apart but by room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SketchClass {
    /// Attributes that all of these nodes have, without names of nodes.
    pub attributes: Attributes,
    /// Taints that keep workloads away.
    pub taints: Vec<Taint>,
    /// Nodes by what they have free.
    pub buckets: Vec<SketchBucket>,
}

/// Nodes that have at least this much free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SketchBucket {
    /// Free on each of them; as many graphics processors as are wholly free.
    pub free: Resources,
    /// How many nodes.
    pub nodes: u32,
    /// How many more allocations each of them may hold.
    pub slots: u32,
}

/// What a region tells its parent of itself or of a region further down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionDigest {
    /// Which region.
    pub region: RegionName,
    /// The regions between the teller and it, nearest first; empty for the teller itself.
    pub path: Vec<RegionName>,
    /// Workloads that it owns.
    pub workloads: u32,
    /// Whether its link to the region above it is up, as that one says. True for the teller.
    pub reachable: bool,
    /// When the region above it last heard from it.
    pub last_seen: WallTime,
}

/// What a region tells its parent of a node, its own or one further down: for lists, not for placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDigest {
    /// The region that it is in.
    pub region: RegionName,
    /// Its site.
    pub site: SiteName,
    /// Its name.
    pub node: NodeName,
    /// Whether its master hears from it.
    pub reachable: bool,
    /// When its master last heard from it.
    pub last_seen: WallTime,
    /// When it joined.
    pub joined_at: WallTime,
    /// What workloads may reserve.
    pub capacity: Resources,
    /// What allocations reserve.
    pub reserved: Resources,
    /// How many allocations it holds.
    pub allocations: u32,
    /// What placement selects it by.
    pub attributes: Attributes,
}

/// What a parent grants a child region of a tenant's limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantGrant {
    /// The tenant as its operator described it.
    pub spec: crate::TenantSpec,
    /// What workloads that the child and the regions below it own may reserve; `None` where the tenant has no limit.
    pub escrow: crate::Quota,
}

/// What a child region holds of a tenant's limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantUse {
    /// Which tenant.
    pub tenant: TenantName,
    /// What the child keeps to: it will not admit more than this until a grant says so.
    pub held: crate::Quota,
    /// What is charged to the tenant there and below.
    pub used: Resources,
    /// What was refused for want of quota and is still asked for.
    pub wanted: Resources,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_and_measured() {
        let point = |text: &str| text.parse::<Point>().unwrap();
        assert_eq!(point("59.91, 10.75"), Point { latitude: 59_910_000, longitude: 10_750_000 });
        assert_eq!(point("59.91,10.75").to_string(), "59.91,10.75");
        for bad in ["", "59", "91,0", "0,181", "a,b", "NaN,0", "1,2,3"] {
            assert!(bad.parse::<Point>().is_err(), "{bad}");
        }
        let oslo = point("59.91,10.75");
        let check = |to: &str, km: u32| {
            let found = oslo.distance_km(&point(to));
            assert!(found.abs_diff(km) <= 1 + km / 200, "{to}: {found} km");
        };
        check("59.91,10.75", 0);
        check("60.39,5.32", 305);
        check("-59.91,-169.25", 20_015);
        check("51.5,-0.13", 1_154);
    }
}
