//! A layer's tar stream becomes a folder in overlayfs's form.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use skerry_registry::{Digest, Hasher};
use tar::Archive;

use super::decode::{Compression, Decoder, drain};
use super::disk::DiskGuard;
use super::entry::{Entry, EntryError, Kind, Meta, Pending};
use super::error::{PullError, Violation};
use super::limits::Limits;
use super::source::{Pieces, Verified};
use super::tree::{Place, Tree, TreeError, finish_file};

/// Bytes copied at once.
const COPY_BUFFER: usize = 64 << 10;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";
/// Bookkeeping of a filesystem that images were once built on; it means nothing here.
const WHITEOUT_META: &[u8] = b".wh..wh.";

/// Why a layer could not be unpacked.
#[derive(Debug)]
pub(super) enum UnpackError {
    /// The compressed or the tar stream is broken, or its source has stopped, which the source knows.
    Stream(io::Error),
    /// An entry is refused.
    Hostile { entry: Vec<u8>, violation: Violation },
    /// The cache's disk failed or is full.
    Local(PullError),
}

/// What an unpacked layer turned out to be.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Digest of the tar.
    pub(super) diff_id: Digest,
    /// Bytes of the tar, which is about what it takes on disk.
    pub(super) bytes: u64,
}

/// Unpacks `source` into `into`, an existing empty folder. Nothing is verified yet when this returns: the caller
/// compares the source's digest and the diff id.
pub(super) fn unpack<P: Pieces>(
    source: &mut Verified<P>,
    compressed_size: u64,
    compression: Compression,
    into: &Path,
    limits: &Limits,
    disk: DiskGuard,
) -> Result<Unpacked, UnpackError> {
    let decoder = Decoder::new(compression, source).map_err(UnpackError::Stream)?;
    let mut stream = TarStream::new(decoder, limits.layer_bytes(compressed_size));
    let tree = Tree::open(into).map_err(|e| UnpackError::Local(PullError::io(into)(e)))?;
    let mut layer = Layer {
        tree,
        disk,
        path: into.to_owned(),
        buffer: vec![0; COPY_BUFFER],
        folder_times: Vec::new(),
        current: Vec::new(),
    };
    let result = layer
        .extract(&mut stream, limits.max_entries)
        .and_then(|()| drain(&mut stream).map_err(UnpackError::Stream))
        .and_then(|()| layer.set_folder_times());
    match result {
        // The limit shows itself as a stream that breaks off.
        Err(UnpackError::Stream(_)) if stream.exceeded => {
            let violation = Violation::TooManyBytes { limit: stream.limit };
            Err(UnpackError::Hostile { entry: layer.current, violation })
        }
        Err(error) => Err(error),
        Ok(()) => Ok(Unpacked { diff_id: stream.hasher.finish(), bytes: stream.count }),
    }
}

/// The tar bytes, hashed, counted and bounded as they pass.
struct TarStream<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
    limit: u64,
    exceeded: bool,
}

impl<R> TarStream<R> {
    fn new(inner: R, limit: u64) -> Self {
        Self { inner, hasher: Hasher::default(), count: 0, limit, exceeded: false }
    }
}

impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(into)?;
        self.count += len as u64;
        if self.count > self.limit {
            self.exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.hasher.update(&into[..len]);
        Ok(len)
    }
}

struct Layer {
    tree: Tree,
    disk: DiskGuard,
    /// For error messages about the disk.
    path: PathBuf,
    buffer: Vec<u8>,
    /// Times of folders, to be set when everything in them is there.
    folder_times: Vec<(Vec<u8>, Meta)>,
    /// The entry that is being unpacked, for error messages.
    current: Vec<u8>,
}

