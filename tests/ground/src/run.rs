use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{Seen, cgroup, mount, namespace, processes};

/// Every run has a folder here. On a disk, not in memory: nodes keep their images in it.
const RUNS: &str = "/var/lib/skerry-ground";
const OWNER: &str = ".owner";

/// How long killed processes may take to be gone; a process in uninterruptible IO takes longest.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// One run and the name that all it makes carries: namespaces, cgroups and its folder. Dropping it takes everything down.
#[derive(Debug)]
pub struct Run {
    name: String,
    folder: PathBuf,
    down: bool,
}

impl Run {
    /// Starts a run of this kind (`demo`, `e2e`), after it has removed what killed runs of the same kind left behind.
    pub fn start(kind: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        ensure!(rustix::process::geteuid().is_root(), "namespaces and containers need root");
        ensure!(
            kind.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
            "{kind:?} is no kind of run"
        );
        Self::sweep(kind)?;
        let pid = std::process::id();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("skerry-{kind}-{pid}-{count}");
        let folder = Path::new(RUNS).join(&name);
        mark_owner(&name)?;
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { name, folder, down: false })
    }

    /// The run's name: `skerry-KIND-PID-COUNT`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The run's folder. It is removed at the end.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends every process of the run and removes all that carries its name.
    pub fn take_down(mut self) -> Result<()> {
        self.down = true;
        take_down(&self.name)
    }

    /// Leaves everything standing. The next run of this kind takes it down, or [`Run::sweep`].
    pub fn leave(mut self) {
        self.down = true;
    }

    /// Takes down what runs of this kind left whose owner no longer lives. Gives their names.
    pub fn sweep(kind: &str) -> Result<Vec<String>> {
        let prefix = format!("skerry-{kind}-");
        let Ok(entries) = fs::read_dir(RUNS) else { return Ok(Vec::new()) };
        let mut swept = Vec::new();
        for entry in entries {
            let file = entry?.file_name().to_string_lossy().into_owned();
            let Some(name) = file.strip_suffix(OWNER).filter(|name| name.starts_with(&prefix)) else {
                continue;
            };
            if !owner_lives(name) {
                take_down(name).with_context(|| format!("removing what the run {name} left"))?;
                swept.push(name.to_owned());
            }
        }
        Ok(swept)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.down
            && let Err(error) = take_down(&self.name)
        {
            eprintln!("{} is not all gone: {error:#}", self.name);
        }
    }
}

/// Stands beside the run's folder: written before anything of the run is there, removed after all is gone.
fn owner_file(name: &str) -> PathBuf {
    Path::new(RUNS).join(format!("{name}{OWNER}"))
}

fn owner_lives(name: &str) -> bool {
    let text = fs::read_to_string(owner_file(name)).unwrap_or_default();
    let mut numbers = text.split(' ').map(|word| word.parse::<u64>().unwrap_or(0));
    let (pid, start) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    u32::try_from(pid).ok().and_then(Seen::of).is_some_and(|seen| seen.start_ticks == start)
}

fn mark_owner(name: &str) -> Result<()> {
    let pid = std::process::id();
    let own = Seen::of(pid).context("reading this process in /proc")?;
    let written = Path::new(RUNS).join(name).with_extension("new");
    loop {
        fs::create_dir_all(RUNS).with_context(|| format!("making {RUNS}"))?;
        match fs::write(&written, format!("{pid} {}", own.start_ticks)) {
            // The end of another run removed the folder, empty as it was.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => {
                result
                    .and_then(|()| fs::rename(&written, owner_file(name)))
                    .context("marking the run's owner")?;
                return Ok(());
            }
        }
    }
}

/// Two sweeps may meet here: what is gone already is no failure.
fn take_down(name: &str) -> Result<()> {
    let folder = Path::new(RUNS).join(name);
    let namespaces: Vec<String> = namespaces_of(name)?;
    kill_all(&Marks::new(&namespaces, name, &folder))?;
    mount::unmount_below(&folder)?;
    for namespace in &namespaces {
        namespace::delete(namespace)?;
    }
    cgroup::remove_named(name)?;
    gone(fs::remove_dir_all(&folder)).with_context(|| format!("removing {}", folder.display()))?;
    gone(fs::remove_file(owner_file(name))).context("removing the run's mark")?;
    // Fails while other runs stand, which is right.
    fs::remove_dir(RUNS).ok();
    Ok(())
}

fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn namespaces_of(name: &str) -> Result<Vec<String>> {
    let prefix = format!("{name}-");
    Ok(namespace::names()?.into_iter().filter(|namespace| namespace.starts_with(&prefix)).collect())
}

/// What tells that a process belongs to a run or a host.
#[derive(Debug)]
pub(crate) struct Marks {
    networks: BTreeSet<u64>,
    cgroup: Vec<String>,
    layers: String,
}

impl Marks {
    /// `cgroup` is one or more names in a row, as in `run/host`.
    pub(crate) fn new(namespaces: &[String], cgroup: &str, folder: &Path) -> Self {
        Self {
            networks: namespaces.iter().filter_map(|name| namespace::inode(name)).collect(),
            cgroup: cgroup.split('/').map(str::to_owned).collect(),
            layers: format!("{}/", folder.display()),
        }
    }

    fn is_on(&self, seen: &Seen) -> bool {
        let in_cgroup = seen.cgroups.iter().any(|path| {
            let parts: Vec<&str> = path.split('/').collect();
            parts.windows(self.cgroup.len()).any(|window| window == self.cgroup)
        });
        in_cgroup || self.networks.contains(&seen.network) || seen.root_mount.contains(&self.layers)
    }

    /// The marked processes and all that descend from them. A container's process may be marked by nothing but its
    /// parent, the keeper.
    pub(crate) fn select(&self, all: &BTreeMap<u32, Seen>) -> Vec<Seen> {
        let mut chosen: BTreeSet<u32> =
            all.values().filter(|seen| self.is_on(seen)).map(|seen| seen.pid).collect();
        loop {
            let children: Vec<u32> = all
                .values()
                .filter(|seen| chosen.contains(&seen.parent) && !chosen.contains(&seen.pid))
                .map(|seen| seen.pid)
                .collect();
            if children.is_empty() {
                break;
            }
            chosen.extend(children);
        }
        // A thread of this very process may be inside of a namespace just now.
        chosen.remove(&std::process::id());
        chosen.iter().filter_map(|pid| all.get(pid).cloned()).collect()
    }
}

/// Kills what carries the marks until nothing is left.
pub(crate) fn kill_all(marks: &Marks) -> Result<()> {
    let start = std::time::Instant::now();
    let mut chosen: BTreeMap<(u32, u64), Seen> = BTreeMap::new();
    loop {
        chosen
            .extend(marks.select(&processes()).into_iter().map(|seen| ((seen.pid, seen.start_ticks), seen)));
        chosen.retain(|_, seen| seen.is_alive());
        if chosen.is_empty() {
            return Ok(());
        }
        for seen in chosen.values() {
            if let Some(pid) = i32::try_from(seen.pid).ok().and_then(Pid::from_raw) {
                // It may have ended between the look and the signal, which the next look tells.
                kill_process(pid, Signal::KILL).ok();
            }
        }
        if start.elapsed() > KILL_LIMIT {
            bail!(
                "still there after SIGKILL: {:?}",
                chosen.values().map(|seen| &seen.command).collect::<Vec<_>>()
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
