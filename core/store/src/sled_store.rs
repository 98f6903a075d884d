//! The master's store on sled.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use skerry_types::Batch;

use crate::home::Home;
use crate::key::{self, Changes, FORMAT_KEY};
use crate::{FORMAT, RowRef, Store, StoreError};

const DIR: &str = "rows.sled";
/// sled's log. Its own flush hands pages to the kernel without a disk barrier, so commits sync this file themselves.
const LOG: &str = "db";
/// Rows are read at the start and only changed after that: what is here spares reading a page before it is changed. 24 MiB held 2.7 KB
/// more for each of ten thousand nodes than 4. sled's default is 1 GiB.
const CACHE_BYTES: u64 = 12 * 1024 * 1024;
/// Longest piece of a value. sled moves a tree page of more than 128 KiB into a file of its own, which it never syncs; a
/// page holds at most 20 pieces, so with their keys it stays below that.
const PIECE_BYTES: usize = 4096;
/// Rows that sled changes at a time. For each it makes a copy of the row's page, and it frees none before it is done with all: what
/// two thousand nodes were told at once took 20 MB.
const PART_WRITES: usize = 1024;
/// sled's threads may hold its file for a moment after it was closed in this process.
const CLOSING_MAX: Duration = Duration::from_secs(10);

/// First byte of the key of a row's head: a count of further pieces and the first piece of its value.
const HEAD: u8 = 1;
/// First byte of the key of a further piece; the last byte is its number, from 1.
const PIECE: u8 = 2;

/// A store in one sled tree. Costs 22 MiB of memory and eight threads.
pub struct SledStore {
    home: Home,
    dir: PathBuf,
    engine: Engine,
}

enum Engine {
    Open(Open),
    /// A commit found the disk full. sled stays failed after that; the next commit opens it anew.
    Closed,
    Failed,
}

struct Open {
    tree: sled::Db,
    log: File,
}

impl SledStore {
    /// Opens the store in the directory `dir`, made when there is none.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let home = Home::open(dir.as_ref())?;
        let dir = home.data(DIR, |draft| create(home.dir(), draft))?;
        let open = Open::at(home.dir(), &dir)?;
        open.check_format(home.dir())?;
        Ok(Self { home, dir, engine: Engine::Open(open) })
    }

    fn path(&self) -> &Path {
        self.home.dir()
    }

    fn opened(&mut self) -> Result<&Open, StoreError> {
        if let Engine::Closed = self.engine {
            self.engine = Engine::Open(Open::at(self.home.dir(), &self.dir)?);
        }
        match &self.engine {
            Engine::Open(open) => Ok(open),
            Engine::Closed | Engine::Failed => Err(StoreError::Failed { path: self.home.dir().to_owned() }),
        }
    }
}

impl Store for SledStore {
    fn load(&mut self, visit: &mut dyn FnMut(RowRef<'_>)) -> Result<(), StoreError> {
        let path = self.path().to_owned();
        self.opened()?.load(&path, visit)
    }

    fn commit(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        let parts = parts(batches).map(key::fold).collect::<Result<Vec<_>, _>>()?;
        let path = self.path().to_owned();
        let written = self.opened().and_then(|open| open.write(&path, &parts));
        if let Err(error) = &written {
            self.engine = match error {
                StoreError::DiskFull { .. } => Engine::Closed,
                _ => Engine::Failed,
            };
        }
        written
    }
}

impl Open {
    fn at(path: &Path, dir: &Path) -> Result<Self, StoreError> {
        // sled would make an empty log where there is none.
        let log = File::open(dir.join(LOG)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged(path, &"its log is missing"),
            _ => StoreError::io(path, "opened", error),
        })?;
        let length = log.metadata().map_err(|error| StoreError::io(path, "opened", error))?.len();
        if length == 0 {
            return Err(damaged(path, &"its log is empty"));
        }
        remove_draft_snapshots(dir).map_err(|error| StoreError::io(path, "opened", error))?;
        let tree = open_tree(dir).map_err(|error| fault(path, "opened", error))?;
        Ok(Self { tree, log })
    }

    fn check_format(&self, path: &Path) -> Result<(), StoreError> {
        let format = self.tree.get(FORMAT_KEY).map_err(|error| fault(path, "opened", error))?;
        let found = format.and_then(|format| format.as_ref().try_into().ok());
        match found.map(u32::from_be_bytes) {
            Some(found) if found > FORMAT => {
                Err(StoreError::NewerFormat { path: path.to_owned(), found, supported: FORMAT })
            }
            Some(_) => Ok(()),
            None => Err(damaged(path, &"it has no format row")),
        }
    }

    fn write(&self, path: &Path, parts: &[Changes<'_>]) -> Result<(), StoreError> {
        let applied = parts.iter().try_for_each(|changes| self.apply(changes));
        applied.and_then(|()| self.tree.flush()).map_err(|error| fault(path, "written", error))?;
        // A full disk at this point is final: the kernel may have dropped what it could not write.
        self.log.sync_data().map_err(|source| StoreError::Io {
            path: path.to_owned(),
            doing: "synced",
            source,
        })
    }

    fn apply(&self, changes: &Changes<'_>) -> Result<(), sled::Error> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            let head = prefixed(HEAD, key);
            let old_pieces = self.tree.get(&head)?.map_or(0, |old| further_pieces(&old));
            let kept = if let Some(value) = value {
                put(&mut batch, head, key, value)
            } else {
                batch.remove(head);
                0
            };
            for stale in kept..old_pieces {
                batch.remove(piece_key(key, stale + 1));
            }
        }
        self.tree.apply_batch(batch)
    }

