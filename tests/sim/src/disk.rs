//! A store that loses what it was not done with.

use std::collections::{BTreeMap, VecDeque};

use skerry_types::{Batch, PersistId, TableName};

use crate::rng::Rng;

/// A row: table, key, value.
type Row = (String, Vec<u8>, Vec<u8>);

#[derive(Debug, Default)]
pub(crate) struct Disk {
    tables: BTreeMap<TableName, BTreeMap<Vec<u8>, Vec<u8>>>,
    queued: VecDeque<(PersistId, Batch)>,
    /// A commit is under way.
    pub(crate) busy: bool,
    /// No room: commits wait.
    pub(crate) full: bool,
    /// Longest time of a commit in microseconds.
    pub(crate) slowest: u64,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { slowest: 20_000, ..Self::default() }
    }

    pub(crate) fn submit(&mut self, id: PersistId, batch: Batch) {
        self.queued.push_back((id, batch));
    }

    pub(crate) fn wants_commit(&self) -> bool {
        !self.busy && !self.full && !self.queued.is_empty()
    }

    /// Everything queued is on disk.
    pub(crate) fn commit(&mut self) -> Option<PersistId> {
        self.busy = false;
        let last = self.queued.back().map(|(id, _)| *id);
        while let Some((_, batch)) = self.queued.pop_front() {
            self.write(batch);
        }
        last
    }

    /// The process ends: of what was queued, some first part may have reached the disk.
    pub(crate) fn crash(&mut self, rng: &mut Rng, keep_none: bool) {
        let kept = if keep_none { 0 } else { rng.below(self.queued.len() + 1) };
        for (_, batch) in std::mem::take(&mut self.queued).into_iter().take(kept) {
            self.write(batch);
        }
        self.busy = false;
    }

    fn write(&mut self, batch: Batch) {
        for write in batch.writes {
            let table = self.tables.entry(write.table).or_default();
            match write.value {
                Some(value) => table.insert(write.key, value),
                None => table.remove(&write.key),
            };
        }
    }

    /// What a copy of it holds.
    pub(crate) fn image(&self) -> Self {
        Self { tables: self.tables.clone(), ..Self::new() }
    }

    /// Holds what another one does.
    pub(crate) fn put_in(&mut self, image: Self) {
        self.tables = image.tables;
    }

    pub(crate) fn wipe(&mut self) {
        self.tables.clear();
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.rows_but("")
    }

    /// All rows but those of one table.
    pub(crate) fn rows_but(&self, left_out: &str) -> impl Iterator<Item = Row> {
        let tables = self.tables.iter().filter(move |(name, _)| **name != left_out);
        tables.flat_map(|(name, rows)| {
            rows.iter().map(|(key, value)| ((*name).to_owned(), key.clone(), value.clone()))
        })
    }

    pub(crate) fn value(&self, table: &str, key: &[u8]) -> Option<&[u8]> {
        self.tables.get(table)?.get(key).map(Vec::as_slice)
    }

    pub(crate) fn count(&self, table: &str) -> usize {
        self.tables.get(table).map_or(0, BTreeMap::len)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queued.is_empty()
    }
}
