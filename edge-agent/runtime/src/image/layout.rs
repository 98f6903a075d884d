//! The cache folder: its paths, its lock, and writes that are whole or absent.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use skerry_registry::Digest;

use super::error::PullError;

/// Paths below the cache folder, which this process has locked.
pub(super) struct Layout {
    root: PathBuf,
    /// Kept open for its lock.
    _lock: File,
    next_tmp: AtomicU64,
}

impl Layout {
    /// Makes what is missing, takes the lock, and removes half-made things of a former process.
    pub(super) fn open(root: &Path) -> Result<Self, PullError> {
        make_folder(root)?;
        let lock_path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(PullError::io(&lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => PullError::Busy { path: root.to_owned() },
            error => PullError::io(&lock_path)(error.into()),
        })?;
        let layout = Self { root: root.to_owned(), _lock: lock, next_tmp: AtomicU64::new(0) };
        let tmp = layout.tmp_folder();
        if tmp.exists() {
            fs::remove_dir_all(&tmp).map_err(PullError::io(&tmp))?;
        }
        for folder in [tmp, layout.blob_folder(), layout.layer_folder(), layout.images(), layout.partials()] {
            make_folder(&folder)?;
        }
        Ok(layout)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(super) fn layer_folder(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(super) fn blob_folder(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blob_folder().join(digest.hex())
    }

    pub(super) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layer_folder().join(diff_id.hex())
    }

    pub(super) fn partial(&self, blob: &Digest) -> PathBuf {
        self.partials().join(blob.hex())
    }

    pub(super) fn image(&self, digest: &Digest) -> PathBuf {
        self.images().join(format!("{}.json", digest.hex()))
    }

    fn tmp_folder(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A path in `tmp/` that nothing has used.
    pub(super) fn tmp(&self, hint: &str) -> PathBuf {
        let number = self.next_tmp.fetch_add(1, Ordering::Relaxed);
        self.tmp_folder().join(format!("{number}-{hint}"))
    }

    /// Writes a small file so that it is whole or absent at any moment, also after a power cut.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let tmp = self.tmp("file");
        let mut file = File::create(&tmp)?;
        let written =
            file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| self.commit(&tmp, path));
        if written.is_err() {
            // Left in `tmp/` it would be removed at the next open; now is better on a full disk.
            fs::remove_file(&tmp).ok();
        }
        written
    }

    /// Renames something complete and synced to its place, and makes the rename durable.
    pub(super) fn commit(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        let folder = to.parent().unwrap_or(&self.root);
        File::open(folder)?.sync_all()
    }

    /// Takes a folder out of sight at once; [`Trash`] deletes it.
    pub(super) fn discard(&self, path: &Path) -> io::Result<Trash> {
        let tmp = self.tmp("trash");
        fs::rename(path, &tmp)?;
        Ok(Trash(tmp))
    }

    /// The digests that name the entries of a folder; other names are not ours and are passed over.
    pub(super) fn list(folder: &Path, suffix: &str) -> Result<Vec<Digest>, PullError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(PullError::io(folder))? {
            let name = entry.map_err(PullError::io(folder))?.file_name();
            let hex = name.to_str().and_then(|name| name.strip_suffix(suffix));
            found.extend(hex.and_then(|hex| Digest::from_hex(hex).ok()));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// A folder that is deleted when this is dropped.
pub(super) struct Trash(pub(super) PathBuf);

impl Drop for Trash {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It stays in `tmp/` and goes at the next open.
            Err(error) => tracing::warn!(path = %self.0.display(), %error, "cannot delete a folder"),
        }
    }
}

fn make_folder(path: &Path) -> Result<(), PullError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(PullError::io(path))
}
