//! The one place that waits.

use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use skerry_keeper_protocol::{ContainerKey, LogStream};
use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Events taken in one turn of the loop, so that no source waits long behind the others.
const TURN_EVENTS: usize = 32;

/// What a descriptor belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The listening socket.
    Listener,
    /// The signal descriptor.
    Signals,
    /// The timer of leases.
    Leases,
    /// A connection.
    Client(ClientId),
    /// The first process of a container that is not this process's child.
    Adopted(ContainerKey),
    /// An output pipe.
    Output(ContainerKey, LogStream),
}

/// Number of a connection, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientId(pub(super) u64);

/// Names a registration; never used twice, so that an event of a closed descriptor finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(u64);

/// Waits for descriptors to become ready.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    sources: BTreeMap<Token, Source>,
    next: u64,
}

impl Poller {
    /// Watches nothing.
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, sources: BTreeMap::new(), next: 0 })
    }

    /// Reports `source` while `fd` is readable. The caller removes the token before it closes `fd`.
    pub(super) fn add(&mut self, fd: impl AsFd, source: Source) -> io::Result<Token> {
        let token = Token(self.next);
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.0), epoll::EventFlags::IN)?;
        self.next += 1;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Changes what `fd` is watched for. With neither, only its end is reported.
    pub(super) fn watch(&self, fd: impl AsFd, token: Token, read: bool, write: bool) -> io::Result<()> {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, read);
        flags.set(epoll::EventFlags::OUT, write);
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token.0), flags)?)
    }

    /// Stops watching.
    pub(super) fn remove(&mut self, fd: impl AsFd, token: Token) {
        self.sources.remove(&token);
        // It fails only for a descriptor that is not watched, which is what is wanted.
        epoll::delete(&self.epoll, fd).ok();
    }

    /// Waits for at most `timeout`, or without end, and gives the sources that are ready.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Source>> {
        let timeout = timeout.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let mut buffer = [MaybeUninit::uninit(); TURN_EVENTS];
        match epoll::wait(&self.epoll, &mut buffer, timeout.as_ref()) {
            Ok((events, _)) => Ok(events
                .iter()
                .filter_map(|event| self.sources.get(&Token(event.data.u64())).cloned())
                .collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
