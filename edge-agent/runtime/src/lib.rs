//! What a node needs to run containers: network, file systems, bundles, logs, and the client of the keeper that owns them.
//!
//! Deliberately lacks any decision about what should run: the agent's brain decides, this carries out. Nothing here is asked
//! of a network peer, so containers start when the node is cut off.

pub mod bundle;
pub mod image;
pub mod keeper;
pub mod logs;
pub mod network;
mod node;
mod snapshot;

pub use node::{
    ContainerRef, ContainerStart, ExecError, Executed, Fence, FoundContainer, FoundState, OpenError,
    PrepareError, RemoveError, Runtime, RuntimeConfig, RuntimeEvent, RuntimeEvents, SandboxSpec, StartError,
    Started,
};
pub use snapshot::SnapshotError;
