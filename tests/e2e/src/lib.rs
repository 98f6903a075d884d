//! Regions of real processes for end-to-end tests: masters, nodes and a registry, each in a network namespace of its own, with
//! links that can be cut. The processes themselves are [`skerry_ground::region`]'s.
//!
//! Start with [`in_region`]: it lays the ground, runs a test in it, and afterwards removes every workload and compares each node
//! with what it was before the first. What failed, and the logs of all daemons, is printed before everything is taken down.
//! [`Plan::below`] makes a tree of regions of it.
//!
//! The tests need root, the binaries of `cargo xtask build` (or those in `$SKERRY_BIN_DIR`) and the images of
//! `cargo xtask images`.

mod clock;
mod manifest;
mod plan;
mod region;
mod still;

pub use clock::WrongClocks;
pub use manifest::Workload;
pub use plan::{Below, Plan};
pub use region::{Region, in_region};
pub use skerry_ground::region::{Container, Load, Master, Node, Operator, SOON, Said, Traces};
pub use still::Still;
