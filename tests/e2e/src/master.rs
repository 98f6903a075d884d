use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use skerry_ground::{Host, Process, binary, output, until};

use crate::{Operator, SOON};

/// A `skerry-master` on a host.
#[derive(Debug)]
pub struct Master {
    host: Host,
    flags: Vec<String>,
    process: Option<Process>,
}

impl Master {
    /// Makes the CA and the store's place; does not run yet. `flags` go to every start.
    pub fn init(host: &Host, flags: &[String]) -> Result<Self> {
        let master = Self { host: host.clone(), flags: flags.to_vec(), process: None };
        let mut command = host.command(binary("skerry-master")?);
        command.args(["init", "--region", "north", "--domain", "e2e.example"]).args(master.common());
        output(&mut command)?;
        Ok(master)
    }

    fn common(&self) -> [String; 4] {
        let data = self.data_dir().display().to_string();
        ["--data-dir".to_owned(), data, "--advertise".to_owned(), self.host.address().to_string()]
    }

    /// Where it keeps everything.
    pub fn data_dir(&self) -> PathBuf {
        self.host.disk().join("master")
    }

    /// The machine it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The context file of the first operator.
    pub fn context(&self) -> PathBuf {
        self.data_dir().join("operator.toml")
    }

    /// Where operators connect, TCP.
    pub fn api(&self) -> SocketAddr {
        (self.host.address(), 7443).into()
    }

    /// Where nodes connect, UDP.
    pub fn links(&self) -> SocketAddr {
        (self.host.address(), 7444).into()
    }

    /// Changes what later starts are given.
    pub fn set_flags(&mut self, flags: &[String]) {
        self.flags = flags.to_vec();
    }

    /// Starts the process, without waiting for more.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.host.command(binary("skerry-master")?);
        command.arg("run").args(self.common()).args(&self.flags);
        self.process = Some(Process::start("skerry-master", command, self.log_path())?);
        Ok(())
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self, operator: &Operator) -> Result<()> {
        self.launch()?;
        self.answers(operator)
    }

    /// Waits until it answers.
    pub fn answers(&mut self, operator: &Operator) -> Result<()> {
        until("an answer of the master", SOON, || {
            if let Some(process) = &mut self.process
                && let Some(status) = process.exit()?
            {
                anyhow::bail!("the master ended: {status}: {}", process.log());
            }
            Ok(Some(()).filter(|()| {
                operator.skerry(&["version", "--request-timeout", "2s"]).is_ok_and(|s| s.code == 0)
            }))
        })
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the master does not run")?.kill().map(drop)
    }

    /// Asks it to end.
    pub fn stop(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        self.process.take().context("the master does not run")?.stop(limit)
    }

    /// Its process id, when it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The file with everything it ever wrote.
    pub fn log_path(&self) -> PathBuf {
        self.host.log("master")
    }

    /// Everything it ever wrote.
    pub fn log(&self) -> String {
        read(&self.log_path())
    }
}

/// A log file; empty when there is none.
pub(crate) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
