//! Takes the parent's rows: to disk first, then into force.

use std::collections::BTreeSet;
use std::sync::Arc;

use skerry_types::mutant::{self, Mutant};
use skerry_types::{AllocationId, AllocationIntent};
use skerry_wire::{Cursor, IntentRow, Reader, Row, RowKey, RowsFrame, TableId, ToParent};

use crate::AgentState;
use crate::effects::Held;
use crate::ledger::{CURSOR, INTENT, LIFE, cursor_value};

/// What one frame means. It comes into force when it is on disk, so that nothing is begun or stopped that a restart would
/// not know of.
#[derive(Debug)]
pub(crate) struct Intake {
    changes: Vec<Change>,
    cursor: Cursor,
}

#[derive(Debug)]
enum Change {
    Hold(Arc<AllocationIntent>),
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
}

impl Copy {
    pub(crate) fn new(cursor: Cursor, rows: BTreeSet<AllocationId>) -> Self {
        Self { reader: Reader::new(cursor), rows, saved: cursor }
    }

    /// Up to where the rows are on disk.
    pub(crate) fn saved(&self) -> Cursor {
        self.saved
    }

    pub(crate) fn holds(&self, id: &AllocationId) -> bool {
        self.rows.contains(id)
    }

    /// The link is gone: the next begins where the disk is.
    pub(crate) fn disconnected(&mut self) {
        self.reader = Reader::new(self.saved);
    }
}

impl AgentState {
    pub(crate) fn take_rows(&mut self, frame: RowsFrame) {
        let rows = &self.copy.rows;
        let held = || rows.iter().map(|id| RowKey::new(TableId::INTENT, id.as_str())).collect();
        let taken = match self.copy.reader.handle(frame, held) {
            Ok(taken) => taken,
            Err(error) => return self.close_link(error.to_string()),
        };
        let mut changes = Vec::new();
        for row in taken.rows {
            changes.extend(self.take_row(row));
        }
        for key in taken.removed {
            changes.extend(self.drop_row(&key));
        }
        let cursor = taken.cursor;
        self.fx.outbox().batch().put(CURSOR, [], cursor_value(cursor));
        self.fx.outbox().push(Held::Intake(Intake { changes, cursor }));
        self.fx.send_saved(ToParent::Ack(cursor));
    }

    fn take_row(&mut self, row: Row) -> Option<Change> {
        if row.key.table != TableId::INTENT {
            return None;
        }
        let Some(value) = row.value else { return self.drop_row(&row.key) };
        match IntentRow::decode(&value) {
            Ok(IntentRow::Allocation(intent)) if intent.id.as_str() == row.key.key => {
                if !mutant::is(Mutant::WritesNoIntent) {
                    self.fx.outbox().batch().put(INTENT, intent.id.as_str(), value);
                }
                self.copy.rows.insert(intent.id.clone());
                Some(Change::Hold(Arc::new(intent)))
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

    fn drop_row(&mut self, key: &RowKey) -> Option<Change> {
        let id = AllocationId::new(key.key.as_str()).ok()?;
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
                Change::Hold(intent) => self.hold(intent),
                Change::Drop(id) => {
                    if let Some(lifecycle) = self.lifecycles.get_mut(&id) {
                        lifecycle.disown();
                    }
                    id
                }
            });
        }
        for id in &touched {
            self.advance(id);
        }
        self.count_answers();
    }

    fn hold(&mut self, intent: Arc<AllocationIntent>) -> AllocationId {
        let (id, now) = (intent.id.clone(), self.fx.now());
        match self.lifecycles.get_mut(&id) {
            Some(lifecycle) => lifecycle.intend(intent, now),
            None => self.adopt(intent, None),
        }
        id
    }
}
