//! From what is asked for to what nodes hold.

use std::sync::Arc;

use skerry_allocator::Placed;
use skerry_types::{
    AllocationId, AllocationIntent, AllocationStatus, Desired, EventLevel, EventSubject, InstanceIndex,
    InstanceSet, NodeName, Refusal, WorkloadKey, WorkloadKind,
};
use skerry_wire::Revision;

use crate::allocations::Allocation;
use crate::api::{ApiError, ApiReply};
use crate::lease;
use crate::ledger::ALLOCATION;
use crate::records::{AllocationRecord, SplitRecord, WorkloadRecord};
use crate::state::RegionState;

/// Instances that found no place, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) instances: InstanceSet,
    pub(crate) reasons: Vec<Refusal>,
}

impl Pending {
    /// Adds an instance to those of which the same is said.
    pub(crate) fn add(all: &mut Vec<Self>, instance: InstanceIndex, reasons: Vec<Refusal>) {
        match all.iter_mut().find(|pending| pending.reasons == reasons) {
            Some(same) => drop(same.instances.insert(instance)),
            None => all.push(Self { instances: InstanceSet::from_iter([instance]), reasons }),
        }
    }
}

impl RegionState {
    pub(crate) fn allocations_of(&self, key: &WorkloadKey) -> impl Iterator<Item = &AllocationRecord> {
        self.allocations.of(key).map(|known| &known.record)
    }

    pub(crate) fn status_of(&self, record: &AllocationRecord) -> Option<&Arc<AllocationStatus>> {
        self.allocations.known(&record.intent.id)?.status.as_ref()
    }

    /// Compares a workload with its allocations, and stops and places what differs.
    /// False when it is to have another turn.
    pub(crate) fn reconcile(&mut self, key: &WorkloadKey) -> bool {
        self.drain_orphans(key);
        let Some(record) = self.workloads.get(key).map(|workload| workload.record.clone()) else {
            return true;
        };
        if record.deleting {
            self.no_longer_pending(key);
            self.reconcile_deletion(&record);
            return true;
        }
        self.mark_share(key);
        self.rescale(&record);
        let wanted = self.wanted_instances(&record);
        let (mut waiting, homeless) = loop {
            let (local, mut pending, held) = self.deal(&record, &wanted);
            self.stuck.clear();
            match record.spec.kind {
                WorkloadKind::Service | WorkloadKind::Cron => self.reconcile_service(&record, &local),
                WorkloadKind::Daemon => self.reconcile_daemon(&record),
                WorkloadKind::Job(policy) => self.reconcile_job(&record, &policy, &local, &wanted),
            }
            if std::mem::take(&mut self.unfinished) {
                return false;
            }
            let (mut waiting, stuck) = self.take_stuck(&record);
            waiting.extend(lease::waiting(held));
            // Each turn takes the own nodes, or at least one region, out of the question.
            if stuck.is_empty() || !self.hand_on(&record, &stuck) {
                pending.extend(stuck);
                break (waiting, pending);
            }
        };
        let (helped, homeless) = self.make_way(&record, homeless);
        self.keep_local(key, &helped);
        waiting.extend(helped);
        self.conclude(&record, waiting, homeless);
        true
    }

    /// Keeps which instances the own nodes found no place for.
    pub(crate) fn found_no_place(&mut self, pending: Vec<Pending>) {
        self.stuck = pending;
    }

    /// What found no place: instances that have another copy here or wait for room that others leave, and the rest.
    fn take_stuck(&mut self, record: &WorkloadRecord) -> (Vec<Pending>, Vec<Pending>) {
        if self.stuck.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let key = &record.spec.key;
        let runs = self.allocations_of(key).filter(|record| record.intent.desired == Desired::Run);
        let here: InstanceSet = runs.map(|record| record.intent.instance).collect();
        let here = here.union(&self.awaiting_room(key)).union(&self.may_run_here(record));
        let stuck = std::mem::take(&mut self.stuck);
        let part = |instances: fn(&InstanceSet, &InstanceSet) -> InstanceSet| -> Vec<Pending> {
            let parts = stuck.iter().map(|pending| Pending {
                instances: instances(&pending.instances, &here),
                reasons: pending.reasons.clone(),
            });
            parts.filter(|pending| !pending.instances.is_empty()).collect()
        };
        (part(InstanceSet::intersection), part(InstanceSet::difference))
    }

