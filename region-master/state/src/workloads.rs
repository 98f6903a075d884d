//! What operators asked for.

use std::sync::Arc;

use skerry_types::{Generation, WorkloadKey, WorkloadSpec};

use crate::api::{ApiError, ApiReply, Applied, AppliedHow};
use crate::ledger::{Value, WORKLOAD, put, workload_key};
use crate::placing::Pending;
use crate::records::{Origin, WorkloadRecord};
use crate::retry::Retry;
use crate::state::RegionState;

/// Most workloads in a region.
pub(crate) const WORKLOADS_MAX: usize = 100_000;

/// A workload.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) record: WorkloadRecord,
    pub(crate) pending: Vec<Pending>,
    pub(crate) retry: Retry,
}

impl Workload {
    pub(crate) fn new(record: WorkloadRecord) -> Self {
        Self { record, pending: Vec::new(), retry: Retry::default() }
    }
}

impl RegionState {
    pub(crate) fn apply(&mut self, spec: Arc<WorkloadSpec>, dry_run: bool) -> Result<ApiReply, ApiError> {
        let key = spec.key.clone();
        self.check_owned(&key)?;
        let known = self.workloads.get(&key).map(|workload| workload.record.clone());
        let (how, record) = match known {
            Some(record) if record.deleting => return Err(ApiError::Deleting { key }),
            Some(record) if *record.spec == *spec => (AppliedHow::Unchanged, record),
            Some(record) => (AppliedHow::Changed, self.next_generation(&record, spec)),
            None if self.workloads.len() >= WORKLOADS_MAX => {
                return Err(ApiError::Full { what: "workloads", count: self.workloads.len() });
            }
            None => (AppliedHow::Created, self.first_generation(spec)),
        };
        let generation = record.generation;
        if how != AppliedHow::Unchanged {
            let former = self.workloads.get(&key).map(|workload| Arc::clone(&workload.record.spec));
            self.admit(former.as_deref(), &record.spec, dry_run)?;
        }
        if !dry_run {
            self.take_word(record, how);
        }
        Ok(ApiReply::Applied(Applied { generation, how }))
    }

    fn take_word(&mut self, mut record: WorkloadRecord, how: AppliedHow) {
        let (key, generation) = (record.spec.key.clone(), record.generation);
        if how != AppliedHow::Unchanged {
            self.tell_workload(&key, "Applied", format!("generation {generation} of {key} is accepted"));
            let former = self.workloads.get(&key).map(|workload| workload.record.clone());
            if let Some(former) = former.filter(|former| former.spec.instance != record.spec.instance) {
                self.begin_rollout(&key, (former.generation, former.spec), generation, None);
            }
            self.keep_revision(&record);
        }
        let former = std::mem::replace(&mut record.asked, self.asked());
        if how != AppliedHow::Unchanged || former.epoch != self.epoch() {
            self.save_workload(record.clone());
        }
        self.adopt_orphans(&record);
    }

    pub(crate) fn first_generation(&self, spec: Arc<WorkloadSpec>) -> WorkloadRecord {
        let (now, key) = (self.now.wall, spec.key.clone());
        WorkloadRecord {
            spec,
            generation: self.generation_behind_orphans(&key, Generation(1)),
            created_at: now,
            changed_at: now,
            deleting: false,
            origin: Origin::Own,
            asked: self.asked(),
        }
    }

    pub(crate) fn next_generation(
        &self,
        old: &WorkloadRecord,
        mut spec: Arc<WorkloadSpec>,
    ) -> WorkloadRecord {
        // What instances run is the same: they share it, and stay.
        if old.spec.instance == spec.instance {
            Arc::make_mut(&mut spec).instance = Arc::clone(&old.spec.instance);
        }
        let generation = self.generation_behind_orphans(&spec.key, Generation(old.generation.0 + 1));
        WorkloadRecord { spec, generation, changed_at: self.now.wall, ..old.clone() }
    }

    pub(crate) fn save_workload(&mut self, record: WorkloadRecord) {
        let key = record.spec.key.clone();
        put(self.outbox.batch(), &Value::WorkloadV1(record.clone()));
        let former = self.workloads.get(&key).map(|workload| workload.record.clone());
        let is_own = |record: &&WorkloadRecord| record.origin == Origin::Own;
        let charged = former.as_ref().filter(is_own).map(|former| former.spec.as_ref());
        self.charge(charged, Some(&record).filter(is_own).map(|record| record.spec.as_ref()));
        let anew = former.as_ref().is_none_or(|former| former.generation != record.generation);
        let former = former.map(|former| (former.spec.labels.clone(), former.spec.priority));
        let present = (record.spec.labels.clone(), record.spec.priority);
        self.workloads
            .entry(key.clone())
            .and_modify(|w| w.record = record.clone())
            .or_insert_with(|| Workload::new(record));
        if anew {
            self.reset_split(&key);
        }
        if former.is_some_and(|former| former != present) {
            self.book_anew(&key);
        }
        self.mark_share(&key);
        self.mark_region(None);
        self.dirty.insert(key);
        self.changed = true;
    }

    pub(crate) fn delete(&mut self, key: &WorkloadKey) -> Result<ApiReply, ApiError> {
        if !self.is_orphaned_share(key) {
            self.check_owned(key)?;
        }
        let Some(workload) = self.workloads.get(key) else {
            return self.release_orphans(key).map(ApiReply::Removed);
        };
        let own = u32::try_from(self.allocations_of(key).count()).unwrap_or(u32::MAX);
        let below = self.regions.values().filter_map(|region| region.statuses.get(key));
        let count = below.fold(own, |sum, status| sum.saturating_add(status.placed.len()));
        if !workload.record.deleting || workload.record.asked.epoch != self.epoch() {
            let (asked, changed_at) = (self.asked(), self.now.wall);
            let record = WorkloadRecord { deleting: true, changed_at, asked, ..workload.record.clone() };
            self.tell_workload(key, "Deleted", format!("{key} is being deleted, {count} allocations stop"));
            self.save_workload(record);
        }
        Ok(ApiReply::Removed(count))
    }

    /// Forgets a workload that nothing is left of.
    pub(crate) fn forget_workload(&mut self, key: &WorkloadKey) {
        let gone = self.workloads.remove(key).filter(|gone| gone.record.origin == Origin::Own);
        self.charge(gone.as_ref().map(|gone| gone.record.spec.as_ref()), None);
        self.no_longer_pending(key);
        self.making_way.remove(key);
        self.forget_life(key);
        self.outbox.batch().delete(WORKLOAD, workload_key(key));
        self.forget_split(key);
        self.tell_workload(key, "Gone", format!("nothing is left of {key}"));
        self.mark_share(key);
        self.mark_region(None);
        self.changed = true;
        self.reconsider_refused(key);
    }
}
