//! The starts of containers that the keeper holds, as the agent knows them. Pure.

use std::collections::BTreeMap;

use skerry_keeper_protocol::{ContainerKey, ContainerRecord, ContainerState};
use skerry_types::{AllocationId, WallTime};

use super::ContainerRef;
use super::identity::Start;

/// One start of a container at the keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: ContainerKey,
    pub(super) start: Start,
    /// Since when it ran; `None` before it did.
    pub(super) started_at: Option<WallTime>,
    /// Its first process, when it was last heard of.
    pub(super) pid: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    by_container: BTreeMap<ContainerRef, BTreeMap<u32, Entry>>,
}

impl Known {
    /// Replaces everything by what the keeper lists, but for starts under way, which it may not list yet.
    pub(super) fn take_stock(&mut self, records: &[ContainerRecord]) {
        let under_way = std::mem::take(&mut self.by_container).into_values().flat_map(BTreeMap::into_values);
        for entry in under_way.filter(|entry| entry.started_at.is_none()) {
            self.insert(entry);
        }
        for record in records {
            if let Some(start) = Start::decode(&record.identity) {
                self.insert(entry(record, start));
            } else {
                tracing::error!(key = %record.key, "the keeper holds a container of an unknown kind");
            }
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.by_container
            .entry(entry.start.container.clone())
            .or_default()
            .insert(entry.start.attempt, entry);
    }

    pub(super) fn started(&mut self, container: &ContainerRef, attempt: u32, pid: u32, at: WallTime) {
        let entry = self.by_container.get_mut(container).and_then(|starts| starts.get_mut(&attempt));
        if let Some(entry) = entry {
            entry.started_at = Some(at);
            entry.pid = Some(pid);
        }
    }

    pub(super) fn forget(&mut self, key: &ContainerKey) {
        for starts in self.by_container.values_mut() {
            starts.retain(|_, entry| entry.key != *key);
        }
        self.by_container.retain(|_, starts| !starts.is_empty());
    }

    pub(super) fn by_key(&self, key: &ContainerKey) -> Option<&Entry> {
        self.all().find(|entry| entry.key == *key)
    }

    /// The latest start of a container.
    pub(super) fn latest(&self, container: &ContainerRef) -> Option<&Entry> {
        self.by_container.get(container)?.values().next_back()
    }

    /// All starts of a container, oldest first.
    pub(super) fn starts(&self, container: &ContainerRef) -> Vec<Entry> {
        self.by_container.get(container).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// All starts of all containers of an allocation.
    pub(super) fn of_allocation(&self, alloc: &AllocationId) -> Vec<Entry> {
        self.all().filter(|entry| entry.start.container.allocation == *alloc).cloned().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.by_container.values().flat_map(BTreeMap::values)
    }
}

fn entry(record: &ContainerRecord, start: Start) -> Entry {
    let (started_at, pid) = match &record.state {
        ContainerState::Creating => (None, None),
        ContainerState::Running { process, started_at_unix_ms } => {
            (Some(WallTime(*started_at_unix_ms)), Some(process.pid))
        }
        ContainerState::Exited { started_at_unix_ms, .. } => {
            (Some(WallTime(started_at_unix_ms.unwrap_or_default())), None)
        }
    };
    Entry { key: record.key.clone(), start, started_at, pid }
}
