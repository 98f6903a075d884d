//! A region of Skerry on hosts: its master, its nodes, and an operator with the `skerry` command.
//!
//! It starts, kills and looks at real processes. What a node runs is read from `/proc`, so that no daemon has to be believed.

mod container;
mod master;
mod node;
mod operator;

pub use container::Container;
pub use master::Master;
pub use node::Node;
pub use operator::Operator;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Registry;

/// Longest that a daemon may take to come up. A quiet machine needs a tenth of a second.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Writes a `registries.toml` for a registry into `folder`, and gives its path.
pub fn registries_file(registry: &Registry, folder: &Path) -> Result<PathBuf> {
    let (path, ca) = (folder.join("registries.toml"), registry.ca());
    let text = format!(
        "[host.\"{}\"]\nca = \"{}\"\nusername = \"{}\"\npassword = \"{}\"\n",
        registry.authority(),
        ca.display(),
        registry.user(),
        registry.password()
    );
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The last lines of a log file; empty when there is none.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}
