//! Level 2 of placement: which node of a region holds an instance, or which rule keeps it off each node.
//!
//! [`Cluster`] is the region's nodes with what is used on them, kept up to date as things change. [`Cluster::place`] binds
//! missing instances to nodes; it never moves one that is placed. The same calls in the same order give the same answers.
//!
//! A node may hold an instance when it is connected and not cordoned, matches `require`, has no taint that is not tolerated, meets
//! the affinities that are musts, and has room: resources, graphics processors, host ports, an address; and when no
//! spread with a `max_skew` would be broken. Among the nodes that may, the best is taken, by these in turn:
//!
//! 1. points: the weights of the matching preferences and of the affinities that hold (less those of the anti-affinities that do
//!    not), what nearness earns (all of its weight at 0 km, nothing from [`NEAR_KM`] on), less [`SPREAD_POINTS`] for each of the
//!    workload's instances that already has the same value of a spread (for each spread that is asked for);
//! 2. fewest of the workload's own instances on the node, which spreads a workload that asks for nothing;
//! 3. the site whose link costs least;
//! 4. a node that holds something already;
//! 5. for an instance that needs no graphics processor, a node without any;
//! 6. the least stranded: the instance makes least of the node's room useless for instances like those that are in the cluster, or takes
//!    what was useless (fragmentation gradient descent, Weng et al., USENIX ATC 2023, over all resources);
//! 7. the larger node, in steps of a quarter of a power of two; then the one with the least free: cpu, memory and graphics processors
//!    added at the worth of 4 GiB for a core and 32 GiB for a graphics processor. So nodes fill up in an order that hardly changes, and
//!    those at its end become empty;
//! 8. the first by name.
//!
//! What would be stranded is looked at on the first 32 nodes in the order of the other rules, or on all of them in a call for many instances.
//! What instances are like is a matter of what is reserved on the nodes, and of nothing before.
//!
//! An affinity is about instances of the tenant's other workloads, wherever they are, also on nodes that are cut off or cordoned. Only
//! the workload that declares an anti-affinity heeds it: one that came first may find itself beside one that it would have kept
//! away, and the other stays where it may be by its own wishes.
//!
//! # Speed
//!
//! Nodes that have the same values of the attributes which a demand asks by are a class. Classes, and their nodes in blocks, are kept for
//! each set of attributes, so that a selector nobody used before is held against each class and not each node. What it comes to is kept
//! for each distinct set of wishes. Both hold as long as nodes stay what they are. What depends on room is kept for blocks and brought up
//! to date from a journal of changes. A call for few instances looks through the blocks and into those that can hold the best node; a
//! call for many queues all nodes once.
//!
//! Deliberately lacks: any IO, clock or randomness; quotas, and level 1 (which region gets how many).

mod blocks;
mod cache;
mod classes;
mod cluster;
mod columns;
mod demand;
mod explain;
mod fit;
mod footprints;
mod gpus;
mod kinds;
mod layout;
mod near;
mod node;
mod ports;
mod preempt;
mod queues;
mod rank;
mod rebalance;
mod refuse;
mod remedy;
mod room;
mod round;
mod seats;
mod shortlist;
mod spread;
mod standing;
mod typical;
mod victims;
mod wishes;

pub use cluster::Cluster;
pub use demand::{BookError, Booking, Demand, Placed};
pub use near::NEAR_KM;
pub use node::{NodeView, attributes};
pub use preempt::{Preemption, Taken};
pub use rebalance::{Asked, Move};

/// What one instance with the same value of a spread costs: as much as the heaviest preference earns.
pub const SPREAD_POINTS: i64 = 100;