    /// Says what becomes of instances that found no place: a share's go back to the region above, the others wait.
    fn conclude(&mut self, record: &WorkloadRecord, waiting: Vec<Pending>, homeless: Vec<Pending>) {
        let key = &record.spec.key;
        if waiting.is_empty() && homeless.is_empty() {
            self.split_is_settled(key);
        }
        let mut pending = waiting;
        if record.received().is_some() && record.spec.kind != WorkloadKind::Daemon {
            if !homeless.is_empty() {
                self.hand_back(record, &homeless);
            }
        } else {
            pending.extend(homeless);
        }
        // Where an answer is on its way, what was handed back before it waits for news of room as well.
        let was_handed_back = self.splits.get(key).is_some_and(SplitRecord::was_handed_back);
        if pending.is_empty() && !was_handed_back {
            self.no_longer_pending(key);
        } else {
            self.pending.insert(key.clone());
            if record.spec.placement.affinity.iter().any(|wish| wish.weight.is_none()) {
                self.lonely.insert(key.clone());
            }
        }
        self.note_pending(key, pending);
    }

    pub(crate) fn no_longer_pending(&mut self, key: &WorkloadKey) {
        self.pending.remove(key);
        self.lonely.remove(key);
    }

    /// What was deleted in a former life may have been applied again since the store's copy was made: its orphans go on.
    fn reconcile_deletion(&mut self, deleting: &WorkloadRecord) {
        let key = &deleting.spec.key;
        let is_meant = deleting.asked.epoch == self.epoch();
        let leaving = self.allocations_of(key).map(|record| &record.intent);
        let leaving = leaving.filter(|intent| is_meant || intent.desired != Desired::Keep);
        let ids: Vec<AllocationId> = leaving.map(|intent| intent.id.clone()).collect();
        for id in &ids {
            self.stop(id);
        }
        let gone_below = self.withdraw_shares(key);
        self.mark_share(key);
        if ids.is_empty() && gone_below {
            self.forget_workload(key);
        }
    }

    /// Stops those of a workload's allocations that are not wanted; orphans are not asked about.
    pub(crate) fn stop_where(&mut self, key: &WorkloadKey, unwanted: impl Fn(&Allocation) -> bool) {
        self.stop_all(key, |known| known.desired == Desired::Run && unwanted(known));
    }

    /// Stops all of a workload's allocations that are meant, orphans too. Gives how many are meant.
    pub(crate) fn stop_all(&mut self, key: &WorkloadKey, is_meant: impl Fn(&Allocation) -> bool) -> usize {
        let meant = self.allocations.of(key).filter(|known| is_meant(known));
        let ids: Vec<AllocationId> = meant.map(|known| known.id().clone()).collect();
        for id in &ids {
            self.stop(id);
        }
        ids.len()
    }

    /// Ends an allocation because an operator says so, whatever update policies say. Where its instance is wanted another one is
    /// placed, of what is exclusive not before this one is gone.
    pub(crate) fn delete_allocation(&mut self, id: &AllocationId) -> Result<ApiReply, ApiError> {
        let missing = || ApiError::NotFound { what: "allocation", name: id.to_string() };
        let key = self.allocations.get(id).ok_or_else(missing)?.intent.workload.clone();
        self.stop(id);
        self.look_at(&key);
        Ok(ApiReply::Removed(1))
    }

