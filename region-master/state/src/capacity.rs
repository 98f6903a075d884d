//! The allocator's picture of the nodes, kept in step with what the region knows.

use skerry_allocator::{Booking, Demand, NodeView, Placed, attributes};
use skerry_rollout::rolling::Drain;
use skerry_types::{
    AllocationId, Attributes, Desired, InstanceIndex, InstanceSet, Labels, NodeFacts, NodeName, Refusal,
    Resources, SiteName, WorkloadKey, WorkloadSpec,
};

use crate::allocations::Allocation;
use crate::records::AllocationRecord;
use crate::state::RegionState;

impl RegionState {
    /// A node's facts came or changed.
    pub(crate) fn facts_changed(&mut self, name: &NodeName) {
        self.cluster_upsert(name);
        self.look_at_daemons();
        self.room_appeared();
    }

    pub(crate) fn cluster_upsert(&mut self, name: &NodeName) {
        self.node_changed(name);
        self.life.homes.stale();
        let Some((name, node)) = self.nodes.get_key_value(name) else { return };
        // A node that never spoke has room for nothing.
        let silent = NodeFacts::default();
        let facts = node.facts.as_deref().unwrap_or(&silent);
        let attributes = self.cluster_attributes(name).unwrap_or_default();
        let spec = self.sites.spec(&node.site);
        self.cluster.set_node(NodeView {
            name: name.clone(),
            site: node.site.clone(),
            attributes,
            taints: facts.taints.clone(),
            capacity: facts.capacity,
            limit: facts.allocations,
            gpus: u16::try_from(facts.gpus.len()).unwrap_or(u16::MAX),
            port_range: facts.port_range,
            reachable: node.child.is_heard(),
            schedulable: !self.is_cordoned(name),
            point: spec.point,
            micros_per_mb: spec.link.micros_per_mb,
        });
    }

    pub(crate) fn cluster_attributes(&self, name: &NodeName) -> Option<Attributes> {
        let node = self.nodes.get(name)?;
        let silent = NodeFacts::default();
        let facts = node.facts.as_deref().unwrap_or(&silent);
        let unlabelled = Labels::new();
        let labels = self.sites.specs.get(&node.site).map_or(&unlabelled, |spec| &spec.labels);
        let mut found = attributes(name, &node.site, facts, labels);
        found.insert("region.name".to_owned(), self.config.region.to_string());
        Some(found)
    }

    pub(crate) fn cluster_reachable(&mut self, name: &NodeName, reachable: bool) {
        self.node_changed(name);
        if reachable {
            self.life.away.remove(name);
        } else {
            self.life.away.entry(name.clone()).or_insert(self.now.mono);
        }
        for key in &self.workloads_on(name) {
            self.mark_share(key);
            self.look_at_reach(key);
        }
        self.changed = true;
        if self.cluster.set_reachable(name, reachable).is_ok() && reachable {
            self.room_appeared();
        }
    }

    pub(crate) fn cluster_remove(&mut self, name: &NodeName) {
        self.life.homes.stale();
        self.cluster.remove_node(name);
    }

    /// Enters an allocation.
    pub(crate) fn cluster_occupy(&mut self, record: &AllocationRecord) {
        self.reserve_for(record);
        self.cluster_book(record, None);
        self.node_changed(&record.node);
    }

    /// The room of an allocation that leaves is promised to another: nobody takes it as a lower one's.
    pub(crate) fn cluster_promise(&mut self, record: &AllocationRecord) {
        self.cluster_book(record, Some(u8::MAX));
    }

    pub(crate) fn reserve_for(&mut self, record: &AllocationRecord) {
        let reserved = self.reserved.entry(record.intent.workload.tenant.clone()).or_default();
        *reserved += record.intent.spec.resources();
    }

    /// Enters an allocation, or enters it anew, with its workload's priority or another.
    pub(crate) fn cluster_book(&mut self, record: &AllocationRecord, priority: Option<u8>) {
        let intent = &record.intent;
        let spec = self.workloads.get(&intent.workload).map(|workload| &workload.record.spec);
        let unlabelled = Labels::new();
        let booking = Booking {
            id: &intent.id,
            key: &intent.workload,
            labels: spec.map_or(&unlabelled, |spec| &spec.labels),
            priority: priority
                // Nobody takes the room of what nobody is known to have asked for.
                .or_else(|| (intent.desired == Desired::Keep).then_some(u8::MAX))
                .unwrap_or_else(|| spec.map_or(WorkloadSpec::DEFAULT_PRIORITY, |spec| spec.priority)),
            spec: &intent.spec,
            ports: &intent.ports,
            gpus: &intent.gpus,
        };
        let known = self.cluster.reserve(&record.node, &booking);
        debug_assert!(known.is_ok(), "an allocation's node is in the picture");
    }

