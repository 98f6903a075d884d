//! The master's process and the ground it stands on.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use skerry_ground::region::Master;
use skerry_ground::{Host, Run, Wan, check_interrupt, run_command};
use tokio::time::{Duration, Instant, sleep};

const REGION: &str = "north";
/// What the master says when it listens.
const UP: &str = "the master is up";
/// Between two looks at a state that is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// A master on a host of its own. All of it goes when this is dropped, and with the next run when this one was killed.
pub(crate) struct Stage {
    pub(crate) master: Master,
    _wan: Wan,
    run: Run,
}

impl Stage {
    /// Makes the ground and the region; the master does not run yet.
    pub(crate) fn new() -> Result<Self> {
        raise_files()?;
        let run = Run::start("swarm")?;
        let mut wan = Wan::new(&run)?;
        let host = wan.host("master")?;
        let (master, _) = Master::init_with(&host, REGION, &[])?;
        Ok(Self { master, _wan: wan, run })
    }

    /// The host that master and agents share.
    pub(crate) fn host(&self) -> Host {
        self.master.host().clone()
    }

    /// A folder in memory for the nodes' keys: ten thousand of them on a disk would measure the disk.
    pub(crate) fn keys(&self) -> Result<PathBuf> {
        let folder = self.run.folder().join("keys");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        run_command(std::process::Command::new("mount").args(["-t", "tmpfs", "swarm"]).arg(&folder))?;
        Ok(folder)
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.master.pid().context("the master does not run")
    }

    /// Starts the master; gives the moment from which on it listens, as far as its log tells.
    pub(crate) async fn start(&mut self) -> Result<Instant> {
        let path = self.master.log_path();
        let said = std::fs::metadata(&path).map_or(0, |log| log.len());
        self.master.launch()?;
        let is_up = || said_since(&path, said).is_ok_and(|log| log.contains(UP));
        until("the master's start", Duration::from_mins(2), is_up).await?;
        Ok(Instant::now())
    }
}

/// What was added to a log after its first `before` bytes.
fn said_since(path: &Path, before: u64) -> std::io::Result<String> {
    let mut log = File::open(path)?;
    log.seek(SeekFrom::Start(before))?;
    let mut said = String::new();
    log.read_to_string(&mut said)?;
    Ok(said)
}

/// Waits for a state.
pub(crate) async fn until(what: &str, limit: Duration, state: impl Fn() -> bool) -> Result<()> {
    let start = Instant::now();
    while !state() {
        check_interrupt()?;
        anyhow::ensure!(start.elapsed() < limit, "{what}: not after {} s", limit.as_secs());
        sleep(PAUSE).await;
    }
    Ok(())
}

/// As many open files as the machine lets this process have: joins take a socket each.
fn raise_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the number of open files")
}
