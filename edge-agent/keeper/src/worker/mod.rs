//! The short-lived process that makes one container.
//!
//! libcontainer changes directory, clones with raw system calls and runs Rust in the child, so it is only ever called
//! here: in a process with one thread that does nothing else and ends. What libcontainer traces goes to a pipe, as on
//! standard error it would land in the container's log.

mod accounts;
mod command;
mod config;
mod executor;
mod filter;
mod launch;
mod limits;
mod trace;

use crate::cgroup::Hierarchies;
use crate::job::{Job, Outcome};
use crate::layout::ContainerDir;
use crate::process;
pub(crate) use command::run as run_command;
use config::Checked;
use executor::Payload;
use filter::Filter;
use libcgroups::common::CgroupConfig;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::notify_socket::{NOTIFY_FILE, NotifyListener, NotifySocket};
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::process::args::{ContainerArgs, ContainerType};
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::user_ns::UserNamespaceConfig;
use limits::{Group, LastLimits};
use rustix::process::{DumpableBehavior, Signal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skerry_keeper_protocol::{FailureKind, LogStream, ProcessIdentity, decode, encode};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
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
    #[error("the process that asked is gone")]
    Orphaned,
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Limits(#[from] limits::LimitError),
    #[error(transparent)]
    Filter(#[from] filter::FilterError),
    #[error("the container has ended")]
    Ended,
    #[error("cannot {step} container {key}")]
    Container {
        step: &'static str,
        key: String,
        #[source]
        source: Box<dyn Error>,
    },
}

impl WorkerError {
    const fn kind(&self) -> FailureKind {
        match self {
            Self::Config(_) | Self::Limits(limits::LimitError::Unsupported(_)) => FailureKind::InvalidBundle,
            Self::Prepare { .. } => FailureKind::Io,
            Self::Orphaned => FailureKind::Cancelled,
            Self::Ended => FailureKind::NotRunning,
            Self::Limits(_) | Self::Filter(_) | Self::Container { .. } => FailureKind::CreateFailed,
        }
    }
}

/// Reads a job from standard input, does it, and writes its outcome to standard output. A keeper that was killed asks nothing and
/// hears nothing, which is no failure: its successor clears up.
pub(crate) fn run() -> io::Result<()> {
    // Before the job comes, as a worker may wait for it.
    let hierarchies = Hierarchies::detect();
    let traces = Traces::collect();
    let Some(job) = read_frame()? else { return Ok(()) };
    let outcome = match make(&job, hierarchies) {
        Ok(process) => Outcome::Started(process),
        Err(error) => Outcome::Failed { kind: error.kind(), message: told(&error, traces) },
    };
    write_frame(&outcome)
}

/// A failure for people: with libcontainer's own word on it, if it is one of libcontainer's.
fn told(error: &WorkerError, traces: Option<Traces>) -> String {
    let cause = matches!(error, WorkerError::Container { .. }).then_some(traces).flatten();
    let mut message = match cause.and_then(|traces| traces.first()) {
        Some(cause) => format!("{error}: {cause}"),
        None => chain(error),
    };
    message.truncate(message.floor_char_boundary(4096));
    message
}

/// Who is gone hears nothing, which is no failure.
fn write_frame(outcome: &impl Serialize) -> io::Result<()> {
    let frame = encode(outcome).map_err(io::Error::other)?;
    let answered = io::stdout().write_all(&frame).and_then(|()| io::stdout().flush());
    answered.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

fn read_frame<T: DeserializeOwned>() -> io::Result<Option<T>> {
    let mut payload = Vec::new();
    io::stdin().read_to_end(&mut payload)?;
    if payload.is_empty() {
        return Ok(None);
    }
    decode(payload.get(4..).unwrap_or_default()).map(Some).map_err(io::Error::other)
}

fn make(job: &Job, hierarchies: io::Result<Hierarchies>) -> Result<ProcessIdentity, WorkerError> {
    let prepare = |what| move |source| WorkerError::Prepare { what, source };
    let dir = ContainerDir::new(job.run_dir.clone());
    // Before the keeper is looked for: one that comes after it either finds this held, or is the parent that is not found.
    let _held = dir.hold().map_err(prepare("a container"))?.ok_or(WorkerError::Orphaned)?;
    die_with(job.keeper_pid)?;
    let hierarchies = hierarchies.map_err(prepare("a cgroup"))?;
    let mut checked = config::read(&job.bundle, &job.cgroup, &hierarchies)?;
    let oom_score_adj = checked.spec.process().as_ref().and_then(Process::oom_score_adj);
    reset_inherited(job.open_files, oom_score_adj.unwrap_or(0))
        .map_err(prepare("a container's process state"))?;
    std::fs::create_dir_all(dir.oci_root()).map_err(prepare("the state directory"))?;

    let Hierarchies::Split(mounts) = &hierarchies else {
        if let Some(linux) = checked.spec.linux_mut() {
            linux.set_resources(Some(checked.resources.clone()));
        }
        return start(job, &dir, checked, None);
    };
    let group = Group { mounts, cgroup: &job.cgroup };
    let resources = checked.resources.clone();
    group.enter(&resources)?;
    // The hierarchies go out of sight below, so what is still to be written is opened before.
    let last = group.last_limits(&resources)?;
    limits::hide_hierarchies()?;
    start(job, &dir, checked, Some(last))
}

/// Has this process end when who asked does.
fn die_with(parent: u32) -> Result<(), WorkerError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| WorkerError::Prepare { what: "a worker", source: error.into() })?;
    if std::os::unix::process::parent_id() == parent { Ok(()) } else { Err(WorkerError::Orphaned) }
}

/// Makes the container and lets its program run. `limits` are there when this process is in the container's cgroup: those that
/// are still to be put into force.
fn start(
    job: &Job,
    dir: &ContainerDir,
    mut checked: Checked,
    limits: Option<LastLimits>,
) -> Result<ProcessIdentity, WorkerError> {
    let prepare = |what| move |source| WorkerError::Prepare { what, source };
    let failed = |step: &'static str, source: Box<dyn Error>| WorkerError::Container {
        step,
        key: job.key.to_string(),
        source,
    };
    let stdin = File::open("/dev/null").map_err(prepare("standard input"))?;
    let stdout = open_output(dir, LogStream::Stdout).map_err(prepare("an output pipe"))?;
    let stderr = open_output(dir, LogStream::Stderr).map_err(prepare("an output pipe"))?;
    let socket = dir.oci_root().join(NOTIFY_FILE);
    // Processes in a namespace that the container joins must not look into this one, which is the node's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| prepare("a worker")(error.into()))?;
    let forks = limits.is_some() && launch::is_plain(&checked.spec);
    let filter = if forks { take_filter(&mut checked.spec, &job.filters)? } else { None };
    let payload = Payload { limits: limits.unwrap_or_default(), filter };
    let args = container_args(job, dir, checked, payload, [&stdin, &stdout, &stderr])
        .map_err(|source| failed("prepare", Box::new(source)))?;
    let first = if forks { launch::by_fork(&args) } else { launch::by_libcontainer(&args) };
    let first = first.map_err(|source| failed("create", Box::new(source)))?;
    let pid = u32::try_from(first.pid()).map_err(|source| failed("create", Box::new(source)))?;
    let start_ticks = process::start_ticks(pid).map_err(prepare("a container's process"))?;
    // The word to start lies ready when the first process comes to ask for it.
    NotifySocket::new(socket).notify_container_start().map_err(|source| failed("start", Box::new(source)))?;
    first.wait().map_err(|source| failed("create", Box::new(source)))?;
    Ok(ProcessIdentity { pid, start_ticks })
}

