//! Nearness to a place.

/// Where nearness ends to be worth something, in kilometres. Light in a fibre goes about 200 km in a millisecond, so this is a round
/// trip of 20 ms: beyond it a place at the edge is no better than a large data center.
pub const NEAR_KM: u32 = 2000;

/// What lying `km` away from a place earns where the nearest earns `weight`: all of it at 0 km, nothing from [`NEAR_KM`] on, and in
/// proportion between, rounded down.
pub(crate) fn points(weight: i32, km: u32) -> i64 {
    i64::from(weight) * i64::from(NEAR_KM.saturating_sub(km)) / i64::from(NEAR_KM)
}
