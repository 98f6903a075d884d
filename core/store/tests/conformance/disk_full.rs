//! A disk without space: said as such, nothing acknowledged, and over when there is space again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use skerry_store::{Progress, Row, Store, StoreError, writer};
use skerry_types::{Batch, PersistId};

use crate::rows::{put, row};
use crate::{Engine, each_engine};

each_engine!(a_full_disk_is_told_apart_and_passes, the_writer_waits_for_space);

/// A small disk of its own, taken away when the test is over however it ends.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=12m"))
            .expect("a tmpfs can be mounted (this test runs as root)");
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn fill(&self) {
        let mut filler = fs::File::create(self.dir.path().join("filler")).unwrap();
        let copied = std::io::copy(&mut std::io::repeat(1), &mut filler);
        assert_eq!(copied.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        fs::remove_file(self.dir.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = umount2(self.dir.path(), MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.dir.path().display());
        }
    }
}

/// Fewer batches than fit the queue, and more bytes than a store has at hand on a full disk.
const COUNT: u32 = 200;
const LAST: PersistId = PersistId(COUNT as u64);

fn numbered(number: u32) -> Batch {
    put("t", &number.to_be_bytes(), &[1; 2000])
}

fn numbered_rows(count: u32) -> Vec<Row> {
    (0..count).map(|number| row("t", &number.to_be_bytes(), &[1; 2000])).collect()
}

fn rows<E: Engine>(path: &Path) -> Vec<Row> {
    E::open(path).unwrap().rows().unwrap()
}

fn a_full_disk_is_told_apart_and_passes<E: Engine>() {
    let disk = SmallDisk::mount();
    let mut store = E::open(&disk.path()).unwrap();
    let mut written = 0;
    for round in 0..3 {
        store.commit(&[numbered(written)]).unwrap();
        written += 1;
        disk.fill();
        let error = loop {
            match store.commit(&[numbered(written)]) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 5000, "the disk never fills");
        };
        assert!(matches!(error, StoreError::DiskFull { .. }), "round {round}: {error:?}");
        let again = store.commit(&[numbered(written)]).unwrap_err();
        assert!(again.is_disk_full(), "round {round}: {again:?}");
        disk.free();
        store.commit(&[numbered(written)]).unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        written += 1;
        assert_eq!(store.rows().unwrap(), numbered_rows(written), "round {round}");
    }
    drop(store);
    assert_eq!(rows::<E>(&disk.path()), numbered_rows(written));
}

fn the_writer_waits_for_space<E: Engine>() {
    let disk = SmallDisk::mount();
    let store = E::open(&disk.path()).unwrap();
    disk.fill();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (queue, mut progress, writer) = writer(store);
        let writing = tokio::spawn(writer.run());
        for number in 0..COUNT {
            let id = PersistId(u64::from(number) + 1);
            queue.submit(id, numbered(number)).await.unwrap();
        }
        within(&mut progress, Progress::is_disk_full).await;
        assert!(progress.persisted() < LAST);
        disk.free();
        within(&mut progress, |progress| progress.persisted() == LAST).await;
        assert!(!progress.is_disk_full());
        drop(queue);
        writing.await.unwrap().unwrap();
    });
    assert_eq!(rows::<E>(&disk.path()), numbered_rows(COUNT));
}

async fn within(progress: &mut Progress, reached: impl Fn(&Progress) -> bool) {
    let waiting = async {
        while !reached(progress) {
            progress.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the writer gets there");
}
