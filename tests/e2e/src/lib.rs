//! A region of real processes for end-to-end tests: a master, nodes and a registry, each in a network namespace of its own, with
//! links that can be cut.
//!
//! Nothing here asks the daemons what is so when `/proc`, the mount table or the packet rules can tell: a container's identity is
//! its process id and start time as the kernel has them.
//!
//! Start with [`in_region`]: it lays the ground, runs a test in it, and afterwards removes every workload and compares each node
//! with what it was before the first. What failed, and the logs of all daemons, is printed before everything is taken down.
//!
//! The tests need root, the binaries of `cargo xtask build` (or those in `$SKERRY_BIN_DIR`) and the images of
//! `cargo xtask images`.

mod clock;
mod container;
mod manifest;
mod master;
mod node;
mod operator;
mod region;
mod traces;

pub use clock::wrong_clock;
pub use container::Container;
pub use manifest::Workload;
pub use master::Master;
pub use node::Node;
pub use operator::{Operator, Said};
pub use region::{Plan, Region, in_region};
pub use traces::Traces;

use std::time::Duration;

/// Longest that anything takes which happens at once on a quiet machine; generous, since tests share two cores.
pub const SOON: Duration = Duration::from_secs(30);
