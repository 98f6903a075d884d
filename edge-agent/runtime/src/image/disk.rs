//! Free space of the cache's filesystem.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::error::PullError;

/// Bytes written between two looks at the free space.
const CHECK_EVERY: u64 = 4 << 20;

/// Bytes that an unprivileged writer could still use at `path`.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Watches that writing leaves a reserve.
pub(super) struct DiskGuard {
    path: PathBuf,
    reserve: u64,
    /// What the whole work will take, for the answer when it does not fit.
    expected: u64,
    since_check: u64,
}

impl DiskGuard {
    /// A guard of `path`'s filesystem for work that takes about `expected` bytes.
    pub(super) fn new(path: &Path, reserve: u64, expected: u64) -> Self {
        Self { path: path.to_owned(), reserve, expected, since_check: 0 }
    }

    /// Fails when fewer than `coming` bytes and the reserve are free.
    pub(super) fn require(&self, coming: u64) -> Result<(), PullError> {
        let free = free_bytes(&self.path).map_err(PullError::io(&self.path))?;
        if free < self.reserve.saturating_add(coming) {
            return Err(self.full(free));
        }
        Ok(())
    }

    /// Counts bytes that were written, and looks again every few megabytes.
    pub(super) fn wrote(&mut self, bytes: u64) -> Result<(), PullError> {
        self.since_check += bytes;
        if self.since_check < CHECK_EVERY {
            return Ok(());
        }
        self.since_check = 0;
        self.require(0)
    }

    /// Sorts an error of writing at `path`: no space, no quota and no inodes are all "full".
    pub(super) fn sort(&self, path: &Path, error: io::Error) -> PullError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                self.full(free_bytes(&self.path).unwrap_or(0))
            }
            _ => PullError::io(path)(error),
        }
    }

    fn full(&self, free: u64) -> PullError {
        let need = self.reserve.saturating_add(self.expected);
        PullError::DiskFull { path: self.path.clone(), need, free }
    }
}
