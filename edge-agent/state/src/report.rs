//! What the master is told: rows of the node's own tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_types::{
    AllocationId, AllocationIntent, AllocationLoad, AllocationStatus, Batch, Desired, Event, NodeFacts,
    NodeLayers, NodeUsage,
};
use skerry_wire::{
    Acknowledged, Cursor, Epoch, Incarnation, ObservedRow, Revision, RowKey, RowsFrame, TableId, Writer,
};

use crate::ledger::{EVENT, event_value};
use crate::load;

/// Events kept while nobody fetches them; older ones make room. At 200 bytes each that is 50 KiB of memory and disk.
const EVENTS_MAX: usize = 256;

/// Keeps the rows that go up.
#[derive(Debug)]
pub(crate) struct Report {
    writer: Writer,
    shown: BTreeMap<RowKey, Arc<[u8]>>,
    /// Events that wait, by number: the revision under which each goes up, once it is on disk.
    events: BTreeMap<u64, Option<Revision>>,
    next_event: u64,
    /// Up to where the rows about orphans go.
    orphans: Revision,
    /// Up to where the parent is known to have the rows, by what it said on this link.
    told: Revision,
    /// What was told of allocations' use.
    loads: BTreeMap<AllocationId, AllocationLoad>,
}

impl Report {
    /// Begins an epoch, with the events that wait on disk.
    pub(crate) fn new(epoch: Epoch, waiting: BTreeMap<u64, Event>) -> Self {
        let next_event = waiting.last_key_value().map_or(1, |(number, _)| number + 1);
        let writer = Writer::new(epoch, Revision(0));
        let mut report = Self {
            writer,
            shown: BTreeMap::new(),
            events: BTreeMap::new(),
            next_event,
            orphans: Revision(0),
            told: Revision(0),
            loads: BTreeMap::new(),
        };
        for (number, event) in waiting {
            report.events.insert(number, None);
            report.tell(number, event);
        }
        report
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.writer.epoch()
    }

    /// Up to where the node's rows go.
    pub(crate) fn head(&self) -> Revision {
        self.writer.head()
    }

    pub(crate) fn connected(&mut self, cursor: Cursor, batch: &mut Batch) {
        let settled = self.writer.connected(cursor);
        self.settle(&settled, batch);
    }

    pub(crate) fn disconnected(&mut self) {
        self.told = Revision(0);
        self.writer.disconnected();
    }

    pub(crate) fn acknowledged(&mut self, cursor: Cursor, batch: &mut Batch) {
        let settled = self.writer.acknowledged(cursor);
        self.settle(&settled, batch);
    }

    pub(crate) fn poll_frame(&mut self) -> Option<RowsFrame> {
        self.writer.poll_frame(Incarnation::default())
    }

    /// Events that the master has on disk are forgotten here.
    fn settle(&mut self, settled: &Acknowledged, batch: &mut Batch) {
        self.told = self.told.max(settled.revision);
        let done: Vec<u64> = self
            .events
            .iter()
            .filter(|(_, at)| at.is_some_and(|at| at <= settled.revision))
            .map(|(number, _)| *number)
            .collect();
        for number in done {
            self.forget_event(number, batch);
        }
    }

    pub(crate) fn status(&mut self, status: AllocationStatus) {
        let key = RowKey::new(TableId::STATUS, status.id.as_str());
        self.show(key, &ObservedRow::Status(status));
    }

    /// Whether an allocation is an orphan. Its status goes up again behind that: before, it was of something unknown.
    pub(crate) fn orphan(&mut self, intent: &AllocationIntent) {
        let key = RowKey::new(TableId::ORPHAN, intent.id.as_str());
        if intent.desired != Desired::Keep {
            return self.hide(key);
        }
        if !self.shown.contains_key(&key) {
            self.show(key, &ObservedRow::Orphan(intent.clone()));
            self.shown.remove(&RowKey::new(TableId::STATUS, intent.id.as_str()));
            self.orphans = self.writer.newest();
        }
    }

    /// Whether the parent has every orphan's row on disk.
    pub(crate) fn has_told_orphans(&self) -> bool {
        self.told >= self.orphans
    }

