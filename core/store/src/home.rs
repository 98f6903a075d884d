//! The directory of a store: owned by one process, and with either a whole data file in it or none.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Only the owner may look in: rows hold what workloads were given.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A store's directory, locked until dropped.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    // The lock of the operating system goes with the handle, so it ends with the process however that ends.
    _lock: File,
}

impl Home {
    /// Makes the directory if need be and takes its lock.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let opened = |source| StoreError::io(dir, "opened", source);
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(opened)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(dir.join("lock"))
            .map_err(opened)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(opened(source)),
        }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of the data called `name`, made by `make` when there is none.
    ///
    /// It is made under another name and moved into place once it is whole and synced. So a store that exists was complete
    /// once, and an empty or half-made one is damage that is never taken for a fresh start.
    pub(crate) fn data(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), StoreError>,
    ) -> Result<PathBuf, StoreError> {
        let created = |source| StoreError::io(&self.dir, "created", source);
        let path = self.dir.join(name);
        if path.try_exists().map_err(created)? {
            return Ok(path);
        }
        let draft = self.dir.join(format!("{name}.new"));
        remove(&draft).map_err(created)?;
        make(&draft)?;
        sync_tree(&draft).map_err(created)?;
        fs::rename(&draft, &path).map_err(created)?;
        sync(&self.dir).map_err(created)?;
        Ok(path)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync_tree(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
    }
    sync(path)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
