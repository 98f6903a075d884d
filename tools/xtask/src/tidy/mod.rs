//! House rules that neither rustc nor clippy can check: who may import whom, what a brain must not touch, file length,
//! names, documentation switches, reasons beside dependencies, and nothing of one machine in tracked files.
//!
//! Each rule is a function from text to findings, so that its test can show it a bad snippet.

mod graph;
mod manifest;
mod source;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One breach of a rule: where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the workspace root; with a line (`a/b.rs:12`) where the rule has one.
    pub(crate) place: String,
    /// The breach, in words that say what is wanted instead.
    pub(crate) what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

/// Checks the whole workspace at `root` and fails with every finding printed.
pub(crate) fn run(root: &Path) -> Result<()> {
    let findings = findings(root)?;
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{}: {}", finding.place, finding.what);
    }
    bail!("tidy: {} finding(s)", findings.len())
}

/// Every finding in the workspace at `root`, sorted by place.
pub(crate) fn findings(root: &Path) -> Result<Vec<Finding>> {
    let mut found = graph::check(&graph::Metadata::of(root)?);
    for path in files(root)? {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let bytes = fs::read(&path).with_context(|| format!("reading {name}"))?;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        found.extend(source::names_of_path(&name));
        if name == "Cargo.toml" {
            found.extend(manifest::root(&text)?);
        } else if name.ends_with("/Cargo.toml") {
            found.extend(manifest::member(&name, &text)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.extend(source::rust_file(&name, &text));
        }
        found.extend(source::any_file(&name, &text));
    }
    found.sort();
    Ok(found)
}

/// All files below `root` but build output and git's own. Walks the disk instead of asking git, so that a file is
/// checked before it is committed and an unpacked source archive can be checked too.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let skipped = folder == root && matches!(entry.file_name().to_str(), Some("target" | ".git"));
            if kind.is_dir() && !skipped {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
