//! A command in a container that runs.
//!
//! It gets what the container's own program got: user, environment, working directory, rights, limits and system call filter are
//! read from the same bundle, its cgroup and namespaces are the container's. libcontainer's own way leaves the filter out. The
//! command is a child of this process, which is as short-lived: it passes on what the command says, and ends it in time.

use super::config::{self, Checked, ConfigError};
use super::executor::Payload;
use super::trace::Traces;
use super::{
    WorkerError, die_with, launch, plain_args, read_frame, reset_inherited, take_filter, told, write_frame,
};
use crate::cgroup::Hierarchies;
use crate::layout::Layout;
use crate::process;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use libcontainer::process::args::ContainerType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::sched::{CloneFlags, setns};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, waitpid,
};
use skerry_keeper_protocol::{EXEC_OUTPUT_MAX, ExecJob, ExecOutcome, ExitStatus};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Reads a job from standard input, does it, and writes its outcome to standard output.
pub(crate) fn run() -> io::Result<()> {
    let begun = Instant::now();
    let traces = Traces::collect();
    let Some(job) = read_frame::<ExecJob>()? else { return Ok(()) };
    let deadline = begun + Duration::from_millis(u64::from(job.timeout_ms));
    let outcome = match start(&job) {
        Ok(command) => command.follow(deadline)?,
        Err(error) => ExecOutcome::Failed { kind: error.kind(), message: told(&error, traces) },
    };
    write_frame(&outcome)
}

/// A command that runs.
struct Running {
    pid: rustix::process::Pid,
    output: File,
}

fn start(job: &ExecJob) -> Result<Running, WorkerError> {
    let prepare = |what| move |source: io::Error| WorkerError::Prepare { what, source };
    let failed = |step, source| WorkerError::Container { step, key: job.cgroup.as_str().to_owned(), source };
    die_with(job.asked_by)?;
    let container = process::open(job.process).map_err(prepare("a command"))?.ok_or(WorkerError::Ended)?;
    let hierarchies = Hierarchies::detect().map_err(prepare("a cgroup"))?;
    let Checked { mut spec, rootfs, .. } = config::read(&job.bundle, &job.cgroup, &hierarchies)?;
    let namespaces = take_namespaces(&mut spec)?;
    let oom_score_adj = spec.process().as_ref().and_then(Process::oom_score_adj);
    reset_inherited(None, oom_score_adj.unwrap_or(0)).map_err(prepare("a command's process state"))?;
    // Processes of the container must not look into this one, which is the node's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| prepare("a worker")(error.into()))?;

    let layout = Layout::new(&job.run_dir, Path::new("/"));
    let filter = take_filter(&mut spec, &layout.filters())?;
    if let Some(process) = spec.process_mut() {
        process.set_args(Some(job.command.clone()));
    }
    let joins = open_joins(&hierarchies, job).map_err(prepare("a cgroup"))?;
    let stdin = File::open("/dev/null").map_err(prepare("standard input"))?;
    let (output, said) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| prepare("a pipe")(error.into()))?;
    let also_said = said.try_clone().map_err(prepare("a pipe"))?;
    let notify_listener =
        launch::listen(&layout.exec_socket(std::process::id())).map_err(|source| failed("enter", source))?;
    // The descriptor is for a process of libcontainer's that has no part here.
    let kind = ContainerType::TenantContainer { exec_notify_fd: -1 };
    let stdio = [stdin.as_raw_fd(), said.as_raw_fd(), also_said.as_raw_fd()];
    let executor = Box::new(Inside(Payload { filter, ..Payload::default() }));
    let args = plain_args(kind, spec, rootfs, &job.cgroup, notify_listener, executor, stdio);
    let enter = || {
        joins.iter().try_for_each(|mut file| file.write_all(b"0"))?;
        setns(&container, namespaces).map_err(io::Error::from)
    };
    let first = launch::by_entering(&args, &container, enter);
    let first = first.map_err(|source| failed("enter", Box::new(source)))?;
    let pid = u32::try_from(first.pid()).map_err(|source| failed("enter", Box::new(source)))?;
    let pid = process::raw_pid(pid).map_err(prepare("a command"))?;
    first.wait().map_err(|source| failed("run a command in", Box::new(source)))?;
    drop((said, also_said));
    Ok(Running { pid, output: File::from(output) })
}

