//! A container's first process, forked before it is known what it is to become.
//!
//! A worker that waits for its job has it forked already, into a namespace of its own processes, where it makes what most containers
//! see (see [`super::world`]). When the job comes both go to work at once: the worker makes the cgroup, the first process puts the rest
//! together, and enters the cgroup last, through files that the worker hands over. Until then it is not found by its cgroup, but dies
//! with the worker.

use super::config::{self, Checked};
use super::executor::{Entry, Payload};
use super::launch::{self, First, LaunchError};
use super::limits::Limit;
use super::standard::{Standard, strip};
use super::world::World;
use super::{chain, open_output, plain_args, reset_inherited, take_filter};
use crate::cgroup::Hierarchies;
use crate::footprint;
use crate::job::Job;
use crate::layout::ContainerDir;
use crate::process;
use libcontainer::notify_socket::NotifyListener;
use libcontainer::oci_spec::runtime::Process;
use libcontainer::process::args::ContainerType;
use libcontainer::process::channel::{self, InitReceiver, MainSender};
use libcontainer::process::init::container_init_process;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, fork};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skerry_keeper_protocol::{LogStream, MAX_FRAME_BYTES, ProcessIdentity, decode, encode};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Descriptors in one message: a file for each hierarchy, of which the kernel has fourteen controllers at most, and the last limits.
const FILES_MAX: usize = 32;

/// A first process that waits. It ends when this is dropped: nobody else has the other end of its orders.
pub(super) struct Ahead {
    first: First,
    process: ProcessIdentity,
    orders: Orders,
}

impl Ahead {
    /// Forks it. In `words` it gives a socket a name for a moment.
    pub(super) fn fork(hierarchies: &Hierarchies, words: &Path) -> Result<Self, LaunchError> {
        let failed = |error: nix::Error| LaunchError::Fork(error.into());
        let (orders, its_orders) = Orders::pair().map_err(LaunchError::Fork)?;
        let (mut main_sender, main_receiver) = channel::main_channel()?;
        let (init_sender, mut init_receiver) = channel::init_channel()?;
        let socket = words.join(format!("{}.sock", std::process::id()));
        unshare(CloneFlags::CLONE_NEWPID).map_err(failed)?;
        // SAFETY: a worker has one thread, so no lock can be held by a thread that the child does not have.
        #[expect(unsafe_code, reason = "a fork without exec has no safe wrapper")]
        let forked = unsafe { fork() }.map_err(failed)?;
        match forked {
            ForkResult::Child => {
                // Ends that stay open here would keep this process from seeing that the worker died.
                drop((orders, init_sender.close()));
                let waiting = Waiting { hierarchies, socket, orders: Rc::new(its_orders) };
                std::process::exit(waiting.become_first(&mut main_sender, &mut init_receiver));
            }
            ForkResult::Parent { child } => {
                main_sender.close()?;
                init_sender.close()?;
                let process = identify(child.as_raw()).map_err(LaunchError::Fork)?;
                Ok(Self { first: First::new(child.as_raw(), main_receiver), process, orders })
            }
        }
    }

    pub(super) const fn process(&self) -> ProcessIdentity {
        self.process
    }

    /// Has it go to work.
    pub(super) fn begin(&self, job: &Job) -> io::Result<()> {
        self.orders.send(job, &[])
    }

    /// Hands over what is to be written from within the container when all else is done, and waits until its program is to start.
    pub(super) fn finish(self, limits: &[Limit]) -> Result<(), LaunchError> {
        let texts: Vec<(&Path, &str)> =
            limits.iter().map(|limit| (limit.path.as_path(), limit.value.as_str())).collect();
        let files: Vec<BorrowedFd<'_>> = limits.iter().map(|limit| limit.file.as_fd()).collect();
        // One that failed before is not there to read; what it said about that is more than this error.
        let sent = self.orders.send(&texts, &files);
        self.first.wait()?;
        sent.map_err(LaunchError::Orders)
    }
}

fn identify(pid: i32) -> io::Result<ProcessIdentity> {
    let pid = u32::try_from(pid).map_err(io::Error::other)?;
    Ok(ProcessIdentity { pid, start_ticks: process::start_ticks(pid)? })
}

/// The child's side.
struct Waiting<'a> {
    hierarchies: &'a Hierarchies,
    /// Where a socket may have a name for a moment.
    socket: PathBuf,
    orders: Rc<Orders>,
}

