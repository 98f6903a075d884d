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
    /// How many allocations it may hold: it has addresses for no more.
    pub allocations: AllocationLimit,
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

/// How many allocations a node may hold, whatever they take: 0 to [`AllocationLimit::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u32")]
pub struct AllocationLimit(u32);

impl AllocationLimit {
    /// The most that any node holds. A bridge of Linux has 1,023 ports, and a `/22` 1,021 addresses for allocations.
    pub const MAX: Self = Self(1000);

    /// A bound, or the most that any node holds if that is less.
    pub fn new(bound: u32) -> Self {
        Self(bound.min(Self::MAX.0))
    }

    /// As a number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// [`AllocationLimit::MAX`]: a node that says nothing is bound by nothing of its own.
impl Default for AllocationLimit {
    fn default() -> Self {
        Self::MAX
    }
}

impl From<u32> for AllocationLimit {
    fn from(bound: u32) -> Self {
        Self::new(bound)
    }
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