/// The files by which a process joins the container's cgroups, which are out of sight from inside.
fn open_joins(hierarchies: &Hierarchies, job: &ExecJob) -> io::Result<Vec<File>> {
    // A thread that moves itself waits for nobody; version 2 knows whole processes only.
    let file = if hierarchies.is_split() { "tasks" } else { "cgroup.procs" };
    let open = |dir: std::path::PathBuf| OpenOptions::new().write(true).open(dir.join(file));
    hierarchies.directories(&job.cgroup).into_iter().map(open).collect()
}

/// Takes the namespaces out of a specification, as they are entered here: those besides the one of processes.
fn take_namespaces(spec: &mut Spec) -> Result<CloneFlags, ConfigError> {
    let Some(linux) = spec.linux_mut() else { return Err(ConfigError::Missing("linux section")) };
    let mut flags = CloneFlags::empty();
    for namespace in linux.namespaces().iter().flatten() {
        flags |= match namespace.typ() {
            LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
            LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
            LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
            LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
            LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            LinuxNamespaceType::Pid => CloneFlags::empty(),
            LinuxNamespaceType::User | LinuxNamespaceType::Time => {
                return Err(ConfigError::Unsupported("commands in a namespace of users or times"));
            }
        };
    }
    linux.set_namespaces(Some(Vec::new()));
    Ok(flags)
}

/// Becomes the command, which ends with the process that follows it.
#[derive(Clone)]
struct Inside(Payload);

impl Executor for Inside {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        self.0.exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        // After the change of user, which undoes it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))?;
        self.0.validate(spec)
    }
}

impl Running {
    /// Collects what the command says until it ends, or kills it at the deadline.
    fn follow(mut self, deadline: Instant) -> io::Result<ExecOutcome> {
        rustix::io::ioctl_fionbio(&self.output, true)?;
        let pidfd = pidfd_open(self.pid, PidfdFlags::empty())?;
        let mut output = Vec::new();
        let mut is_open = true;
        let ended = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            let (has_ended, has_said) = wait(&pidfd, is_open.then_some(&self.output), left)?;
            if has_said {
                is_open = self.collect(&mut output)?;
            }
            if has_ended {
                break true;
            }
        };
        if !ended {
            // It leads a process group of its own. It may have ended just now.
            kill_process_group(self.pid, Signal::KILL).ok();
        }
        let status = waitpid(Some(self.pid), WaitOptions::empty())?;
        if is_open {
            self.collect(&mut output)?;
        }
        let unknown = ExitStatus::Unknown(skerry_keeper_protocol::UnknownExit::NotAChild);
        let status = status.map_or(unknown, |(_, status)| process::status_from_wait(status.as_raw()));
        Ok(if ended { ExecOutcome::Ended { status, output } } else { ExecOutcome::TimedOut { output } })
    }

    /// Takes what lies ready. False when nobody can say anything more.
    fn collect(&mut self, output: &mut Vec<u8>) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        // What is said faster than it is taken must not keep the deadline from being seen.
        for _ in 0..16 {
            match self.output.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    let room = EXEC_OUTPUT_MAX.saturating_sub(output.len());
                    output.extend_from_slice(&buffer[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Waits until the process has ended, the pipe has something, or the time is over.
fn wait(pidfd: &OwnedFd, output: Option<&File>, left: Duration) -> io::Result<(bool, bool)> {
    let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
    fds.extend(output.map(|output| PollFd::new(output, PollFlags::IN)));
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&left)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
    Ok((is_ready(0), is_ready(1)))
}