/// Takes the system call filter out of a specification that forbids new privileges: without that, the filter has to be loaded
/// before capabilities are given up, which libcontainer does.
fn take_filter(spec: &mut Spec, directory: &Path) -> Result<Option<Filter>, filter::FilterError> {
    let forbids = spec.process().as_ref().is_some_and(|process| process.no_new_privileges() == Some(true));
    let Some(linux) = spec.linux_mut().as_mut().filter(|_| forbids) else { return Ok(None) };
    let Some(list) = linux.seccomp() else { return Ok(None) };
    let filter = Filter::of(list, directory)?;
    if filter.is_some() {
        linux.set_seccomp(None);
    }
    Ok(filter)
}

/// What libcontainer's builder would hand to its main process. The builder itself also keeps state files, which only
/// the keeper needs and keeps better.
fn container_args(
    job: &Job,
    dir: &ContainerDir,
    checked: Checked,
    payload: Payload,
    [stdin, stdout, stderr]: [&File; 3],
) -> Result<ContainerArgs, LibcontainerError> {
    let Checked { spec, rootfs, .. } = checked;
    let (key, root) = (job.key.as_str(), dir.oci_root());
    Ok(ContainerArgs {
        container_type: ContainerType::InitContainer,
        syscall: SyscallType::Linux,
        user_ns_config: UserNamespaceConfig::new(&spec)?,
        notify_listener: NotifyListener::new(&root.join(NOTIFY_FILE))?,
        container: Some(Container::new(key, ContainerStatus::Creating, None, &job.bundle, &root)?),
        spec: Rc::new(spec),
        rootfs,
        console_socket: None,
        preserve_fds: 0,
        cgroup_config: CgroupConfig {
            cgroup_path: job.cgroup.as_str().into(),
            systemd_cgroup: false,
            container_name: key.to_owned(),
        },
        detached: true,
        executor: Box::new(payload),
        no_pivot: false,
        stdin: Some(stdin.as_raw_fd()),
        stdout: Some(stdout.as_raw_fd()),
        stderr: Some(stderr.as_raw_fd()),
        as_sibling: false,
        pid_file: None,
    })
}

/// Read-write, so that the container never gets EPIPE while no keeper has the pipe open.
fn open_output(dir: &ContainerDir, stream: LogStream) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(dir.fifo(stream))?;
    // A container's user opens /dev/stdout, which is this pipe, again by name.
    file.set_permissions(std::fs::Permissions::from_mode(0o622))?;
    Ok(file)
}

/// Undoes what a container must not inherit from the keeper.
fn reset_inherited(open_files: Option<u64>, oom_score_adj: i32) -> io::Result<()> {
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
    // The keeper shields itself from the out-of-memory killer, its containers not.
    std::fs::write("/proc/self/oom_score_adj", oom_score_adj.to_string())?;
    if let Some(soft) = open_files {
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = Some(soft);
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    }
    Ok(())
}

/// An error with its causes, each said once.
fn chain(error: &dyn Error) -> String {
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
