//! When schedules ran and will run, for people: nodes keep them by themselves.

use std::collections::BTreeSet;

use skerry_schedule::CompiledSchedule;
use skerry_types::{Desired, Schedule, ShareStatus, WallTime, WorkloadKey};

use crate::listing::DueView;
use crate::records::{AllocationRecord, WorkloadRecord};
use crate::state::RegionState;

impl RegionState {
    /// Of all instances of a workload: when one last ran, and when the first one will.
    pub(crate) fn due_view(&self, record: &WorkloadRecord) -> DueView {
        let Some(schedule) = &record.spec.instance.schedule else { return DueView::default() };
        let key = &record.spec.key;
        let run = || self.allocations_of(key).filter(|a| a.intent.desired == Desired::Run);
        let zones: BTreeSet<Option<&str>> =
            run().map(|allocation| allocation.intent.timezone.as_deref()).collect();
        let here = run().filter_map(|allocation| self.status_of(allocation)?.last_due);
        let next = zones.into_iter().filter_map(|zone| self.next_due(schedule, zone));
        let below: Vec<&ShareStatus> = self.said_below(key).collect();
        let next_below = below.iter().filter_map(|status| status.next_due).filter(|at| *at > self.now.wall);
        DueView {
            last: here.chain(below.iter().filter_map(|status| status.last_due)).max(),
            next: next.chain(next_below).min(),
        }
    }

    /// Of one allocation.
    pub(crate) fn due_of(&self, allocation: &AllocationRecord) -> DueView {
        let intent = &allocation.intent;
        let schedule = intent.spec.schedule.as_ref().filter(|_| intent.desired == Desired::Run);
        let next = schedule.and_then(|schedule| self.next_due(schedule, intent.timezone.as_deref()));
        DueView { last: self.status_of(allocation).and_then(|status| status.last_due), next }
    }

    /// What regions below last said of a workload.
    fn said_below<'a>(&'a self, key: &'a WorkloadKey) -> impl Iterator<Item = &'a ShareStatus> {
        let having = self.regions.values().filter(|region| region.shares.contains_key(key));
        having.filter_map(|region| region.statuses.get(key)).map(AsRef::as_ref)
    }

    fn next_due(&self, schedule: &Schedule, zone: Option<&str>) -> Option<WallTime> {
        // One that cannot be kept was refused when it was applied.
        CompiledSchedule::new(schedule, zone).ok()?.next_after(self.now.wall)
    }
}
