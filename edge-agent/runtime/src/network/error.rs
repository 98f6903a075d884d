//! What can go wrong with the node's network.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use skerry_types::{AllocationId, Protocol};

use super::{RulesError, Subnet};

/// Why the network of the node or of an allocation is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A kernel setting cannot be read or written.
    #[error("kernel setting {} cannot be set to 1; set it by hand or run the agent as root", path.display())]
    Sysctl {
        /// The file under `/proc/sys`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bridge cannot be made.
    #[error("bridge {bridge} cannot be made")]
    Bridge {
        /// Its name.
        bridge: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An allocation's namespace or link cannot be made.
    #[error("network of allocation {alloc} cannot be made")]
    Plug {
        /// The allocation.
        alloc: AllocationId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An allocation's namespace or link cannot be taken away.
    #[error("network of allocation {alloc} cannot be removed")]
    Unplug {
        /// The allocation.
        alloc: AllocationId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is there cannot be listed.
    #[error("networks left from before cannot be listed")]
    Inventory(#[source] io::Error),
    /// No address is left.
    #[error("address pool {pool} is used up: {in_use} allocations have one; give the node a wider pool")]
    PoolExhausted {
        /// The pool.
        pool: Subnet,
        /// How many addresses are taken.
        in_use: usize,
    },
    /// A program of the node listens on the port.
    #[error("host port {port}/{protocol} is taken by a program on this node; stop it or choose another port")]
    PortTaken {
        /// The port.
        port: u16,
        /// Its transport.
        protocol: Protocol,
    },
    /// Another allocation has the port.
    #[error("host port {port}/{protocol} belongs to allocation {holder}")]
    PortClaimed {
        /// The port.
        port: u16,
        /// Its transport.
        protocol: Protocol,
        /// Who has it.
        holder: AllocationId,
    },
    /// Whether the port is free cannot be found out.
    #[error("host port {port}/{protocol} cannot be taken")]
    Port {
        /// The port.
        port: u16,
        /// Its transport.
        protocol: Protocol,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The packet rules are not in force.
    #[error("packet rules of the node cannot be loaded")]
    Rules(#[source] Arc<RulesError>),
    /// The allocation has no network.
    #[error("allocation {alloc} has no network")]
    NotAttached {
        /// The allocation.
        alloc: AllocationId,
    },
    /// A thread of the runtime cannot be started, or it ended without an answer.
    #[error("a thread for network work cannot be run")]
    Thread(#[source] io::Error),
}

impl NetworkError {
    /// Whether trying again may help without a change of the spec or the configuration.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::NotAttached { .. })
    }
}
