//! The short-lived process that makes one container.
//!
//! libcontainer changes directory, clones with raw system calls and runs Rust in the child, so it is only ever called
//! here: in a process with one thread that does nothing else and ends. What libcontainer traces goes to a pipe, as on
//! standard error it would land in the container's log.

mod accounts;
mod ahead;
mod command;
mod config;
mod executor;
mod filter;
mod launch;
mod limits;
mod mount;
mod standard;
mod trace;
mod world;

use crate::cgroup::Hierarchies;
use crate::footprint;
use crate::job::{Job, Outcome};
use crate::layout::ContainerDir;
use crate::process;
use ahead::Ahead;
pub(crate) use command::run as run_command;
use config::Checked;
use executor::{Entry, Payload};
use filter::Filter;
use libcgroups::common::CgroupConfig;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::notify_socket::{NOTIFY_FILE, NotifyListener, NotifySocket};
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::process::args::{ContainerArgs, ContainerType};
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::user_ns::UserNamespaceConfig;
use libcontainer::workload::Executor;
use limits::{Group, Limit};
use rustix::process::{DumpableBehavior, Signal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skerry_keeper_protocol::{CgroupPath, FailureKind, LogStream, ProcessIdentity, decode, encode};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
/// hears nothing, which is no failure: its successor clears up. In `words` a socket may have a name for a moment.
pub(crate) fn run(words: &Path) -> io::Result<()> {
    // Before the job comes, as a worker may wait for it.
    let traces = Traces::collect();
    let ready = Ready::prepare(words);
    footprint::wait_lean(&io::stdin());
    let Some(job) = read_frame()? else { return Ok(()) };
    let outcome = match ready.and_then(|ready| make(&job, ready)) {
        Ok(process) => Outcome::Started(process),
        Err(error) => Outcome::Failed { kind: error.kind(), message: told(&error, traces) },
    };
    write_frame(&outcome)
}

/// What a worker has before it knows its job.
struct Ready {
    hierarchies: Hierarchies,
    /// With version 2, libcontainer makes all processes.
    first: Option<Ahead>,
}

impl Ready {
    fn prepare(words: &Path) -> Result<Self, WorkerError> {
        let prepare = |what| move |source| WorkerError::Prepare { what, source };
        let hierarchies = Hierarchies::detect().map_err(prepare("a cgroup"))?;
        // Processes in a namespace that the container joins must not look into this one, which is the node's.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|error| prepare("a worker")(error.into()))?;
        let fork = || Ahead::fork(&hierarchies, words);
        let first = hierarchies.is_split().then(fork).transpose();
        let first = first.map_err(|error| prepare("a process")(io::Error::other(chain(&error))))?;
        Ok(Self { hierarchies, first })
    }
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

fn make(job: &Job, ready: Ready) -> Result<ProcessIdentity, WorkerError> {
    let prepare = |what| move |source| WorkerError::Prepare { what, source };
    let Ready { hierarchies, first } = ready;
    // What it does goes with it, if this process must give up below.
    if let Some(first) = &first {
        first.begin(job).map_err(prepare("a process"))?;
    }
    let dir = ContainerDir::new(job.run_dir.clone());
    // Before the keeper is looked for: one that comes after it either finds this held, or is the parent that is not found.
    let _held = dir.hold().map_err(prepare("a container"))?.ok_or(WorkerError::Orphaned)?;
    die_with(job.keeper_pid)?;
    let mut checked = config::read(&job.bundle, &job.cgroup, &hierarchies)?;
    let Hierarchies::Split(mounts) = &hierarchies else {
        if let Some(linux) = checked.spec.linux_mut() {
            linux.set_resources(Some(checked.resources.clone()));
        }
        return start(job, &dir, checked, Payload::default());
    };
    let group = Group { mounts, cgroup: &job.cgroup };
    let resources = checked.resources.clone();
    group.make(&resources)?;
    let entry = group.entry()?;
    let last = group.last_limits(&resources)?;
    if let Some(first) = first.filter(|_| launch::is_plain(&checked.spec)) {
        let all: Vec<Limit> = entry.into_iter().chain(last).collect();
        return finish(job, first, &all);
    }
    entry.iter().try_for_each(Limit::apply)?;
    // The hierarchies go out of sight below: what is still to be written is open.
    limits::hide_hierarchies()?;
    launch::make_processes_here().map_err(prepare("a process"))?;
    start(job, &dir, checked, Payload { entry: Entry::Limits(last.into()), filter: None })
}

/// Has the process that was forked ahead become the container.
fn finish(job: &Job, first: Ahead, limits: &[Limit]) -> Result<ProcessIdentity, WorkerError> {
    let process = first.process();
    first.finish(limits).map_err(|source| WorkerError::Container {
        step: "create",
        key: job.key.to_string(),
        source: Box::new(source),
    })?;
    Ok(process)
}

/// Has this process end when who asked does.
fn die_with(parent: u32) -> Result<(), WorkerError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| WorkerError::Prepare { what: "a worker", source: error.into() })?;
    if std::os::unix::process::parent_id() == parent { Ok(()) } else { Err(WorkerError::Orphaned) }
}

