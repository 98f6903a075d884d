//! Joining cgroups of version 1, and their limits.
//!
//! libcontainer has its parent process write to `cgroup.procs`, for which the kernel waits until no process forks:
//! some ten milliseconds for each container. A single-threaded process that moves itself through `tasks` waits for
//! nobody, so the container's first process joins by itself. Where libcontainer makes that one, the worker joins before,
//! and libcontainer must not find the hierarchies. With version 2 there is no such file, and libcontainer does it all.

use libcontainer::oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxResources};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use skerry_keeper_protocol::CgroupPath;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Devices that every container may use: making any node, and null, zero, full, tty, random, console and terminals.
const ALLOWED_DEVICES: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// Why a limit is not in force.
#[derive(Debug, thiserror::Error)]
pub(super) enum LimitError {
    #[error("cannot write {value:?} to {}", .path.display())]
    Write {
        path: PathBuf,
        value: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot make cgroup {}", .path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("this node has no {0} cgroup, which a limit needs")]
    NoController(&'static str),
    #[error("limits on {0} are not supported")]
    Unsupported(&'static str),
    #[error("cannot leave the cgroup hierarchies out of sight")]
    Hide(#[source] io::Error),
}

/// The cgroup of one container in the hierarchies of version 1.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) mounts: &'a BTreeMap<String, PathBuf>,
    pub(super) cgroup: &'a CgroupPath,
}

impl Group<'_> {
    /// Makes the group and sets its limits, but those that [`Group::last_limits`] gives.
    pub(super) fn make(&self, resources: &LinuxResources) -> Result<(), LimitError> {
        refuse_unsupported(resources)?;
        for path in self.directories() {
            std::fs::create_dir_all(&path).map_err(|source| LimitError::Make { path, source })?;
        }
        if let Some(memory) = resources.memory() {
            self.limit_memory(memory)?;
        }
        self.inherit_cpuset()?;
        if let Some(cpu) = resources.cpu() {
            self.choose_cpus(cpu)?;
        }
        self.limit_devices(resources.devices().as_deref().unwrap_or_default())
    }

    /// What the container's first process writes to be in the group.
    pub(super) fn entry(&self) -> Result<Vec<Limit>, LimitError> {
        self.directories().into_iter().map(|path| Limit::open(path.join("tasks"), "0".to_owned())).collect()
    }

    fn directories(&self) -> BTreeSet<PathBuf> {
        self.mounts.values().map(|mount| mount.join(self.cgroup.relative())).collect()
    }

    /// Limits on tasks and on processor time, to be put into force when the container is made. What makes it counts against them too:
    /// with a hundredth of a processor it would take a second, and with one task there would be none left for the program.
    pub(super) fn last_limits(&self, resources: &LinuxResources) -> Result<Vec<Limit>, LimitError> {
        let cpu = resources.cpu().as_ref();
        let tasks = resources.pids().map(|pids| pids.limit());
        let values = [
            ("cpu", "cpu.shares", cpu.and_then(LinuxCpu::shares).map(|value| value.to_string())),
            // The period first: a quota is checked against it.
            ("cpu", "cpu.cfs_period_us", cpu.and_then(LinuxCpu::period).map(|value| value.to_string())),
            ("cpu", "cpu.cfs_quota_us", cpu.and_then(LinuxCpu::quota).map(|value| value.to_string())),
            (
                "pids",
                "pids.max",
                tasks.map(|limit| if limit > 0 { limit.to_string() } else { "max".to_owned() }),
            ),
        ];
        let mut limits = Vec::new();
        for (controller, file, value) in values {
            let Some(value) = value else { continue };
            let mount = self.mounts.get(controller).ok_or(LimitError::NoController(controller))?;
            limits.push(Limit::open(mount.join(self.cgroup.relative()).join(file), value)?);
        }
        Ok(limits)
    }

    fn set(&self, controller: &'static str, file: &str, value: &str) -> Result<(), LimitError> {
        let mount = self.mounts.get(controller).ok_or(LimitError::NoController(controller))?;
        write(&mount.join(self.cgroup.relative()).join(file), value)
    }

    fn limit_memory(&self, memory: &LinuxMemory) -> Result<(), LimitError> {
        let values = [
            ("memory.limit_in_bytes", memory.limit()),
            // After the limit on memory alone, which may not be the greater one.
            ("memory.memsw.limit_in_bytes", memory.swap()),
            ("memory.soft_limit_in_bytes", memory.reservation()),
            ("memory.swappiness", memory.swappiness().and_then(|value| i64::try_from(value).ok())),
        ];
        for (file, value) in values {
            if let Some(value) = value {
                self.set("memory", file, &value.to_string())?;
            }
        }
        Ok(())
    }

    fn choose_cpus(&self, cpu: &LinuxCpu) -> Result<(), LimitError> {
        for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
            if let Some(value) = value {
                self.set("cpuset", file, value)?;
            }
        }
        Ok(())
    }

    /// A group without processors and memory nodes takes no process, and children start without.
    fn inherit_cpuset(&self) -> Result<(), LimitError> {
        let Some(mount) = self.mounts.get("cpuset") else { return Ok(()) };
        for file in ["cpuset.cpus", "cpuset.mems"] {
            inherit(mount, self.cgroup.relative(), file)?;
        }
        Ok(())
    }

    fn limit_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<(), LimitError> {
        if !self.mounts.contains_key("devices") {
            return if rules.is_empty() { Ok(()) } else { Err(LimitError::NoController("devices")) };
        }
        for rule in rules {
            let file = if rule.allow() { "devices.allow" } else { "devices.deny" };
            self.set("devices", file, &rule.to_string())?;
        }
        // Without rules everything is allowed already.
        if rules.is_empty() { Ok(()) } else { self.allow_harmless_devices() }
    }

    fn allow_harmless_devices(&self) -> Result<(), LimitError> {
        let mount = self.mounts.get("devices").ok_or(LimitError::NoController("devices"))?;
        let path = mount.join(self.cgroup.relative()).join("devices.allow");
        let failed =
            |value: &str, source| LimitError::Write { path: path.clone(), value: value.to_owned(), source };
        let mut file = File::create(&path).map_err(|source| failed("", source))?;
        // One rule in each write.
        ALLOWED_DEVICES
            .iter()
            .try_for_each(|rule| file.write_all(rule.as_bytes()).map_err(|source| failed(rule, source)))
    }
}

/// A value that is to be written to a file of a cgroup, which is open as it may be out of sight by then.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) value: String,
}

