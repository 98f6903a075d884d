//! Regions of Skerry on hosts: masters, nodes, and operators with the `skerry` command.
//!
//! It starts, kills and looks at real processes. What a node runs is read from `/proc`, so that no daemon has to be believed: a
//! container's identity is its process id and start time as the kernel has them.

mod container;
mod context;
mod load;
mod master;
mod node;
mod operator;
mod said;
mod traces;

pub use container::Container;
pub use context::ContextFile;
pub use load::Load;
pub use master::Master;
pub use node::Node;
pub use operator::Operator;
pub use said::Said;
pub use traces::Traces;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Registry;

/// Longest that anything takes which happens at once on a quiet machine; generous, since many things share two cores.
pub const SOON: Duration = Duration::from_secs(30);

/// Writes a `registries.toml` for a registry into `folder`, and gives its path. Without a registry the file is empty.
pub fn registries_file<'r>(registry: impl Into<Option<&'r Registry>>, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("registries.toml");
    let text = registry.into().map_or_else(String::new, |registry| {
        format!(
            "[host.\"{}\"]\nca = \"{}\"\nusername = \"{}\"\npassword = \"{}\"\n",
            registry.authority(),
            registry.ca().display(),
            registry.user(),
            registry.password()
        )
    });
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// A log file; empty when there is none.
fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}
