//! Images on this node: pulled, verified, unpacked once, shared, collected.
//!
//! # What is on disk
//!
//! ```text
//! <cache>/                    mode 0700: setuid files inside layers are out of reach of the host's users
//!   lock                      held by the one process that uses the cache
//!   blobs/sha256/<hex>        manifests and configurations, as the registry served them
//!   layers/<diff id>/fs       an unpacked layer in overlayfs's form, shared by every image that has it
//!   layers/<diff id>/bytes    how many bytes it unpacked to
//!   images/<hex>.json         one record per image digest; its modification time is its last use
//!   partial/<hex>             the beginning of a layer's compressed bytes, resumed after a cut or a restart
//!   tmp/                      half-made things; emptied at open
//! ```
//!
//! The compressed bytes of a layer are deleted once it is unpacked: a gateway's disk is small, and what could want
//! them again (another node, another unpacking) can fetch them.
//!
//! A layer is streamed once: every piece that arrives is appended to its partial file, hashed, decompressed,
//! hashed again and unpacked into `tmp/`. Only when both digests are right is the filesystem synced and the
//! folder renamed to its place, so a layer that exists is whole, also after a power cut.
//!
//! # What a layer cannot do
//!
//! Touch anything outside its folder: every path is resolved by the kernel beneath the layer's own directory
//! (`openat2` with `RESOLVE_BENEATH`). Each way to try is a [`Violation`] with the image, the layer and the entry.

mod decode;
mod disk;
mod download;
mod entry;
mod error;
mod flight;
mod gc;
mod import;
mod layer;
mod layout;
mod limits;
mod pull;
mod record;
mod source;
mod store;
mod tree;
mod unpack;

pub use error::{PullError, Violation};
pub use gc::Collected;
pub use limits::Limits;
pub use record::{Image, ImageConfig};
pub use store::{ImageStore, PullProgress};

pub use skerry_registry::{Digest, ImageRef, Platform, RegistriesConfig, Registry};
