use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Node;

/// Links of networks that an agent has made ahead. There are no others: the kernel gives a name once.
const SPARE_LINKS: [&str; 2] = ["sk-spare0", "sk-spare1"];

/// What workloads leave on a node while they run: links, packet rules, mounts, cgroups, entries of folders, processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    items: BTreeSet<String>,
}

impl Traces {
    /// Looks at a node.
    pub fn of(node: &Node) -> Result<Self> {
        let host = node.host();
        let mut items = BTreeSet::new();
        for line in host.namespace().ip("-o link show")?.lines() {
            let name = line.split(": ").nth(1).and_then(|name| name.split('@').next()).unwrap_or(line);
            if !SPARE_LINKS.contains(&name) {
                items.insert(format!("link {name}"));
            }
        }
        let rules = crate::output(host.command("nft").args(["--stateless", "list", "ruleset"]))?;
        items.extend(
            rules.lines().map(str::trim).filter(|line| line.len() > 1).map(|line| format!("nft {line}")),
        );
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
        let below = format!("{}/", host.folder().display());
        let points = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|point| point.starts_with(&below));
        items.extend(points.map(|point| format!("mount {point}")));
        items.extend(cgroups_below(host.cgroup()).iter().map(|path| format!("cgroup {}", path.display())));
        for folder in node.folders() {
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            items.extend(entries.map(|entry| format!("file {}", entry.path().display())));
        }
        items.extend(node.containers().iter().map(|one| format!("container {one:?}")));
        Ok(Self { items })
    }

    /// What is here and was not at `before`.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.items.difference(&before.items).cloned().collect()
    }

    /// Fails, with the list, when there is something that was not at `before`.
    pub fn nothing_since(&self, before: &Self) -> Result<()> {
        let left = self.since(before);
        ensure!(left.is_empty(), "left behind: {left:#?}");
        Ok(())
    }
}

/// Cgroups of all hierarchies that lie below this one, without it.
fn cgroups_below(cgroup: &str) -> Vec<PathBuf> {
    let inside = format!("/{cgroup}/");
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
                if is_below(&entry.path(), &inside) {
                    found.push(entry.path());
                }
            }
        }
    }
    found
}

fn is_below(path: &Path, inside: &str) -> bool {
    path.to_string_lossy().contains(inside)
}
