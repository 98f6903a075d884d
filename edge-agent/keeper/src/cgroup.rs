//! Control groups, on version 1 and version 2, as far as the keeper itself touches them.

use skerry_keeper_protocol::{CgroupPath, ContainerStats};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The mounted hierarchies of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchies {
    /// Version 1: each controller, with the mount that carries it. A version 2 mount beside them has no controllers.
    Split(BTreeMap<String, PathBuf>),
    /// Version 2: one mount.
    Unified(PathBuf),
}

/// What kept a cgroup from going.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Nothing of it is left.
    Gone,
    /// Processes in it have not ended yet.
    Busy,
}

impl Hierarchies {
    /// Reads this process's mount table.
    pub(crate) fn detect() -> io::Result<Self> {
        Self::from_mountinfo(&std::fs::read_to_string("/proc/self/mountinfo")?).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "no cgroup hierarchy is mounted below /sys/fs/cgroup")
        })
    }

    /// Reads a mount table in the form of `/proc/PID/mountinfo`.
    fn from_mountinfo(table: &str) -> Option<Self> {
        let mut split = BTreeMap::new();
        let mut unified = None;
        for line in table.lines() {
            let Some((mount, source)) = line.split_once(" - ") else { continue };
            let Some(path) = mount.split(' ').nth(4).filter(|path| path.starts_with("/sys/fs/cgroup")) else {
                continue;
            };
            let mut source = source.split(' ');
            match (source.next(), source.nth(1)) {
                (Some("cgroup2"), _) => unified = unified.or(Some(PathBuf::from(path))),
                (Some("cgroup"), Some(options)) => {
                    let controllers = options.split(',').filter(|name| is_controller(name));
                    for name in controllers {
                        split.entry(name.to_owned()).or_insert_with(|| PathBuf::from(path));
                    }
                }
                _ => {}
            }
        }
        if split.is_empty() { unified.map(Self::Unified) } else { Some(Self::Split(split)) }
    }

    /// Whether memory, processor and tasks are version 1 controllers.
    pub(crate) const fn is_split(&self) -> bool {
        matches!(self, Self::Split(_))
    }

    /// Directory of `cgroup` in the hierarchy of a version 1 controller, or in the one hierarchy of version 2.
    pub(crate) fn directory(&self, controller: &str, cgroup: &CgroupPath) -> Option<PathBuf> {
        match self {
            Self::Split(mounts) => mounts.get(controller).map(|mount| mount.join(cgroup.relative())),
            Self::Unified(mount) => Some(mount.join(cgroup.relative())),
        }
    }

    /// Directories of `cgroup` in all hierarchies, each once.
    pub(crate) fn directories(&self, cgroup: &CgroupPath) -> Vec<PathBuf> {
        self.mounts().into_iter().map(|mount| mount.join(cgroup.relative())).collect()
    }

    fn mounts(&self) -> Vec<&Path> {
        let mut mounts: Vec<&Path> = match self {
            Self::Split(mounts) => mounts.values().map(PathBuf::as_path).collect(),
            Self::Unified(mount) => vec![mount],
        };
        mounts.sort_unstable();
        mounts.dedup();
        mounts
    }

    /// Processes in `cgroup`, in any hierarchy: a join that was cut short has reached only some.
    pub(crate) fn processes(&self, cgroup: &CgroupPath) -> Vec<u32> {
        let mut pids = Vec::new();
        for directory in self.directories(cgroup) {
            collect_processes(&directory, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Processes killed in `cgroup` for want of memory; `None` when its files are gone.
    pub(crate) fn oom_kills(&self, cgroup: &CgroupPath) -> Option<u64> {
        let file = if self.is_split() { "memory.oom_control" } else { "memory.events" };
        let text = std::fs::read_to_string(self.directory("memory", cgroup)?.join(file)).ok()?;
        flat_value(&text, "oom_kill")
    }

    /// Resource use of `cgroup`; a missing controller counts as zero.
    pub(crate) fn stats(&self, cgroup: &CgroupPath) -> ContainerStats {
        let read = |controller: &str, file: &str| {
            std::fs::read_to_string(self.directory(controller, cgroup)?.join(file)).ok()
        };
        let number = |controller: &str, file: &str| read(controller, file)?.trim().parse::<u64>().ok();
        let oom_kills = self.oom_kills(cgroup).unwrap_or(0);
        let pids = number("pids", "pids.current").unwrap_or(0);
        if self.is_split() {
            return ContainerStats {
                cpu_usage_ns: number("cpuacct", "cpuacct.usage").unwrap_or(0),
                memory_bytes: number("memory", "memory.usage_in_bytes").unwrap_or(0),
                // Without a limit the file holds the largest multiple of the page size in 63 bits.
                memory_limit_bytes: number("memory", "memory.limit_in_bytes")
                    .filter(|limit| *limit < 1 << 62),
                oom_kills,
                pids,
            };
        }
        let usage_us = read("cpu", "cpu.stat").and_then(|text| flat_value(&text, "usage_usec")).unwrap_or(0);
        ContainerStats {
            cpu_usage_ns: usage_us.saturating_mul(1000),
            memory_bytes: number("memory", "memory.current").unwrap_or(0),
            memory_limit_bytes: number("memory", "memory.max"),
            oom_kills,
            pids,
        }
    }

    /// Removes `cgroup` and groups below it.
    pub(crate) fn remove(&self, cgroup: &CgroupPath) -> io::Result<Removal> {
        let mut removal = Removal::Gone;
        for directory in self.directories(cgroup) {
            if remove_tree(&directory)? == Removal::Busy {
                removal = Removal::Busy;
            }
        }
        Ok(removal)
    }

    /// Removes the parents of `cgroup` from the innermost on, in each hierarchy until one is in use or one of `kept` is to be
    /// below it.
    pub(crate) fn prune_parents(&self, cgroup: &CgroupPath, kept: &[CgroupPath]) {
        let is_kept = |path: &Path| kept.iter().any(|other| other.relative().starts_with(path));
        for mount in self.mounts() {
            let parents = cgroup.relative().ancestors().skip(1);
            for parent in parents.take_while(|path| !path.as_os_str().is_empty() && !is_kept(path)) {
                let removed = std::fs::remove_dir(mount.join(parent));
                if removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                    break;
                }
            }
        }
    }
}

/// Whether a mount option of a version 1 hierarchy names a controller that libcontainer joins.
fn is_controller(option: &str) -> bool {
    const CONTROLLERS: [&str; 12] = [
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
    ];
    CONTROLLERS.contains(&option)
}

fn collect_processes(directory: &Path, pids: &mut Vec<u32>) {
    if let Ok(text) = std::fs::read_to_string(directory.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    }
    for child in child_groups(directory) {
        collect_processes(&child, pids);
    }
}

fn remove_tree(directory: &Path) -> io::Result<Removal> {
    for child in child_groups(directory) {
        if remove_tree(&child)? == Removal::Busy {
            return Ok(Removal::Busy);
        }
    }
    match std::fs::remove_dir(directory) {
        Ok(()) => Ok(Removal::Gone),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(Removal::Gone),
            io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty => Ok(Removal::Busy),
            _ => Err(error),
        },
    }
}