    pub(crate) fn forget_status(&mut self, id: &AllocationId) {
        self.hide(RowKey::new(TableId::ORPHAN, id.as_str()));
        self.hide(RowKey::new(TableId::STATUS, id.as_str()));
        self.forget_load(id);
    }

    /// What allocations use: told where it moved, and taken back where it is not named any more.
    pub(crate) fn loads(&mut self, loads: Vec<AllocationLoad>, is_known: impl Fn(&AllocationId) -> bool) {
        let named: BTreeSet<AllocationId> = loads.iter().map(|load| load.id.clone()).collect();
        let gone: Vec<AllocationId> = self.loads.keys().filter(|id| !named.contains(*id)).cloned().collect();
        for id in &gone {
            self.forget_load(id);
        }
        for load in loads.into_iter().filter(|load| is_known(&load.id)) {
            if self.loads.get(&load.id).is_some_and(|told| !load::moved(told, &load)) {
                continue;
            }
            self.show(RowKey::new(TableId::LOAD, load.id.as_str()), &ObservedRow::Load(load.clone()));
            self.loads.insert(load.id.clone(), load);
        }
    }

    fn forget_load(&mut self, id: &AllocationId) {
        self.loads.remove(id);
        self.hide(RowKey::new(TableId::LOAD, id.as_str()));
    }

    fn hide(&mut self, key: RowKey) {
        if self.shown.remove(&key).is_some() {
            let revision = self.writer.newest().next();
            self.writer.set(revision, key, None);
        }
    }

    pub(crate) fn facts(&mut self, facts: NodeFacts) {
        self.show(RowKey::new(TableId::FACTS, ""), &ObservedRow::Facts(facts));
    }

    pub(crate) fn layers(&mut self, layers: NodeLayers) {
        self.show(RowKey::new(TableId::LAYERS, ""), &ObservedRow::Layers(layers));
    }

    pub(crate) fn usage(&mut self, usage: NodeUsage) {
        self.show(RowKey::new(TableId::USAGE, ""), &ObservedRow::Usage(usage));
    }

    /// Keeps an event until the master has it, and gives its number. It is told once it is on disk: a number that the master
    /// has seen must never be given to another event.
    pub(crate) fn keep(&mut self, event: &Event, batch: &mut Batch) -> u64 {
        let number = self.next_event;
        self.next_event += 1;
        batch.put(EVENT, number.to_be_bytes(), event_value(event));
        if !self.events.contains_key(&(number - 1)) {
            batch.delete(EVENT, (number - 1).to_be_bytes());
        }
        self.events.insert(number, None);
        if self.events.len() > EVENTS_MAX
            && let Some((oldest, _)) = self.events.first_key_value()
        {
            self.forget_event(*oldest, batch);
        }
        number
    }

    /// An event is on disk: it goes up, unless it made room for newer ones meanwhile.
    pub(crate) fn tell(&mut self, number: u64, event: Event) {
        let Some(told) = self.events.get_mut(&number) else { return };
        let revision = self.writer.newest().next();
        *told = Some(revision);
        let value = ObservedRow::Event(event).encode();
        self.writer.set(revision, event_key(number), Some(value.into()));
    }

    fn forget_event(&mut self, number: u64, batch: &mut Batch) {
        self.events.remove(&number);
        self.writer.forget(&event_key(number));
        // The newest stays on disk, so that a number is not given twice.
        if number + 1 < self.next_event {
            batch.delete(EVENT, number.to_be_bytes());
        }
    }

    fn show(&mut self, key: RowKey, row: &ObservedRow) {
        let value = row.encode();
        if self.shown.get(&key).is_some_and(|shown| **shown == *value) {
            return;
        }
        let value: Arc<[u8]> = value.into();
        let revision = self.writer.newest().next();
        self.shown.insert(key.clone(), Arc::clone(&value));
        self.writer.set(revision, key, Some(value.into()));
    }
}

/// Padded, so that a snapshot, which goes by key, has events in order: the master takes none that is older than one it has.
fn event_key(number: u64) -> RowKey {
    RowKey::new(TableId::EVENT, format!("{number:020}"))
}
