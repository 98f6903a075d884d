use std::fs;
use std::path::Path;

use crate::Seen;

/// The program that makes containers, and that a container's first process is until it becomes its own program.
pub(super) const KEEPER: &str = "skerry-keeper";

/// One start of a container, as the kernel shows it. Two of them are the same start if they are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// Its allocation.
    pub allocation: String,
    /// Its name in the allocation.
    pub name: String,
    /// Process id of its first process, outside of it.
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub start_ticks: u64,
    /// The command line of its first process.
    pub command: String,
}

impl Container {
    /// Reads a process; `None` for one that is not the first of a container whose files are below `folder`, and for one that
    /// is still being made: seen twice, before and after it becomes its program, it would look like two starts. A probe that runs
    /// inside of a container is in its cgroup too, but is not its first.
    pub(crate) fn of(seen: &Seen, folder: &Path) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{}/status", seen.pid)).ok()?;
        if !is_made(seen) || !is_first(&status) {
            return None;
        }
        let (allocation, name) = place(&seen.root_mount, folder.to_str()?)?;
        Some(Self {
            allocation: allocation.to_owned(),
            name: name.to_owned(),
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

/// Whether a process is its own program, and not still the one that makes it or, for a moment, none.
fn is_made(seen: &Seen) -> bool {
    !seen.command.is_empty() && seen.program() != KEEPER
}

/// Whether a process is number 1 of a process namespace other than this one, by its `/proc/PID/status`.
fn is_first(status: &str) -> bool {
    let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let ids: Vec<&str> = inside.split_whitespace().collect();
    ids.len() > 1 && ids.last() == Some(&"1")
}

/// Allocation and container, by the path of the writable layer: `.../writable/ALLOCATION/CONTAINER/...`.
fn place<'a>(root_mount: &'a str, folder: &str) -> Option<(&'a str, &'a str)> {
    let layer = root_mount.split([',', ' ']).find_map(|word| word.strip_prefix("upperdir="))?;
    let (_, below) = layer.strip_prefix(folder)?.split_once("/writable/")?;
    let mut parts = below.split('/');
    Some((parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_process_of_a_namespace_is_a_container() {
        assert!(is_first("Name:\tx\nNSpid:\t420\t1\n"));
        assert!(!is_first("NSpid:\t421\t7\n"));
        assert!(!is_first("NSpid:\t1\n"));
        assert!(!is_first("Name:\tx\n"));
    }

    #[test]
    fn what_is_still_being_made_is_no_container() {
        let mut seen = Seen::of(std::process::id()).unwrap();
        for (command, made) in [
            ("/hello sleep", true),
            ("skerry-keeper worker", false),
            ("/opt/skerry-keeper worker", false),
            ("", false),
        ] {
            command.clone_into(&mut seen.command);
            assert_eq!(is_made(&seen), made, "{command}");
        }
    }

    #[test]
    fn the_writable_layer_names_the_container() {
        let mount = |upper: &str| {
            format!("1 2 0:3 / / rw - overlay overlay rw,lowerdir=/c,upperdir={upper},workdir=/w")
        };
        let at = mount("/run/n1/disk/agent/writable/web-0-1/main/upper");
        assert_eq!(place(&at, "/run/n1"), Some(("web-0-1", "main")));
        assert_eq!(place(&at, "/run/n2"), None);
        assert_eq!(place("1 2 0:3 / / rw - ext4 /dev/vda rw", "/run/n1"), None);
    }
}
