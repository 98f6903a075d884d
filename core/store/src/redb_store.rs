//! The node's ledger on redb.

use std::io;
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, Table,
    TableDefinition,
};
use skerry_types::Batch;

use crate::home::Home;
use crate::key::{self, Changes, FORMAT_KEY};
use crate::{FORMAT, RowRef, Store, StoreError};

const FILE: &str = "rows.redb";
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// A ledger is read once and written a few pages at a time, so the cache only has to hold the upper pages of the tree.
const CACHE_BYTES: usize = 256 * 1024;

/// A store in one redb file. Costs less than 1 MiB of memory and no thread.
///
/// Every commit ends in an fsync. Opening verifies the checksum of every page, so that damage is told and not met later.
pub struct RedbStore {
    home: Home,
    file: PathBuf,
    engine: Engine,
}

enum Engine {
    Open(Database),
    /// A commit found the disk full. redb refuses to go on after a failed write; the next commit opens it anew.
    Closed,
    Failed,
}

impl RedbStore {
    /// Opens the store in the directory `dir`, made when there is none.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let home = Home::open(dir.as_ref())?;
        let file = home.data(FILE, |draft| create(home.dir(), draft))?;
        let database = open(home.dir(), &file)?;
        check_format(home.dir(), &database)?;
        Ok(Self { home, file, engine: Engine::Open(database) })
    }

    fn path(&self) -> &Path {
        self.home.dir()
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if let Engine::Closed = self.engine {
            self.engine = Engine::Open(open(self.home.dir(), &self.file)?);
        }
        match &self.engine {
            Engine::Open(database) => Ok(database),
            Engine::Closed | Engine::Failed => Err(StoreError::Failed { path: self.home.dir().to_owned() }),
        }
    }
}

impl Store for RedbStore {
    fn load(&mut self, visit: &mut dyn FnMut(RowRef<'_>)) -> Result<(), StoreError> {
        let path = self.path().to_owned();
        visit_rows(self.database()?, &path, visit).map_err(|error| fault(&path, "read", error))?
    }

    fn commit(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        let changes = key::fold(batches)?;
        let path = self.path().to_owned();
        let written = self
            .database()
            .and_then(|database| write(database, &changes).map_err(|error| fault(&path, "written", error)));
        if let Err(error) = &written {
            self.engine = match error {
                StoreError::DiskFull { .. } => Engine::Closed,
                _ => Engine::Failed,
            };
        }
        written
    }
}

fn write(database: &Database, changes: &Changes<'_>) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut table = transaction.open_table(ROWS)?;
        apply(&mut table, changes)?;
    }
    transaction.commit()?;
    Ok(())
}

fn apply(table: &mut Table<'_, &[u8], &[u8]>, changes: &Changes<'_>) -> Result<(), StorageError> {
    for (key, value) in changes {
        match value {
            Some(value) => drop(table.insert(key.as_slice(), *value)?),
            None => drop(table.remove(key.as_slice())?),
        }
    }
    Ok(())
}

/// The outer error is the engine's, the inner one a row that no store of ours wrote.
fn visit_rows(
    database: &Database,
    path: &Path,
    visit: &mut dyn FnMut(RowRef<'_>),
) -> Result<Result<(), StoreError>, redb::Error> {
    let table = database.begin_read()?.open_table(ROWS)?;
    for entry in table.iter()? {
        let (joined, value) = entry?;
        if joined.value() == FORMAT_KEY {
            continue;
        }
        let Some((table, key)) = key::split(joined.value()) else {
            return Ok(Err(StoreError::Damaged {
                path: path.to_owned(),
                detail: "a row belongs to no table".to_owned(),
            }));
        };
        visit(RowRef { table, key, value: value.value() });
    }
    Ok(Ok(()))
}

fn create(dir: &Path, draft: &Path) -> Result<(), StoreError> {
    let created = |error| fault(dir, "created", error);
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(draft)
        .map_err(|error| created(error.into()))?;
    let format = FORMAT.to_be_bytes();
    let changes = Changes::from([(FORMAT_KEY.to_vec(), Some(format.as_slice()))]);
    write(&database, &changes).map_err(created)?;
    database.close().map_err(|error| created(error.into()))
}

fn open(dir: &Path, file: &Path) -> Result<Database, StoreError> {
    Database::builder().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(file).map_err(
        |error| match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                StoreError::InUse { path: dir.to_owned() }
            }
            DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => damaged(dir, &error),
            other => fault(dir, "opened", other.into()),
        },
    )
}

fn check_format(dir: &Path, database: &Database) -> Result<(), StoreError> {
    let found = read_format(database).map_err(|error| match error {
        redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. } => damaged(dir, &error),
        other => fault(dir, "opened", other),
    })?;
    match found {
        Some(found) if found > FORMAT => {
            Err(StoreError::NewerFormat { path: dir.to_owned(), found, supported: FORMAT })
        }
        Some(_) => Ok(()),
        None => Err(damaged(dir, &"it has no format row")),
    }
}

fn read_format(database: &Database) -> Result<Option<u32>, redb::Error> {
    let table = database.begin_read()?.open_table(ROWS)?;
    let format = table.get(FORMAT_KEY)?;
    Ok(format.and_then(|format| format.value().try_into().ok()).map(u32::from_be_bytes))
}

fn damaged(dir: &Path, detail: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged { path: dir.to_owned(), detail: detail.to_string() }
}

fn fault(dir: &Path, doing: &'static str, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(source) => match source.kind() {
            // redb's words for a file that is not its own, or shorter than its header says.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
                damaged(dir, &source)
            }
            _ => StoreError::io(dir, doing, source),
        },
        redb::Error::Corrupted(detail) => StoreError::Damaged { path: dir.to_owned(), detail },
        other => StoreError::Engine { path: dir.to_owned(), doing, detail: other.to_string() },
    }
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").field("dir", &self.path()).finish_non_exhaustive()
    }
}
