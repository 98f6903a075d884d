//! The writer against a scripted store.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use skerry_store::{Progress, RowRef, Store, StoreError, WriterGone, writer};
use skerry_types::{Batch, PersistId};
use tokio::time::timeout;

/// Says how many batches each commit has, then does what the script says.
struct Scripted {
    commits: Sender<usize>,
    script: Receiver<Result<(), StoreError>>,
}

impl Store for Scripted {
    fn load(&mut self, _visit: &mut dyn FnMut(RowRef<'_>)) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        self.commits.send(batches.len()).unwrap();
        self.script.recv().unwrap()
    }
}

type Script = Sender<Result<(), StoreError>>;

fn scripted() -> (Scripted, Receiver<usize>, Script) {
    let (commits_in, commits_out) = channel();
    let (script_in, script_out) = channel();
    let store = Scripted { commits: commits_in, script: script_out };
    (store, commits_out, script_in)
}

fn batch() -> Batch {
    let mut batch = Batch::default();
    batch.put("t", *b"k", *b"v");
    batch
}

fn disk_full() -> StoreError {
    StoreError::DiskFull { path: "store".into() }
}

async fn reached(progress: &mut Progress, id: u64) {
    let waiting = async {
        while progress.persisted() < PersistId(id) {
            progress.changed().await.unwrap();
        }
    };
    timeout(Duration::from_secs(10), waiting).await.expect("the writer gets there");
}

/// Receives off the runtime, so that the writer's own turn comes.
async fn next_commit(commits: Receiver<usize>) -> (Receiver<usize>, usize) {
    let received = tokio::task::spawn_blocking(move || {
        let size = commits.recv_timeout(Duration::from_secs(10)).expect("a commit begins");
        (commits, size)
    });
    received.await.unwrap()
}

#[tokio::test]
async fn what_is_queued_during_a_commit_is_the_next_commit() {
    let (store, commits, script) = scripted();
    let (queue, mut progress, writer) = writer(store);
    let writing = tokio::spawn(writer.run());
    queue.submit(PersistId(1), batch()).await.unwrap();
    let (commits, first) = next_commit(commits).await;
    for id in 2..=6 {
        queue.submit(PersistId(id), batch()).await.unwrap();
    }
    assert_eq!(progress.persisted(), PersistId(0), "nothing is on disk yet");
    script.send(Ok(())).unwrap();
    let (_commits, second) = next_commit(commits).await;
    assert_eq!((first, second), (1, 5));
    assert_eq!(progress.persisted(), PersistId(1));
    script.send(Ok(())).unwrap();
    reached(&mut progress, 6).await;
    drop(queue);
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_disk_is_tried_again_and_nothing_is_acknowledged_meanwhile() {
    let (store, commits, script) = scripted();
    let (queue, mut progress, writer) = writer(store);
    let writing = tokio::spawn(writer.run());
    queue.submit(PersistId(1), batch()).await.unwrap();
    script.send(Err(disk_full())).unwrap();
    assert_eq!(progress.changed().await, Ok(PersistId(0)));
    assert!(progress.is_disk_full());
    script.send(Ok(())).unwrap();
    reached(&mut progress, 1).await;
    assert!(!progress.is_disk_full());
    drop(queue);
    writing.await.unwrap().unwrap();
    assert_eq!(commits.iter().collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn a_full_disk_does_not_hold_up_the_end() {
    let (store, _commits, script) = scripted();
    let (queue, _progress, writer) = writer(store);
    script.send(Err(disk_full())).unwrap();
    queue.submit(PersistId(1), batch()).await.unwrap();
    drop(queue);
    assert!(writer.run().await.unwrap_err().is_disk_full());
}

#[tokio::test]
async fn any_other_error_is_final() {
    let (store, _commits, script) = scripted();
    let (queue, mut progress, writer) = writer(store);
    let writing = tokio::spawn(writer.run());
    script.send(Err(StoreError::Failed { path: "store".into() })).unwrap();
    queue.submit(PersistId(1), batch()).await.unwrap();
    assert_eq!(progress.changed().await, Err(WriterGone));
    assert_eq!(progress.persisted(), PersistId(0));
    assert_eq!(queue.submit(PersistId(2), batch()).await, Err(WriterGone));
    let error = writing.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
}

#[tokio::test]
async fn what_is_queued_at_the_end_is_written() {
    let (store, commits, script) = scripted();
    let (queue, progress, writer) = writer(store);
    for id in 1..=3 {
        queue.submit(PersistId(id), batch()).await.unwrap();
    }
    drop(queue);
    script.send(Ok(())).unwrap();
    writer.run().await.unwrap();
    assert_eq!(progress.persisted(), PersistId(3));
    assert_eq!(commits.iter().collect::<Vec<_>>(), [3]);
}
