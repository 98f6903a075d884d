//! Whether one instance fits one node.

use skerry_types::{InstanceSpec, Resources, Rule};

use crate::ALLOCATIONS_MAX;
use crate::ports::{PortBook, PortNeed, PortRefusal};

/// What one instance takes.
#[derive(Debug, Clone)]
pub(crate) struct Need {
    pub(crate) resources: Resources,
    pub(crate) ports: PortNeed,
}

/// What is used on one node.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) capacity: Resources,
    pub(crate) used: Resources,
    pub(crate) allocations: u32,
    pub(crate) ports: PortBook,
}

impl Need {
    pub(crate) fn of(spec: &InstanceSpec) -> Self {
        Self { resources: spec.resources(), ports: PortNeed::of(spec) }
    }
}

impl Load {
    pub(crate) fn free(&self) -> Resources {
        self.capacity.saturating_sub(&self.used)
    }

    /// Whether there is room for `need`.
    pub(crate) fn fits(&self, need: &Need) -> bool {
        self.allocations < ALLOCATIONS_MAX
            && self.free().fits(&need.resources)
            && self.ports.check(&need.ports).is_ok()
    }

    /// The first rule by which there is no room for `need`, with this node's numbers.
    pub(crate) fn refusal(&self, need: &Need) -> Option<Rule> {
        let (free, want) = (self.free(), need.resources);
        if self.allocations >= ALLOCATIONS_MAX {
            return Some(Rule::AllocationLimit { limit: ALLOCATIONS_MAX });
        }
        if want.cpu > free.cpu {
            return Some(Rule::Cpu { need: want.cpu, most_free: free.cpu });
        }
        if want.memory > free.memory {
            return Some(Rule::Memory { need: want.memory, most_free: free.memory });
        }
        if want.disk > free.disk {
            return Some(Rule::Disk { need: want.disk, most_free: free.disk });
        }
        match self.ports.check(&need.ports) {
            Ok(()) => None,
            Err(PortRefusal::Taken(port, protocol)) => Some(Rule::HostPort { port, protocol }),
            Err(PortRefusal::RangeEmpty) => Some(Rule::HostPortRange { need: need.ports.auto }),
        }
    }

    /// How full the node would be with `need`: thousandths of its cpu and of its memory, added.
    pub(crate) fn fullness(&self, need: &Need) -> u64 {
        let share = |used: u64, more: u64, capacity: u64| {
            used.saturating_add(more).saturating_mul(1000) / capacity.max(1)
        };
        let (used, more, capacity) = (&self.used, &need.resources, &self.capacity);
        share(used.cpu.0, more.cpu.0, capacity.cpu.0).saturating_add(share(
            used.memory.0,
            more.memory.0,
            capacity.memory.0,
        ))
    }
}
