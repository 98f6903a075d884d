//! Durable before visible: what a brain writes, and how it holds back what others may see until that is on disk.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::mutant::{self, Mutant};

/// Effects for which an empty outbox keeps room: one change at a master may bring forth ten thousand, and the next in an hour.
const KEPT_EFFECTS: usize = 256;

/// Which table of a store. Tables are few and fixed, named by the brain that owns them.
pub type TableName = &'static str;

/// One change to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Which table.
    pub table: TableName,
    /// Which row, at most [`Batch::KEY_MAX`] bytes.
    pub key: Vec<u8>,
    /// Its value, at most [`Batch::VALUE_MAX`] bytes; `None` removes the row.
    pub value: Option<Vec<u8>>,
}

/// Changes that are made together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes; a later one to the same row wins.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Longest key in bytes, so that every store can hold it beside a table name.
    pub const KEY_MAX: usize = 512;
    /// Longest value in bytes: six of them fit an etcd request of 1.5 MB.
    pub const VALUE_MAX: usize = 256 * 1024;

    /// Adds or replaces a row.
    pub fn put(&mut self, table: TableName, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push(Write { table, key: key.into(), value: Some(value.into()) });
    }

    /// Removes a row; no error when it is not there.
    pub fn delete(&mut self, table: TableName, key: impl Into<Vec<u8>>) {
        self.writes.push(Write { table, key: key.into(), value: None });
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// The running number of a batch, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PersistId(pub u64);

/// Holds back what others may see until everything it may depend on is on disk.
///
/// Memory is changed at once and batches are written in order, so whatever leaves a brain may depend on every batch before
/// it: each effect waits for the last batch that was handed out when it was pushed. Batches themselves never wait.
#[derive(Debug)]
pub struct Outbox<Effect> {
    open: Batch,
    ready_batches: VecDeque<(PersistId, Batch)>,
    last_sealed: PersistId,
    last_persisted: PersistId,
    effects: VecDeque<(PersistId, Effect)>,
}

impl<Effect> Default for Outbox<Effect> {
    fn default() -> Self {
        Self {
            open: Batch::default(),
            ready_batches: VecDeque::new(),
            last_sealed: PersistId(0),
            last_persisted: PersistId(0),
            effects: VecDeque::new(),
        }
    }
}

impl<Effect> Outbox<Effect> {
    /// The batch that the present input adds to.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.open
    }

    /// Adds an effect that may depend on everything written so far, the open batch included.
    pub fn push(&mut self, effect: Effect) {
        let waits_for =
            if self.open.is_empty() { self.last_sealed } else { PersistId(self.last_sealed.0 + 1) };
        self.effects.push_back((waits_for, effect));
    }

    /// Closes the open batch, if anything is in it. Call once at the end of each input.
    pub fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.last_sealed = PersistId(self.last_sealed.0 + 1);
        self.ready_batches.push_back((self.last_sealed, std::mem::take(&mut self.open)));
    }

    /// The next batch to write, in order.
    pub fn poll_batch(&mut self) -> Option<(PersistId, Batch)> {
        self.ready_batches.pop_front()
    }

    /// Says that this batch and all before it are on disk.
    pub fn persisted(&mut self, id: PersistId) {
        self.last_persisted = self.last_persisted.max(id);
    }

    /// The next effect whose batches are all on disk.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let (waits_for, _) = self.effects.front()?;
        if *waits_for > self.last_persisted && !mutant::is(Mutant::SkipsPersistWait) {
            return None;
        }
        let (_, effect) = self.effects.pop_front()?;
        if self.effects.is_empty() && self.effects.capacity() > KEPT_EFFECTS {
            self.effects = VecDeque::new();
        }
        Some(effect)
    }

    /// Whether nothing waits: no batch to write or being written, no effect held.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
            && self.ready_batches.is_empty()
            && self.effects.is_empty()
            && self.last_sealed == self.last_persisted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_waits_for_its_batch_and_keeps_its_place() {
        let mut outbox = Outbox::default();
        outbox.push("free");
        outbox.batch().put("t", *b"a", *b"1");
        outbox.push("after a");
        outbox.seal();
        outbox.push("also after a");
        outbox.seal();
        assert_eq!(outbox.poll_effect(), Some("free"));
        assert_eq!(outbox.poll_effect(), None);
        let (first, batch) = outbox.poll_batch().unwrap();
        assert_eq!(batch.writes.len(), 1);
        outbox.batch().delete("t", *b"a");
        outbox.push("after b");
        outbox.seal();
        outbox.persisted(first);
        assert_eq!(outbox.poll_effect(), Some("after a"));
        assert_eq!(outbox.poll_effect(), Some("also after a"));
        assert_eq!(outbox.poll_effect(), None);
        assert!(!outbox.is_idle());
        let (second, _) = outbox.poll_batch().unwrap();
        outbox.persisted(second);
        assert_eq!(outbox.poll_effect(), Some("after b"));
        assert!(outbox.is_idle());
    }
}
