//! The async shell around a store: queued batches go to disk together, and their acknowledgement comes after.

use std::sync::Arc;
use std::time::Duration;

use skerry_types::{Batch, PersistId};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::{Store, StoreError};

/// Batches that wait. Whoever gets this far ahead of the disk waits in [`WriteQueue::submit`].
const QUEUE_MAX: usize = 256;
/// Batches in one commit: more would only make the first of them wait longer.
const GROUP_MAX: usize = 256;
/// Bytes after which a group is full, so that a node's ledger needs little memory; one batch may pass it.
const GROUP_BYTES: usize = 1024 * 1024;
/// First and longest wait between two tries on a full disk.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The way in: hands batches to the [`Writer`] in order.
#[derive(Debug, Clone)]
pub struct WriteQueue {
    queue: mpsc::Sender<(PersistId, Batch)>,
}

/// The writer has ended; its result says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the writer of the store has ended")]
pub struct WriterGone;

impl WriteQueue {
    /// Queues a batch. Waits while 256 batches are queued. Cancel-safe: a cancelled call has queued nothing.
    pub async fn submit(&self, id: PersistId, batch: Batch) -> Result<(), WriterGone> {
        self.queue.send((id, batch)).await.map_err(|_| WriterGone)
    }

    /// Waits for a place as [`WriteQueue::submit`] does. Cancel-safe.
    pub(crate) async fn place(&self) -> Result<Place<'_>, WriterGone> {
        self.queue.reserve().await.map(Place).map_err(|_| WriterGone)
    }
}

/// A free place in the queue.
pub(crate) struct Place<'a>(mpsc::Permit<'a, (PersistId, Batch)>);

impl Place<'_> {
    pub(crate) fn put(self, id: PersistId, batch: Batch) {
        self.0.send((id, batch));
    }
}

/// The two ends of a writer that is not there.
#[cfg(test)]
pub(crate) fn ends() -> (WriteQueue, Progress) {
    (WriteQueue { queue: mpsc::channel(1).0 }, Progress { state: watch::channel(State::default()).1 })
}

/// How far the writer got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct State {
    persisted: PersistId,
    disk_full: bool,
}

/// The way out: how far the writer got.
#[derive(Debug, Clone)]
pub struct Progress {
    state: watch::Receiver<State>,
}

impl Progress {
    /// The last batch that is on disk, together with all before it; 0 at the start.
    pub fn persisted(&self) -> PersistId {
        self.state.borrow().persisted
    }

    /// Whether writing waits for space on the disk.
    pub fn is_disk_full(&self) -> bool {
        self.state.borrow().disk_full
    }

    /// Waits until writing has waited for space for this long, without a moment of success in between. For ever when the
    /// writer ends before. Cancel-safe.
    pub async fn disk_full_for(&mut self, time: Duration) {
        while self.is_full_or(false).await {
            match tokio::time::timeout(time, self.is_full_or(true)).await {
                Err(_) => return,
                Ok(false) => break,
                Ok(true) => {}
            }
        }
        std::future::pending::<()>().await;
    }

    /// Waits until the disk is full, or with `true` until it is not. False when the writer has ended before.
    async fn is_full_or(&mut self, not: bool) -> bool {
        self.state.wait_for(|state| state.disk_full != not).await.is_ok()
    }

    /// Waits until either answer changed since the last call, and gives the last batch that is on disk. Cancel-safe.
    pub async fn changed(&mut self) -> Result<PersistId, WriterGone> {
        self.state.changed().await.map_err(|_| WriterGone)?;
        Ok(self.state.borrow_and_update().persisted)
    }
}

/// The one task that writes to a store.
#[derive(Debug)]
pub struct Writer<S> {
    store: S,
    queue: mpsc::Receiver<(PersistId, Batch)>,
    state: watch::Sender<State>,
}

/// A writer for `store` with its two ends. Nothing is written until someone runs [`Writer::run`].
pub fn writer<S: Store>(store: S) -> (WriteQueue, Progress, Writer<S>) {
    let (queue_in, queue_out) = mpsc::channel(QUEUE_MAX);
    let (state_in, state_out) = watch::channel(State::default());
    let writer = Writer { store, queue: queue_out, state: state_in };
    (WriteQueue { queue: queue_in }, Progress { state: state_out }, writer)
}

impl<S: Store> Writer<S> {
    /// Writes what is queued until every [`WriteQueue`] is gone and the queue is empty.
    ///
    /// A full disk is waited for, with nothing acknowledged meanwhile; if the queue's owners leave before space returns,
    /// the error is [`StoreError::DiskFull`]. Any other error is final. Do not drop this future while a group is being
    /// written: what was queued may or may not be on disk then. Each commit runs on a blocking thread of the runtime, which
    /// ends by itself when the store is idle.
    pub async fn run(mut self) -> Result<(), StoreError> {
        while let Some((last, group)) = self.gather().await {
            self = self.write(Arc::new(group)).await?;
            self.state.send_modify(|state| state.persisted = last);
        }
        Ok(())
    }

    async fn gather(&mut self) -> Option<(PersistId, Vec<Batch>)> {
        let (mut last, first) = self.queue.recv().await?;
        let mut bytes = size(&first);
        let mut group = vec![first];
        while group.len() < GROUP_MAX && bytes < GROUP_BYTES {
            let Ok((id, batch)) = self.queue.try_recv() else {
                break;
            };
            last = id;
            bytes += size(&batch);
            group.push(batch);
        }
        Some((last, group))
    }

    async fn write(mut self, group: Arc<Vec<Batch>>) -> Result<Self, StoreError> {
        let mut wait = RETRY_MIN;
        loop {
            let written;
            (self.store, written) = commit(self.store, Arc::clone(&group)).await;
            match written {
                Err(error) if error.is_disk_full() && !self.queue.is_closed() => {
                    self.say_disk_full(&error);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    self.say_disk_has_space();
                    return Ok(self);
                }
            }
        }
    }

    fn say_disk_full(&self, error: &StoreError) {
        let news = self.state.send_if_modified(|state| !std::mem::replace(&mut state.disk_full, true));
        if news {
            warn!(%error, "writing waits for space on disk");
        }
    }

    fn say_disk_has_space(&self) {
        let news = self.state.send_if_modified(|state| std::mem::replace(&mut state.disk_full, false));
        if news {
            info!("there is space on disk, writing goes on");
        }
    }
}

async fn commit<S: Store>(mut store: S, group: Arc<Vec<Batch>>) -> (S, Result<(), StoreError>) {
    let blocking = tokio::task::spawn_blocking(move || {
        let written = store.commit(&group);
        (store, written)
    });
    match blocking.await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is shutting down cancels a blocking call, and then nobody waits for this.
            Err(_) => std::future::pending().await,
        },
    }
}

fn size(batch: &Batch) -> usize {
    let value = |write: &skerry_types::Write| write.value.as_ref().map_or(0, Vec::len);
    batch.writes.iter().map(|write| write.key.len() + value(write)).sum()
}
