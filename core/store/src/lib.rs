//! Batches in, everything out: the durable home of a brain's rows.
//!
//! A brain keeps its state in memory and hands out batches; a [`Store`] makes them durable, several in one step, and gives
//! every row back at the next start. [`RedbStore`] is the node's ledger (less than 1 MiB, no thread of its own), [`SledStore`]
//! the master's. [`writer`] is the async shell around either: it gathers what is queued, commits it together and says how
//! far it got.
//!
//! Deliberately lacks: queries, iterators over a range, any knowledge of what a row means. Brains hold their state
//! themselves; a store is read once.

#![cfg_attr(
    not(any(feature = "redb", feature = "sled")),
    expect(dead_code, reason = "what the engines share; the trait alone is for scripted stores")
)]

mod backlog;
mod error;
mod home;
mod key;
#[cfg(feature = "redb")]
mod redb_store;
#[cfg(feature = "sled")]
mod sled_store;
mod writer;

use skerry_types::Batch;

pub use backlog::Backlog;
pub use error::StoreError;
#[cfg(feature = "redb")]
pub use redb_store::RedbStore;
#[cfg(feature = "sled")]
pub use sled_store::SledStore;
pub use writer::{Progress, WriteQueue, Writer, WriterGone, writer};

/// The version of what this crate writes. A store with a higher one is refused, untouched.
pub const FORMAT: u32 = 1;

/// Durable rows in named tables. One process has a store open at a time.
///
/// All calls block, some for as long as a disk takes to sync: keep them off an async runtime's own threads.
pub trait Store: Send + 'static {
    /// Shows every row, in order of table, then key.
    fn load(&mut self, visit: &mut dyn FnMut(RowRef<'_>)) -> Result<(), StoreError>;

    /// Makes `batches` durable, in order, together: after a crash at any moment each batch is there whole or not at all,
    /// and once this has returned they are there even when the power goes.
    ///
    /// After [`StoreError::DiskFull`] nothing is known to be written and the same batches may be tried again, as whatever
    /// was written is written again with the same result. A batch out of bounds is refused before anything is written.
    /// After any other error the store may differ from what memory holds, and every later commit fails: end the process and
    /// start again from what is there.
    fn commit(&mut self, batches: &[Batch]) -> Result<(), StoreError>;

    /// Every row as a list of its own, in order of table, then key.
    fn rows(&mut self) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        self.load(&mut |row| rows.push(row.to_row()))?;
        Ok(rows)
    }
}

/// A row, lent while a store is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRef<'a> {
    /// Which table.
    pub table: &'a str,
    /// Its key in the table.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Which table.
    pub table: String,
    /// Its key in the table.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

impl RowRef<'_> {
    /// A copy that lives on.
    pub fn to_row(self) -> Row {
        Row { table: self.table.to_owned(), key: self.key.to_vec(), value: self.value.to_vec() }
    }
}
