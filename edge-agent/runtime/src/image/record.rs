//! What is kept about an image, and what the agent gets of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};
use skerry_registry::{Digest, Platform};

use super::error::PullError;
use super::layout::Layout;

/// The time of last use is written at most this often: flash wears out.
const TOUCH_EVERY: Duration = Duration::from_hours(1);

/// An image that is here, whole and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest it is known by: of its manifest, or of the index that led to it.
    pub digest: Digest,
    /// The reference that brought it, for people.
    pub reference: String,
    /// How its containers start by default.
    pub config: ImageConfig,
    /// Unpacked layers, the top one first: the order of overlayfs's `lowerdir`.
    pub layers: Vec<PathBuf>,
    /// Bytes of all its layers, unpacked. Layers may be shared with other images.
    pub size: u64,
}

/// The parts of an image's configuration that a container takes its defaults from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, which a workload may replace.
    pub cmd: Vec<String>,
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// `user`, `user:group`, `uid` or `uid:gid`; empty means root.
    pub user: String,
    /// Where the program starts; empty means `/`.
    pub workdir: String,
    /// Name or number of the signal that asks it to stop; empty means SIGTERM.
    pub stop_signal: String,
    /// Such as `80/tcp`, in the image's order.
    pub exposed_ports: Vec<String>,
}

/// An image configuration, checked.
pub(super) struct ParsedConfig {
    pub(super) config: ImageConfig,
    /// Digests of the unpacked layers, lowest first.
    pub(super) diff_ids: Vec<Digest>,
    pub(super) platform: Platform,
}

impl ParsedConfig {
    /// Parses a configuration blob; the error is the reason in words.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let parsed: ImageConfiguration = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let diff_ids = parsed
            .rootfs()
            .diff_ids()
            .iter()
            .map(|text| text.parse::<Digest>().map_err(|e| e.to_string()))
            .collect::<Result<_, _>>()?;
        let platform = Platform {
            os: parsed.os().to_string(),
            architecture: parsed.architecture().to_string(),
            variant: parsed.variant().clone(),
        };
        let config = parsed.config().as_ref().map_or_else(ImageConfig::default, |config| ImageConfig {
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            env: config.env().clone().unwrap_or_default(),
            user: config.user().clone().unwrap_or_default(),
            workdir: config.working_dir().clone().unwrap_or_default(),
            stop_signal: config.stop_signal().clone().unwrap_or_default(),
            exposed_ports: config.exposed_ports().clone().unwrap_or_default(),
        });
        Ok(Self { config, diff_ids, platform })
    }
}

/// The file that makes an image exist. It is written last, when everything it names is in place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The reference that brought it.
    pub(super) reference: String,
    pub(super) manifest: Digest,
    pub(super) config: Digest,
    /// Diff ids, lowest first.
    pub(super) layers: Vec<Digest>,
}

impl Record {
    pub(super) fn load(layout: &Layout, digest: &Digest) -> Option<Self> {
        let bytes = fs::read(layout.image(digest)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn save(&self, layout: &Layout, digest: &Digest) -> Result<(), PullError> {
        let path = layout.image(digest);
        let bytes = serde_json::to_vec(self).map_err(|e| PullError::io(&path)(e.into()))?;
        layout.write(&path, &bytes).map_err(PullError::io(&path))
    }

    /// When the image was last asked for.
    pub(super) fn last_used(layout: &Layout, digest: &Digest) -> SystemTime {
        let modified = fs::metadata(layout.image(digest)).and_then(|data| data.modified());
        modified.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Reads an image that is here. None when a part is missing or does not match its digest: it is pulled again then.
pub(super) fn load(layout: &Layout, digest: &Digest) -> Option<Image> {
    let record = Record::load(layout, digest)?;
    let config = fs::read(layout.blob(&record.config)).ok()?;
    if Digest::of(&config) != record.config {
        return None;
    }
    let config = ParsedConfig::parse(&config).ok()?.config;
    let mut layers: Vec<PathBuf> = Vec::with_capacity(record.layers.len());
    let mut size = 0;
    for diff_id in record.layers.iter().rev() {
        let folder = layout.layer(diff_id);
        let tree = folder.join("fs");
        if !tree.is_dir() {
            return None;
        }
        // overlayfs refuses one folder twice. Of a repeated layer only the topmost counts: it covers all that the
        // lower one brings.
        if !layers.contains(&tree) {
            size += layer_bytes(&folder);
            layers.push(tree);
        }
    }
    touch(&layout.image(digest)).ok();
    Some(Image { digest: *digest, reference: record.reference, config, layers, size })
}

/// The unpacked bytes of a layer, as noted when it was unpacked.
pub(super) fn layer_bytes(folder: &Path) -> u64 {
    let noted = fs::read_to_string(folder.join("bytes"));
    noted.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Notes the time of use in the record's modification time.
fn touch(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let now = SystemTime::now();
    let age = now.duration_since(file.metadata()?.modified()?);
    // A time in the future means that the clock was wrong then.
    if age.map_or(true, |age| age > TOUCH_EVERY) {
        file.set_modified(now)?;
    }
    Ok(())
}
