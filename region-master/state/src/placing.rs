//! From what is asked for to what nodes hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_allocator::Placed;
use skerry_types::{
    AllocationId, AllocationIntent, AllocationStatus, Desired, EventLevel, EventSubject, InstanceIndex,
    InstanceSet, NodeName, Phase, Refusal, WorkloadKey,
};
use skerry_wire::Revision;

use crate::ledger::ALLOCATION;
use crate::records::{AllocationRecord, WorkloadRecord};
use crate::state::RegionState;

/// Instances of a service that an update may take down at a time.
const MAX_UNAVAILABLE: usize = 1;

/// Instances that found no place, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) instances: InstanceSet,
    pub(crate) reasons: Vec<Refusal>,
}

/// A workload's allocations, held against its spec.
#[derive(Debug, Default)]
struct Comparison {
    current: BTreeMap<InstanceIndex, AllocationId>,
    outdated: BTreeMap<InstanceIndex, AllocationId>,
    surplus: Vec<AllocationId>,
}

impl RegionState {
    pub(crate) fn allocations_of(&self, key: &WorkloadKey) -> impl Iterator<Item = &AllocationRecord> {
        let ids = self.by_workload.get(key).into_iter().flatten();
        ids.filter_map(|id| self.allocations.get(id))
    }

    pub(crate) fn status_of(&self, record: &AllocationRecord) -> Option<&Arc<AllocationStatus>> {
        self.nodes.get(&record.node)?.statuses.get(&record.intent.id)
    }

    fn is_running(&self, id: &AllocationId) -> bool {
        let record = self.allocations.get(id);
        record.and_then(|record| self.status_of(record)).is_some_and(|status| status.phase == Phase::Running)
    }

    fn is_reachable(&self, id: &AllocationId) -> bool {
        let node = self.allocations.get(id).and_then(|record| self.nodes.get(&record.node));
        node.is_some_and(crate::nodes::Node::is_reachable)
    }

    /// Compares a workload with its allocations, and stops and places what differs.
    pub(crate) fn reconcile(&mut self, key: &WorkloadKey) {
        let Some(record) = self.workloads.get(key).map(|workload| workload.record.clone()) else { return };
        self.pending.remove(key);
        self.rolling.remove(key);
        if record.deleting {
            return self.reconcile_deletion(key);
        }
        let found = self.compare(&record);
        for id in &found.surplus {
            self.stop(id);
        }
        let known = |instance: &InstanceIndex| {
            found.current.contains_key(instance) || found.outdated.contains_key(instance)
        };
        let mut missing: BTreeSet<InstanceIndex> = (0..record.spec.instances).map(InstanceIndex).collect();
        missing.retain(|instance| !known(instance));
        missing.extend(self.replace_outdated(key, &found, missing.len()));
        let missing: InstanceSet = missing.into_iter().collect();
        let pending = self.place_missing(&record, &missing);
        if !pending.is_empty() {
            self.pending.insert(key.clone());
        }
        self.note_pending(key, pending);
    }

    fn reconcile_deletion(&mut self, key: &WorkloadKey) {
        let ids: Vec<AllocationId> =
            self.allocations_of(key).map(|record| record.intent.id.clone()).collect();
        for id in &ids {
            self.stop(id);
        }
        if ids.is_empty() {
            self.forget_workload(key);
        }
    }

    fn compare(&self, record: &WorkloadRecord) -> Comparison {
        let mut found = Comparison::default();
        let spec = &record.spec;
        for allocation in self.allocations_of(&spec.key).filter(|a| a.intent.desired == Desired::Run) {
            let intent = &allocation.intent;
            let same = Arc::ptr_eq(&intent.spec, &spec.instance) || intent.spec == spec.instance;
            let slot = if same { &mut found.current } else { &mut found.outdated };
            let beyond = intent.instance.0 >= spec.instances;
            if beyond || slot.contains_key(&intent.instance) {
                found.surplus.push(intent.id.clone());
            } else {
                slot.insert(intent.instance, intent.id.clone());
            }
        }
        found
    }

