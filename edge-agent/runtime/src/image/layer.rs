//! One layer, from its compressed bytes to its place in the cache.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use skerry_registry::{Blob, Digest};

use super::decode::Compression;
use super::disk::DiskGuard;
use super::error::PullError;
use super::layout::{Layout, Trash};
use super::limits::Limits;
use super::source::{Pieces, Stop, Verdict, Verified};
use super::unpack::{UnpackError, Unpacked, unpack};

/// A layer that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The image, for messages.
    pub(super) image: String,
    pub(super) blob: Blob,
    pub(super) diff_id: Digest,
    pub(super) compression: Compression,
}

impl Wanted {
    /// A guard that expects the compressed bytes and about three times as many unpacked ones.
    pub(super) fn disk_guard(&self, layout: &Layout, limits: &Limits) -> DiskGuard {
        DiskGuard::new(layout.root(), limits.reserve_bytes, self.blob.size.saturating_mul(4))
    }
}

/// Why a layer is not in its place.
#[derive(Debug)]
pub(super) enum InstallError {
    /// The source has stopped, and whoever feeds it knows why.
    Cut,
    /// The bytes are not those of the digest.
    WrongDigest { got: Digest },
    /// Everything else.
    Failed(PullError),
}

/// Unpacks, verifies and installs a layer. Blocking.
///
/// On a failure nothing is left but what the source itself keeps.
pub(super) fn install<P: Pieces>(
    layout: &Layout,
    limits: &Limits,
    wanted: &Wanted,
    pieces: P,
) -> Result<(), InstallError> {
    let tmp = Trash(layout.tmp(&wanted.diff_id.hex()[..12]));
    let tree = tmp.0.join("fs");
    let disk = wanted.disk_guard(layout, limits);
    let local = |path: &Path, error| InstallError::Failed(disk.sort(path, error));
    fs::create_dir(&tmp.0).and_then(|()| fs::create_dir(&tree)).map_err(|e| local(&tree, e))?;

    let mut source = Verified::new(pieces, wanted.blob.digest, wanted.blob.size);
    let guard = wanted.disk_guard(layout, limits);
    let result = unpack(&mut source, wanted.blob.size, wanted.compression, &tree, limits, guard);
    if let Err(UnpackError::Local(error)) = result {
        return Err(InstallError::Failed(error));
    }
    // First of all, so that bytes that are not the blob's are not blamed on the image.
    check_blob(wanted, source)?;
    let unpacked = result.map_err(|error| InstallError::Failed(refused(wanted, error)))?;
    check_diff_id(wanted, &unpacked)?;

    let bytes = tmp.0.join("bytes");
    fs::write(&bytes, unpacked.bytes.to_string()).map_err(|e| local(&bytes, e))?;
    let place = layout.layer(&wanted.diff_id);
    commit(layout, &tmp.0, &place).map_err(|e| local(&place, e))
}

fn check_blob<P: Pieces>(wanted: &Wanted, source: Verified<P>) -> Result<(), InstallError> {
    match source.finish() {
        Verdict::Right => Ok(()),
        Verdict::Wrong { got } => Err(InstallError::WrongDigest { got }),
        Verdict::Stopped(Stop::Cut) => Err(InstallError::Cut),
        Verdict::Stopped(Stop::Local(error)) => Err(InstallError::Failed(error)),
        Verdict::Stopped(Stop::Truncated { have }) => Err(InstallError::Failed(PullError::Truncated {
            image: wanted.image.clone(),
            blob: wanted.blob.digest,
            have,
            size: wanted.blob.size,
        })),
    }
}

fn check_diff_id(wanted: &Wanted, unpacked: &Unpacked) -> Result<(), InstallError> {
    if unpacked.diff_id == wanted.diff_id {
        return Ok(());
    }
    Err(InstallError::Failed(PullError::DiffIdMismatch {
        image: wanted.image.clone(),
        layer: wanted.blob.digest,
        expected: wanted.diff_id,
        got: unpacked.diff_id,
    }))
}

/// The error for content that is wrong although its digest is right.
fn refused(wanted: &Wanted, error: UnpackError) -> PullError {
    let image = wanted.image.clone();
    match error {
        UnpackError::Hostile { entry, violation } => {
            let entry = String::from_utf8_lossy(&entry).chars().take(200).collect();
            PullError::Hostile { image, layer: wanted.blob.digest, entry, violation }
        }
        UnpackError::Stream(error) => {
            PullError::Damaged { image, blob: wanted.blob.digest, reason: error.to_string() }
        }
        UnpackError::Local(error) => error,
    }
}

/// Makes a finished layer durable and visible. One sync of the filesystem costs less than one for each file.
fn commit(layout: &Layout, from: &Path, to: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(from)?)?;
    match layout.commit(from, to) {
        // Another image brought the same content under another compression meanwhile.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}
