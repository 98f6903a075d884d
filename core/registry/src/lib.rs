//! OCI distribution client, for the master (tag to digest at admission) and the agent (pulls).
//!
//! Reads only: it never pushes, lists or deletes. It keeps nothing on disk and has no retry loop of its own, since
//! only the caller knows whether a failure is urgent; [`RegistryError::is_permanent`] tells it whether a retry can
//! help. Every answer but a blob is bounded in size and time; a blob is bounded by its caller, who knows its size.
//!
//! Start at [`Registry`], [`ImageRef`] and [`RegistriesConfig`].

mod auth;
mod client;
mod clock;
mod config;
mod digest;
mod endpoint;
mod error;
mod image_ref;
mod layers;
mod manifest;

pub use client::{BlobStream, Registry};
pub use config::{ConfigError, HostConfig, RegistriesConfig, Timeouts};
pub use digest::{Digest, DigestError, Hasher};
pub use error::{RegistryError, TransportError};
pub use image_ref::{ImageRef, ImageRefError};
pub use manifest::{
    Blob, Document, IndexEntry, MAX_CONFIG_LEN, MAX_LAYERS, MAX_MANIFEST_LEN, Manifest, Platform, select,
};
