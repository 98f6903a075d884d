use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process as `/proc` shows it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its process id, outside of all containers.
    pub pid: u32,
    /// Its parent's process id.
    pub parent: u32,
    /// Clock ticks from boot to its start: with the pid, its identity.
    pub start_ticks: u64,
    /// Its command line with spaces between the words; empty for a kernel thread and for a zombie.
    pub command: String,
    /// The paths of its cgroups in all hierarchies.
    pub cgroups: Vec<String>,
    /// Inode of its network namespace.
    pub network: u64,
    /// What is mounted as its root, as `/proc/PID/mountinfo` tells: for an overlay this names the layers.
    pub root_mount: String,
}

impl Seen {
    /// Reads one process; `None` when it is gone or a zombie.
    pub fn of(pid: u32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        // The name may hold spaces and parentheses: what follows the last one is fixed.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if matches!(fields.first(), Some(&("Z" | "X"))) {
            return None;
        }
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
            command: command_line(&folder),
            cgroups: cgroups(&folder),
            network: fs::metadata(folder.join("ns/net")).map_or(0, |metadata| metadata.ino()),
            root_mount: root_mount(&folder),
        })
    }

    /// The file name of its program, by its command line; empty when there is none.
    pub fn program(&self) -> &str {
        let path = self.command.split(' ').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether this same process, not a later one with its number, still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|other| other.start_ticks == self.start_ticks)
    }
}

/// All processes that are not zombies, by process id.
pub fn processes() -> BTreeMap<u32, Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Seen::of(pid).map(|seen| (pid, seen)))
        .collect()
}

fn command_line(folder: &Path) -> String {
    let bytes = fs::read(folder.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

fn cgroups(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter(|path| *path != "/")
        .map(str::to_owned)
        .collect()
}

fn root_mount(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("mountinfo")).unwrap_or_default();
    text.lines().rfind(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default().to_owned()
}
