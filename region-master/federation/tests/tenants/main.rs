//! What tenants may count on: fairness among them, and limits that hold over a tree of regions.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod escrow;
mod fairness;
