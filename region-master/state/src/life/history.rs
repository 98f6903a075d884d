//! The generations that a workload had.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skerry_types::{Generation, WallTime, WorkloadKey, WorkloadSpec};

use super::calls::RevisionState;
use crate::ledger::{REVISION, Value, put, revision_key};
use crate::records::WorkloadRecord;
use crate::state::RegionState;

/// Generations kept of each workload: enough to go back past a bad week, and at about 2 kB each little enough for 100,000 workloads
/// of which few change often.
const REVISIONS_MAX: usize = 10;

/// A generation that a workload has or had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RevisionRecord {
    pub(crate) spec: Arc<WorkloadSpec>,
    pub(crate) at: WallTime,
    pub(crate) state: RevisionState,
    /// When it came to that state; `None` while it is on its way.
    pub(crate) ended_at: Option<WallTime>,
    /// Whether an instance of it ever was well: nothing goes back to what was not.
    pub(crate) ran: bool,
}

impl RegionState {
    /// The generations of a workload, oldest first.
    pub(crate) fn revisions<'a>(
        &'a self,
        key: &WorkloadKey,
    ) -> impl DoubleEndedIterator<Item = (Generation, &'a RevisionRecord)> + use<'a> {
        let (first, last) = ((key.clone(), Generation(0)), (key.clone(), Generation(u64::MAX)));
        self.life.revisions.range(first..=last).map(|((_, generation), revision)| (*generation, revision))
    }

    /// Keeps a generation, and lets the oldest go when there are too many.
    pub(crate) fn keep_revision(&mut self, record: &WorkloadRecord) {
        let key = &record.spec.key;
        let newest = self.revisions(key).next_back();
        let superseded = newest.filter(|(_, revision)| revision.state == RevisionState::Running);
        if let Some((generation, revision)) =
            superseded.map(|(generation, revision)| (generation, revision.clone()))
        {
            let state = RevisionState::Superseded;
            let ended_at = Some(self.now.wall);
            self.save_revision(key, generation, RevisionRecord { state, ended_at, ..revision });
        }
        let (spec, at, state) = (Arc::clone(&record.spec), self.now.wall, RevisionState::Running);
        let revision = RevisionRecord { spec, at, state, ended_at: None, ran: false };
        self.save_revision(key, record.generation, revision);
        let many = self.revisions(key).count().saturating_sub(REVISIONS_MAX);
        let old: Vec<Generation> = self.revisions(key).map(|(generation, _)| generation).take(many).collect();
        for generation in old {
            self.drop_revision(key, generation);
        }
    }

    /// A generation is on all instances.
    pub(crate) fn keep_well(&mut self, key: &WorkloadKey, generation: Generation) {
        self.set_state(key, generation, RevisionState::Done);
    }

    /// An instance of a generation is well.
    pub(crate) fn keep_ran(&mut self, key: &WorkloadKey, generation: Generation) {
        let revision = self.life.revisions.get(&(key.clone(), generation)).filter(|revision| !revision.ran);
        if let Some(revision) = revision.cloned() {
            self.save_revision(key, generation, RevisionRecord { ran: true, ..revision });
        }
    }

    pub(crate) fn keep_failed(&mut self, key: &WorkloadKey, generation: Generation) {
        self.set_state(key, generation, RevisionState::Failed);
    }

    fn set_state(&mut self, key: &WorkloadKey, generation: Generation, state: RevisionState) {
        let revision = self.life.revisions.get(&(key.clone(), generation)).cloned();
        if let Some(revision) = revision.filter(|revision| revision.state != state) {
            let ended_at = Some(self.now.wall);
            self.save_revision(key, generation, RevisionRecord { state, ended_at, ..revision });
        }
    }

    fn save_revision(&mut self, key: &WorkloadKey, generation: Generation, revision: RevisionRecord) {
        put(self.outbox.batch(), &Value::RevisionV1(key.clone(), generation, revision.clone()));
        self.life.revisions.insert((key.clone(), generation), revision);
    }

    pub(crate) fn drop_revision(&mut self, key: &WorkloadKey, generation: Generation) {
        self.outbox.batch().delete(REVISION, revision_key(key, generation));
        self.life.revisions.remove(&(key.clone(), generation));
    }
}
