use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::container::KEEPER;
use super::{Container, Operator, SOON, Said, Traces, read, tail};
use crate::{Host, Process, Seen, binary, small_disk, until, until_ok};

/// A host with a `skerry-agent`, and the keeper that the agent starts. The agent is stopped when this is dropped; keeper and
/// containers go with the [`Run`](crate::Run).
#[derive(Debug)]
pub struct Node {
    host: Host,
    flags: Vec<OsString>,
    environment: Vec<(String, String)>,
    process: Option<Process>,
    clean: Option<Traces>,
    called: Option<String>,
}

impl Node {
    /// A node whose agent is given `flags` beside its folders and its name, the host's. Neither joined nor started.
    pub fn new(host: &Host, registries: &Path, flags: &[&str]) -> Self {
        let mut all: Vec<OsString> = vec!["--registries".into(), registries.into()];
        all.extend(flags.iter().map(OsString::from));
        Self {
            host: host.clone(),
            flags: all,
            environment: Vec::new(),
            process: None,
            clean: None,
            called: None,
        }
    }

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its name, the host's.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Gives the agent another name than the host's at later starts.
    pub fn call_itself(&mut self, name: &str) {
        self.called = Some(name.to_owned());
    }

    /// Changes the environment of later starts, and what else may be needed for a preloaded library.
    pub fn set_environment(&mut self, environment: &[(&str, String)]) {
        self.environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    }

    /// Adds to the flags of later starts.
    pub fn add_flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(OsString::from));
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
        command.arg(verb).args(["--node", self.called.as_deref().unwrap_or(self.name())]);
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
        Ok(Said::of(format!("skerry-agent join on {}", self.name()), &ended))
    }

    /// Starts the agent, without waiting for more. It joins with the token if it has not joined before.
    pub fn start(&mut self, token: Option<&str>) -> Result<()> {
        ensure!(self.process.is_none(), "the agent of {} runs already", self.name());
        let mut command = self.command("run")?;
        if let Some(token) = token {
            command.env("SKERRY_JOIN_TOKEN", token);
        }
        self.process = Some(Process::start("skerry-agent", command, self.log_path())?);
        Ok(())
    }

    /// Waits until the region hears from it. The first time, what is on the node then is what [`Node::is_clean`] compares with.
    pub fn reachable(&mut self, operator: &Operator) -> Result<()> {
        let waited = operator.wait(&format!("node/{}", self.name()), "reachable", SOON);
        if waited.is_err() {
            self.check()?;
        }
        waited.with_context(|| format!("the agent's log: {}", tail(&self.log(), 30)))?;
        if self.clean.is_none() {
            self.clean = Some(Traces::of(self)?);
        }
        Ok(())
    }

    /// Fails when the agent has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        let name = self.name().to_owned();
        if let Some(process) = &mut self.process
            && let Some(status) = process.exit()?
        {
            bail!("the agent of {name} ended: {status}: {}", tail(&process.log(), 5));
        }
        Ok(())
    }

    /// Kills the agent as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the agent does not run")?.kill().map(drop)
    }

    /// Asks the agent to end and waits for that.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        self.process.take().context("the agent does not run")?.stop(limit).map(drop)
    }

    /// Leaves the agent running for good.
    pub fn leave(mut self) {
        self.process.take().map(Process::leave);
    }

    /// The agent's process id, when it was started.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The keeper's process; `None` when there is none.
    pub fn keeper(&self) -> Option<Seen> {
        let all = self.keeper_and_workers();
        all.iter().find(|seen| !all.iter().any(|other| other.pid == seen.parent)).cloned()
    }

    /// The keeper, its workers, which are the same program and its children, and the first processes that those have ready.
    pub fn keeper_and_workers(&self) -> Vec<Seen> {
        self.host.processes().into_iter().filter(|seen| seen.program() == KEEPER).collect()
    }

    /// Kills the keeper as a crash would and waits until it is gone.
    pub fn kill_keeper(&self) -> Result<()> {
        let keeper = self.keeper().with_context(|| format!("there is no keeper on {}", self.name()))?;
        let pid = i32::try_from(keeper.pid).ok().and_then(Pid::from_raw).context("a process id")?;
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context("killing the keeper"),
        }
        until("the end of the keeper", SOON, || Ok((!keeper.is_alive()).then_some(())))
    }

    /// The power goes: all processes are gone, and what was in memory.
    pub fn power_cut(&mut self) -> Result<()> {
        self.host.power_cut()?;
        self.process = None;
        Ok(())
    }

    /// Starts the machine after [`Node::power_cut`], without its agent.
    pub fn power_on(&self) -> Result<()> {
        self.host.power_on()
    }

    /// The containers that run here, sorted by allocation.
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
        until_ok(&format!("a clean {}", self.name()), SOON, || Traces::of(self)?.nothing_since(clean))
    }

    /// The file with everything the agent ever wrote.
    pub fn log_path(&self) -> PathBuf {
        self.host.log("agent")
    }

    /// Everything the agent ever wrote.
    pub fn log(&self) -> String {
        read(&self.log_path())
    }

    /// The last lines of the agent's log.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log(), lines)
    }

    /// Everything the keeper wrote since its log was begun.
    pub fn keeper_log(&self) -> String {
        read(&self.data_dir().join("keeper/keeper.log"))
    }

    /// Mounts a file system of bounded size where images are kept.
    pub fn small_cache(&self, mebibytes: u32) -> Result<()> {
        small_disk(&self.cache_dir(), mebibytes)
    }
}
