use std::collections::BTreeMap;

use crate::Seen;

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
    /// The containers among these processes, by allocation. `cgroup` is the group above all of them.
    pub(crate) fn among(processes: &[Seen], cgroup: &str) -> Vec<Self> {
        let places: BTreeMap<u32, (&str, &str)> =
            processes.iter().filter_map(|seen| Some((seen.pid, place(seen, cgroup)?))).collect();
        let is_first = |seen: &&Seen| places.get(&seen.parent) != places.get(&seen.pid);
        let mut found: Vec<Self> = processes
            .iter()
            .filter(is_first)
            .filter_map(|seen| {
                let (allocation, name) = places.get(&seen.pid)?;
                Some(Self {
                    allocation: (*allocation).to_owned(),
                    name: (*name).to_owned(),
                    pid: seen.pid,
                    start_ticks: seen.start_ticks,
                    command: seen.command.clone(),
                })
            })
            .collect();
        found.sort();
        found
    }
}

/// Allocation and container of a process, by the path of its memory cgroup: `CGROUP/ALLOCATION/CONTAINER`.
fn place<'a>(seen: &'a Seen, cgroup: &str) -> Option<(&'a str, &'a str)> {
    seen.cgroups.iter().find_map(|path| {
        let below = path.trim_start_matches('/').strip_prefix(cgroup)?;
        below.trim_start_matches('/').split_once('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: u32, parent: u32, cgroup: &str) -> Seen {
        let (command, root_mount) = (format!("program {pid}"), String::new());
        Seen {
            pid,
            parent,
            start_ticks: 5,
            command,
            cgroups: vec![cgroup.to_owned()],
            network: 0,
            root_mount,
        }
    }

    #[test]
    fn only_first_processes_of_containers_are_found() {
        let processes = [
            seen(10, 1, "/run/n1"),
            seen(11, 10, "/run/n1/web-0-1/main"),
            seen(12, 11, "/run/n1/web-0-1/main"),
            seen(13, 10, "/run/n1/web-0-1/side"),
            seen(14, 10, "/run/n2/web-1-2/main"),
        ];
        let found = Container::among(&processes, "run/n1");
        let names: Vec<_> =
            found.iter().map(|one| (one.allocation.as_str(), one.name.as_str(), one.pid)).collect();
        assert_eq!(names, [("web-0-1", "main", 11), ("web-0-1", "side", 13)]);
    }
}
