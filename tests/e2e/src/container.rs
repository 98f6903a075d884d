use std::fs;
use std::path::Path;

use skerry_ground::Seen;

/// The first process of a container, as the kernel shows it. Two of them are the same start of the same container if they are
/// equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// The allocation, from the path of the writable layer.
    pub allocation: String,
    /// The container's name in its allocation.
    pub name: String,
    /// Process id on the machine.
    pub pid: u32,
    /// Clock ticks from boot to the start.
    pub start_ticks: u64,
    /// What runs.
    pub command: String,
}

impl Container {
    /// Reads a process; `None` for one that is not the first of a container whose files are below `folder`.
    pub fn of(seen: &Seen, folder: &Path) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{}/status", seen.pid)).ok()?;
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        let ids: Vec<&str> = inside.split_whitespace().collect();
        if ids.len() < 2 || ids.last() != Some(&"1") {
            return None;
        }
        let layer = seen.root_mount.split([',', ' ']).find_map(|word| word.strip_prefix("upperdir="))?;
        let place = layer.strip_prefix(folder.to_str()?)?.split_once("/writable/")?.1;
        let mut parts = place.split('/');
        Some(Self {
            allocation: parts.next()?.to_owned(),
            name: parts.next()?.to_owned(),
            pid: seen.pid,
            start_ticks: seen.start_ticks,
            command: seen.command.clone(),
        })
    }

    /// Whether this very start still runs.
    pub fn is_alive(&self) -> bool {
        Seen::of(self.pid).is_some_and(|seen| seen.start_ticks == self.start_ticks)
    }
}
