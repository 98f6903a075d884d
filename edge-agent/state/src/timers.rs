//! When which allocation is looked at again: a thousand that wait cost as much as one.

use std::collections::BTreeSet;

use skerry_types::{AllocationId, MonoTime};

/// Timers of allocations, one each.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(MonoTime, AllocationId)>,
}

impl Timers {
    /// Moves an allocation's timer from where it was.
    pub(crate) fn set(&mut self, id: &AllocationId, was: Option<MonoTime>, at: Option<MonoTime>) {
        if was == at {
            return;
        }
        if let Some(was) = was {
            self.by_time.remove(&(was, id.clone()));
        }
        if let Some(at) = at {
            self.by_time.insert((at, id.clone()));
        }
    }

    /// The first one.
    pub(crate) fn next(&self) -> Option<MonoTime> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Those that are due, the longest due first.
    pub(crate) fn due(&self, now: MonoTime) -> Vec<AllocationId> {
        self.by_time.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| id.clone()).collect()
    }
}