/// Has libcontainer make the container, and lets its program run.
fn start(
    job: &Job,
    dir: &ContainerDir,
    checked: Checked,
    payload: Payload,
) -> Result<ProcessIdentity, WorkerError> {
    let prepare = |what| move |source| WorkerError::Prepare { what, source };
    let failed = |step: &'static str, source: Box<dyn Error>| WorkerError::Container {
        step,
        key: job.key.to_string(),
        source,
    };
    let oom_score_adj = checked.spec.process().as_ref().and_then(Process::oom_score_adj);
    reset_inherited(job.open_files, oom_score_adj.unwrap_or(0))
        .map_err(prepare("a container's process state"))?;
    std::fs::create_dir_all(dir.oci_root()).map_err(prepare("the state directory"))?;
    let stdin = File::open("/dev/null").map_err(prepare("standard input"))?;
    let stdout = open_output(dir, LogStream::Stdout).map_err(prepare("an output pipe"))?;
    let stderr = open_output(dir, LogStream::Stderr).map_err(prepare("an output pipe"))?;
    let socket = dir.oci_root().join(NOTIFY_FILE);
    let stdio = [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()];
    let args = container_args(job, dir, checked, payload, stdio)
        .map_err(|source| failed("prepare", Box::new(source)))?;
    let pid = launch::by_libcontainer(&args).map_err(|source| failed("create", Box::new(source)))?;
    let pid = u32::try_from(pid).map_err(|source| failed("create", Box::new(source)))?;
    let start_ticks = process::start_ticks(pid).map_err(prepare("a container's process"))?;
    NotifySocket::new(socket).notify_container_start().map_err(|source| failed("start", Box::new(source)))?;
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
    stdio: [RawFd; 3],
) -> Result<ContainerArgs, LibcontainerError> {
    let Checked { spec, rootfs, .. } = checked;
    let (key, root) = (job.key.as_str(), dir.oci_root());
    let user_ns_config = UserNamespaceConfig::new(&spec)?;
    let container = Container::new(key, ContainerStatus::Creating, None, &job.bundle, &root)?;
    let listener = NotifyListener::new(&root.join(NOTIFY_FILE))?;
    let kind = ContainerType::InitContainer;
    let plain = plain_args(kind, spec, rootfs, &job.cgroup, listener, Box::new(payload), stdio);
    Ok(ContainerArgs { user_ns_config, container: Some(container), ..plain })
}

/// What libcontainer's own processes are not needed for.
fn plain_args(
    container_type: ContainerType,
    spec: Spec,
    rootfs: PathBuf,
    cgroup: &CgroupPath,
    notify_listener: NotifyListener,
    executor: Box<dyn Executor>,
    [stdin, stdout, stderr]: [RawFd; 3],
) -> ContainerArgs {
    ContainerArgs {
        container_type,
        syscall: SyscallType::Linux,
        user_ns_config: None,
        notify_listener,
        container: None,
        spec: Rc::new(spec),
        rootfs,
        console_socket: None,
        preserve_fds: 0,
        cgroup_config: CgroupConfig {
            cgroup_path: cgroup.as_str().into(),
            systemd_cgroup: false,
            container_name: String::new(),
        },
        detached: true,
        executor,
        no_pivot: false,
        stdin: Some(stdin),
        stdout: Some(stdout),
        stderr: Some(stderr),
        as_sibling: false,
        pid_file: None,
    }
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
