//! When workloads are to be looked at though nothing happened.

use std::collections::{BTreeMap, BTreeSet};

use skerry_types::{MonoTime, WorkloadKey};

/// The next look at each workload that wants one.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_key: BTreeMap<WorkloadKey, MonoTime>,
    by_time: BTreeSet<(MonoTime, WorkloadKey)>,
}

impl Timers {
    /// Looks at a workload at this time, in place of any other.
    pub(crate) fn set(&mut self, key: &WorkloadKey, at: MonoTime) {
        self.clear(key);
        self.by_key.insert(key.clone(), at);
        self.by_time.insert((at, key.clone()));
    }

    /// Looks at a workload at this time or before.
    pub(crate) fn hasten(&mut self, key: &WorkloadKey, at: MonoTime) {
        if self.by_key.get(key).is_none_or(|present| at < *present) {
            self.set(key, at);
        }
    }

    pub(crate) fn clear(&mut self, key: &WorkloadKey) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    pub(crate) fn next(&self) -> Option<MonoTime> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out the workloads whose time has come.
    pub(crate) fn take_due(&mut self, now: MonoTime) -> BTreeSet<WorkloadKey> {
        let mut due = BTreeSet::new();
        while let Some((at, key)) = self.by_time.first().cloned()
            && at <= now
        {
            self.clear(&key);
            due.insert(key);
        }
        due
    }
}
