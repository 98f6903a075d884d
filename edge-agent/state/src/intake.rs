//! Takes the parent's rows: to disk first, then into force.

use std::collections::BTreeSet;
use std::sync::Arc;

use skerry_types::mutant::{self, Mutant};
use skerry_types::{AllocationId, AllocationIntent, Desired};
use skerry_wire::{Cursor, Epoch, IntentRow, Reader, Row, RowKey, RowsFrame, TableId, ToParent};

use crate::AgentState;
use crate::effects::Held;
use crate::ledger::{CURSOR, INTENT, LIFE, cursor_value};

/// What one frame means. It comes into force when it is on disk, so that nothing is begun or stopped that a restart would
/// not know of.
#[derive(Debug)]
pub(crate) struct Intake {
    changes: Vec<Change>,
    cursor: Cursor,
    /// How many allocations of a former life of the parent this one does not know.
    orphans: usize,
}

#[derive(Debug)]
enum Change {
    Hold(Arc<AllocationIntent>),
    Orphan(Arc<AllocationIntent>),
    Drop(AllocationId),
}

/// The node's copy of the parent's rows.
#[derive(Debug)]
pub(crate) struct Copy {
    reader: Reader,
    /// Rows on disk, or on their way there.
    rows: BTreeSet<AllocationId>,
    /// Up to where the rows are on disk.
    saved: Cursor,
    /// Which life of the parent's tables this link is about.
    told: Epoch,
}

impl Copy {
    pub(crate) fn new(cursor: Cursor, rows: BTreeSet<AllocationId>) -> Self {
        Self { reader: Reader::new(cursor), rows, saved: cursor, told: Epoch::default() }
    }

    /// Up to where the rows are on disk.
    pub(crate) fn saved(&self) -> Cursor {
        self.saved
    }

    pub(crate) fn holds(&self, id: &AllocationId) -> bool {
        self.rows.contains(id)
    }

    /// The parent is there, in this life.
    pub(crate) fn connected(&mut self, epoch: Epoch) {
        self.told = epoch;
    }

    /// Whether the rows here are of the life that the parent is in. A first link has nothing of any other.
    pub(crate) fn is_of_this_life(&self) -> bool {
        self.saved.epoch == self.told || self.saved.epoch == Epoch::default()
    }

    /// The link is gone: the next begins where the disk is.
    pub(crate) fn disconnected(&mut self) {
        self.reader = Reader::new(self.saved);
    }
}

impl AgentState {
    pub(crate) fn take_rows(&mut self, frame: RowsFrame) {
        let (rows, former) = (&self.copy.rows, self.copy.reader.cursor().epoch);
        let held = || rows.iter().map(|id| RowKey::new(TableId::INTENT, id.as_str())).collect();
        let taken = match self.copy.reader.handle(frame, held) {
            Ok(taken) => taken,
            Err(error) => return self.close_link(error.to_string()),
        };
        let mut changes = Vec::new();
        for row in taken.rows {
            changes.extend(self.take_row(row));
        }
        let is_another_life = former != Epoch::default() && former != taken.cursor.epoch;
        for key in taken.removed {
            changes.extend(self.miss_row(&key, is_another_life));
        }
        let orphans = changes.iter().filter(|change| matches!(change, Change::Orphan(_))).count();
        let cursor = taken.cursor;
        self.fx.outbox().batch().put(CURSOR, [], cursor_value(cursor));
        self.fx.outbox().push(Held::Intake(Intake { changes, cursor, orphans }));
        self.fx.send_saved(ToParent::Ack(cursor));
    }

    fn take_row(&mut self, row: Row) -> Option<Change> {
        if row.key.table != TableId::INTENT {
            return None;
        }
        let Some(value) = row.value else { return self.drop_row(&row.key) };
        match IntentRow::decode(&value) {
            Ok(IntentRow::Allocation(intent)) if intent.id.as_str() == &*row.key.key => {
                if !mutant::is(Mutant::WritesNoIntent) {
                    self.fx.outbox().batch().put(INTENT, intent.id.as_str(), value);
                }
                self.copy.rows.insert(intent.id.clone());
                Some(Change::Hold(intent))
            }
            Ok(IntentRow::Allocation(intent)) => {
                self.warn(
                    "BadIntent",
                    format!("row '{}' holds allocation {}; it is left out", row.key.key, intent.id),
                );
                None
            }
            Err(error) => {
                self.warn(
                    "BadIntent",
                    format!("row '{}' cannot be read and is left out: {error}", row.key.key),
                );
                None
            }
        }
    }

    /// A row that the parent has not got. What it asked for in a former life goes on as an orphan until it says what is to
    /// become of it: its store came from an older copy, and that nobody knows of something is no reason to end it.
    fn miss_row(&mut self, key: &RowKey, is_another_life: bool) -> Option<Change> {
        let id = AllocationId::new(&*key.key).ok();
        let intent =
            id.and_then(|id| self.lifecycles.get(&id)).map(|lifecycle| Arc::clone(lifecycle.intent()));
        match intent {
            Some(intent) if intent.desired == Desired::Keep => None,
            Some(intent) if intent.desired == Desired::Run && is_another_life => {
                let orphan = Arc::new(AllocationIntent { desired: Desired::Keep, ..(*intent).clone() });
                let value = IntentRow::Allocation(Arc::clone(&orphan)).encode();
                self.fx.outbox().batch().put(INTENT, orphan.id.as_str(), value);
                Some(Change::Orphan(orphan))
            }
            _ => self.drop_row(key),
        }
    }

    fn drop_row(&mut self, key: &RowKey) -> Option<Change> {
        let id = AllocationId::new(&*key.key).ok()?;
        let keeps = mutant::is(Mutant::KeepsDroppedRows);
        if key.table != TableId::INTENT || keeps || !self.copy.rows.remove(&id) {
            return None;
        }
        let batch = self.fx.outbox().batch();
        batch.delete(INTENT, id.as_str());
        batch.delete(LIFE, id.as_str());
        Some(Change::Drop(id))
    }

    /// The rows are on disk.
    pub(crate) fn come_into_force(&mut self, intake: Intake) {
        self.copy.saved = intake.cursor;
        let mut touched = BTreeSet::new();
        for change in intake.changes {
            touched.insert(match change {
                Change::Hold(intent) | Change::Orphan(intent) => self.hold(intent),
                Change::Drop(id) => {
                    if let Some(lifecycle) = self.lifecycles.get_mut(&id) {
                        lifecycle.disown();
                        self.leaves_room(&id);
                    }
                    id
                }
            });
        }
        for id in &touched {
            self.advance(id);
        }
        self.count_answers();
        self.ask_once_known();
        if intake.orphans > 0 {
            self.tell_of_orphans(intake.orphans);
        }
    }

    /// The next hello says up to where the rows about orphans go. Before the parent has them it places nothing here, as it
    /// does not know what is taken.
    fn tell_of_orphans(&mut self, count: usize) {
        let message = format!(
            "the master's store is another and does not know {count} allocations of this node: they go on as orphans"
        );
        self.warn("Orphaned", message.clone());
        self.close_link(message);
    }

    fn hold(&mut self, intent: Arc<AllocationIntent>) -> AllocationId {
        let (id, now) = (intent.id.clone(), self.fx.now());
        match self.lifecycles.get_mut(&id) {
            Some(lifecycle) => {
                self.leaving.remove(&id);
                self.report.orphan(&intent);
                lifecycle.intend(intent, now);
            }
            None => self.adopt(intent, None),
        }
        id
    }
}
