//! The way from the brain's batches to the disk, which never holds the brain up.

use std::collections::BTreeMap;

use skerry_store::{Progress, WriteQueue, WriterGone};
use skerry_types::{Batch, PersistId, TableName, Write};

/// Batches on their way to the writer. While a full disk stops the writer, what waits here is folded by row: it is never more
/// than one value for each row of the ledger, however long that lasts.
#[derive(Debug)]
pub(crate) struct Ledger {
    queue: WriteQueue,
    progress: Progress,
    waiting: Option<(PersistId, Batch)>,
}

impl Ledger {
    pub(crate) fn new(queue: WriteQueue, progress: Progress) -> Self {
        Self { queue, progress, waiting: None }
    }

    /// Takes a batch; it is handed on by [`Ledger::step`].
    pub(crate) fn push(&mut self, id: PersistId, batch: Batch) {
        let batch = match self.waiting.take() {
            Some((_, earlier)) => fold(earlier, batch),
            None => batch,
        };
        self.waiting = Some((id, batch));
    }

    /// Hands on what waits, or tells how far the disk is. Cancel-safe.
    pub(crate) async fn step(&mut self) -> Result<Option<PersistId>, WriterGone> {
        let Some((id, batch)) = &self.waiting else { return self.progress.changed().await.map(Some) };
        tokio::select! {
            // Both are cancel-safe: a submit that is dropped has queued nothing.
            changed = self.progress.changed() => changed.map(Some),
            submitted = self.queue.submit(*id, batch.clone()) => {
                submitted?;
                self.waiting = None;
                Ok(None)
            }
        }
    }

    /// Hands on what waits, for the last time. The writer ends when it has written it.
    pub(crate) async fn finish(self) -> Result<(), WriterGone> {
        match self.waiting {
            Some((id, batch)) => self.queue.submit(id, batch).await,
            None => Ok(()),
        }
    }
}

/// One batch with the effect of two, one after the other.
fn fold(earlier: Batch, later: Batch) -> Batch {
    let mut rows: BTreeMap<(TableName, Vec<u8>), Option<Vec<u8>>> = BTreeMap::new();
    for Write { table, key, value } in earlier.writes.into_iter().chain(later.writes) {
        rows.insert((table, key), value);
    }
    let writes = rows.into_iter().map(|((table, key), value)| Write { table, key, value });
    Batch { writes: writes.collect() }
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
        let folded = fold(one, two);
        let mut expect = Batch::default();
        expect.delete("a", *b"x");
        expect.put("a", *b"y", *b"1");
        expect.put("b", *b"x", *b"2");
        assert_eq!(folded, expect);
    }
}
