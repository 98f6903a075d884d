//! The region's allocations and what is known of each: by workload, as nearly everything asks for all of one, and by id.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use skerry_types::{
    AllocationId, AllocationStatus, ContainerStatus, Desired, InstanceIndex, InstanceSpec, MonoTime,
    NodeName, Phase, ReasonCode, WorkloadKey,
};

use crate::records::AllocationRecord;

/// Restarts after which an instance that waits for its next start counts as failing: one may fall over something that was not
/// there yet.
const RESTARTS_FAILING: u32 = 2;

/// An allocation and what is known of it. What every look at a workload asks for stands here and not behind a pointer: a look
/// at ten thousand of them waits for memory more than for anything else.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) record: AllocationRecord,
    pub(crate) instance: InstanceIndex,
    pub(crate) desired: Desired,
    pub(crate) spec: Arc<InstanceSpec>,
    /// What `status` comes to.
    pub(crate) condition: Condition,
    /// What its node said last.
    pub(crate) status: Option<Arc<AllocationStatus>>,
    /// Since when it is ready, as far as this process saw.
    pub(crate) ready: Option<MonoTime>,
}

/// What a node's word of an allocation comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Its node has said nothing of it.
    Silent,
    /// On its way to its first readiness, or being stopped.
    Starting,
    /// Every container runs.
    Running,
    /// It cannot start, or ends again and again.
    Failing,
    /// It came to a good end.
    Completed,
}

impl Condition {
    fn of(status: &AllocationStatus) -> Self {
        match status.phase {
            Phase::Completed => Self::Completed,
            Phase::Running => Self::Running,
            _ if is_failing(status) => Self::Failing,
            _ => Self::Starting,
        }
    }
}

impl Allocation {
    fn new(record: AllocationRecord) -> Self {
        Self {
            instance: record.intent.instance,
            desired: record.intent.desired,
            spec: Arc::clone(&record.intent.spec),
            condition: Condition::Silent,
            status: None,
            ready: None,
            record,
        }
    }

    pub(crate) fn id(&self) -> &AllocationId {
        &self.record.intent.id
    }

    /// All that decides by the node's word what is started and stopped. What waits for its time bears itself as while it runs.
    fn bearing(&self) -> (Condition, Option<MonoTime>) {
        match (self.condition, self.ready) {
            (Condition::Starting | Condition::Running, Some(_)) if self.spec.schedule.is_some() => {
                (Condition::Running, None)
            }
            bearing => bearing,
        }
    }

    fn replace(&mut self, record: AllocationRecord) {
        let Self { status, ready, condition, .. } = &self;
        *self = Self { status: status.clone(), ready: *ready, condition: *condition, ..Self::new(record) };
    }
}

/// What is another after a node's word of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Anything by which it is decided what to start and to stop.
    pub(crate) decides: bool,
    /// Whether it runs.
    pub(crate) runs: bool,
}

/// All allocations.
#[derive(Debug, Default)]
pub(crate) struct Allocations {
    by_workload: BTreeMap<WorkloadKey, BTreeMap<AllocationId, Allocation>>,
    /// Whose each is.
    owners: BTreeMap<AllocationId, WorkloadKey>,
    /// How many were added since the trees were packed.
    added: usize,
}

/// Additions for which trees are not packed; few in tests, which would not come to it.
const FEW: usize = if cfg!(test) { 4 } else { 1024 };

impl Allocations {
    pub(crate) fn get(&self, id: &AllocationId) -> Option<&AllocationRecord> {
        self.known(id).map(|known| &known.record)
    }

    pub(crate) fn known(&self, id: &AllocationId) -> Option<&Allocation> {
        self.by_workload.get(self.owners.get(id)?)?.get(id)
    }

    pub(crate) fn contains_key(&self, id: &AllocationId) -> bool {
        self.owners.contains_key(id)
    }

    /// Adds one, or replaces its record.
    pub(crate) fn insert(&mut self, record: AllocationRecord) {
        let (id, key) = (record.intent.id.clone(), record.intent.workload.clone());
        let all = match self.by_workload.get_mut(&key) {
            Some(all) => all,
            None => self.by_workload.entry(key.clone()).or_default(),
        };
        if let Some(known) = all.get_mut(&id) {
            return known.replace(record);
        }
        all.insert(id.clone(), Allocation::new(record));
        self.owners.insert(id, key);
        self.added += 1;
    }

