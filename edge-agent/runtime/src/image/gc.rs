//! Frees what nothing needs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use skerry_registry::Digest;

use super::disk::free_bytes;
use super::error::PullError;
use super::layout::{Layout, Trash};
use super::record::Record;
use super::store::Inner;

/// When space is short and no image is left to remove, partial downloads go after this time. A pull that waits for
/// its next attempt keeps its own: on a metered link they are worth more than the space.
const PRESSED_PARTIAL_AGE: Duration = Duration::from_hours(1);

/// What a collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images that were removed, in the order of removal.
    pub images: Vec<Digest>,
    /// How many unpacked layers were deleted.
    pub layers: usize,
    /// How many partial downloads were deleted.
    pub partials: usize,
    /// Bytes that are free on the cache's filesystem afterwards.
    pub free: u64,
}

impl Collected {
    /// Whether nothing could be removed.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.layers == 0 && self.partials == 0
    }
}

/// Removes old partial files and what no image needs, and then images until `target` bytes are free. Without
/// `in_use`, nobody has said yet what is needed, and no image is removed.
pub(super) fn collect(
    inner: &Inner,
    in_use: Option<&BTreeSet<Digest>>,
    target: u64,
) -> Result<Collected, PullError> {
    let mut collected = Collected::default();
    drop_partials(inner, inner.limits.partial_age, &mut collected)?;
    sweep(inner, &mut collected)?;
    let free = |collected: &mut Collected| {
        collected.free = free_bytes(inner.layout.root()).map_err(PullError::io(inner.layout.root()))?;
        Ok::<_, PullError>(collected.free)
    };
    let mut candidates = match in_use {
        Some(in_use) => by_last_use(inner, in_use)?.into_iter(),
        None => Vec::new().into_iter(),
    };
    while free(&mut collected)? < target {
        let Some(digest) = candidates.next() else {
            drop_partials(inner, PRESSED_PARTIAL_AGE, &mut collected)?;
            free(&mut collected)?;
            break;
        };
        if remove_record(inner, &digest)? {
            collected.images.push(digest);
            sweep(inner, &mut collected)?;
        }
    }
    Ok(collected)
}

/// Removes one image and what it alone needed.
pub(super) fn remove(inner: &Inner, digest: &Digest) -> Result<Collected, PullError> {
    let mut collected = Collected::default();
    if remove_record(inner, digest)? {
        collected.images.push(*digest);
    }
    sweep(inner, &mut collected)?;
    collected.free = free_bytes(inner.layout.root()).map_err(PullError::io(inner.layout.root()))?;
    Ok(collected)
}

/// Images outside `in_use`, the least recently used first.
fn by_last_use(inner: &Inner, in_use: &BTreeSet<Digest>) -> Result<Vec<Digest>, PullError> {
    let mut images = Layout::list(&inner.layout.images(), ".json")?;
    images.retain(|digest| !in_use.contains(digest));
    images.sort_by_cached_key(|digest| Record::last_used(&inner.layout, digest));
    Ok(images)
}

/// Removes an image's record, unless a pull is at work on it. The record goes first: a crash after it leaves layers
/// without an image, which the next sweep takes, and never an image without its layers.
fn remove_record(inner: &Inner, digest: &Digest) -> Result<bool, PullError> {
    let path = inner.layout.image(digest);
    inner.pins.frozen(|is_pinned| {
        if is_pinned(digest) {
            return Ok(false);
        }
        removed(fs::remove_file(&path), &path)
    })
}

/// Deletes layers and documents that no record names and no pull needs.
///
/// Pins are frozen while the records are read: a pull that ends unpins only after its record is there, so its
/// layers are seen one way or the other. The deletion itself, which takes long, comes afterwards.
fn sweep(inner: &Inner, collected: &mut Collected) -> Result<(), PullError> {
    let layout = &inner.layout;
    let trash: Vec<Trash> = inner.pins.frozen(|is_pinned| {
        let mut needed = BTreeSet::new();
        for image in Layout::list(&layout.images(), ".json")? {
            if let Some(record) = Record::load(layout, &image) {
                needed.extend([record.manifest, record.config]);
                needed.extend(record.layers);
            }
        }
        let unneeded = |digest: &Digest| !needed.contains(digest) && !is_pinned(digest);
        let mut trash = Vec::new();
        for diff_id in Layout::list(&layout.layer_folder(), "")?.iter().filter(|id| unneeded(id)) {
            let path = layout.layer(diff_id);
            trash.push(layout.discard(&path).map_err(PullError::io(&path))?);
        }
        for digest in Layout::list(&layout.blob_folder(), "")?.iter().filter(|digest| unneeded(digest)) {
            let path = layout.blob(digest);
            removed(fs::remove_file(&path), &path)?;
        }
        Ok::<_, PullError>(trash)
    })?;
    collected.layers += trash.len();
    Ok(())
}

/// Deletes partial downloads that are older than `age` and that no pull is at work on.
fn drop_partials(inner: &Inner, age: Duration, collected: &mut Collected) -> Result<(), PullError> {
    let layout = &inner.layout;
    let now = SystemTime::now();
    inner.pins.frozen(|is_pinned| {
        for blob in Layout::list(&layout.partials(), "")? {
            let path = layout.partial(&blob);
            let modified = fs::metadata(&path).and_then(|data| data.modified());
            let idle =
                modified.ok().and_then(|modified| now.duration_since(modified).ok()).unwrap_or_default();
            if idle > age && !is_pinned(&blob) && removed(fs::remove_file(&path), &path)? {
                collected.partials += 1;
            }
        }
        Ok(())
    })
}

/// A file that is gone already is as good as removed.
fn removed(result: io::Result<()>, path: &Path) -> Result<bool, PullError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PullError::io(path)(error)),
    }
}
