//! The side of a link that wants the rows.

use std::collections::BTreeSet;

use crate::{Cursor, Row, RowKey, RowsFrame};

/// Why a frame is not taken. The link is closed; the next one begins with the cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// A delta of another epoch, or a part of a snapshot without its beginning.
    #[error("rows that do not follow what came before")]
    OutOfOrder,
    /// A key or value over its bound.
    #[error("row '{key}' is over the bounds of a row")]
    RowTooLong {
        /// The key, cut.
        key: String,
    },
}

/// Follows a writer's tables. The rows themselves are the caller's.
#[derive(Debug)]
pub struct Reader {
    cursor: Cursor,
    /// Keys named so far, while a snapshot is coming.
    snapshot: Option<BTreeSet<RowKey>>,
}

/// What a frame changes. All of it goes to disk together, then the cursor is sent as the answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Changes {
    /// Rows added, replaced, or (without a value) gone.
    pub rows: Vec<Row>,
    /// Rows that the caller holds and the writer has no more; only at the end of a snapshot.
    pub removed: Vec<RowKey>,
    /// Up to where the reader is then.
    pub cursor: Cursor,
}

impl Reader {
    /// Begins where the last life ended.
    pub fn new(cursor: Cursor) -> Self {
        Self { cursor, snapshot: None }
    }

    /// Up to where the rows are held.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The link is gone: a snapshot that was coming begins anew on the next.
    pub fn disconnected(&mut self) {
        self.snapshot = None;
    }

    /// Takes a frame. `held` lists the keys that the caller holds; it is asked only at the end of a snapshot.
    pub fn handle(
        &mut self,
        frame: RowsFrame,
        held: impl FnOnce() -> Vec<RowKey>,
    ) -> Result<Changes, SyncError> {
        match frame {
            RowsFrame::Delta { epoch, incarnation, rows } => {
                if epoch != self.cursor.epoch || self.snapshot.is_some() {
                    return Err(SyncError::OutOfOrder);
                }
                check(&rows)?;
                let newest = rows.iter().map(|row| row.revision).max().unwrap_or_default();
                self.cursor.revision = self.cursor.revision.max(newest);
                self.cursor.incarnation = incarnation;
                Ok(Changes { rows, removed: Vec::new(), cursor: self.cursor })
            }
            RowsFrame::Snapshot { epoch, incarnation, first, rows, end } => {
                check(&rows)?;
                if first {
                    self.snapshot = Some(BTreeSet::new());
                }
                let named = self.snapshot.as_mut().ok_or(SyncError::OutOfOrder)?;
                named.extend(rows.iter().map(|row| row.key.clone()));
                let Some(revision) = end else {
                    return Ok(Changes { rows, removed: Vec::new(), cursor: self.cursor });
                };
                let named = self.snapshot.take().unwrap_or_default();
                let removed = held().into_iter().filter(|key| !named.contains(key)).collect();
                self.cursor = Cursor { epoch, incarnation, revision };
                Ok(Changes { rows, removed, cursor: self.cursor })
            }
        }
    }
}

fn check(rows: &[Row]) -> Result<(), SyncError> {
    let too_long = |row: &&Row| {
        row.key.key.len() > RowKey::KEY_MAX
            || row.value.as_ref().is_some_and(|value| value.len() > Row::VALUE_MAX)
    };
    match rows.iter().find(too_long) {
        Some(row) => Err(SyncError::RowTooLong { key: row.key.key.chars().take(64).collect() }),
        None => Ok(()),
    }
}
