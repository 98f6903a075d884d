//! Level 2 of placement: which node of a region holds an instance, or which rule keeps it off each node.
//!
//! [`Cluster`] is the region's nodes with what is used on them, kept up to date as things change. [`Cluster::place`] binds
//! missing instances to nodes; it never moves one that is placed. The same calls in the same order give the same answers.
//!
//! A node may hold an instance when it is connected, matches `require`, has no taint that is not tolerated, and has room:
//! resources, host ports, a place under [`ALLOCATIONS_MAX`]; and when no spread with a `max_skew` would be broken. Among the
//! nodes that may, the best is taken, by these in turn:
//!
//! 1. points: the sum of the weights of the matching preferences, less [`SPREAD_POINTS`] for each of the workload's instances
//!    that already has the same value of a spread (for each spread that is asked for);
//! 2. fewest of the workload's own instances on the node, which spreads a workload that asks for nothing;
//! 3. the fuller node, so that room for large instances is kept;
//! 4. the first by name.
//!
//! Deliberately lacks: any IO, clock or randomness; preemption, quotas, and level 1 (which region gets how many).

mod cluster;
mod columns;
mod demand;
mod explain;
mod fit;
mod footprints;
mod gpus;
mod node;
mod ports;
mod round;
mod seats;
mod spread;

pub use cluster::Cluster;
pub use demand::{BookError, Booking, Demand, Placed};
pub use node::{NodeView, attributes};

/// Most allocations on one node: a node's bridge has a /24 of addresses, less the network, the bridge, broadcast and a few.
pub const ALLOCATIONS_MAX: u32 = 250;

/// What one instance with the same value of a spread costs: as much as the heaviest preference earns.
pub const SPREAD_POINTS: i64 = 100;
