//! The way from a brain's batches to the disk, which never holds the brain up.

use std::collections::BTreeMap;

use skerry_types::{Batch, PersistId, TableName, Write};

use crate::{Progress, WriteQueue, WriterGone};

/// Batches on their way to the writer. While a full disk or a slow one stops the writer, what waits here is folded by row: it
/// is never more than one value for each row of the store, however long that lasts.
#[derive(Debug)]
pub struct Backlog {
    queue: WriteQueue,
    progress: Progress,
    waiting: Option<Waiting>,
}

/// One batch with the effect of all that came since the last was handed on.
#[derive(Debug)]
struct Waiting {
    last: PersistId,
    rows: BTreeMap<(TableName, Vec<u8>), Option<Vec<u8>>>,
}

impl Backlog {
    /// A backlog in front of a writer.
    pub fn new(queue: WriteQueue, progress: Progress) -> Self {
        Self { queue, progress, waiting: None }
    }

    /// Takes a batch; it is handed on by [`Backlog::step`].
    pub fn push(&mut self, id: PersistId, batch: Batch) {
        let waiting = self.waiting.get_or_insert_with(|| Waiting { last: id, rows: BTreeMap::new() });
        waiting.last = id;
        waiting
            .rows
            .extend(batch.writes.into_iter().map(|Write { table, key, value }| ((table, key), value)));
    }

    /// Hands on what waits and gives `None`, or tells the last batch that is on disk. Cancel-safe.
    pub async fn step(&mut self) -> Result<Option<PersistId>, WriterGone> {
        if self.waiting.is_none() {
            return self.progress.changed().await.map(Some);
        }
        tokio::select! {
            // Both are cancel-safe: a place in the queue that is dropped is free again.
            changed = self.progress.changed() => changed.map(Some),
            place = self.queue.place() => {
                if let Some(waiting) = self.waiting.take() {
                    place?.put(waiting.last, waiting.into_batch());
                }
                Ok(None)
            }
        }
    }

    /// Hands on what waits, for the last time. The writer ends when it has written it.
    pub async fn finish(self) -> Result<(), WriterGone> {
        match self.waiting {
            Some(waiting) => self.queue.submit(waiting.last, waiting.into_batch()).await,
            None => Ok(()),
        }
    }
}

impl Waiting {
    fn into_batch(self) -> Batch {
        let writes = self.rows.into_iter().map(|((table, key), value)| Write { table, key, value });
        Batch { writes: writes.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_keeps_the_last_value_of_each_row() {
        let (mut one, mut two) = (Batch::default(), Batch::default());
        one.put("a", *b"x", *b"1");
        one.put("a", *b"y", *b"1");
        two.delete("a", *b"x");
        two.put("b", *b"x", *b"2");
        let (queue, progress) = crate::writer::ends();
        let mut backlog = Backlog::new(queue, progress);
        backlog.push(PersistId(1), one);
        backlog.push(PersistId(2), two);
        let mut expect = Batch::default();
        expect.delete("a", *b"x");
        expect.put("a", *b"y", *b"1");
        expect.put("b", *b"x", *b"2");
        let waiting = backlog.waiting.unwrap();
        assert_eq!(waiting.last, PersistId(2));
        assert_eq!(waiting.into_batch(), expect);
    }
}
