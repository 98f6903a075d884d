//! Workers: processes that make one container each, and those that wait for one to make.

use super::Keeper;
use super::container::Address;
use crate::diag;
use crate::job::Job;
use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use skerry_keeper_protocol::{Reply, encode};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Workers that may wait: as many starts as an agent prepares at once with profit on a small machine.
const WAITING_MAX: usize = 4;

/// A worker that waits for its job. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    pid: u32,
    job: OwnedFd,
    outcome: OwnedFd,
}

impl Waiting {
    /// Starts this very program as a worker, in a process group of its own.
    fn start(words: &Path) -> io::Result<Self> {
        let (job_read, job) = pipe_with(PipeFlags::CLOEXEC)?;
        let (outcome, outcome_write) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only the keeper's ends: a worker waits for its input.
        rustix::io::ioctl_fionbio(&job, true)?;
        rustix::io::ioctl_fionbio(&outcome, true)?;
        let child = Command::new("/proc/self/exe")
            .arg0("skerry-keeper")
            .arg("worker")
            .arg(words)
            .env_clear()
            .stdin(Stdio::from(job_read))
            .stdout(Stdio::from(outcome_write))
            .process_group(0)
            .spawn()?;
        Ok(Self { pid: child.id(), job, outcome })
    }

    /// Whether it is gone, reaped or not.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), options), Ok(None)))
    }

    /// Sends it to work; gives its id and its standard output.
    fn work(self, job: &Job) -> io::Result<(u32, OwnedFd)> {
        let frame = encode(job).map_err(io::Error::other)?;
        // An empty pipe takes 64 KiB whole, and a job is smaller than the request that it comes from.
        if rustix::io::write(&self.job, &frame)? != frame.len() {
            return Err(io::Error::other("a job does not fit into a pipe"));
        }
        Ok((self.pid, self.outcome))
    }
}

impl Keeper {
    /// Starts a worker for a create that is to come.
    pub(super) fn expect(&mut self, address: Address) {
        if self.ending.is_none() && self.waiting.len() < WAITING_MAX {
            match Waiting::start(&self.layout.words()) {
                Ok(worker) => self.waiting.push((address.client, worker)),
                // The create starts one of its own, and tells.
                Err(error) => diag!(Debug, "cannot start a worker ahead: {error}"),
            }
        }
        self.answer(address, Ok(Reply::Done));
    }

    /// Has a worker do a job; gives its id and its standard output.
    pub(super) fn start_work(&mut self, job: &Job) -> io::Result<(u32, OwnedFd)> {
        while let Some((_, worker)) = self.waiting.pop() {
            // One that was killed while it waited takes no job; its first process may still hold the pipe.
            if worker.has_ended() {
                continue;
            }
            if let Ok(working) = worker.work(job) {
                return Ok(working);
            }
        }
        Waiting::start(&self.layout.words())?.work(job)
    }
}
