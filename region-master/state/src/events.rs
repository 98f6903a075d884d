//! The region's events: what people see when they ask what happened.

use skerry_types::{AllocationId, Event, EventLevel, EventSubject, NodeName, WorkloadKey};

use crate::ledger::{EVENT, event_value};
use crate::records::EventRecord;
use crate::state::RegionState;

/// Events kept; older ones make room. At about 150 bytes each that is 600 KiB of memory.
const EVENTS_MAX: usize = 4096;

impl RegionState {
    /// Tells of something that the master did or saw.
    pub(crate) fn tell(&mut self, level: EventLevel, subject: EventSubject, reason: &str, message: String) {
        let event = Event { at: self.now.wall, level, subject, reason: reason.to_owned(), message };
        self.keep_event(EventRecord { event, node: None });
    }

    pub(crate) fn tell_workload(&mut self, key: &WorkloadKey, reason: &str, message: String) {
        self.tell(EventLevel::Info, EventSubject::Workload(key.clone()), reason, message);
    }

    pub(crate) fn tell_allocation(
        &mut self,
        id: &AllocationId,
        key: &WorkloadKey,
        reason: &str,
        message: String,
    ) {
        self.tell(EventLevel::Info, EventSubject::Allocation(id.clone(), key.clone()), reason, message);
    }

    pub(crate) fn tell_node(&mut self, level: EventLevel, node: &NodeName, reason: &str, message: String) {
        self.tell(level, EventSubject::Node(node.clone()), reason, message);
    }

    /// Keeps an event, and lets the oldest go when there are too many.
    pub(crate) fn keep_event(&mut self, record: EventRecord) {
        self.counters.event += 1;
        let number = self.counters.event;
        let value = event_value(number, record);
        self.events.insert(number, value.as_slice().into());
        let batch = self.outbox.batch();
        batch.put(EVENT, number.to_be_bytes(), value);
        if self.events.len() > EVENTS_MAX
            && let Some((oldest, _)) = self.events.pop_first()
        {
            batch.delete(EVENT, oldest.to_be_bytes());
        }
        self.changed = true;
    }
}
