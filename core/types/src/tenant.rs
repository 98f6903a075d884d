//! Tenants: who shares a federation, and how much of it each may have.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Bandwidth, Bytes, MilliCpu, MilliGpu, Resources, TenantName};

/// A tenant as an operator describes it. Tenants form a tree; what is charged to one is charged to all above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantSpec {
    /// Its name.
    pub name: TenantName,
    /// The tenant it is a part of; `None` at the top.
    pub parent: Option<TenantName>,
    /// Its part beside its siblings when there is not enough for all: 1 to 1000.
    pub weight: u32,
    /// What preemption never takes from it.
    pub guarantee: Quota,
    /// What its workloads, with those of all tenants below it, may reserve in the whole tree of regions.
    pub limit: Quota,
}

impl TenantSpec {
    /// Weight of a tenant that nobody described.
    pub const DEFAULT_WEIGHT: u32 = 100;
}

/// Amounts of some resources; `None` says nothing of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quota {
    /// Processor time.
    pub cpu: Option<MilliCpu>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Disk.
    pub disk: Option<Bytes>,
    /// Bandwidth.
    pub bandwidth: Option<Bandwidth>,
    /// Graphics processors.
    pub gpu: Option<MilliGpu>,
}

impl Quota {
    /// Whether nothing is bounded.
    pub fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }

    /// The first resource of which `used` is more than this, with both amounts as text.
    pub fn first_excess(&self, used: &Resources) -> Option<Excess> {
        let excess = |what: &'static str, used: String, limit: String| Some(Excess { what, used, limit });
        match self {
            Self { cpu: Some(limit), .. } if used.cpu > *limit => {
                excess("cpu", used.cpu.to_string(), limit.to_string())
            }
            Self { memory: Some(limit), .. } if used.memory > *limit => {
                excess("memory", used.memory.to_string(), limit.to_string())
            }
            Self { disk: Some(limit), .. } if used.disk > *limit => {
                excess("disk", used.disk.to_string(), limit.to_string())
            }
            Self { bandwidth: Some(limit), .. } if used.bandwidth > *limit => {
                excess("bandwidth", used.bandwidth.to_string(), limit.to_string())
            }
            Self { gpu: Some(limit), .. } if used.gpu > *limit => {
                excess("gpu", used.gpu.to_string(), limit.to_string())
            }
            _ => None,
        }
    }
}

/// A resource of which more is used than a quota allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// Which resource.
    pub what: &'static str,
    /// How much is used.
    pub used: String,
    /// How much may be.
    pub limit: String,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {}", self.used, self.limit, self.what)
    }
}
