//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {} is in use by another process: stop that one first, a store has one owner", path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// A later release wrote it.
    #[error(
        "the store {} has format {found}, this release reads up to {supported}: run the release that wrote it, or restore \
         the backup made before that upgrade (nothing was changed)",
        path.display()
    )]
    NewerFormat {
        /// The store's directory.
        path: PathBuf,
        /// The format on disk.
        found: u32,
        /// The newest format that can be read.
        supported: u32,
    },
    /// What is there is not a store, or is damaged.
    #[error(
        "the store {} cannot be read ({detail}): it will not be overwritten; restore the directory from a backup, or move it \
         away to start empty",
        path.display()
    )]
    Damaged {
        /// The store's directory.
        path: PathBuf,
        /// What the engine found.
        detail: String,
    },
    /// No space is left; nothing is known to be written, and the same commit may be tried again.
    #[error("no space left on the disk of the store {}: free some, writing goes on by itself", path.display())]
    DiskFull {
        /// The store's directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("the store {} could not be {doing}", path.display())]
    Io {
        /// The store's directory.
        path: PathBuf,
        /// What was being done, as a participle.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The engine refused.
    #[error("the store {} could not be {doing}: {detail}", path.display())]
    Engine {
        /// The store's directory.
        path: PathBuf,
        /// What was being done, as a participle.
        doing: &'static str,
        /// What the engine said.
        detail: String,
    },
    /// A write before this one failed, so memory and disk may differ.
    #[error("the store {} takes no more writes after one that failed: restart the process", path.display())]
    Failed {
        /// The store's directory.
        path: PathBuf,
    },
    /// A row out of bounds: a defect of whoever made the batch.
    #[error("a row of table '{table}' has a {part} of {bytes} bytes, {min} to {max} are allowed")]
    OutOfBounds {
        /// The table.
        table: &'static str,
        /// `table name`, `key` or `value`.
        part: &'static str,
        /// Its length.
        bytes: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
}

impl StoreError {
    /// Whether the same commit may succeed later without a restart.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }

    /// Whether the batch was refused before anything was written.
    pub fn is_out_of_bounds(&self) -> bool {
        matches!(self, Self::OutOfBounds { .. })
    }

    /// Turns what the system said into the error that tells a full disk apart.
    pub(crate) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, doing, source },
        }
    }
}
