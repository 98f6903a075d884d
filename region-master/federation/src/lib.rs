//! Level 1 of placement: which region gets how many instances, what a region tells its parent of its room, and what tenants may
//! have.
//!
//! - [`sketch`] turns a site's nodes into the two kilobytes that its region's parent sees of it; [`estimate`] reads them.
//! - [`SiteTable`] lays digests out once, when they change, for
//!   [`level1::plan`], which deals a workload's instances out to regions, from digests alone.
//! - [`Fairness`] says which tenant is served next when there is not enough for all.
//! - [`QuotaTree`] charges tenants and all above them, or nobody; [`escrow`] splits a limit among regions so that it holds while
//!   any of them is cut off.
//! - [`Disconnect`] says what becomes of an instance that is not heard from.
//!
//! Everything here is a function of its arguments: no IO, no clock, no randomness, and the same input gives the same answer.
//! Deliberately lacks: nodes (level 2 has them), and any memory of what it said before.

mod classes;
pub mod escrow;
mod estimate;
mod fairness;
pub mod level1;
mod position;
mod quota;
mod replacement;
mod roster;
mod rounding;
mod selecting;
mod sketch;
mod table;
mod tree;

pub use estimate::{estimate, may_match};
pub use fairness::{FairTenant, Fairness};
pub use quota::{QuotaError, QuotaTree};
pub use replacement::{Contact, Disconnect, RETURN_GRACE, Replacement, UNDECIDED_MAX, Verdict};
pub use sketch::{SKETCH_BYTES_MAX, SketchInput, UNKNOWN, sketch};
pub use table::{Alike, SiteTable};

/// What one instance with the same value of a spread costs, as at level 2: as much as the heaviest preference earns.
pub const SPREAD_POINTS: i64 = 100;

/// The index of something numbered.
fn index(number: u32) -> usize {
    usize::try_from(number).expect("a 32-bit number fits")
}

/// The number of something that has an index.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a federation has fewer than 2^32 sites, classes and buckets")
}
