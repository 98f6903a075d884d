//! The short-lived process that makes one container.
//!
//! libcontainer changes directory, clones with raw system calls and runs Rust in the child, so it is only ever called
//! here: in a process with one thread that does nothing else and ends. What libcontainer traces goes to a pipe, as on
//! standard error it would land in the container's log.

mod executor;
mod spec;
mod trace;

use crate::cgroup::Hierarchies;
use crate::job::{Job, Outcome};
use crate::layout::ContainerDir;
use crate::process;
use executor::Payload;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use rustix::process::Signal;
use skerry_keeper_protocol::{FailureKind, LogStream, ProcessIdentity, decode, encode};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use trace::Traces;

/// Why a container was not made.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("cannot prepare to make {what}")]
    Prepare {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the keeper that asked is gone")]
    Orphaned,
    #[error(transparent)]
    Spec(#[from] spec::SpecError),
    #[error("cannot {step} container {key}")]
    Container {
        step: &'static str,
        key: String,
        #[source]
        source: Box<LibcontainerError>,
    },
}

impl WorkerError {
    const fn kind(&self) -> FailureKind {
        match self {
            Self::Spec(_) => FailureKind::InvalidBundle,
            Self::Prepare { .. } => FailureKind::Io,
            Self::Orphaned => FailureKind::Cancelled,
            Self::Container { .. } => FailureKind::CreateFailed,
        }
    }
}

/// Reads a job from standard input, does it, and writes its outcome to standard output.
pub(crate) fn run() -> io::Result<()> {
    let job = read_job()?;
    let traces = Traces::collect();
    let outcome = match make(&job) {
        Ok(process) => Outcome::Started(process),
        Err(error) => {
            let cause = matches!(error, WorkerError::Container { .. }).then_some(traces).flatten();
            let mut message = match cause.and_then(|traces| traces.first()) {
                Some(cause) => format!("{error}: {cause}"),
                None => chain(&error),
            };
            message.truncate(message.floor_char_boundary(4096));
            Outcome::Failed { kind: error.kind(), message }
        }
    };
    let frame = encode(&outcome).map_err(io::Error::other)?;
    io::stdout().write_all(&frame)?;
    io::stdout().flush()
}

fn read_job() -> io::Result<Job> {
    let mut payload = Vec::new();
    io::stdin().read_to_end(&mut payload)?;
    decode(payload.get(4..).unwrap_or_default()).map_err(io::Error::other)
}

fn make(job: &Job) -> Result<ProcessIdentity, WorkerError> {
    let prepare = |what| move |source| WorkerError::Prepare { what, source };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| prepare("a worker")(error.into()))?;
    if std::os::unix::process::parent_id() != job.keeper_pid {
        return Err(WorkerError::Orphaned);
    }
    reset_inherited(job).map_err(prepare("a container's process state"))?;

    let dir = ContainerDir::new(job.run_dir.clone());
    let hierarchies = Hierarchies::detect().map_err(prepare("a cgroup"))?;
    spec::write_checked_bundle(&job.bundle, &dir.bundle(), &job.cgroup, &hierarchies)?;
    std::fs::create_dir_all(dir.oci_root()).map_err(prepare("the state directory"))?;
    start(job, &dir)
}

fn start(job: &Job, dir: &ContainerDir) -> Result<ProcessIdentity, WorkerError> {
    let prepare = |what| move |source| WorkerError::Prepare { what, source };
    let failed = |step| {
        move |source| WorkerError::Container { step, key: job.key.to_string(), source: Box::new(source) }
    };
    let output = |stream| open_output(dir, stream).map_err(prepare("an output pipe"));
    let mut container = ContainerBuilder::new(job.key.to_string(), SyscallType::Linux)
        .with_root_path(dir.oci_root())
        .map_err(failed("prepare"))?
        .with_executor(Payload)
        .with_stdin(File::open("/dev/null").map_err(prepare("standard input"))?)
        .with_stdout(output(LogStream::Stdout)?)
        .with_stderr(output(LogStream::Stderr)?)
        .validate_id()
        .map_err(failed("name"))?
        .as_init(dir.bundle())
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(failed("create"))?;
    let pid = container
        .pid()
        .and_then(|pid| u32::try_from(pid.as_raw()).ok())
        .ok_or_else(|| prepare("a container's process")(io::ErrorKind::NotFound.into()))?;
    let start_ticks = process::start_ticks(pid).map_err(prepare("a container's process"))?;
    container.start().map_err(failed("start"))?;
    Ok(ProcessIdentity { pid, start_ticks })
}

/// Read-write, so that the container never gets EPIPE while no keeper has the pipe open.
fn open_output(dir: &ContainerDir, stream: LogStream) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(dir.fifo(stream))?;
    // A container's user opens /dev/stdout, which is this pipe, again by name.
    file.set_permissions(std::fs::Permissions::from_mode(0o622))?;
    Ok(file)
}

/// Undoes what a container must not inherit from the keeper.
fn reset_inherited(job: &Job) -> io::Result<()> {
    use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
    SigSet::empty().thread_set_mask()?;
    for one in Signal::iterator().filter(|one| !matches!(one, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default disposition runs no code of this process, and nothing here relies on SIGPIPE being
        // ignored: the pipe that is written to without a reader is the keeper's, and without it the worker is to die.
        #[expect(unsafe_code, reason = "no safe wrapper sets a signal disposition")]
        unsafe {
            signal(one, SigHandler::SigDfl)?;
        }
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // The keeper shields itself from the out-of-memory killer; a spec that says otherwise is applied later.
    std::fs::write("/proc/self/oom_score_adj", "0")?;
    if let Some(soft) = job.open_files {
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = Some(soft);
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    }
    Ok(())
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
