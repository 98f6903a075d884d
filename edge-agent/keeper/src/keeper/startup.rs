//! From a command line to a keeper that serves.

use super::Keeper;
use super::poller::{Poller, Source};
use crate::args::Settings;
use crate::cgroup::Hierarchies;
use crate::journal::Journal;
use crate::layout::Layout;
use crate::logs::Scratch;
use crate::{diag, process};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fd::AsFd;
use rustix::fs::{FlockOperation, Mode};
use rustix::process::Resource;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Why the keeper does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Another keeper works on the same directory.
    #[error("another skerry-keeper (pid {pid}) works on {}; stop it, or give other directories", .dir.display())]
    Taken {
        /// The directory that both were given.
        dir: PathBuf,
        /// What the other wrote into the lock.
        pid: String,
    },
    /// A system call failed.
    #[error("cannot {step}")]
    Io {
        /// What was tried.
        step: String,
        /// Why it did not work.
        #[source]
        source: io::Error,
    },
}

fn step<T>(step: impl Into<String>, result: io::Result<T>) -> Result<T, StartError> {
    result.map_err(|source| StartError::Io { step: step.into(), source })
}

impl Keeper {
    /// Takes the directories, adopts the containers of an earlier keeper, and listens.
    pub(crate) fn start(settings: Settings) -> Result<Self, StartError> {
        diag::set_level(settings.level);
        rustix::process::umask(Mode::from_raw_mode(0o077));
        let layout = Layout::new(&settings.run_dir, &settings.state_dir);
        for dir in [layout.containers(), layout.records(), layout.words()] {
            step(format!("make {}", dir.display()), std::fs::create_dir_all(&dir))?;
        }
        let [run_lock, state_lock] = layout.locks();
        let locks = [lock(&run_lock)?, lock(&state_lock)?];
        let own = rustix::process::getpid();
        step(
            "become the parent of orphans",
            rustix::process::set_child_subreaper(Some(own)).map_err(io::Error::from),
        )?;
        shield();
        let signals = step("take signals", take_signals())?;
        let listener = step(format!("listen on {}", layout.socket().display()), listen(&layout, &settings))?;
        let mut poller = step("watch descriptors", Poller::new())?;
        step("watch the socket", poller.add(&listener, Source::Listener))?;
        step("watch signals", poller.add(&signals, Source::Signals))?;
        let mut keeper = Self {
            boot_id: step("read the boot id", process::boot_id())?,
            hierarchies: step("find cgroups", Hierarchies::detect())?,
            journal: step(format!("open {}", layout.records().display()), Journal::open(layout.records()))?,
            program: step("find the program", std::fs::read_link("/proc/self/exe"))?,
            open_files: raise_open_files(),
            settings,
            layout,
            poller,
            listener,
            signals,
            clients: BTreeMap::new(),
            next_client: 0,
            containers: BTreeMap::new(),
            unclaimed: Vec::new(),
            waiting: Vec::new(),
            ending: None,
            lease_timer: None,
            pages_to_give_back: true,
            scratch: Scratch::default(),
            _locks: locks,
        };
        step("read the records", keeper.adopt_all())?;
        for fd in std::mem::take(&mut keeper.settings.held) {
            // The pipe is open again by its name; a number that is not open does no harm.
            nix::unistd::close(fd).ok();
        }
        let (pid, count) = (std::process::id(), keeper.containers.len());
        diag!(Info, "keeper {} (pid {pid}) holds {count} containers", env!("CARGO_PKG_VERSION"));
        Ok(keeper)
    }
}

fn lock(path: &Path) -> Result<File, StartError> {
    let dir = path.parent().unwrap_or(path).to_owned();
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = step(format!("open {}", path.display()), open)?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        // The number only helps the reader of the message.
        drop(file.read_to_string(&mut pid));
        return Err(StartError::Taken { dir, pid: pid.trim().to_owned() });
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    step(format!("write {}", path.display()), written)?;
    Ok(file)
}

/// Containers depend on the keeper, so it should be the last that the kernel kills for memory. Without the right to
/// say so it stays killable, and its successor adopts.
fn shield() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-999") {
        diag!(Debug, "cannot lower oom_score_adj: {error}");
    }
}

/// Signals are read from a descriptor; libcontainer's worker unblocks them again.
fn take_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR2, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// The socket of the keeper that this process was before its upgrade, or a socket of its own.
fn listen(layout: &Layout, settings: &Settings) -> io::Result<UnixListener> {
    let listener = match inherited(settings)? {
        Some(listener) => listener,
        None => bind(&layout.socket())?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn inherited(settings: &Settings) -> io::Result<Option<UnixListener>> {
    let stdin = io::stdin();
    if !settings.resumed || !rustix::net::sockopt::socket_acceptconn(&stdin).unwrap_or(false) {
        return Ok(None);
    }
    let listener = UnixListener::from(stdin.as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(Some(listener))
}

/// The lock says that nobody listens on a socket that is there.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Lets this process open as many files as it may: each container takes three. Gives the limit that was.
fn raise_open_files() -> Option<u64> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, limit) {
        diag!(Warn, "cannot raise the limit of open files: {error}");
    }
    before
}
