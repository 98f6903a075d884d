use std::fs;

use anyhow::{Context, Result};
use skerry_ground::binary;

use crate::Measurement;

/// Megabytes of 10^6 bytes: the goals are what is sent over a metered link.
const MEGABYTE: f64 = 1e6;

/// Sizes of the stripped binaries.
pub(crate) fn measure() -> Result<Vec<Measurement>> {
    let size = |name: &str| {
        let path = binary(name)?;
        let bytes = fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?.len();
        let bytes = u32::try_from(bytes).context("a binary of more than 4 GiB")?;
        Ok::<_, anyhow::Error>(Measurement::new(format!("size of {name}"), f64::from(bytes) / MEGABYTE, "MB"))
    };
    Ok(vec![
        size("skerry-agent")?.at_most(12.0),
        size("skerry-keeper")?.at_most(3.0),
        size("skerry-master")?,
        size("skerry")?,
    ])
}
