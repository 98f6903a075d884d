//! Things that happened, for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AllocationId, NodeName, RegionName, TenantName, WallTime, WorkloadKey};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, by the clock of who saw it.
    pub at: WallTime,
    /// How grave.
    pub level: EventLevel,
    /// To what.
    pub subject: EventSubject,
    /// One word for programs: `Placed`, `Started`, `Exited`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// How grave an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EventLevel {
    /// As it should be.
    Info,
    /// Not as it should be; the system goes on by itself.
    Warning,
}

impl fmt::Display for EventLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
        })
    }
}

/// What an event happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventSubject {
    /// A workload.
    Workload(WorkloadKey),
    /// An allocation of a workload.
    Allocation(AllocationId, WorkloadKey),
    /// A node.
    Node(NodeName),
    /// The region itself.
    Region,
    /// A region below it.
    Child(RegionName),
    /// A tenant.
    Tenant(TenantName),
}

impl fmt::Display for EventSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(key) => write!(f, "workload/{key}"),
            Self::Allocation(id, _) => write!(f, "allocation/{id}"),
            Self::Node(name) => write!(f, "node/{name}"),
            Self::Region => write!(f, "region"),
            Self::Child(name) => write!(f, "region/{name}"),
            Self::Tenant(name) => write!(f, "tenant/{name}"),
        }
    }
}
