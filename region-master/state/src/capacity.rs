//! The allocator's picture of the nodes, kept in step with what the region knows.

use std::collections::BTreeSet;

use skerry_allocator::{Booking, Demand, NodeView, attributes};
use skerry_types::{
    AllocationId, Attributes, Desired, GpuBinding, InstanceIndex, Labels, NodeFacts, NodeName, PortBinding,
    Refusal, Resources, WorkloadSpec,
};

use crate::ledger::AllocationRecord;
use crate::state::RegionState;

/// Where an instance goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: AllocationId,
    pub(crate) node: NodeName,
    pub(crate) ports: Vec<PortBinding>,
    pub(crate) gpus: Vec<GpuBinding>,
}

impl RegionState {
    /// A node's facts came or changed.
    pub(crate) fn facts_changed(&mut self, name: &NodeName) {
        self.cluster_upsert(name);
        self.room_appeared();
    }

    pub(crate) fn cluster_upsert(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get(name) else { return };
        // A node that never spoke has room for nothing.
        let silent = NodeFacts::default();
        let facts = node.facts.as_deref().unwrap_or(&silent);
        self.cluster.set_node(NodeView {
            name: name.clone(),
            site: node.record.site.clone(),
            attributes: attributes(name, &node.record.site, facts, &Labels::new()),
            taints: facts.taints.clone(),
            capacity: facts.capacity,
            gpus: u16::try_from(facts.gpus.len()).unwrap_or(u16::MAX),
            port_range: facts.port_range,
            reachable: node.is_reachable(),
            schedulable: true,
            point: None,
            micros_per_mb: 0,
        });
    }

    pub(crate) fn cluster_attributes(&self, name: &NodeName) -> Option<Attributes> {
        let node = self.nodes.get(name)?;
        let silent = NodeFacts::default();
        let facts = node.facts.as_deref().unwrap_or(&silent);
        Some(attributes(name, &node.record.site, facts, &Labels::new()))
    }

    pub(crate) fn cluster_reachable(&mut self, name: &NodeName, reachable: bool) {
        if self.cluster.set_reachable(name, reachable).is_ok() && reachable {
            self.room_appeared();
            // Instances of an older spec that waited for their node to come back.
            self.dirty.extend(self.rolling.iter().cloned());
        }
    }

    pub(crate) fn cluster_remove(&mut self, name: &NodeName) {
        self.cluster.remove_node(name);
    }

    pub(crate) fn cluster_occupy(&mut self, record: &AllocationRecord) {
        let intent = &record.intent;
        let workload = self.workloads.get(&intent.workload).map(|workload| &workload.record.spec);
        let unlabelled = Labels::new();
        let booking = Booking {
            id: &intent.id,
            key: &intent.workload,
            labels: workload.map_or(&unlabelled, |spec| &spec.labels),
            priority: workload.map_or(WorkloadSpec::DEFAULT_PRIORITY, |spec| spec.priority),
            spec: &intent.spec,
            ports: &intent.ports,
            gpus: &intent.gpus,
        };
        let known = self.cluster.reserve(&record.node, &booking);
        debug_assert!(known.is_ok(), "an allocation's node is in the picture");
    }

    pub(crate) fn cluster_release(&mut self, record: &AllocationRecord) {
        if self.cluster.release(&record.node, &record.intent.id).is_ok() {
            self.room_appeared();
        }
    }

    pub(crate) fn cluster_used(&self, name: &NodeName) -> Resources {
        self.cluster.used(name).unwrap_or_default()
    }

    /// Finds places for the instances that are missing, and takes them.
    pub(crate) fn cluster_place(
        &mut self,
        spec: &WorkloadSpec,
        missing: &BTreeSet<InstanceIndex>,
    ) -> Vec<Result<Place, Vec<Refusal>>> {
        let existing: Vec<NodeName> = self
            .allocations_of(&spec.key)
            .filter(|record| record.intent.desired == Desired::Run)
            .map(|record| record.node.clone())
            .collect();
        let demand = Demand {
            key: &spec.key,
            labels: &spec.labels,
            priority: spec.priority,
            spec: &spec.instance,
            placement: &spec.placement,
            existing: &existing,
        };
        let counters = &mut self.counters;
        // Asked once for each that has a place, in order.
        let mut instances = missing.iter();
        let mut id = |_| {
            counters.serial += 1;
            let instance = instances.next().expect("no more are placed than are missing");
            AllocationId::compose(&spec.key.name, *instance, counters.serial)
        };
        let answers = self.cluster.place(&demand, u32::try_from(missing.len()).unwrap_or(u32::MAX), &mut id);
        let place =
            |p: skerry_allocator::Placed| Place { id: p.id, node: p.node, ports: p.ports, gpus: p.gpus };
        answers.into_iter().map(|answer| answer.map(place)).collect()
    }
}
