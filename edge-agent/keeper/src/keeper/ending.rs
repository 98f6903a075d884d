//! How the keeper ends: for good, for a newer keeper in its place, or leaving its containers to a successor.

use super::Keeper;
use super::container::{Address, Container, Phase};
use crate::{args, diag};
use rustix::io::FdFlags;
use skerry_keeper_protocol::{ContainerKey, ExitStatus, Failure, FailureKind, LogStream, Reply};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a keeper that is to take over may need to print its version.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Why the loop is to end, and what it waits for.
#[derive(Debug)]
pub(super) enum Ending {
    /// A newer program is asked for its version: one that does not even run must not take over.
    Probe { binary: PathBuf, pid: u32, deadline: Instant, asked_by: Option<Address> },
    /// The newer program takes over when no create and no removal is under way.
    Upgrade { binary: PathBuf, asked_by: Option<Address> },
    /// The keeper ends when no container runs.
    Shutdown { asked_by: Address },
    /// The keeper ends, and its containers go on.
    Leave,
}

impl Ending {
    /// When something has to be done about it even if nothing happens.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Probe { deadline, .. } => Some(*deadline),
            Self::Upgrade { .. } | Self::Shutdown { .. } | Self::Leave => None,
        }
    }
}

impl Keeper {
    /// Begins an upgrade to `binary`.
    pub(super) fn upgrade(&mut self, binary: PathBuf, asked_by: Option<Address>) {
        if self.ending.is_some() {
            return;
        }
        let probe = Command::new(&binary).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        match probe {
            Ok(child) if binary.is_absolute() => {
                let deadline = Instant::now() + PROBE_PATIENCE;
                self.ending = Some(Ending::Probe { binary, pid: child.id(), deadline, asked_by });
            }
            Ok(_) => self.upgrade_refused(&binary, asked_by, "its path is not absolute"),
            Err(error) => self.upgrade_refused(&binary, asked_by, &error.to_string()),
        }
    }

    fn upgrade_refused(&mut self, binary: &Path, asked_by: Option<Address>, reason: &str) {
        let message = format!("{} cannot take over: {reason}", binary.display());
        diag!(Error, "{message}");
        self.ending = None;
        if let Some(address) = asked_by {
            self.answer(address, Err(Failure { kind: FailureKind::BadRequest, message }));
        }
    }

    /// Whether the child that ended was a program asked for its version.
    pub(super) fn probe_ended(&mut self, pid: u32, status: ExitStatus) -> bool {
        match self.ending.take() {
            Some(Ending::Probe { binary, pid: probe, asked_by, .. }) if probe == pid => {
                if status == ExitStatus::Code(0) {
                    self.ending = Some(Ending::Upgrade { binary, asked_by });
                } else {
                    self.upgrade_refused(&binary, asked_by, &format!("it ended with {status}"));
                }
                true
            }
            other => {
                self.ending = other;
                false
            }
        }
    }

    /// Gives up on a program that does not print its version.
    pub(super) fn ending_deadline(&mut self, now: Instant) {
        match self.ending.take() {
            Some(Ending::Probe { binary, pid, deadline, asked_by }) if deadline <= now => {
                if let Ok(pid) = crate::process::raw_pid(pid) {
                    // It is a child that was not reaped, so the number is its own.
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
                }
                self.upgrade_refused(&binary, asked_by, "it does not print its version");
            }
            other => self.ending = other,
        }
    }

    /// Begins a shutdown.
    pub(super) fn shutdown(&mut self, address: Address, force: bool) {
        let live: Vec<ContainerKey> = self
            .containers
            .iter()
            .filter(|(_, container)| !matches!(container.phase, Phase::Exited))
            .map(|(key, _)| key.clone())
            .collect();
        if !live.is_empty() && !force {
            let message = format!("{} containers run; the first is {}", live.len(), live[0]);
            return self.answer(address, Err(Failure { kind: FailureKind::Running, message }));
        }
        for key in &live {
            let message = format!("create of {key} was called off by a shutdown");
            self.kill_create(key, Failure { kind: FailureKind::Cancelled, message });
            self.kill_container(key);
        }
        self.ending = Some(Ending::Shutdown { asked_by: address });
    }

    /// Ends, and leaves the containers to a successor.
    pub(super) fn leave(&mut self) {
        self.ending = Some(Ending::Leave);
    }

    /// Ends the loop if there is reason to and nothing to wait for; `true` to return from it.
    pub(super) fn end_if_due(&mut self) -> io::Result<bool> {
        let busy = |container: &Container| matches!(container.phase, Phase::Creating(_) | Phase::Removing(_));
        let exited = |container: &Container| matches!(container.phase, Phase::Exited);
        match &self.ending {
            None | Some(Ending::Probe { .. }) => Ok(false),
            Some(Ending::Upgrade { .. }) if self.containers.values().any(busy) => Ok(false),
            Some(Ending::Shutdown { .. }) if !self.containers.values().all(exited) => Ok(false),
            Some(Ending::Leave) => {
                self.hand_over_output();
                diag!(Info, "the keeper ends; {} containers stay as they are", self.containers.len());
                Ok(true)
            }
            Some(Ending::Shutdown { asked_by }) => {
                self.answer(*asked_by, Ok(Reply::Done));
                match std::fs::remove_file(self.layout.socket()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(true),
                }
            }
            Some(Ending::Upgrade { binary, asked_by }) => {
                let (binary, asked_by) = (binary.clone(), *asked_by);
                self.replace(&binary, asked_by)
            }
        }
    }

    fn hand_over_output(&mut self) {
        for output in self.containers.values_mut().filter_map(|container| container.output.as_mut()) {
            output.log.hand_over(&mut self.scratch);
        }
    }

    /// Says whether the output pipes stay open in the program that takes over, and which they are. A pipe that nobody
    /// has open loses what is in it, and the container may end at any moment.
    fn hold_output(&self, flags: FdFlags) -> io::Result<Vec<i32>> {
        let mut held = Vec::new();
        for output in self.containers.values().filter_map(|container| container.output.as_ref()) {
            for stream in [LogStream::Stdout, LogStream::Stderr] {
                let fd = output.log.fd(stream);
                rustix::io::fcntl_setfd(fd, flags)?;
                held.push(fd.as_raw_fd());
            }
        }
        Ok(held)
    }

    /// Becomes `binary`. The listening socket goes along as standard input, so that no client finds it closed;
    /// everything else is found again through the records.
    fn replace(&mut self, binary: &Path, asked_by: Option<Address>) -> io::Result<bool> {
        if let Some(address) = asked_by {
            self.answer(address, Ok(Reply::Done));
        }
        self.waiting.clear();
        self.hand_over_output();
        let held = self.hold_output(FdFlags::empty())?;
        diag!(Info, "replaced by {}", binary.display());
        let text = |text: &std::ffi::OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
        let mut words = vec![text(binary.as_os_str())?];
        for word in args::resume_words(&self.settings, &held) {
            words.push(text(&word)?);
        }
        rustix::stdio::dup2_stdin(&self.listener)?;
        // Signals stay blocked across this, so none is lost in between.
        let Err(error) = nix::unistd::execv(&words[0], &words);
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        self.hold_output(FdFlags::CLOEXEC)?;
        self.upgrade_refused(binary, None, &error.to_string());
        Ok(false)
    }
}