impl Layer {
    fn extract(&mut self, stream: &mut impl Read, max_entries: u64) -> Result<(), UnpackError> {
        let mut archive = Archive::new(stream);
        let mut pending = Pending::default();
        let mut count = 0;
        for raw in archive.entries().map_err(UnpackError::Stream)?.raw(true) {
            let mut raw = raw.map_err(UnpackError::Stream)?;
            count += 1;
            if count > max_entries {
                let violation = Violation::TooManyEntries { limit: max_entries };
                return Err(UnpackError::Hostile {
                    entry: raw.header().path_bytes().into_owned(),
                    violation,
                });
            }
            match pending.take(&mut raw) {
                Ok(Some(entry)) => self.entry(entry, &mut raw)?,
                Ok(None) => {}
                Err(EntryError::Stream(error)) => return Err(UnpackError::Stream(error)),
                Err(EntryError::Violation(entry, violation)) => {
                    return Err(UnpackError::Hostile { entry, violation });
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry, content: &mut impl Read) -> Result<(), UnpackError> {
        self.current.clone_from(&entry.path);
        let place = Place::parse(&entry.path).map_err(|violation| self.hostile(violation))?;
        match self.make(entry, &place, content) {
            Ok(()) => Ok(()),
            Err(MakeError::Unpack(error)) => Err(error),
            Err(MakeError::Tree(TreeError::Violation(violation))) => Err(self.hostile(violation)),
            Err(MakeError::Tree(TreeError::Io(error))) => {
                Err(UnpackError::Local(self.disk.sort(&self.path, error)))
            }
        }
    }

    fn make(&mut self, entry: Entry, place: &Place, content: &mut impl Read) -> Result<(), MakeError> {
        if let Some(whiteout) = Whiteout::of(place)? {
            match whiteout {
                Whiteout::Name(place) => self.tree.whiteout(&place)?,
                Whiteout::Folder => self.tree.opaque(&place.folder)?,
                Whiteout::Ignored => {}
            }
            return Ok(());
        }
        match entry.kind {
            Kind::File => {
                let file = self.tree.file(place)?;
                self.copy(content, &file)?;
                finish_file(&file, &entry.meta)?;
            }
            Kind::Folder => {
                self.tree.folder(place, &entry.meta)?;
                let mut path = place.folder.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&place.name);
                self.folder_times.push((path, entry.meta));
            }
            Kind::Symlink { target } => self.tree.symlink(place, &target, &entry.meta)?,
            Kind::Hardlink { target } => self.tree.hardlink(place, &target)?,
            // A container's /dev is made by its runtime; what an image has there is never seen.
            Kind::Device { .. } if place.folder == b"dev" || place.folder.starts_with(b"dev/") => {}
            Kind::Device { kind } => return Err(TreeError::from(Violation::DeviceNode { kind }).into()),
        }
        Ok(())
    }

    fn copy(&mut self, content: &mut impl Read, mut file: &File) -> Result<(), MakeError> {
        loop {
            let len = content.read(&mut self.buffer).map_err(UnpackError::Stream)?;
            if len == 0 {
                return Ok(());
            }
            file.write_all(&self.buffer[..len]).map_err(TreeError::Io)?;
            self.disk.wrote(len as u64).map_err(UnpackError::Local)?;
        }
    }

    /// From the last folder to the first, so that a folder's own entry comes after those within it.
    fn set_folder_times(&mut self) -> Result<(), UnpackError> {
        while let Some((path, meta)) = self.folder_times.pop() {
            match self.tree.set_folder_time(&path, &meta) {
                Ok(()) => {}
                Err(TreeError::Violation(violation)) => return Err(self.hostile(violation)),
                Err(TreeError::Io(error)) => {
                    return Err(UnpackError::Local(self.disk.sort(&self.path, error)));
                }
            }
        }
        Ok(())
    }

    fn hostile(&self, violation: Violation) -> UnpackError {
        UnpackError::Hostile { entry: self.current.clone(), violation }
    }
}

enum MakeError {
    Tree(TreeError),
    Unpack(UnpackError),
}

impl From<TreeError> for MakeError {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl From<UnpackError> for MakeError {
    fn from(error: UnpackError) -> Self {
        Self::Unpack(error)
    }
}

/// A deletion, written as a file with a special name.
enum Whiteout {
    /// Of one name in the same folder.
    Name(Place),
    /// Of everything in the folder.
    Folder,
    Ignored,
}

impl Whiteout {
    fn of(place: &Place) -> Result<Option<Self>, TreeError> {
        if place.folder.split(|b| *b == b'/').any(|part| part.starts_with(WHITEOUT)) {
            return Err(Violation::WhiteoutEscape.into());
        }
        let Some(hidden) = place.name.strip_prefix(WHITEOUT) else { return Ok(None) };
        if place.name == OPAQUE_WHITEOUT {
            return Ok(Some(Self::Folder));
        }
        if place.name.starts_with(WHITEOUT_META) {
            return Ok(Some(Self::Ignored));
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Violation::WhiteoutEscape.into());
        }
        Ok(Some(Self::Name(Place { folder: place.folder.clone(), name: hidden.to_vec() })))
    }
}