impl Waiting<'_> {
    /// Returns, with an exit code, only when the container's program is not started.
    fn become_first(self, main: &mut MainSender, init: &mut InitReceiver) -> i32 {
        let error = match self.work(main, init) {
            Ok(()) => return 0,
            Err(error) => error,
        };
        tracing::error!("failed to initialize container process: {error}");
        // A worker that is gone was killed, and hears nothing.
        drop(main.exec_failed(error));
        1
    }

    fn work(self, main: &mut MainSender, init: &mut InitReceiver) -> Result<(), String> {
        let failed = |what: &'static str| move |error: io::Error| format!("cannot {what}: {error}");
        let prepared = self.prepare().map_err(failed("prepare a process"))?;
        footprint::wait_lean(&self.orders.0);
        let received = self.orders.receive::<Job>().map_err(failed("read what to make"))?;
        let Some((job, _)) = received else { return Ok(()) };
        let checked =
            config::read(&job.bundle, &job.cgroup, self.hierarchies).map_err(|error| error.to_string())?;
        let Checked { mut spec, rootfs, .. } = checked;
        if !launch::is_plain(&spec) {
            // The worker sees it too, and has it made otherwise.
            return Ok(());
        }
        let oom_score_adj = spec.process().as_ref().and_then(Process::oom_score_adj).unwrap_or(0);
        reset_inherited(job.open_files, oom_score_adj).map_err(failed("reset the process state"))?;
        let dir = ContainerDir::new(job.run_dir);
        let open = |stream| open_output(&dir, stream).map_err(failed("open an output pipe"));
        let (stdout, stderr) = (open(LogStream::Stdout)?.into(), open(LogStream::Stderr)?.into());
        let filter = take_filter(&mut spec, &job.filters).map_err(|error| error.to_string())?;
        let Prepared { null, word, world } = prepared;
        let (kind, stdin) = match (world, Standard::of(&spec)) {
            (Some(world), Some(standard)) => {
                let null = world.enter(&standard, &rootfs).map_err(|error| chain(&error))?;
                strip(&mut spec);
                // As to a command in a container, there is nothing to mount for this one any more.
                (ContainerType::TenantContainer { exec_notify_fd: -1 }, null)
            }
            _ => (ContainerType::InitContainer, null.into()),
        };
        // Closed by libcontainer.
        let stdio = [stdin, stdout, stderr].map(IntoRawFd::into_raw_fd);
        let payload = Payload { entry: Entry::Awaited(self.orders), filter };
        let args = plain_args(kind, spec, rootfs, &job.cgroup, word, Box::new(payload), stdio);
        launch::set_rlimits(&args)?;
        container_init_process(&args, main, init).map_err(|error| error.to_string())
    }

    /// All that needs no job.
    fn prepare(&self) -> io::Result<Prepared> {
        // A worker that died before this line closed its end of the orders.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        // The pipes to the keeper are the worker's alone.
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        let word = launch::listen(&self.socket).map_err(|error| io::Error::other(error.to_string()))?;
        let stage = self.socket.parent().unwrap_or(Path::new("/"));
        Ok(Prepared { null, word, world: World::make(stage)? })
    }
}

struct Prepared {
    null: File,
    /// Where the word to start lies.
    word: NotifyListener,
    world: Option<World>,
}

/// One side of what a worker and its first process say to each other: whole messages, with files.
#[derive(Debug)]
pub(super) struct Orders(OwnedFd);

impl Orders {
    fn pair() -> io::Result<(Self, Self)> {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (one, other) = socketpair(kind.0, kind.1, kind.2, None)?;
        Ok((Self(one), Self(other)))
    }

    fn send(&self, what: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let frame = encode(what).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::Error::other("too many files to hand over"));
        }
        sendmsg(&self.0, &[IoSlice::new(&frame)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; `None` when the other side is gone.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut frame = vec![0; MAX_FRAME_BYTES + 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut frame)];
        let length = recvmsg(&self.0, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
        let files = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        let files: Vec<OwnedFd> = files.flatten().collect();
        let Some(payload) = frame.get(4..length).filter(|payload| !payload.is_empty()) else {
            return Ok(None);
        };
        Ok(Some((decode(payload).map_err(io::Error::other)?, files)))
    }
}