fn child_groups(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The number after `key` in a file of `key number` lines.
fn flat_value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup() -> CgroupPath {
        "/skerry/a/web".parse().unwrap()
    }

    #[test]
    fn mount_tables() {
        let hybrid = "\
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
35 24 0:28 / /mnt/memory rw - cgroup cgroup rw,memory
";
        let found = Hierarchies::from_mountinfo(hybrid).unwrap();
        assert!(found.is_split());
        let expect: Vec<PathBuf> = ["cpu,cpuacct", "memory"]
            .iter()
            .map(|mount| Path::new("/sys/fs/cgroup").join(mount).join("skerry/a/web"))
            .collect();
        assert_eq!(found.directories(&cgroup()), expect);

        let unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::from_mountinfo(unified).unwrap();
        assert_eq!(found, Hierarchies::Unified("/sys/fs/cgroup".into()));
        assert_eq!(Hierarchies::from_mountinfo("24 1 0:2 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn version_2_files() {
        let root = tempfile::tempdir().unwrap();
        let hierarchies = Hierarchies::Unified(root.path().to_owned());
        let directory = root.path().join("skerry/a/web");
        std::fs::create_dir_all(&directory).unwrap();
        let write = |file: &str, text: &str| std::fs::write(directory.join(file), text).unwrap();
        write("memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n");
        write("memory.current", "4096\n");
        write("memory.max", "max\n");
        write("cpu.stat", "usage_usec 12\nuser_usec 10\n");
        write("pids.current", "3\n");
        write("cgroup.procs", "7\n8\n");
        let expect = ContainerStats {
            cpu_usage_ns: 12_000,
            memory_bytes: 4096,
            memory_limit_bytes: None,
            oom_kills: 1,
            pids: 3,
        };
        assert_eq!(hierarchies.stats(&cgroup()), expect);
        assert_eq!(hierarchies.processes(&cgroup()), vec![7, 8]);
    }

    #[test]
    fn parents_in_use_stay() {
        let root = tempfile::tempdir().unwrap();
        let hierarchies = Hierarchies::Unified(root.path().to_owned());
        std::fs::create_dir_all(root.path().join("skerry/a/web/inner")).unwrap();
        std::fs::create_dir_all(root.path().join("skerry/b")).unwrap();
        assert_eq!(hierarchies.remove(&cgroup()).unwrap(), Removal::Gone);
        assert_eq!(hierarchies.remove(&cgroup()).unwrap(), Removal::Gone);
        let other = |path: &str| path.parse::<CgroupPath>().unwrap();
        hierarchies.prune_parents(&cgroup(), &[other("/skerry/a/side")]);
        assert!(root.path().join("skerry/a").exists());
        hierarchies.prune_parents(&cgroup(), &[other("/skerry/c/web")]);
        assert!(!root.path().join("skerry/a").exists());
        assert!(root.path().join("skerry/b").exists());
        std::fs::remove_dir(root.path().join("skerry/b")).unwrap();
        hierarchies.prune_parents(&cgroup(), &[other("/skerry/c/web")]);
        assert!(root.path().join("skerry").exists());
    }

    #[test]
    fn flat_files() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(flat_value(text, "oom_kill"), Some(2));
        assert_eq!(flat_value(text, "absent"), None);
    }
}
