//! Whether one instance fits one node.

use std::collections::BTreeMap;

use skerry_types::{AllocationId, AllocationLimit, InstanceSpec, Protocol, Resources, Rule};

use crate::footprints::FootprintId;
use crate::gpus::{GpuBook, GpuNeed, Holds};
use crate::ports::{PortBook, PortNeed, PortRefusal};

/// What one instance takes.
#[derive(Debug, Clone)]
pub(crate) struct Need {
    pub(crate) resources: Resources,
    pub(crate) ports: PortNeed,
    pub(crate) gpus: GpuNeed,
}

/// What is used on one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    pub(crate) capacity: Resources,
    /// How many allocations it may hold.
    pub(crate) limit: AllocationLimit,
    pub(crate) used: Resources,
    pub(crate) ports: PortBook,
    pub(crate) gpus: GpuBook,
    pub(crate) held: BTreeMap<AllocationId, Held>,
}

/// What one allocation has of a node.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) workload: FootprintId,
    pub(crate) priority: u8,
    pub(crate) resources: Resources,
    pub(crate) ports: Box<[(Protocol, u16)]>,
    pub(crate) gpus: Holds,
}

impl Need {
    pub(crate) fn of(spec: &InstanceSpec) -> Self {
        Self { resources: spec.resources(), ports: PortNeed::of(spec), gpus: GpuNeed::of(spec) }
    }
}

impl Load {
    pub(crate) fn free(&self) -> Resources {
        self.capacity.saturating_sub(&self.used)
    }

    pub(crate) fn allocations(&self) -> u32 {
        u32::try_from(self.held.len()).expect("a node holds fewer than 2^32 allocations")
    }

    /// Enters an allocation. What it takes may leave the node with less than nothing free.
    pub(crate) fn add(&mut self, id: AllocationId, held: Held) {
        self.used += held.resources;
        held.ports.iter().for_each(|port| self.ports.take(*port));
        self.gpus.take(&held.gpus);
        self.held.insert(id, held);
    }

    /// Strikes an allocation out, if it is there.
    pub(crate) fn remove(&mut self, id: &AllocationId) -> Option<Held> {
        let held = self.held.remove(id)?;
        // A sum that ran over the largest number cannot be taken back by parts.
        self.used = self.held.values().fold(Resources::ZERO, |sum, held| sum + held.resources);
        // Where a store went back to an older copy, what it knows may have a port of an orphan's.
        let others = || self.held.values();
        let is_free = |port: &&(Protocol, u16)| !others().any(|other| other.ports.contains(port));
        held.ports.iter().filter(is_free).for_each(|port| self.ports.give_back(*port));
        self.gpus.give_back(&held.gpus);
        Some(held)
    }

    /// Whether there is room for `need`.
    pub(crate) fn fits(&self, need: &Need) -> bool {
        self.room_for_one()
            && self.free().fits(&need.resources)
            && self.gpus.fits(&need.gpus)
            && self.ports.check(&need.ports).is_ok()
    }

    /// The first rule by which there is no room for `need`, with this node's numbers.
    pub(crate) fn refusal(&self, need: &Need) -> Option<Rule> {
        let (free, want) = (self.free(), need.resources);
        if !self.room_for_one() {
            return Some(Rule::AllocationLimit);
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
        if want.bandwidth > free.bandwidth {
            return Some(Rule::Bandwidth { need: want.bandwidth, most_free: free.bandwidth });
        }
        if let Some(rule) = self.gpu_refusal(need) {
            return Some(rule);
        }
        match self.ports.check(&need.ports) {
            Ok(()) => None,
            Err(PortRefusal::Taken(port, protocol)) => Some(Rule::HostPort { port, protocol }),
            Err(PortRefusal::RangeEmpty) => Some(Rule::HostPortRange { need: need.ports.auto }),
        }
    }

    /// The rule about graphics processors, if it says no.
    pub(crate) fn gpu_refusal(&self, need: &Need) -> Option<Rule> {
        if need.gpus.is_empty() {
            return None;
        }
        let (free, want) = (self.free().gpu, need.resources.gpu);
        let most_free = match self.gpus.choose(&need.gpus) {
            Err(most) => most.min(free),
            Ok(_) if want > free => free,
            Ok(_) => return None,
        };
        Some(Rule::Gpu { need: want, most_free })
    }

    /// Whether the node may hold one more allocation, however small.
    pub(crate) fn room_for_one(&self) -> bool {
        self.allocations() < self.limit.get()
    }
}
