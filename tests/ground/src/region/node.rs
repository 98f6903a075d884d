use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Container, tail};
use crate::{Host, Process, Seen, binary};

/// A host with a `skerry-agent`, and the keeper that the agent starts. The agent is stopped when this is dropped; keeper and
/// containers go with the [`Run`](crate::Run).
#[derive(Debug)]
pub struct Node {
    host: Host,
    flags: Vec<String>,
    process: Option<Process>,
}

impl Node {
    /// A node whose agent is given `flags` beside its folders and its name, the host's. Not started yet.
    pub fn new(host: &Host, registries: &Path, flags: &[&str]) -> Self {
        let path = |path: PathBuf| path.display().to_string();
        let mut all: Vec<String> = [
            ("--node", host.name().to_owned()),
            ("--data-dir", path(host.disk().join("agent"))),
            ("--cache-dir", path(host.disk().join("cache"))),
            ("--run-dir", path(host.memory().join("skerry"))),
            ("--cgroup-root", format!("/{}", host.cgroup())),
            ("--registries", path(registries.to_owned())),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Self { host: host.clone(), flags: all, process: None }
    }

    /// Starts the agent, without waiting for more. It joins with the token if it has not joined before.
    pub fn start(&mut self, token: Option<&str>) -> Result<()> {
        ensure!(self.process.is_none(), "the agent of {} runs already", self.name());
        let mut command = self.host.command(binary("skerry-agent")?);
        command.args(&self.flags);
        if let Some(token) = token {
            command.env("SKERRY_JOIN_TOKEN", token);
        }
        self.process = Some(Process::start("skerry-agent", command, self.log_path())?);
        Ok(())
    }

    /// Fails when the agent has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        let name = self.name().to_owned();
        if let Some(process) = &mut self.process
            && let Some(status) = process.exit()?
        {
            bail!("the agent of {name} ended: {status}: {}", tail(process.log_path(), 5));
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

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its name, the host's.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// The agent's process id, when it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The keeper's process; `None` when there is none.
    pub fn keeper(&self) -> Option<Seen> {
        let is_keeper = |seen: &Seen| {
            let program = seen.command.split(' ').next().unwrap_or_default();
            Path::new(program).file_name().is_some_and(|name| name == "skerry-keeper")
        };
        let all: Vec<Seen> = self.host.processes().into_iter().filter(is_keeper).collect();
        // Its workers are the same program, and its children.
        all.iter().find(|seen| !all.iter().any(|other| other.pid == seen.parent)).cloned()
    }

    /// The containers that run here, by allocation.
    pub fn containers(&self) -> Vec<Container> {
        Container::among(&self.host.processes(), self.host.cgroup())
    }

    /// The file with everything the agent ever wrote.
    pub fn log_path(&self) -> PathBuf {
        self.host.log("agent")
    }

    /// The last lines of the agent's log.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log_path(), lines)
    }
}