    pub(crate) fn stop(&mut self, id: &AllocationId) {
        let Some(record) = self.allocations.get(id).filter(|record| record.intent.desired != Desired::Stop)
        else {
            return;
        };
        let mut record = record.clone();
        let intent = Arc::make_mut(&mut record.intent);
        intent.desired = Desired::Stop;
        let (workload, node) = (intent.workload.clone(), record.node.clone());
        if self.is_cordoned(&node) {
            self.life.homes.stale();
        }
        self.save_allocation(record);
        self.tell_allocation(id, &workload, "Stopping", format!("node {node} is told to stop {id}"));
        self.seal_if_full();
    }

    pub(crate) fn place_missing(&mut self, record: &WorkloadRecord, missing: &InstanceSet) -> Vec<Pending> {
        let mut pending: Vec<Pending> = Vec::new();
        let (mut later, held) = self.hold_back(record, missing);
        if later.is_empty() {
            return held;
        }
        let turn = later.split_first(self.turn.unwrap_or(u32::MAX));
        for (instance, place) in self.cluster_place(&record.spec, &turn) {
            match place {
                Ok(place) => {
                    if record.spec.exclusive().is_some() {
                        self.give_up_others(&record.spec.key, instance);
                    }
                    self.bind(record, instance, place);
                }
                Err(reasons) => Pending::add(&mut pending, instance, reasons),
            }
            self.seal_if_full();
        }
        match pending.last_mut() {
            // What keeps these off keeps the others off too.
            Some(last) => last.instances = last.instances.union(&later),
            None => self.unfinished |= !later.is_empty(),
        }
        pending.extend(held);
        pending
    }

    pub(crate) fn bind(&mut self, record: &WorkloadRecord, instance: InstanceIndex, place: Placed) {
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
            timezone: self.timezone_of(&place.node),
            desired: Desired::Run,
        };
        self.tell_allocation(&id, key, "Placed", format!("instance {instance} goes to node {}", place.node));
        let (node, placed_at) = (place.node, self.now.wall);
        self.node_changed(&node);
        let record = AllocationRecord { intent: Arc::new(intent), node, revision: Revision(0), placed_at };
        self.reserve_for(&record);
        self.save_allocation(record);
        if !self.lonely.is_empty() {
            let own = self.config.region.clone();
            self.company_in(&own, key);
        }
    }

    /// Keeps why instances are pending, and tells of it once.
    pub(crate) fn note_pending(&mut self, key: &WorkloadKey, pending: Vec<Pending>) {
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
    pub(crate) fn status_changed(&mut self, node: &NodeName, status: &Arc<AllocationStatus>) {
        let Some(heard) = self.allocations.hear(self.now.mono, node, Arc::clone(status)) else { return };
        let Some(record) = self.allocations.get(&status.id) else { return };
        let (key, desired) = (record.intent.workload.clone(), record.intent.desired);
        if heard.runs {
            self.count_changed(node);
        }
        self.mark_share(&key);
        if status.phase.is_over() && desired == Desired::Stop {
            self.bury_allocation(node, &status.id);
            self.drop_allocation(&status.id);
        } else if status.phase.has_ended() && self.is_job(&key) {
            self.job_instance_ended(status);
        } else if heard.decides {
            self.look_at(&key);
        }
    }

    fn is_job(&self, key: &WorkloadKey) -> bool {
        let workload = self.workloads.get(key);
        workload.is_some_and(|workload| matches!(workload.record.spec.kind, WorkloadKind::Job(_)))
    }

    /// Forgets an allocation, and lets what waits for room look again.
    pub(crate) fn drop_allocation(&mut self, id: &AllocationId) {
        let Some(record) = self.allocations.remove(id) else { return };
        let key = record.intent.workload.clone();
        self.cluster_release(&record);
        self.outbox.batch().delete(ALLOCATION, id.as_str());
        self.forget_life_of(id);
        self.node_lightened(&record.node);
        self.look_at(&key);
        self.take_refused_orphan(id);
        self.changed = true;
    }

    /// Something that was refused may fit.
    pub(crate) fn room_appeared(&mut self) {
        let own = self.config.region.clone();
        self.room_in(&own);
        self.changed = true;
    }
}