    /// Where a site lies, for workloads that want to be near to it.
    pub(crate) fn cluster_site(&mut self, name: &SiteName) {
        if let Some(point) = self.sites.specs.get(name).and_then(|spec| spec.point) {
            self.cluster.set_site_point(name, point);
        }
    }

    /// A workload's labels or priority changed: its allocations are entered anew.
    pub(crate) fn book_anew(&mut self, key: &WorkloadKey) {
        let records: Vec<AllocationRecord> = self.allocations_of(key).cloned().collect();
        for record in records.iter().filter(|record| record.intent.desired == Desired::Run) {
            self.cluster_book(record, None);
        }
    }

    pub(crate) fn cluster_release(&mut self, record: &AllocationRecord) {
        self.node_changed(&record.node);
        let tenant = &record.intent.workload.tenant;
        let left = self.reserved_by(tenant).saturating_sub(&record.intent.spec.resources());
        if left == Resources::ZERO {
            self.reserved.remove(tenant);
        } else {
            self.reserved.insert(tenant.clone(), left);
        }
        if self.cluster.release(&record.node, &record.intent.id).is_ok() {
            self.room_appeared();
        }
    }

    pub(crate) fn cluster_used(&self, name: &NodeName) -> Resources {
        self.cluster.used(name).unwrap_or_default()
    }

    /// The nodes of a workload's instances, one entry for each.
    pub(crate) fn nodes_of(&self, key: &WorkloadKey) -> Vec<NodeName> {
        self.allocations_of(key)
            .filter(|record| record.intent.desired == Desired::Run)
            .map(|record| record.node.clone())
            .collect()
    }

    /// The nodes of copies that stay beside more of this spec, one entry for each: what spreads evenly does so over those, and
    /// not over what an update or a drain takes away.
    fn nodes_of_staying(&self, spec: &WorkloadSpec) -> Vec<NodeName> {
        let newest = self.workloads.get(&spec.key).map(|workload| &workload.record.spec.instance);
        let goes = |known: &Allocation| {
            let outdated =
                newest.is_some_and(|newest| *newest == spec.instance) && known.spec != spec.instance;
            outdated || self.drain_of(spec, &known.record.node) != Drain::No
        };
        let run = self.allocations.of(&spec.key).filter(|known| known.desired == Desired::Run);
        run.filter(|known| !goes(known)).map(|known| known.record.node.clone()).collect()
    }

    /// Takes room for one instance on this very node.
    pub(crate) fn cluster_place_on(
        &mut self,
        spec: &WorkloadSpec,
        instance: InstanceIndex,
        node: &NodeName,
    ) -> Result<Placed, Vec<Refusal>> {
        self.counters.serial += 1;
        let id = AllocationId::compose(&spec.key.name, instance, self.counters.serial);
        let placed = self.cluster.place_on(node, &demand(spec, &[]), id);
        placed.map_err(|rule| vec![Refusal { rule, nodes: 1 }])
    }

    /// Finds places for more instances of a workload, and takes them. One answer for each, by growing number.
    pub(crate) fn cluster_place(
        &mut self,
        spec: &WorkloadSpec,
        instances: &InstanceSet,
    ) -> Vec<(InstanceIndex, Result<Placed, Vec<Refusal>>)> {
        let existing = self.nodes_of_staying(spec);
        let demand = demand(spec, &existing);
        let wanted: Vec<InstanceIndex> = instances.iter().collect();
        let serial = &mut self.counters.serial;
        let mut id = |at: u32| {
            *serial += 1;
            let instance = wanted[usize::try_from(at).unwrap_or_default()];
            AllocationId::compose(&spec.key.name, instance, *serial)
        };
        let answers = self.cluster.place(&demand, instances.len(), &mut id);
        wanted.iter().copied().zip(answers).collect()
    }
}

/// What the allocator asks of a workload.
pub(crate) fn demand<'a>(spec: &'a WorkloadSpec, existing: &'a [NodeName]) -> Demand<'a> {
    Demand {
        key: &spec.key,
        labels: &spec.labels,
        priority: spec.priority,
        spec: &spec.instance,
        placement: &spec.placement,
        existing,
    }
}
