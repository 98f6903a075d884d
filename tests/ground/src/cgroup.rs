use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// Every cgroup of every hierarchy, parents before children.
pub(crate) fn all() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(ROOT)];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Removes every cgroup that has `name` as a part of its path, children first. They must hold no process.
pub(crate) fn remove_named(name: &str) -> Result<()> {
    for folder in all().into_iter().rev().filter(|folder| has_part(folder, name)) {
        match fs::remove_dir(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing cgroup {}", folder.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn has_part(path: &Path, name: &str) -> bool {
    path.iter().any(|part| part == name)
}