    /// Stops instances of an older spec, as many as may be down at a time. One whose node is away waits for its return:
    /// started elsewhere, it would run twice.
    fn replace_outdated(
        &mut self,
        key: &WorkloadKey,
        found: &Comparison,
        missing: usize,
    ) -> Vec<InstanceIndex> {
        let starting = found.current.values().filter(|id| !self.is_running(id)).count();
        let mut down = missing + starting;
        let mut replaced = Vec::new();
        for (instance, id) in &found.outdated {
            if found.current.contains_key(instance) {
                self.stop(id);
                continue;
            }
            let running = self.is_running(id);
            if self.is_reachable(id) && (!running || down < MAX_UNAVAILABLE) {
                self.stop(id);
                replaced.push(*instance);
                down += usize::from(running);
            } else {
                self.rolling.insert(key.clone());
            }
        }
        replaced
    }

    fn stop(&mut self, id: &AllocationId) {
        let Some(record) = self.allocations.get(id).filter(|record| record.intent.desired == Desired::Run)
        else {
            return;
        };
        let mut record = record.clone();
        let intent = Arc::make_mut(&mut record.intent);
        intent.desired = Desired::Stop;
        let (workload, node) = (intent.workload.clone(), record.node.clone());
        self.save_allocation(record);
        self.tell_allocation(id, &workload, "Stopping", format!("node {node} is told to stop {id}"));
        self.seal_if_full();
    }

    fn place_missing(&mut self, record: &WorkloadRecord, missing: &InstanceSet) -> Vec<Pending> {
        let mut pending: Vec<Pending> = Vec::new();
        if missing.is_empty() {
            return pending;
        }
        for (instance, place) in self.cluster_place(&record.spec, missing) {
            match place {
                Ok(place) => self.bind(record, instance, place),
                Err(reasons) => match pending.iter_mut().find(|pending| pending.reasons == reasons) {
                    Some(same) => {
                        same.instances.insert(instance);
                    }
                    None => pending.push(Pending { instances: InstanceSet::from_iter([instance]), reasons }),
                },
            }
            self.seal_if_full();
        }
        pending
    }

    fn bind(&mut self, record: &WorkloadRecord, instance: InstanceIndex, place: Placed) {
        let key = &record.spec.key;
        let id = place.id.clone();
        let intent = AllocationIntent {
            id: id.clone(),
            workload: key.clone(),
            generation: record.generation,
            instance,
            spec: Arc::clone(&record.spec.instance),
            ports: place.ports,
            gpus: place.gpus,
            timezone: None,
            desired: Desired::Run,
        };
        self.by_workload.entry(key.clone()).or_default().insert(id.clone());
        self.tell_allocation(&id, key, "Placed", format!("instance {instance} goes to node {}", place.node));
        let (node, placed_at) = (place.node, self.now.wall);
        self.save_allocation(AllocationRecord {
            intent: Arc::new(intent),
            node,
            revision: Revision(0),
            placed_at,
        });
    }

    /// Keeps why instances are pending, and tells of it once.
    fn note_pending(&mut self, key: &WorkloadKey, pending: Vec<Pending>) {
        let Some(workload) = self.workloads.get_mut(key) else { return };
        if workload.pending == pending {
            return;
        }
        workload.pending.clone_from(&pending);
        self.changed = true;
        for part in pending {
            let reasons: Vec<String> = part.reasons.iter().map(Refusal::to_string).collect();
            let message = format!("{} instances have no place: {}", part.instances.len(), reasons.join("; "));
            self.tell(EventLevel::Warning, EventSubject::Workload(key.clone()), "Pending", message);
        }
    }

    /// A node said something of an allocation.
    pub(crate) fn status_changed(&mut self, node: &NodeName, status: &AllocationStatus) {
        let Some(record) = self.allocations.get(&status.id).filter(|record| record.node == *node) else {
            return;
        };
        let key = record.intent.workload.clone();
        if status.phase.is_over() && record.intent.desired == Desired::Stop {
            self.bury_allocation(node, &status.id);
            self.drop_allocation(&status.id);
        } else if self.rolling.contains(&key) {
            self.dirty.insert(key);
        }
    }

    /// Forgets an allocation, and lets what waits for room look again.
    pub(crate) fn drop_allocation(&mut self, id: &AllocationId) {
        let Some(record) = self.allocations.remove(id) else { return };
        let key = record.intent.workload.clone();
        self.cluster_release(&record);
        if let Some(ids) = self.by_workload.get_mut(&key) {
            ids.remove(id);
        }
        self.outbox.batch().delete(ALLOCATION, id.as_str());
        self.dirty.insert(key);
        self.changed = true;
    }

    /// Something that was refused may fit.
    pub(crate) fn room_appeared(&mut self) {
        self.dirty.extend(self.pending.iter().cloned());
        self.changed = true;
    }
}