    fn load(&self, path: &Path, visit: &mut dyn FnMut(RowRef<'_>)) -> Result<(), StoreError> {
        let mut whole = Vec::new();
        for entry in self.tree.scan_prefix([HEAD]) {
            let (head, first) = entry.map_err(|error| fault(path, "read", error))?;
            let joined = &head[1..];
            let (table, key) =
                key::split(joined).ok_or_else(|| damaged(path, &"a row belongs to no table"))?;
            let Some((pieces, first)) = first.split_first() else {
                return Err(damaged(path, &"a row has no head"));
            };
            whole.clear();
            whole.extend_from_slice(first);
            for number in 1..=*pieces {
                let piece =
                    self.tree.get(piece_key(joined, number)).map_err(|error| fault(path, "read", error))?;
                whole.extend_from_slice(&piece.ok_or_else(|| damaged(path, &"a piece of a row is missing"))?);
            }
            visit(RowRef { table, key, value: &whole });
        }
        Ok(())
    }
}

/// Whole batches in order, few enough at a time that sled frees what one part leaves behind before the next.
fn parts(mut batches: &[Batch]) -> impl Iterator<Item = &[Batch]> {
    std::iter::from_fn(move || {
        let mut writes = 0;
        let fit = batches.iter().take_while(|batch| {
            writes += batch.writes.len();
            writes <= PART_WRITES
        });
        let (part, rest) = batches.split_at(fit.count().max(1).min(batches.len()));
        batches = rest;
        (!part.is_empty()).then_some(part)
    })
}

/// Adds a value in pieces and says how many follow the first.
fn put(batch: &mut sled::Batch, head: Vec<u8>, key: &[u8], value: &[u8]) -> u8 {
    let (first, rest) = value.split_at(value.len().min(PIECE_BYTES));
    let mut pieces = 0;
    for piece in rest.chunks(PIECE_BYTES) {
        pieces += 1;
        batch.insert(piece_key(key, pieces), piece);
    }
    let mut start = Vec::with_capacity(1 + first.len());
    start.push(pieces);
    start.extend_from_slice(first);
    batch.insert(head, start);
    pieces
}

// The count of further pieces is one byte.
const _: () = assert!(Batch::VALUE_MAX.div_ceil(PIECE_BYTES) <= 255);

fn further_pieces(head: &[u8]) -> u8 {
    head.first().copied().unwrap_or_default()
}

fn prefixed(prefix: u8, key: &[u8]) -> Vec<u8> {
    let mut prefixed = Vec::with_capacity(key.len() + 2);
    prefixed.push(prefix);
    prefixed.extend_from_slice(key);
    prefixed
}

fn piece_key(key: &[u8], number: u8) -> Vec<u8> {
    let mut piece = prefixed(PIECE, key);
    piece.push(number);
    piece
}

fn create(path: &Path, draft: &Path) -> Result<(), StoreError> {
    let created = |error| fault(path, "created", error);
    let tree = open_tree(draft).map_err(created)?;
    tree.insert(FORMAT_KEY, FORMAT.to_be_bytes().as_slice()).map_err(created)?;
    tree.flush().map_err(created)?;
    Ok(())
}

/// Removes a snapshot that was cut short by a full disk or a crash: sled would take it for the latest one, find it damaged
/// and never open again. It is only an index of the log, put in place by a rename once it is whole.
fn remove_draft_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn open_tree(dir: &Path) -> Result<sled::Db, sled::Error> {
    let deadline = Instant::now() + CLOSING_MAX;
    loop {
        // `flush_every_ms` stays at its default: garbage is collected by that thread.
        let opened = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).open();
        match opened {
            // The lock of the directory is ours, so only our own last opening can still be closing.
            Err(error) if is_locked(&error) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(2));
            }
            other => return other,
        }
    }
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

fn damaged(path: &Path, detail: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), detail: detail.to_string() }
}

fn fault(path: &Path, doing: &'static str, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) => match source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => damaged(path, &source),
            _ => StoreError::io(path, doing, source),
        },
        sled::Error::Corruption { .. } => damaged(path, &error),
        sled::Error::Unsupported(detail) => damaged(path, &detail),
        other => StoreError::Engine { path: path.to_owned(), doing, detail: other.to_string() },
    }
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledStore").field("dir", &self.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_batches_in_order() {
        let check = |writes: &[usize], expect: &[&[usize]]| {
            let batches: Vec<Batch> = writes
                .iter()
                .map(|count| {
                    let mut batch = Batch::default();
                    (0..*count).for_each(|_| batch.delete("t", *b"row"));
                    batch
                })
                .collect();
            let found: Vec<Vec<usize>> =
                parts(&batches).map(|part| part.iter().map(|batch| batch.writes.len()).collect()).collect();
            assert_eq!(found, expect);
        };
        check(&[], &[]);
        check(&[0, 1], &[&[0, 1]]);
        check(&[PART_WRITES, 1], &[&[PART_WRITES], &[1]]);
        check(&[PART_WRITES - 1, 1, 1], &[&[PART_WRITES - 1, 1], &[1]]);
        check(&[1, 3 * PART_WRITES, 1], &[&[1], &[3 * PART_WRITES], &[1]]);
    }
}