    /// Builds the trees anew once a quarter of what is in them was added: what comes in ascending order leaves their leaves little
    /// more than half full, which are ten megabytes for a hundred thousand allocations.
    pub(crate) fn pack(&mut self) {
        if self.added < FEW.max(self.owners.len() / 4) {
            return;
        }
        self.added = 0;
        self.owners = std::mem::take(&mut self.owners).into_iter().collect();
        for all in self.by_workload.values_mut() {
            *all = std::mem::take(all).into_iter().collect();
        }
    }

    pub(crate) fn remove(&mut self, id: &AllocationId) -> Option<AllocationRecord> {
        let key = self.owners.remove(id)?;
        let all = self.by_workload.get_mut(&key)?;
        let removed = all.remove(id)?;
        if all.is_empty() {
            self.by_workload.remove(&key);
        }
        Some(removed.record)
    }

    /// Those of a workload, in the order of their ids.
    pub(crate) fn of(&self, key: &WorkloadKey) -> impl Iterator<Item = &Allocation> + use<'_> {
        self.by_workload.get(key).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn count_of(&self, key: &WorkloadKey) -> usize {
        self.by_workload.get(key).map_or(0, BTreeMap::len)
    }

    /// All of them from an id on, in the order of their ids.
    pub(crate) fn range(&self, start: Bound<&AllocationId>) -> impl Iterator<Item = &AllocationRecord> {
        let found = self.owners.range::<AllocationId, _>((start, Bound::Unbounded));
        found.filter_map(|(id, key)| {
            let known = self.by_workload.get(key)?.get(id)?;
            Some(&known.record)
        })
    }

    /// All of them, workload by workload.
    pub(crate) fn all(&self) -> impl Iterator<Item = &AllocationRecord> {
        self.by_workload.values().flat_map(BTreeMap::values).map(|known| &known.record)
    }

    #[cfg(test)]
    pub(crate) fn values(&self) -> impl Iterator<Item = &AllocationRecord> {
        self.range(Bound::Unbounded)
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &AllocationId> {
        self.owners.keys()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.by_workload.is_empty()
    }

    /// Keeps what a node says of an allocation of its own. `None` when it has no such allocation.
    pub(crate) fn hear(
        &mut self,
        now: MonoTime,
        node: &NodeName,
        status: Arc<AllocationStatus>,
    ) -> Option<Heard> {
        let known = self.known_mut(&status.id).filter(|known| known.record.node == *node)?;
        let before = known.bearing();
        // It may have ended and started again between two words.
        let was_ready = known.status.as_ref().and_then(|status| status.ready_since);
        let since = known.ready.filter(|_| was_ready == status.ready_since).unwrap_or(now);
        known.ready = status.ready_since.map(|_| since);
        known.condition = Condition::of(&status);
        let phase = known.status.as_ref().map(|status| status.phase);
        let heard = Heard {
            decides: before != known.bearing(),
            runs: (phase == Some(Phase::Running)) != (status.phase == Phase::Running),
        };
        known.status = Some(status);
        Some(heard)
    }

    /// A node says nothing of an allocation any more.
    pub(crate) fn unhear(&mut self, node: &NodeName, id: &AllocationId) {
        if let Some(known) = self.known_mut(id).filter(|known| known.record.node == *node) {
            (known.status, known.ready, known.condition) = (None, None, Condition::Silent);
        }
    }

    fn known_mut(&mut self, id: &AllocationId) -> Option<&mut Allocation> {
        self.by_workload.get_mut(self.owners.get(id)?)?.get_mut(id)
    }
}

/// Whether it cannot start, or ends again and again.
fn is_failing(status: &AllocationStatus) -> bool {
    let often = |container: &ContainerStatus| container.restarts >= RESTARTS_FAILING;
    let hopeless = status.reason.as_ref().is_some_and(|reason| {
        matches!(
            reason.code,
            ReasonCode::ImageNotFound
                | ReasonCode::ImageInvalid
                | ReasonCode::RegistryUnauthorized
                | ReasonCode::CreateFailed
                | ReasonCode::InitFailed
        )
    });
    match status.phase {
        Phase::Failed => true,
        Phase::Backoff => hopeless || status.containers.iter().any(often),
        _ => false,
    }
}
