//! Graphics processors of the node, as its configuration names them.

use std::path::{Component, Path};

use serde::Deserialize;
use skerry_types::Gpu;

/// Longest model name in bytes: it goes up with the node's facts.
const MODEL_MAX: usize = 64;
/// Most processors of a node, and most device files of one.
const COUNT_MAX: usize = 64;

/// One graphics processor as it is written: a model, and the device files that a container gets with it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuText {
    /// Its model, such as `l4`.
    pub model: String,
    /// Device files, such as `/dev/dri/renderD128`.
    pub devices: Vec<String>,
}

/// Why graphics processors cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No model, or a long one.
    #[error("gpus: '{model}' is no model: write 1 to {MODEL_MAX} letters, digits, '-', '_' and '.'")]
    Model {
        /// What was written.
        model: String,
    },
    /// Not a device file's path.
    #[error("gpus: '{device}' of '{model}' is no device file: write its path below /dev")]
    Device {
        /// Of which model.
        model: String,
        /// What was written.
        device: String,
    },
    /// More than a node can have.
    #[error("gpus: a node has {COUNT_MAX} at most, and each of them {COUNT_MAX} device files")]
    TooMany,
}

/// Checks what was written.
pub(super) fn read(written: Vec<GpuText>) -> Result<Vec<Gpu>, GpuError> {
    if written.len() > COUNT_MAX || written.iter().any(|gpu| gpu.devices.len() > COUNT_MAX) {
        return Err(GpuError::TooMany);
    }
    written.into_iter().map(one).collect()
}

fn one(GpuText { model, devices }: GpuText) -> Result<Gpu, GpuError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !(1..=MODEL_MAX).contains(&model.len()) || !model.bytes().all(plain) {
        return Err(GpuError::Model { model });
    }
    match devices.iter().find(|device| !is_below_dev(Path::new(device))) {
        Some(device) => Err(GpuError::Device { device: device.clone(), model }),
        None => Ok(Gpu { model, devices }),
    }
}

fn is_below_dev(path: &Path) -> bool {
    let rest = path.strip_prefix("/dev").ok();
    rest.is_some_and(|rest| {
        rest.components().next().is_some()
            && rest.components().all(|part| matches!(part, Component::Normal(_)))
    })
}