impl Limit {
    fn open(path: PathBuf, value: String) -> Result<Self, LimitError> {
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Ok(Self { file, path, value }),
            Err(source) => Err(LimitError::Write { path, value, source }),
        }
    }

    /// Writes it.
    pub(super) fn apply(&self) -> Result<(), LimitError> {
        (&self.file).write_all(self.value.as_bytes()).map_err(|source| LimitError::Write {
            path: self.path.clone(),
            value: self.value.clone(),
            source,
        })
    }
}

/// Puts this process into a mount namespace where no cgroup hierarchy is mounted.
pub(super) fn hide_hierarchies() -> Result<(), LimitError> {
    const ROOT: &str = "/sys/fs/cgroup";
    let hide = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Before anything is unmounted: nothing of this may reach the node's own mounts.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        unmount(ROOT, UnmountFlags::DETACH)?;
        Ok(mount("tmpfs", ROOT, "tmpfs", MountFlags::empty(), c"size=4k")?)
    };
    hide().map_err(LimitError::Hide)
}

fn refuse_unsupported(resources: &LinuxResources) -> Result<(), LimitError> {
    let asked = [
        ("block devices", resources.block_io().is_some()),
        ("huge pages", resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty())),
        ("network classes", resources.network().is_some()),
        ("rdma", resources.rdma().as_ref().is_some_and(|limits| !limits.is_empty())),
        ("version 2 files", resources.unified().as_ref().is_some_and(|files| !files.is_empty())),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(LimitError::Unsupported(what)),
        None => Ok(()),
    }
}

