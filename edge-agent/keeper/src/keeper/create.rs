//! Making containers: a worker for each, and a deadline on each worker.

use super::Keeper;
use super::container::{Address, Container, Create, Output, Owner, Phase};
use super::lease::{Lease, lease_is_over};
use super::poller::Source;
use crate::job::{Job, Outcome};
use crate::journal::Entry;
use crate::layout::ContainerDir;
use crate::logs::ContainerLog;
use crate::{clock, diag, process};
use rustix::fd::OwnedFd;
use rustix::process::{Signal, kill_process_group};
use skerry_keeper_protocol::{
    ContainerKey, ContainerState, CreateRequest, ExitStatus, Failure, FailureKind, LogPolicy, LogStream,
    ProcessIdentity, Reply, decode,
};
use std::io;
use std::time::{Duration, Instant};

/// How long a killed worker may take to die before its client is told that it does not.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// The longest deadline that is kept; a longer one is cut to it.
const MAX_DEADLINE: Duration = Duration::from_mins(10);

impl Keeper {
    /// Starts a worker for a request that was checked.
    pub(super) fn create(&mut self, address: Address, request: CreateRequest) {
        let key = request.key.clone();
        if let Err(failure) = self.try_create(address, request) {
            self.answer(address, Err(failure));
        } else {
            diag!(Debug, "creating {key}");
        }
    }

    fn try_create(&mut self, address: Address, request: CreateRequest) -> Result<(), Failure> {
        let key = request.key.clone();
        if self.containers.contains_key(&key) {
            let message = format!("container {key} is there; delete it first");
            return Err(Failure { kind: FailureKind::Exists, message });
        }
        if !request.bundle.is_absolute() || !request.log.dir.is_absolute() {
            let message = format!("bundle and log directory of {key} must be absolute paths");
            return Err(Failure { kind: FailureKind::BadRequest, message });
        }
        let lease = request.kill_at_ms.map(Lease::new);
        if lease.is_some_and(Lease::is_over) {
            return Err(lease_is_over(&key));
        }
        let failed = |what: &str, error: io::Error| Failure {
            kind: FailureKind::Io,
            message: format!("cannot {what} for {key}: {error}"),
        };
        let entry = Entry {
            boot_id: self.boot_id.clone(),
            key: key.clone(),
            identity: request.identity,
            cgroup: request.cgroups_path,
            log: request.log,
            state: ContainerState::Creating,
        };
        let dir = self.layout.container(&key);
        clear(&dir).map_err(|error| failed("clear the run directory", error))?;
        // From here on a failure leaves files, which the next create under this key clears.
        if let Some(lease) = lease {
            lease.write(&dir).map_err(|error| failed("write the lease", error))?;
        }
        let output =
            self.open_output(&key, &dir, &entry.log).map_err(|error| failed("open the log", error))?;
        let job = Job {
            keeper_pid: std::process::id(),
            open_files: self.open_files,
            key: key.clone(),
            bundle: request.bundle,
            cgroup: entry.cgroup.clone(),
            run_dir: dir.path().to_owned(),
            filters: self.layout.filters(),
        };
        let started = self.journal.save(&entry).and_then(|()| self.start_work(&job));
        let (worker, outcome) = match started {
            Ok(worker) => worker,
            Err(error) => {
                self.close_output(&output);
                // The failure that matters is the one that is told.
                drop(self.journal.forget(&key));
                drop(std::fs::remove_dir_all(dir.path()));
                return Err(failed("start a worker", error));
            }
        };
        let limit = Duration::from_millis(u64::from(request.deadline_ms)).min(MAX_DEADLINE);
        let create = Create {
            worker,
            outcome,
            deadline: Instant::now() + limit,
            asked_by: Some(address),
            verdict: None,
        };
        let container = Container {
            entry,
            save_again: None,
            output: Some(output),
            phase: Phase::Creating(create),
            deletes: Vec::new(),
            lease,
        };
        self.containers.insert(key, container);
        self.wake_for_leases();
        Ok(())
    }

    /// Opens and watches a container's output.
    pub(super) fn open_output(
        &mut self,
        key: &ContainerKey,
        dir: &ContainerDir,
        policy: &LogPolicy,
    ) -> io::Result<Output> {
        let log = ContainerLog::open(dir, policy)?;
        let mut watch = |stream| self.poller.add(log.fd(stream), Source::Output(key.clone(), stream));
        let tokens = [watch(LogStream::Stdout)?, watch(LogStream::Stderr)?];
        Ok(Output { log, tokens })
    }

