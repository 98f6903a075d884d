//! One suite that every store passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod barrier;
mod crash;
mod damage;
mod disk_full;
mod rows;

use std::path::{Path, PathBuf};

use skerry_store::{RedbStore, SledStore, Store, StoreError};

/// What the suite needs to know of a store.
pub(crate) trait Engine {
    /// Its name on a child's command line.
    const NAME: &'static str;
    type Store: Store;
    fn open(dir: &Path) -> Result<Self::Store, StoreError>;
    /// The file in the store's directory that holds the rows.
    fn data_file(dir: &Path) -> PathBuf;
    /// Writes the row that says which format the store has, past the store.
    fn write_format(dir: &Path, format: &[u8]);
}

pub(crate) struct Redb;
pub(crate) struct Sled;

impl Engine for Redb {
    const NAME: &'static str = "redb";
    type Store = RedbStore;

    fn open(dir: &Path) -> Result<RedbStore, StoreError> {
        RedbStore::open(dir)
    }

    fn data_file(dir: &Path) -> PathBuf {
        dir.join("rows.redb")
    }

    fn write_format(dir: &Path, format: &[u8]) {
        let database = redb::Database::open(Self::data_file(dir)).unwrap();
        let transaction = database.begin_write().unwrap();
        let rows: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("rows");
        transaction.open_table(rows).unwrap().insert(b"\0format".as_slice(), format).unwrap();
        transaction.commit().unwrap();
    }
}

impl Engine for Sled {
    const NAME: &'static str = "sled";
    type Store = SledStore;

    fn open(dir: &Path) -> Result<SledStore, StoreError> {
        SledStore::open(dir)
    }

    fn data_file(dir: &Path) -> PathBuf {
        dir.join("rows.sled/db")
    }

    fn write_format(dir: &Path, format: &[u8]) {
        let tree = sled::open(dir.join("rows.sled")).unwrap();
        tree.insert(b"\0format", format).unwrap();
        tree.flush().unwrap();
    }
}

/// Makes each generic test a test of every engine.
macro_rules! each_engine {
    ($($test:ident),+ $(,)?) => {
        mod redb {
            $(#[test] fn $test() { super::$test::<crate::Redb>(); })+
        }
        mod sled {
            $(#[test] fn $test() { super::$test::<crate::Sled>(); })+
        }
    };
}
pub(crate) use each_engine;