/// Has a group have what the one above it has, and those above before it. Gives what it has.
fn inherit(mount: &Path, group: &Path, file: &str) -> Result<String, LimitError> {
    let own = mount.join(group).join(file);
    let Ok(text) = std::fs::read_to_string(&own) else { return Ok(String::new()) };
    let value = text.trim();
    let Some(above) = group.parent().filter(|_| value.is_empty()) else { return Ok(value.to_owned()) };
    let value = inherit(mount, above, file)?;
    write(&own, &value)?;
    Ok(value)
}

fn write(path: &Path, value: &str) -> Result<(), LimitError> {
    std::fs::write(path, value).map_err(|source| LimitError::Write {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limited(root: &Path, resources: serde_json::Value) -> Result<(), LimitError> {
        let names = ["memory", "cpu", "cpuset", "pids", "devices"];
        let mounts = names.map(|name| (name.to_owned(), root.join(name)));
        for (_, mount) in &mounts {
            std::fs::create_dir_all(mount).unwrap();
        }
        std::fs::write(root.join("cpuset/cpuset.cpus"), "0-1\n").unwrap();
        let mounts = mounts.into_iter().collect();
        let cgroup = "/a/b".parse().unwrap();
        let group = Group { mounts: &mounts, cgroup: &cgroup };
        let resources = serde_json::from_value(resources).unwrap();
        group.make(&resources)?;
        // The kernel makes these files; here nobody does.
        for file in [
            "cpu/a/b/tasks",
            "cpuset/a/b/tasks",
            "devices/a/b/tasks",
            "memory/a/b/tasks",
            "pids/a/b/tasks",
            "pids/a/b/pids.max",
            "cpu/a/b/cpu.shares",
            "cpu/a/b/cpu.cfs_period_us",
            "cpu/a/b/cpu.cfs_quota_us",
        ] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let last = group.last_limits(&resources)?;
        assert_eq!(
            std::fs::read_to_string(root.join("cpu/a/b/cpu.cfs_quota_us")).unwrap(),
            "",
            "set too early"
        );
        group.entry()?.iter().chain(&last).try_for_each(Limit::apply)
    }

    #[test]
    fn files_and_values() {
        let root = tempfile::tempdir().unwrap();
        let resources = json!({
            "memory": {"limit": 1000, "swap": 2000},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
            "pids": {"limit": 7},
            "devices": [{"allow": false, "access": "rwm"}],
        });
        limited(root.path(), resources).unwrap();
        let check = |file: &str, expect: &str| {
            assert_eq!(std::fs::read_to_string(root.path().join(file)).unwrap(), expect, "{file}");
        };
        check("memory/a/b/memory.limit_in_bytes", "1000");
        check("memory/a/b/memory.memsw.limit_in_bytes", "2000");
        check("cpu/a/b/cpu.shares", "512");
        check("cpu/a/b/cpu.cfs_quota_us", "50000");
        check("pids/a/b/pids.max", "7");
        check("devices/a/b/devices.deny", "a *:* rwm");
        check("devices/a/b/tasks", "0");
    }

    #[test]
    fn unlimited_tasks_and_unsupported_limits() {
        let root = tempfile::tempdir().unwrap();
        limited(root.path(), json!({"pids": {"limit": -1}})).unwrap();
        assert_eq!(std::fs::read_to_string(root.path().join("pids/a/b/pids.max")).unwrap(), "max");
        assert!(!root.path().join("devices/a/b/devices.allow").exists());
        let refused = limited(root.path(), json!({"rdma": {"x": {"hcaHandles": 1}}}));
        assert!(matches!(refused, Err(LimitError::Unsupported("rdma"))), "{refused:?}");
    }
}
