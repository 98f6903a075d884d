//! The image store: what the agent calls.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skerry_registry::{Digest, ImageRef, Platform, Registry};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::disk::free_bytes;
use super::error::PullError;
use super::flight::{Flights, Pins};
use super::gc::{self, Collected};
use super::import;
use super::layout::Layout;
use super::limits::Limits;
use super::pull;
use super::record::{self, Image, Record};

/// How far a pull is, in compressed bytes. `total` is zero until the manifest is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes that are here, those of earlier attempts and of shared layers included.
    pub done: u64,
    /// Bytes of all layers.
    pub total: u64,
}

/// The images of this node. Cheap to clone.
#[derive(Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) layout: Arc<Layout>,
    pub(super) limits: Limits,
    pub(super) platform: Platform,
    pub(super) pins: Pins,
    pub(super) registry: Registry,
    pub(super) slots: Arc<Semaphore>,
    images: Flights,
    pub(super) blobs: Flights,
    active: AtomicUsize,
    /// Counts what changed the set of images.
    changes: AtomicU64,
    in_use: Mutex<Option<BTreeSet<Digest>>>,
}

impl ImageStore {
    /// Opens the cache folder, making it if needed, and removes what an interrupted process left half made.
    ///
    /// Only one process may use a cache folder: a second one gets [`PullError::Busy`].
    pub fn open(cache: &Path, limits: Limits, registry: Registry) -> Result<Self, PullError> {
        let layout = Layout::open(cache)?;
        let inner = Inner {
            layout: Arc::new(layout),
            limits,
            platform: Platform::host(),
            pins: Pins::default(),
            registry,
            slots: Arc::new(Semaphore::new(limits.concurrent_layers.max(1))),
            images: Flights::default(),
            blobs: Flights::default(),
            active: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            in_use: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// An image that is here. Never touches the network; reads two small files.
    pub fn local(&self, digest: &Digest) -> Option<Image> {
        record::load(&self.inner.layout, digest)
    }

    /// The digests of all images that are here.
    pub fn list(&self) -> Result<Vec<Digest>, PullError> {
        Layout::list(&self.inner.layout.images(), ".json")
    }

    /// The unpacked contents that the images here are made of. Reads a small file for each image.
    pub fn layers(&self) -> Result<BTreeSet<Digest>, PullError> {
        let images = self.list()?;
        let records = images.iter().filter_map(|digest| Record::load(&self.inner.layout, digest));
        Ok(records.flat_map(|record| record.layers).collect())
    }

    /// A number that is another one whenever images came or went.
    pub fn changes(&self) -> u64 {
        self.inner.changes.load(Ordering::Relaxed)
    }

    /// Pulls what is missing of a pinned image. Callers that want the same image or layer at once share the work.
    ///
    /// What came before a failure or a cancellation is kept and resumed, also by a later process. A full disk is
    /// first met by [`ImageStore::collect`] for the images that it was last told to be in use.
    pub async fn ensure(
        &self,
        image: &ImageRef,
        progress: &watch::Sender<PullProgress>,
        cancel: &CancellationToken,
    ) -> Result<Arc<Image>, PullError> {
        let digest = *image.digest().ok_or_else(|| PullError::NotPinned { image: image.to_string() })?;
        let _flight = tokio::select! {
            // Gives up its place in the queue.
            flight = self.inner.images.lock(digest) => flight,
            () = cancel.cancelled() => return Err(PullError::Cancelled { image: image.to_string() }),
        };
        if let Some(image) = self.local(&digest) {
            return Ok(Arc::new(image));
        }
        let _active = Active::new(&self.inner);
        let mut pinned = None;
        // Ends, because every further round has removed something.
        loop {
            match pull::pull(&self.inner, image, &digest, &mut pinned, progress, cancel).await {
                Ok(()) => {
                    self.inner.changes.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(PullError::DiskFull { need, .. }) if self.make_room(need).await? => {}
                Err(error) => return Err(error),
            }
        }
        let missing = || PullError::io(self.inner.layout.image(&digest))(io::ErrorKind::NotFound.into());
        self.local(&digest).map(Arc::new).ok_or_else(missing)
    }

    /// Tells which images must stay when a full disk makes a pull collect by itself. Until the first call no image
    /// is removed by itself.
    pub fn set_in_use(&self, in_use: BTreeSet<Digest>) {
        *self.inner.in_use() = Some(in_use);
    }

    /// Removes what nothing needs: old partial downloads, layers and blobs without an image, and then, while fewer
    /// than `target_free` bytes are free, images that are not in `in_use`, the least recently used first.
    ///
    /// Images that are being pulled, and their layers, are never touched.
    pub async fn collect(&self, in_use: &BTreeSet<Digest>, target_free: u64) -> Result<Collected, PullError> {
        self.set_in_use(in_use.clone());
        let in_use = Some(in_use.clone());
        self.blocking(move |inner| gc::collect(inner, in_use.as_ref(), target_free)).await
    }

    /// Removes one image, and those of its layers that no other image has. Its user must be gone.
    pub async fn remove(&self, digest: &Digest) -> Result<Collected, PullError> {
        let digest = *digest;
        self.blocking(move |inner| gc::remove(inner, &digest)).await
    }

    /// Takes the images out of an OCI archive (a tar as skopeo writes it) or an OCI layout folder, with the same
    /// checks as a pull. Returns the name annotation and the digest of each.
    pub async fn import(&self, path: &Path) -> Result<Vec<(Option<String>, Digest)>, PullError> {
        let path = path.to_owned();
        self.blocking(move |inner| import::import(inner, &path)).await
    }

    /// Collects for a pull that found the disk full; tells whether there was anything to remove.
    ///
    /// `need` is an estimate, and the pull has failed with what is free as it is, so more than that is asked for.
    async fn make_room(&self, need: u64) -> Result<bool, PullError> {
        let in_use = self.inner.in_use().clone();
        let collected = self.blocking(move |inner| {
            let root = inner.layout.root();
            let free = free_bytes(root).map_err(PullError::io(root))?;
            gc::collect(inner, in_use.as_ref(), need.max(free.saturating_add(1)))
        });
        Ok(!collected.await?.is_empty())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, PullError> + Send + 'static,
    ) -> Result<T, PullError> {
        let inner = Arc::clone(&self.inner);
        let result = tokio::task::spawn_blocking(move || work(&inner)).await;
        // All of this work adds or removes images.
        self.inner.changes.fetch_add(1, Ordering::Relaxed);
        result.map_err(|error| PullError::io(self.inner.layout.root())(error.into()))?
    }
}

impl Inner {
    fn in_use(&self) -> MutexGuard<'_, Option<BTreeSet<Digest>>> {
        // Only ever replaced whole, so a panic elsewhere cannot leave it half changed.
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a pull; the last one to end frees what the registry client holds.
struct Active<'a>(&'a Inner);

impl<'a> Active<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.active.fetch_add(1, Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.registry.release();
        }
    }
}
