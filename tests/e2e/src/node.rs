use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use skerry_ground::{Host, Process, Seen, binary, output, until};

use crate::master::read;
use crate::{Container, Operator, SOON, Said, Traces};

/// A host with a `skerry-agent`, and the keeper that the agent starts.
#[derive(Debug)]
pub struct Node {
    host: Host,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Process>,
    clean: Option<Traces>,
}

impl Node {
    /// A node whose agent is given `flags` at every start. Neither joined nor started.
    pub fn new(host: &Host, flags: &[String]) -> Self {
        let flags = flags.to_vec();
        Self { host: host.clone(), flags, environment: Vec::new(), process: None, clean: None }
    }

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its name, the host's.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Changes the environment of later starts, and what else may be needed for a preloaded library.
    pub fn set_environment(&mut self, environment: &[(&str, String)]) {
        self.environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    }

    /// Adds to the flags of later starts.
    pub fn add_flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
    }

    /// What a reboot keeps.
    pub fn data_dir(&self) -> PathBuf {
        self.host.disk().join("agent")
    }

    /// Images.
    pub fn cache_dir(&self) -> PathBuf {
        self.host.disk().join("cache")
    }

    /// What a reboot may lose.
    pub fn run_dir(&self) -> PathBuf {
        self.host.memory().join("skerry")
    }

    /// Folders with one entry for each allocation or container, and nothing else.
    pub fn folders(&self) -> Vec<PathBuf> {
        let (run, data) = (self.run_dir(), self.data_dir());
        let of_run = ["netns", "etc", "bundles", "keeper/containers"].map(|name| run.join(name));
        let of_data = ["writable", "logs", "keeper/containers"].map(|name| data.join(name));
        of_run.into_iter().chain(of_data).collect()
    }

    fn command(&self, verb: &str) -> Result<Command> {
        let mut command = self.host.command(binary("skerry-agent")?);
        command.arg(verb).args(["--node", self.name()]);
        command.arg("--data-dir").arg(self.data_dir()).arg("--cache-dir").arg(self.cache_dir());
        command.arg("--run-dir").arg(self.run_dir());
        command.arg("--cgroup-root").arg(format!("/{}", self.host.cgroup()));
        command.args(&self.flags).envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// `skerry-agent join` with this token; gives what it said, whatever its exit code.
    pub fn try_join(&self, token: &str) -> Result<Said> {
        let mut command = self.command("join")?;
        let ended = command.args(["--token", token]).output().context("starting skerry-agent join")?;
        Ok(Said {
            line: format!("skerry-agent join on {}", self.name()),
            code: ended.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&ended.stdout).into_owned(),
            err: String::from_utf8_lossy(&ended.stderr).into_owned(),
        })
    }

    /// Starts the agent, without waiting for more.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the agent of {} runs already", self.name());
        self.process = Some(Process::start("skerry-agent", self.command("run")?, self.log_path())?);
        Ok(())
    }

    /// Waits until the region hears from it. The first time, what is on the node then is what [`Node::is_clean`] compares with.
    pub fn reachable(&mut self, operator: &Operator) -> Result<()> {
        operator
            .wait(&format!("node/{}", self.name()), "reachable", SOON)
            .with_context(|| format!("the agent's log: {}", tail(&self.log(), 30)))?;
        if self.clean.is_none() {
            self.clean = Some(Traces::of(self)?);
        }
        Ok(())
    }

    /// Kills the agent as a crash would.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.process.take().context("the agent does not run")?.kill().map(drop)
    }

    /// Asks the agent to end.
    pub fn stop_agent(&mut self) -> Result<()> {
        self.process.take().context("the agent does not run")?.stop(SOON).map(drop)
    }

    /// Whether the agent was started and has not ended.
    pub fn agent_runs(&mut self) -> Result<bool> {
        match &mut self.process {
            Some(process) => Ok(process.exit()?.is_none()),
            None => Ok(false),
        }
    }

    /// The agent's process id, when it was started.
    pub fn agent_pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The keeper's process; `None` when there is none.
    pub fn keeper(&self) -> Option<Seen> {
        let run_dir = self.run_dir().display().to_string();
        self.host.processes().into_iter().find(|seen| {
            let mut words = seen.command.split(' ');
            words.next().is_some_and(|program| program.ends_with("skerry-keeper"))
                && seen.command.contains(&run_dir)
                && seen.command.contains("--run-dir")
        })
    }

    /// Kills the keeper as a crash would and waits until it is gone.
    pub fn kill_keeper(&self) -> Result<()> {
        let keeper = self.keeper().with_context(|| format!("there is no keeper on {}", self.name()))?;
        kill(keeper.pid, Signal::KILL)?;
        until("the end of the keeper", SOON, || Ok((!keeper.is_alive()).then_some(())))
    }

    /// The power goes: all processes are gone, and what was in memory.
    pub fn power_cut(&mut self) -> Result<()> {
        self.host.power_cut()?;
        self.process = None;
        Ok(())
    }

    /// The first process of each container that runs here, sorted by allocation.
    pub fn containers(&self) -> Vec<Container> {
        let folder = self.host.folder();
        let mut found: Vec<Container> =
            self.host.processes().iter().filter_map(|seen| Container::of(seen, folder)).collect();
        found.sort();
        found
    }

    /// The containers of one workload: allocations are named after it.
    pub fn containers_of(&self, workload: &str) -> Vec<Container> {
        let prefix = format!("{workload}-");
        let mut found = self.containers();
        found.retain(|one| one.allocation.starts_with(&prefix));
        found
    }

    /// Waits until exactly this many containers of a workload run.
    pub fn runs(&self, workload: &str, count: usize, limit: Duration) -> Result<Vec<Container>> {
        let what = format!("{count} containers of {workload} on {}", self.name());
        until(&what, limit, || {
            let found = self.containers_of(workload);
            Ok((found.len() == count).then_some(found))
        })
        .with_context(|| format!("there are {:?}", self.containers()))
    }

    /// Fails when something of a workload is left: anything that was not there when the node first joined.
    pub fn is_clean(&self) -> Result<()> {
        let Some(clean) = &self.clean else { return Ok(()) };
        // The last steps of a removal may follow the word that it is done.
        skerry_ground::until_ok(&format!("a clean {}", self.name()), SOON, || {
            Traces::of(self)?.nothing_since(clean)
        })
    }

    /// The file with everything the agent ever wrote.
    pub fn log_path(&self) -> PathBuf {
        self.host.log("agent")
    }

    /// Everything the agent ever wrote.
    pub fn log(&self) -> String {
        read(&self.log_path())
    }

    /// Everything the keeper wrote since its log was begun.
    pub fn keeper_log(&self) -> String {
        read(&self.data_dir().join("keeper/keeper.log"))
    }

    /// Starts the machine after [`Node::power_cut`], without its agent.
    pub fn power_on(&self) -> Result<()> {
        self.host.power_on()
    }

    /// Mounts a file system of bounded size where images are kept.
    pub fn small_cache(&self, mebibytes: u32) -> Result<()> {
        fs::create_dir_all(self.cache_dir()).context("making the cache folder")?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "skerry-e2e"]);
        output(command.arg(self.cache_dir())).map(drop)
    }
}

/// Sends a signal to a process that may just have ended.
pub(crate) fn kill(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("signalling process {pid:?}")),
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}
