use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Operator, SOON, read, tail};
use crate::{Host, Process, binary, output, until};

/// A `skerry-master` on a host. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Master {
    host: Host,
    region: String,
    flags: Vec<OsString>,
    environment: Vec<(String, String)>,
    process: Option<Process>,
}

impl Master {
    /// Makes the region's CA and first operator; gives what `skerry-master init` printed. It does not run yet.
    pub fn init(host: &Host, region: &str, registries: &Path) -> Result<(Self, String)> {
        let registries: [OsString; 2] = ["--registries".into(), registries.into()];
        Self::init_with(host, region, &registries)
    }

    /// As [`Master::init`], for a region below the one whose token this is. It notices a cut link to it in three seconds.
    pub fn init_below(host: &Host, region: &str, token: &str, registries: &Path) -> Result<(Self, String)> {
        let flags = ["--registries".into(), registries.into(), "--keep-alive".into(), "1s".into()];
        let master = Self::new(host, region, &flags);
        let mut command = master.init_command()?;
        command.env("SKERRY_MASTER_JOIN_TOKEN", token);
        let said = output(&mut command)?;
        Ok((master, said))
    }

    /// As [`Master::init`], with these flags at each start.
    pub fn init_with(host: &Host, region: &str, flags: &[OsString]) -> Result<(Self, String)> {
        let master = Self::new(host, region, flags);
        let said = output(&mut master.init_command()?)?;
        Ok((master, said))
    }

    /// A master whose `init` is the caller's to run.
    pub fn new(host: &Host, region: &str, flags: &[OsString]) -> Self {
        let (host, region, flags) = (host.clone(), region.to_owned(), flags.to_vec());
        Self { host, region, flags, environment: Vec::new(), process: None }
    }

    /// `skerry-master init`, not started yet.
    pub fn init_command(&self) -> Result<Command> {
        let mut command = self.command("init")?;
        command.args(["--region", &self.region]);
        Ok(command)
    }

    /// Says that the data directory was put back to an older copy; gives what is said to that.
    pub fn restored(&self) -> Result<String> {
        output(&mut self.command("restored")?)
    }

    fn command(&self, verb: &str) -> Result<Command> {
        let mut command = self.host.command(binary("skerry-master")?);
        command.arg(verb).arg("--data-dir").arg(self.data_dir());
        command.args(["--advertise", &self.host.address().to_string()]);
        command.args(["--api", &self.api().to_string(), "--links", &self.links().to_string()]);
        command.args(&self.flags).envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Changes the environment of later starts.
    pub fn set_environment(&mut self, environment: &[(&str, String)]) {
        self.environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    }

    /// Gives one more flag, with its value, at each start from here on.
    pub fn flag(&mut self, name: &str, value: &str) {
        self.flags.extend([name.into(), value.into()]);
    }

    /// Takes the flag given last away again.
    pub fn unflag(&mut self) {
        self.flags.truncate(self.flags.len().saturating_sub(2));
    }

    /// Starts the process, without waiting for more.
    pub fn launch(&mut self) -> Result<()> {
        self.process = Some(Process::start("skerry-master", self.command("run")?, self.log_path())?);
        Ok(())
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.answers()
    }

    /// Waits until it answers.
    pub fn answers(&mut self) -> Result<()> {
        let operator = self.operator();
        until(&format!("an answer of the master of {}", self.region), SOON, || {
            if let Some(process) = &mut self.process
                && let Some(status) = process.exit()?
            {
                bail!("the master ended: {status}: {}", tail(&process.log(), 5));
            }
            Ok(operator.skerry(&["version", "--request-timeout", "2s"]).ok().map(drop))
        })
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the master does not run")?.kill().map(drop)
    }

    /// Asks it to end and waits for that.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.take().context("the master does not run")?.stop(limit)
    }

    /// How it ended, once it has ended by itself; it may then be started again.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let status = process.exit()?;
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    /// Leaves it running for good.
    pub fn leave(mut self) {
        self.process.take().map(Process::leave);
    }

    /// Its process id, when it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The machine it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where it keeps everything.
    pub fn data_dir(&self) -> PathBuf {
        self.host.disk().join("master")
    }

    /// Where operators connect, TCP.
    pub fn api(&self) -> SocketAddr {
        (self.host.address(), 7443).into()
    }

    /// Where nodes and regions below connect, UDP.
    pub fn links(&self) -> SocketAddr {
        (self.host.address(), 7444).into()
    }

    /// The first operator, at work on the master's host.
    pub fn operator(&self) -> Operator {
        Operator::new(self.host.namespace(), self.context())
    }

    /// The context file of the first operator.
    pub fn context(&self) -> PathBuf {
        self.data_dir().join("operator.toml")
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
