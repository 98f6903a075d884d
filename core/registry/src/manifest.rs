//! Manifests and indexes: parsing, platform selection, and the shape that callers work with.

use std::fmt;

use bytes::Bytes;
use oci_spec::image as oci;

use crate::digest::Digest;

/// The largest manifest or index accepted, in bytes; the distribution specification's own recommendation.
pub const MAX_MANIFEST_LEN: u64 = 4 << 20;
/// The largest image configuration accepted, in bytes.
pub const MAX_CONFIG_LEN: u64 = 1 << 20;
/// The most layers in one image: what other engines accept, and within overlayfs's limit of lower directories.
pub const MAX_LAYERS: usize = 127;

/// Every manifest kind that is understood, as an `Accept` header.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Operating system and processor that an image is made for, as the OCI image index writes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// `linux` on every node.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, ...
    pub architecture: String,
    /// `v7`, `v8`, ... where the architecture has variants.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of the running program.
    pub fn host() -> Self {
        Self::linux(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        })
    }

    /// Linux on an architecture as images name it. Of 32-bit ARM the version that [`Platform::host`] means.
    pub fn linux(architecture: &str) -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: (architecture == "arm").then(|| "v7".to_owned()),
        }
    }

    /// How well `offered` runs here: none when it does not, else a rank where larger is better.
    fn rank(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let version = |variant: &str| variant.trim_start_matches('v').parse::<u32>().ok();
        match (&self.variant, &offered.variant) {
            (_, None) => Some(1),
            (None, Some(offered)) if self.architecture == "arm64" && offered == "v8" => Some(2),
            (None, Some(_)) => None,
            (Some(mine), Some(offered)) => match (version(mine), version(offered)) {
                (Some(mine), Some(offered)) if offered <= mine => Some(1 + offered),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A blob that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Digest of its bytes as stored at the registry.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type, which for layers tells the compression.
    pub media_type: String,
}

/// A parsed image manifest: one platform's configuration and layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Digest of the manifest itself.
    pub digest: Digest,
    /// The manifest's bytes as the registry served them.
    pub bytes: Bytes,
    /// The image configuration.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
}

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Digest of the manifest (or of a further index).
    pub digest: Digest,
    /// What it runs on; indexes of layouts often leave it out.
    pub platform: Option<Platform>,
    /// The `org.opencontainers.image.ref.name` annotation.
    pub name: Option<String>,
}

/// Either kind of document that a tag can lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One platform's image.
    Manifest(Manifest),
    /// A list of images by platform.
    Index(Vec<IndexEntry>),
}

impl Document {
    /// Parses the bytes of a manifest or an index; the error is the reason in words.
    ///
    /// The kind follows from the content, not from a header: an index has `manifests`, a manifest has `layers`,
    /// and a document with both is refused, since two readers could disagree about it.
    pub fn parse(bytes: &Bytes) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            schema_version: u32,
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if probe.schema_version != 2 {
            return Err(format!("schema version {} is not supported, only 2 is", probe.schema_version));
        }
        match (probe.manifests, probe.layers.is_some() || probe.config.is_some()) {
            (Some(_), true) => Err("it is both an index and a manifest".to_owned()),
            (Some(_), false) => parse_index(bytes).map(Self::Index),
            (None, _) => parse_manifest(bytes).map(Self::Manifest),
        }
    }
}

/// Picks the best entry of an index for `wanted`, or returns the platforms that there are.
pub fn select<'a>(entries: &'a [IndexEntry], wanted: &Platform) -> Result<&'a IndexEntry, Vec<Platform>> {
    let ranked = entries.iter().filter_map(|entry| {
        let rank = wanted.rank(entry.platform.as_ref()?)?;
        Some((rank, entry))
    });
    // The first of equals, as the specification asks: `max_by_key` alone would take the last.
    let best = ranked.rev().max_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
    match (best, entries) {
        (Some(entry), _) => Ok(entry),
        (None, [only]) if only.platform.is_none() => Ok(only),
        _ => Err(entries.iter().filter_map(|entry| entry.platform.clone()).collect()),
    }
}

fn parse_manifest(bytes: &Bytes) -> Result<Manifest, String> {
    let parsed: oci::ImageManifest = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if parsed.layers().len() > MAX_LAYERS {
        return Err(format!("{} layers, at most {MAX_LAYERS} are supported", parsed.layers().len()));
    }
    let config = blob(parsed.config())?;
    if config.size > MAX_CONFIG_LEN {
        return Err(format!(
            "a configuration of {} bytes, at most {MAX_CONFIG_LEN} are supported",
            config.size
        ));
    }
    let layers = parsed.layers().iter().map(blob).collect::<Result<_, _>>()?;
    Ok(Manifest { digest: Digest::of(bytes), bytes: bytes.clone(), config, layers })
}

fn parse_index(bytes: &[u8]) -> Result<Vec<IndexEntry>, String> {
    let parsed: oci::ImageIndex = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    parsed.manifests().iter().map(index_entry).collect()
}

fn index_entry(entry: &oci::Descriptor) -> Result<IndexEntry, String> {
    let platform = entry.platform().as_ref().map(|platform| Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone(),
    });
    let annotations = entry.annotations().as_ref();
    let name = annotations.and_then(|all| all.get("org.opencontainers.image.ref.name")).cloned();
    Ok(IndexEntry { digest: digest(entry)?, platform, name })
}

fn blob(entry: &oci::Descriptor) -> Result<Blob, String> {
    Ok(Blob { digest: digest(entry)?, size: entry.size(), media_type: entry.media_type().to_string() })
}

fn digest(entry: &oci::Descriptor) -> Result<Digest, String> {
    entry.digest().to_string().parse().map_err(|e: crate::digest::DigestError| e.to_string())
}
