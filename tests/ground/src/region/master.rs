use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Operator, START_LIMIT, tail};
use crate::{Host, Process, binary, output, until};

/// A `skerry-master` on a host. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Master {
    host: Host,
    flags: Vec<String>,
    process: Option<Process>,
}

impl Master {
    /// Makes the region's CA and first operator; gives what `skerry-master init` printed. It does not run yet.
    pub fn init(host: &Host, region: &str, registries: &Path) -> Result<(Self, String)> {
        let data = host.disk().join("master").display().to_string();
        let common = ["--data-dir".to_owned(), data, "--advertise".to_owned(), host.address().to_string()];
        let mut command = host.command(binary("skerry-master")?);
        command.arg("init").args(["--region", region]).args(&common);
        let said = output(&mut command)?;
        let [api, links] = [7443, 7444].map(|port| SocketAddr::from((host.address(), port)).to_string());
        let mut flags = common.to_vec();
        flags.extend(["--api".to_owned(), api, "--links".to_owned(), links]);
        flags.extend(["--registries".to_owned(), registries.display().to_string()]);
        Ok((Self { host: host.clone(), flags, process: None }, said))
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) -> Result<()> {
        let mut command: Command = self.host.command(binary("skerry-master")?);
        command.args(&self.flags);
        self.process = Some(Process::start("skerry-master", command, self.log_path())?);
        let operator = self.operator();
        until("an answer of the master", START_LIMIT, || {
            if let Some(process) = &mut self.process
                && let Some(status) = process.exit()?
            {
                bail!("the master ended: {status}: {}", tail(process.log_path(), 5));
            }
            Ok(operator.skerry(&["version", "--request-timeout", "2s"]).ok().map(drop))
        })
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the master does not run")?.kill().map(drop)
    }

    /// Asks it to end and waits for that.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        self.process.take().context("the master does not run")?.stop(limit).map(drop)
    }

    /// Leaves it running for good.
    pub fn leave(mut self) {
        self.process.take().map(Process::leave);
    }

    /// Its process id, when it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The machine it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The first operator, at work on the master's host.
    pub fn operator(&self) -> Operator {
        Operator::new(self.host.namespace(), self.context())
    }

    /// The context file of the first operator.
    pub fn context(&self) -> PathBuf {
        self.host.disk().join("master/operator.toml")
    }

    /// The file with everything it ever wrote.
    pub fn log_path(&self) -> PathBuf {
        self.host.log("master")
    }
}
