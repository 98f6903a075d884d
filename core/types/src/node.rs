//! What a node says of itself.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Labels, Resources, Taint};

/// Facts of a node that change rarely. Capacity is what workloads may have: the machine less what the node keeps for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// What workloads may reserve.
    pub capacity: Resources,
    /// What the machine has.
    pub machine: Resources,
    /// Labels from the node's configuration.
    pub labels: Labels,
    /// Taints from the node's configuration.
    pub taints: Vec<Taint>,
    /// First and last port of the range for `host: auto`.
    pub port_range: (u16, u16),
    /// Graphics processors that workloads may have, in the order of their numbers.
    pub gpus: Vec<Gpu>,
    /// Processor architecture as images name it: `amd64`, `arm64`.
    pub arch: String,
    /// Operating system with version.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// `1`, `2` or `hybrid`.
    pub cgroup: String,
    /// Version of the agent.
    pub agent_version: String,
    /// The kernel's boot id; it changes with each boot.
    pub boot_id: String,
    /// The address people reach the node's host ports at, if it knows one.
    pub address: Option<IpAddr>,
}

/// A graphics processor of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its model; placement sees the first one's as `node.gpu_model`.
    pub model: String,
    /// Device files that a container gets with it.
    pub devices: Vec<String>,
}

/// How much of a node is in use. Sent when it changed by more than a tenth, so an idle node stays silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUsage {
    /// In use on the whole machine.
    pub used: Resources,
}

/// Whether a node is heard from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reachability {
    /// Its link is up.
    Reachable,
    /// Its link is down.
    Unreachable,
}

impl fmt::Display for Reachability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
        })
    }
}