    /// Stops watching a container's output.
    pub(super) fn close_output(&mut self, output: &Output) {
        for (stream, token) in [LogStream::Stdout, LogStream::Stderr].into_iter().zip(output.tokens) {
            self.poller.remove(output.log.fd(stream), token);
        }
    }

    /// Kills the worker of a create, and what it made so far.
    pub(super) fn kill_create(&mut self, key: &ContainerKey, verdict: Failure) {
        let Some(container) = self.containers.get_mut(key) else { return };
        let Phase::Creating(create) = &mut container.phase else { return };
        if create.verdict.is_none() {
            create.verdict = Some(verdict);
            create.deadline = Instant::now() + KILL_PATIENCE;
        }
        if let Ok(group) = process::raw_pid(create.worker) {
            // It fails only when the worker is dead already, and then its end is on the way.
            kill_process_group(group, Signal::KILL).ok();
        }
        // The container's first process left the worker's group for a session of its own, but not its cgroup.
        let cgroup = container.entry.cgroup.clone();
        self.kill_cgroup(&cgroup);
    }

    /// Kills a create that takes too long; a worker that then does not even die is told of.
    pub(super) fn create_deadline(&mut self, key: &ContainerKey, now: Instant) {
        let Some(container) = self.containers.get_mut(key) else { return };
        let Phase::Creating(create) = &mut container.phase else { return };
        if create.deadline > now {
            return;
        }
        let Some(verdict) = create.verdict.clone() else {
            diag!(Warn, "create of {key} passed its deadline");
            let message = format!("create of {key} passed its deadline");
            self.kill_create(key, Failure { kind: FailureKind::DeadlineExceeded, message });
            return;
        };
        create.deadline = now + KILL_PATIENCE;
        if let Some(address) = create.asked_by.take() {
            let message = format!("{}; its worker (pid {}) does not die", verdict.message, create.worker);
            diag!(Error, "{message}; look for hung storage");
            self.answer(address, Err(Failure { kind: verdict.kind, message }));
        }
    }

    /// Takes over what the worker of `key` has left.
    pub(super) fn worker_ended(&mut self, key: &ContainerKey, status: ExitStatus) {
        let Some(container) = self.containers.get_mut(key) else { return };
        let Phase::Creating(create) = std::mem::replace(&mut container.phase, Phase::Exited) else { return };
        self.pages_to_give_back = true;
        let outcome = match create.verdict {
            Some(failure) => Err(failure),
            None => read_outcome(&create.outcome, key, status),
        };
        match outcome {
            Ok(process) => self.created(key, process, create.asked_by),
            Err(failure) => {
                diag!(Info, "create of {key} failed: {}", failure.message);
                let answers = create.asked_by.map(|address| (address, Err(failure))).into_iter().collect();
                self.remove(key, answers);
            }
        }
    }

    fn created(&mut self, key: &ContainerKey, process: ProcessIdentity, asked_by: Option<Address>) {
        let Some(container) = self.containers.get_mut(key) else { return };
        container.phase = Phase::Running(Owner::Child);
        container.entry.state = ContainerState::Running { process, started_at_unix_ms: clock::unix_ms() };
        self.save(key);
        if let Some(address) = asked_by {
            self.answer(address, Ok(Reply::Created { process }));
        }
        if let Some(index) = self.unclaimed.iter().position(|(pid, _)| *pid == process.pid) {
            let (_, status) = self.unclaimed.swap_remove(index);
            self.exited(key, status);
        }
    }
}

/// Makes an empty run directory; what an earlier container left under the key goes.
fn clear(dir: &ContainerDir) -> io::Result<()> {
    match std::fs::remove_dir_all(dir.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::create_dir(dir.path())
}

fn read_outcome(pipe: &OwnedFd, key: &ContainerKey, status: ExitStatus) -> Result<ProcessIdentity, Failure> {
    let mut bytes = vec![0; 8192];
    let mut length = 0;
    // The container's first process may hold the other end for a moment more, so the end of the file need not show.
    while let Ok(count @ 1..) = rustix::io::read(pipe, &mut bytes[length..]) {
        length += count;
    }
    match bytes.get(4..length).map(decode::<Outcome>) {
        Some(Ok(Outcome::Started(process))) => Ok(process),
        Some(Ok(Outcome::Failed { kind, message })) => Err(Failure { kind, message }),
        _ => Err(Failure {
            kind: FailureKind::CreateFailed,
            message: format!("the worker that was to make {key} ended with {status}"),
        }),
    }
}
