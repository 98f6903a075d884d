//! Orphans: allocations that nodes hold by the word of a former life of this master.
//!
//! A store that is restored from an older copy, or begun anew, does not know what was placed since. The nodes go on with it
//! and say so. Here an orphan is an allocation like any other, but that it is [`Desired::Keep`]: it takes room, it is shown,
//! it keeps its lease, and no plan counts on it or ends it. That state ends in one of these ways:
//!
//! - Its workload is applied, or comes as a share, in this life: it is adopted. Where it runs what is asked for, it stays as it is; where
//!   not, it is a copy like those of an earlier generation, and goes as the workload's update policy says.
//! - Its workload is deleted, whether this master knows it or not.
//! - Its node is emptied, last of all that is there, or removed.
//! - It is exclusive and another copy of its instance is known, or wanted elsewhere: it stops before that one starts.

use std::sync::Arc;

use skerry_types::{
    AllocationId, AllocationIntent, Desired, EventLevel, EventSubject, Generation, NodeName, WorkloadKey,
    WorkloadKind,
};
use skerry_wire::Revision;

use crate::api::ApiError;
use crate::records::{AllocationRecord, WorkloadRecord};
use crate::state::RegionState;

impl RegionState {
    /// A node holds something by the word of a former life of this master.
    pub(crate) fn take_orphan(&mut self, node: &NodeName, intent: AllocationIntent) {
        let (id, key) = (intent.id.clone(), intent.workload.clone());
        if let Some(known) = self.allocations.get(&id) {
            if known.node != *node {
                self.refuse_orphan(node, intent);
            }
            return;
        }
        self.counters.serial = self.counters.serial.max(id.serial().unwrap_or_default());
        let other = || self.allocations.of(&key).any(|other| other.instance == intent.instance);
        let is_second = intent.spec.exclusive.is_some() && other();
        let (desired, what) = if is_second {
            (Desired::Stop, "it is exclusive, and another copy is known: it is stopped")
        } else {
            (Desired::Keep, "it goes on: apply its workload again, or delete it")
        };
        let message =
            format!("{id} on node {node} is older than the master's store and not known to it; {what}");
        self.tell(EventLevel::Warning, EventSubject::Allocation(id, key.clone()), "Orphaned", message);
        let record = AllocationRecord {
            intent: Arc::new(AllocationIntent { desired, ..intent }),
            node: node.clone(),
            revision: Revision(0),
            placed_at: self.now.wall,
        };
        self.cluster_occupy(&record);
        self.save_allocation(record.clone());
        self.look_at(&key);
        let known = self.workloads.get(&key).map(|workload| workload.record.clone());
        let asked = known.filter(|known| known.asked.epoch == self.epoch() && !known.deleting);
        if let Some(asked) = asked.filter(|_| !is_second) {
            self.adopt(&asked, record);
        }
    }

    /// Another allocation has the name of this one: it has to wait until that is gone. It happens only where a store began anew,
    /// with all its numbers, and something was applied before the node was there again.
    fn refuse_orphan(&mut self, node: &NodeName, intent: AllocationIntent) {
        let (id, key) = (intent.id.clone(), intent.workload.clone());
        let message = format!(
            "{id} runs on node {node} since before the master's store was made, and another node has an allocation of that name: \
             delete {key}, which ends both, and apply it again"
        );
        self.refused_orphans.insert(id, (node.clone(), intent));
        self.tell_node(EventLevel::Warning, node, "OrphanRefused", message);
    }

    /// The name of an allocation is free.
    pub(crate) fn take_refused_orphan(&mut self, id: &AllocationId) {
        if let Some((node, intent)) = self.refused_orphans.remove(id) {
            self.take_orphan(&node, intent);
        }
    }

    /// Takes up an orphan's row from disk.
    pub(crate) fn restore_orphan(&mut self, node: &NodeName, intent: AllocationIntent) {
        if self.allocations.get(&intent.id).is_some_and(|known| known.node != *node) {
            self.refused_orphans.insert(intent.id.clone(), (node.clone(), intent));
        }
    }

    fn orphans_of(&self, key: &WorkloadKey) -> impl Iterator<Item = &AllocationRecord> {
        self.allocations_of(key).filter(|record| record.intent.desired == Desired::Keep)
    }

    /// How many orphans a node holds.
    pub(crate) fn orphans_on(&self, node: &NodeName) -> u32 {
        let orphans = self.running_on(node).filter(|record| record.intent.desired == Desired::Keep);
        u32::try_from(orphans.count()).unwrap_or(u32::MAX)
    }

    /// A generation for what is applied: behind those of orphans, which are of other specs than this one, or adopted into it.
    pub(crate) fn generation_behind_orphans(&self, key: &WorkloadKey, least: Generation) -> Generation {
        let newest = self.orphans_of(key).map(|record| record.intent.generation).max();
        newest.map_or(least, |newest| least.max(Generation(newest.0 + 1)))
    }

    /// Somebody says what a workload is to be: its orphans are its allocations again.
    pub(crate) fn adopt_orphans(&mut self, record: &WorkloadRecord) {
        let key = &record.spec.key;
        let orphans: Vec<AllocationRecord> = self.orphans_of(key).cloned().collect();
        for orphan in orphans {
            self.adopt(record, orphan);
            self.seal_if_full();
        }
    }

    fn adopt(&mut self, record: &WorkloadRecord, mut orphan: AllocationRecord) {
        let (id, key) = (orphan.intent.id.clone(), &record.spec.key);
        let intent = Arc::make_mut(&mut orphan.intent);
        intent.desired = Desired::Run;
        if intent.spec == record.spec.instance {
            intent.spec = Arc::clone(&record.spec.instance);
            intent.generation = record.generation;
        }
        self.tell_allocation(
            &id,
            key,
            "Adopted",
            format!("{id} on node {} is no orphan any more", orphan.node),
        );
        self.cluster_book(&orphan, None);
        self.save_allocation(orphan);
        self.dirty.insert(key.clone());
        self.adopt_end(record, &id);
    }

    /// A run that came to its end while it was an orphan counts like any other.
    fn adopt_end(&mut self, record: &WorkloadRecord, id: &AllocationId) {
        let status = self.allocations.known(id).and_then(|known| known.status.clone());
        if let (WorkloadKind::Job(_), Some(status)) =
            (record.spec.kind, status.filter(|s| s.phase.has_ended()))
        {
            self.job(record);
            self.job_instance_ended(&status);
        }
    }

    /// Ends the orphans of a workload that is not known.
    pub(crate) fn release_orphans(&mut self, key: &WorkloadKey) -> Result<u32, ApiError> {
        match self.stop_all(key, |known| known.desired == Desired::Keep) {
            0 => Err(ApiError::NotFound { what: "workload", name: key.to_string() }),
            stopped => Ok(u32::try_from(stopped).unwrap_or(u32::MAX)),
        }
    }

    /// Ends the orphans on nodes that are being emptied, when nothing else is left there or time is up: nobody makes another
    /// copy of them first.
    pub(crate) fn drain_orphans(&mut self, key: &WorkloadKey) {
        if self.life.drains.is_empty() {
            return;
        }
        let goes = |record: &&AllocationRecord| self.is_emptied_of_others(&record.node);
        let ids: Vec<AllocationId> =
            self.orphans_of(key).filter(goes).map(|record| record.intent.id.clone()).collect();
        for id in &ids {
            self.stop(id);
        }
        if let Some(left) = self.next_eviction(key).filter(|_| !self.workloads.contains_key(key)) {
            self.life.timers.hasten(key, self.now.mono + left);
        }
    }
}
