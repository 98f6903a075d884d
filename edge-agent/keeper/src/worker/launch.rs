//! From a checked specification to the container's first process, which waits for the word to start.
//!
//! libcontainer forks twice: its process between applies cgroups and enters what the first process is to be born in. A worker is
//! itself as short-lived and does both, so that the first process is its own child: one fork less, and with version 1 none of eight
//! readings of a mount table that grows with every container of the node. See [`super::ahead`].

use libcontainer::notify_socket::{NotifyListener, NotifySocket};
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, LinuxSeccompAction, Spec};
use libcontainer::process::args::ContainerArgs;
use libcontainer::process::channel::{self, ChannelError, InitReceiver, MainReceiver, MainSender};
use libcontainer::process::container_main_process::{ProcessError, container_main_process};
use libcontainer::process::init::container_init_process;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{ForkResult, fork};
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Why there is no first process.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    #[error(transparent)]
    Main(#[from] ProcessError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("cannot fork into a namespace of its own processes")]
    Fork(#[source] io::Error),
    #[error("cannot tell the first process what to do")]
    Orders(#[source] io::Error),
}

/// The container's first process. It starts its program when it is told to.
pub(super) struct First {
    pid: i32,
    ready: MainReceiver,
}

impl First {
    /// One that tells over `ready` when it is.
    pub(super) fn new(pid: i32, ready: MainReceiver) -> Self {
        Self { pid, ready }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until all but the start of the program is done.
    pub(super) fn wait(mut self) -> Result<(), LaunchError> {
        Ok(self.ready.wait_for_init_ready()?)
    }
}

/// Has libcontainer make the first process, and waits until all but the start of its program is done. Gives its id.
pub(super) fn by_libcontainer(args: &ContainerArgs) -> Result<i32, LaunchError> {
    Ok(container_main_process(args)?.as_raw())
}

/// Has what is forked from here on be in the namespace of processes of this one, wherever the last one was to be.
pub(super) fn make_processes_here() -> io::Result<()> {
    let own = File::open("/proc/self/ns/pid")?;
    Ok(setns(own, CloneFlags::CLONE_NEWPID)?)
}

/// Makes a process in the container that `container`, a pidfd, is the first process of. Between its birth and all else it calls
/// `enter`, which takes it into the container's other namespaces.
pub(super) fn by_entering(
    args: &ContainerArgs,
    container: &OwnedFd,
    enter: impl FnOnce() -> io::Result<()>,
) -> Result<First, LaunchError> {
    setns(container, CloneFlags::CLONE_NEWPID).map_err(|error| LaunchError::Fork(error.into()))?;
    fork_into(args, enter)
}

fn fork_into(args: &ContainerArgs, enter: impl FnOnce() -> io::Result<()>) -> Result<First, LaunchError> {
    let (mut main_sender, main_receiver) = channel::main_channel()?;
    let (init_sender, mut init_receiver) = channel::init_channel()?;
    // SAFETY: a worker has one thread, so no lock can be held by a thread that the child does not have.
    #[expect(unsafe_code, reason = "a fork without exec has no safe wrapper")]
    let forked = unsafe { fork() }.map_err(|error| LaunchError::Fork(error.into()))?;
    match forked {
        ForkResult::Child => {
            // An end that stays open here would keep this process from seeing that the worker died.
            drop(init_sender.close());
            std::process::exit(become_first(args, enter, &mut main_sender, &mut init_receiver));
        }
        ForkResult::Parent { child } => {
            main_sender.close()?;
            init_sender.close()?;
            Ok(First::new(child.as_raw(), main_receiver))
        }
    }
}

/// Runs in the child and returns, with an exit code, only when the container's program cannot be started.
fn become_first(
    args: &ContainerArgs,
    enter: impl FnOnce() -> io::Result<()>,
    main: &mut MainSender,
    init: &mut InitReceiver,
) -> i32 {
    let entered = enter().map_err(|error| format!("cannot enter the container: {error}"));
    let limited = entered.and_then(|()| set_rlimits(args));
    let error = match limited.map(|()| container_init_process(args, main, init)) {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error,
    };
    tracing::error!("failed to initialize container process: {error}");
    // A worker that is gone was killed, and what is left here is killed too.
    drop(main.exec_failed(error));
    1
}

pub(super) fn set_rlimits(args: &ContainerArgs) -> Result<(), String> {
    let syscall = args.syscall.create_syscall();
    let limits = args.spec.process().as_ref().and_then(|process| process.rlimits().as_ref());
    limits.into_iter().flatten().try_for_each(|limit| {
        syscall.set_rlimit(limit).map_err(|error| {
            tracing::error!(?error, ?limit, "failed to set rlimit");
            error.to_string()
        })
    })
}

/// A listener in whose queue the word to start lies. Its name is gone when this returns.
pub(super) fn listen(socket: &Path) -> Result<NotifyListener, Box<dyn Error>> {
    // A process of this id that was killed may have left it.
    std::fs::remove_file(socket).ok();
    let listener = NotifyListener::new(socket)?;
    let word = NotifySocket::new(socket.to_owned()).notify_container_start();
    std::fs::remove_file(socket)?;
    word?;
    Ok(listener)
}

/// Whether the first process needs nothing that only libcontainer's own processes do: to have users mapped, hooks run, a
/// descriptor passed on.
pub(super) fn is_plain(spec: &Spec) -> bool {
    spec.hooks().is_none() && !notifies(spec) && has_own_namespaces(spec)
}

/// Whether fresh namespaces of processes, host name and inter-process communication are asked for, as the first process may have them
/// already, and nothing else that has to be entered before.
fn has_own_namespaces(spec: &Spec) -> bool {
    use LinuxNamespaceType::{Ipc, Pid, Time, User, Uts};
    let namespaces =
        spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let own = |kind| namespaces.iter().any(|one| one.typ() == kind && one.path().is_none());
    [Pid, Ipc, Uts].into_iter().all(own) && namespaces.iter().all(|one| !matches!(one.typ(), Time | User))
}

fn notifies(spec: &Spec) -> bool {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let rules = seccomp.and_then(|seccomp| seccomp.syscalls().as_deref()).unwrap_or_default();
    seccomp.is_some_and(|seccomp| seccomp.default_action() == LinuxSeccompAction::ScmpActNotify)
        || rules.iter().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}
