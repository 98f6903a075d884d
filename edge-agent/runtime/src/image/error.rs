//! What can go wrong with an image on this node.

use std::io;
use std::path::PathBuf;

use skerry_registry::{Digest, Platform, RegistryError};

/// Why an image is not here.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The reference has no digest; the master resolves tags at admission.
    #[error("image {image} is not pinned: a node runs images by digest only")]
    NotPinned {
        /// The reference.
        image: String,
    },
    /// The registry failed or refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layer tried something that no layer may do.
    #[error("image {image}: layer {layer} is refused: entry {entry:?} {violation}")]
    Hostile {
        /// The image.
        image: String,
        /// Digest of the layer's blob.
        layer: Digest,
        /// The entry's path, shortened for reading.
        entry: String,
        /// What it tried.
        violation: Violation,
    },
    /// A blob's bytes are as its digest says, but are no image content.
    #[error("image {image}: {blob} is damaged: {reason}; build and push the image again")]
    Damaged {
        /// The image.
        image: String,
        /// The blob.
        blob: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob's bytes are not those that its digest names.
    #[error("image {image}: {from} serves bytes with digest {got} for blob {expected}")]
    DigestMismatch {
        /// The image.
        image: String,
        /// The registry host or the archive.
        from: String,
        /// The digest that the manifest names.
        expected: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// The unpacked content of a layer is not what the configuration names.
    #[error("image {image}: layer {layer} unpacks to {got} where its configuration says {expected}")]
    DiffIdMismatch {
        /// The image.
        image: String,
        /// Digest of the layer's blob.
        layer: Digest,
        /// The diff id in the configuration.
        expected: Digest,
        /// The digest of the unpacked tar.
        got: Digest,
    },
    /// The source ends before the blob does.
    #[error("image {image}: blob {blob} ends after {have} of {size} bytes")]
    Truncated {
        /// The image.
        image: String,
        /// The blob.
        blob: Digest,
        /// Bytes that came, and are kept for a resume.
        have: u64,
        /// Bytes that the manifest names.
        size: u64,
    },
    /// The image is made for another kind of machine.
    #[error("image {image} is made for {got}; this node is {wanted}")]
    WrongPlatform {
        /// The image.
        image: String,
        /// This node.
        wanted: Box<Platform>,
        /// What its configuration says.
        got: Box<Platform>,
    },
    /// The cache's filesystem is too full, with the reserve counted. It is tried again by itself.
    #[error("{} has {free} bytes free and {need} are needed: free some space, the pull goes on from where it is", path.display())]
    DiskFull {
        /// The cache folder.
        path: PathBuf,
        /// Bytes that must be free: what is still to come and the reserve.
        need: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The cache folder cannot be read or written.
    #[error("image cache: {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another process uses the cache folder.
    #[error("image cache {} is in use by another process: stop it or use another folder", path.display())]
    Busy {
        /// The cache folder.
        path: PathBuf,
    },
    /// A file or folder that is no OCI image archive.
    #[error("{} is no usable OCI archive: {reason}", path.display())]
    Archive {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller gave up; what came is kept for a resume.
    #[error("pull of image {image} was cancelled")]
    Cancelled {
        /// The image.
        image: String,
    },
}

impl PullError {
    /// Whether a retry is pointless until a person changes the image, the registry or the configuration.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_permanent(),
            Self::NotPinned { .. }
            | Self::Hostile { .. }
            | Self::Damaged { .. }
            | Self::DigestMismatch { .. }
            | Self::DiffIdMismatch { .. }
            | Self::WrongPlatform { .. }
            | Self::Archive { .. } => true,
            Self::Truncated { .. }
            | Self::DiskFull { .. }
            | Self::Io { .. }
            | Self::Busy { .. }
            | Self::Cancelled { .. } => false,
        }
    }

    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// What an entry of a layer tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// `..` in the path.
    #[error("goes up with \"..\"")]
    ParentPath,
    /// A path from the root.
    #[error("has an absolute path")]
    AbsolutePath,
    /// A path through a symbolic link that leads out of the layer.
    #[error("passes through a symbolic link that leads out of the layer")]
    SymlinkEscape,
    /// A hard link to something outside.
    #[error("is a hard link out of the layer, to {target:?}")]
    HardlinkEscape {
        /// The link's target as written.
        target: String,
    },
    /// A hard link to something that this layer does not have.
    #[error("is a hard link to {target:?}, which is not a file of this layer")]
    HardlinkMissing {
        /// The link's target as written.
        target: String,
    },
    /// A whiteout that names no single file of its own folder.
    #[error("is a whiteout of something outside its folder")]
    WhiteoutEscape,
    /// A device, outside of `dev/`, where nothing is ever read from an image.
    #[error("is a {kind}, which a layer may not bring")]
    DeviceNode {
        /// Character device, block device or fifo.
        kind: &'static str,
    },
    /// A path, name or link target longer than the system's limit.
    #[error("has a path or name of {len} bytes, over the limit of {limit}")]
    PathTooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Unpacks to more than a layer of its size may.
    #[error("takes the layer over its limit of {limit} unpacked bytes")]
    TooManyBytes {
        /// The limit for this layer in bytes.
        limit: u64,
    },
    /// More entries than a layer may have.
    #[error("takes the layer over its limit of {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// A folder of the path is a file.
    #[error("lies below something that is no folder")]
    NotADirectory,
    /// A name that no file can have.
    #[error("has a name that no file can have")]
    BadName,
    /// A kind of entry that layers do not use.
    #[error("is of the unsupported tar type {type_flag:?}")]
    UnsupportedType {
        /// The type flag of the tar header.
        type_flag: char,
    },
    /// Extension records of a size that no real file needs, or that contradict the header.
    #[error("has extension records that are too large or contradict its header")]
    BadExtension,
}
