//! The way from a brain's batches to the disk, which never holds the brain up.

use std::collections::{BTreeMap, VecDeque};

use skerry_types::{Batch, PersistId, TableName, Write};

use crate::{Progress, WriteQueue, WriterGone};

/// Rows from which on what waits is handed on as it is, and what comes next waits behind it. All that thousands of nodes were told at
/// once, as one batch, has to be on disk before the first of them hears of it, and takes its engine tens of megabytes.
const FULL_AT: usize = 256;
/// Batches that wait at most: what ten thousand nodes are told at once three times. Beyond it the last one takes everything.
const WAITING_MAX: usize = 128;

/// Batches on their way to the writer. While a full disk or a slow one stops the writer, what waits here is folded by row: it
/// is never more than one value for each row of the store beside 128 batches, however long that lasts.
#[derive(Debug)]
pub struct Backlog {
    queue: WriteQueue,
    progress: Progress,
    waiting: VecDeque<Waiting>,
}

/// One batch with the effect of several in a row.
#[derive(Debug, Default)]
struct Waiting {
    last: PersistId,
    rows: BTreeMap<(TableName, Vec<u8>), Option<Vec<u8>>>,
}

impl Backlog {
    /// A backlog in front of a writer.
    pub fn new(queue: WriteQueue, progress: Progress) -> Self {
        Self { queue, progress, waiting: VecDeque::new() }
    }

    /// Takes a batch; it is handed on by [`Backlog::step`].
    pub fn push(&mut self, id: PersistId, batch: Batch) {
        let many = self.waiting.len() >= WAITING_MAX;
        match self.waiting.back_mut() {
            Some(last) if many || last.rows.len() < FULL_AT => last.fold(id, batch),
            _ => {
                let mut next = Waiting::default();
                next.fold(id, batch);
                self.waiting.push_back(next);
            }
        }
    }

    /// Hands on the first that waits and gives `None`, or tells the last batch that is on disk. Cancel-safe.
    pub async fn step(&mut self) -> Result<Option<PersistId>, WriterGone> {
        if self.waiting.is_empty() {
            return self.progress.changed().await.map(Some);
        }
        tokio::select! {
            // Both are cancel-safe: a place in the queue that is dropped is free again.
            changed = self.progress.changed() => changed.map(Some),
            place = self.queue.place() => {
                let place = place?;
                if let Some(waiting) = self.waiting.pop_front() {
                    place.put(waiting.last, waiting.into_batch());
                }
                Ok(None)
            }
        }
    }

    /// Hands on what waits, for the last time. The writer ends when it has written it.
    pub async fn finish(self) -> Result<(), WriterGone> {
        for waiting in self.waiting {
            self.queue.submit(waiting.last, waiting.into_batch()).await?;
        }
        Ok(())
    }
}

impl Waiting {
    fn fold(&mut self, id: PersistId, batch: Batch) {
        self.last = id;
        self.rows.extend(batch.writes.into_iter().map(|Write { table, key, value }| ((table, key), value)));
    }

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
        let waiting = backlog.waiting.pop_front().unwrap();
        assert_eq!(waiting.last, PersistId(2));
        assert_eq!(waiting.into_batch(), expect);
        assert!(backlog.waiting.is_empty());
    }

    #[test]
    fn what_waits_is_split_while_it_is_little_and_folded_for_ever_when_it_is_much() {
        let (queue, progress) = crate::writer::ends();
        let mut backlog = Backlog::new(queue, progress);
        let rows = FULL_AT * WAITING_MAX;
        let mut push = |number: usize| {
            let mut batch = Batch::default();
            batch.put("a", (number % (2 * rows)).to_be_bytes(), number.to_be_bytes());
            backlog.push(PersistId(number as u64 + 1), batch);
        };
        (0..6 * rows).for_each(&mut push);
        assert_eq!(backlog.waiting.len(), WAITING_MAX);
        let (mut before, mut first) = (PersistId(0), 0_usize);
        for (place, waiting) in backlog.waiting.into_iter().enumerate() {
            assert!(waiting.last > before, "batch {place}");
            before = waiting.last;
            let batch = waiting.into_batch();
            let is_last = place + 1 == WAITING_MAX;
            assert_eq!(batch.writes.len(), if is_last { 2 * rows } else { FULL_AT });
            assert!(is_last || batch.writes[0].key == first.to_be_bytes());
            first += FULL_AT;
            if is_last {
                // Of each row the value that came last.
                let newest = |write: &Write| write.value.as_deref().unwrap() >= &(4 * rows).to_be_bytes()[..];
                assert!(batch.writes.iter().all(newest));
            }
        }
        assert_eq!(before, PersistId(6 * rows as u64));
    }
}
