use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::{output, words};
use crate::{cgroup, mount, namespace, processes};

/// Folders whose direct entries are part of a snapshot: where Skerry keeps things when it is not told otherwise, and where
/// runs do.
const FOLDERS: &[&str] = &[
    "/var/lib/skerry",
    "/var/cache/skerry",
    "/run/skerry",
    "/var/lib/skerry-ground",
    "/run/netns",
    "/dev/shm",
];

/// What stands on the machine, seen from outside of all containers: processes, mounts, network namespaces, links and
/// packet rules of the host, cgroups and folders. Two of them tell what a run left behind.
#[derive(Debug, Clone)]
pub struct Snapshot {
    items: BTreeSet<String>,
}

impl Snapshot {
    /// Looks at the whole machine.
    pub fn take() -> Result<Self> {
        let mut items = BTreeSet::new();
        items.extend(processes().values().filter(|seen| seen.pid != std::process::id()).map(|seen| {
            let network = if seen.network == own_network() { "" } else { " (own network)" };
            let (command, cgroups) = (&seen.command, seen.cgroups.join(","));
            format!("process {} {command} {cgroups}{network} {}", seen.pid, layers(&seen.root_mount))
        }));
        items.extend(mount::points()?.iter().map(|point| format!("mount {}", point.display())));
        items.extend(namespace::names()?.iter().map(|name| format!("namespace {name}")));
        items.extend(cgroup::all().iter().map(|path| format!("cgroup {}", path.display())));
        items.extend(links()?);
        items.extend(packet_rules()?);
        for folder in FOLDERS.iter().map(PathBuf::from) {
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            items.extend(entries.map(|entry| format!("file {}", entry.path().display())));
        }
        Ok(Self { items })
    }

    /// What is here and was not at `before`, sorted. On a machine that does other work at the same time this holds that
    /// work too: see [`Snapshot::left_by`].
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.items.difference(&before.items).cloned().collect()
    }

    /// What is here, was not at `before`, and carries one of these names: a run's name, a container's, a folder.
    pub fn left_by(&self, before: &Self, names: &[&str]) -> Vec<String> {
        self.since(before).into_iter().filter(|item| names.iter().any(|name| item.contains(name))).collect()
    }
}

fn own_network() -> u64 {
    crate::Seen::of(std::process::id()).map_or(0, |seen| seen.network)
}

/// Only an overlay's root tells whose it is.
fn layers(root_mount: &str) -> &str {
    root_mount.split_once(" - overlay ").map_or("", |(_, layers)| layers)
}

fn links() -> Result<Vec<String>> {
    let entries = fs::read_dir("/sys/class/net").context("listing the links")?;
    Ok(entries.flatten().map(|entry| format!("link {}", entry.file_name().display())).collect())
}

/// One item per table, chain, set and rule of the host, with counters left out.
fn packet_rules() -> Result<Vec<String>> {
    let text = output(&mut words("nft --stateless list ruleset"))?;
    let mut table = "";
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| line.len() > 1)
        .map(|line| {
            if line.starts_with("table ") {
                table = line;
            }
            format!("nft {table} {line}")
        })
        .collect())
}
