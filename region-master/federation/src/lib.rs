//! Level 1 of placement: which region gets how many instances, what a region tells its parent of its room, and what tenants may
//! have.
//!
//! - [`sketch`] turns a site's nodes into the two kilobytes that its region's parent sees of it; [`estimate`] reads them.
//! - [`level1::plan`] deals a workload's instances out to regions, from digests alone.
//! - [`Disconnect`] says what becomes of an instance that is not heard from.
//!
//! Everything here is a function of its arguments: no IO, no clock, no randomness, and the same input gives the same answer.
//! Deliberately lacks: nodes (level 2 has them), and any memory of what it said before.

mod classes;
mod estimate;
pub mod level1;
mod replacement;
mod rounding;
mod selecting;
mod sketch;

pub use estimate::{estimate, may_match};
pub use replacement::{Contact, Disconnect, RETURN_GRACE, Replacement, UNDECIDED_MAX, Verdict};
pub use sketch::{SKETCH_BYTES_MAX, SketchInput, UNKNOWN, sketch};

/// Most allocations on one node: what level 2 keeps to.
const ALLOCATIONS_MAX: u32 = 250;

/// What one instance with the same value of a spread costs, as at level 2: as much as the heaviest preference earns.
pub const SPREAD_POINTS: i64 = 100;
