//! What all agents of a swarm have come to, for whoever waits for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use skerry_link::Connection;
use tokio::time::{Duration, Instant};

/// Counts of a swarm.
#[derive(Debug)]
pub(crate) struct Tally {
    start: Instant,
    in_sync: Vec<AtomicBool>,
    in_sync_count: AtomicUsize,
    /// Allocations that nodes hold and have told the master so.
    held: AtomicIsize,
    /// When the last of them was told, in nanoseconds since the start.
    told_at: AtomicU64,
    synced_at: AtomicU64,
    links_ever: AtomicUsize,
    failures: Mutex<Vec<String>>,
    links: Vec<Mutex<Option<Connection>>>,
}

/// UDP payload of some links, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) datagrams: u64,
}

impl Traffic {
    /// What crossed a link so far.
    pub(crate) fn of(connection: &Connection) -> Self {
        let ((sent, received), (out, back)) = (connection.traffic_bytes(), connection.traffic_datagrams());
        Self { bytes: sent + received, datagrams: out + back }
    }

    /// With IPv4 and UDP headers.
    pub(crate) fn ip_bytes(self) -> u64 {
        const HEADERS: u64 = 20 + 8;
        self.bytes + self.datagrams * HEADERS
    }
}

impl Tally {
    pub(crate) fn new(agents: usize) -> Self {
        Self {
            start: Instant::now(),
            in_sync: (0..agents).map(|_| AtomicBool::new(false)).collect(),
            in_sync_count: AtomicUsize::new(0),
            held: AtomicIsize::new(0),
            told_at: AtomicU64::new(0),
            synced_at: AtomicU64::new(0),
            links_ever: AtomicUsize::new(0),
            failures: Mutex::default(),
            links: (0..agents).map(|_| Mutex::default()).collect(),
        }
    }

    /// An agent's handshake is done.
    pub(crate) fn connected(&self, agent: usize, connection: &Connection) {
        *locked(&self.links[agent]) = Some(connection.clone());
        self.links_ever.fetch_add(1, Ordering::Relaxed);
    }

    /// Links that came up since the beginning.
    pub(crate) fn links_ever(&self) -> usize {
        self.links_ever.load(Ordering::Relaxed)
    }

    /// An agent's link is over.
    pub(crate) fn parted(&self, agent: usize) {
        *locked(&self.links[agent]) = None;
        self.note_sync(agent, false);
    }

    pub(crate) fn note_sync(&self, agent: usize, in_sync: bool) {
        if self.in_sync[agent].swap(in_sync, Ordering::Relaxed) == in_sync {
            return;
        }
        if in_sync {
            self.synced_at.fetch_max(self.passed(), Ordering::Relaxed);
            self.in_sync_count.fetch_add(1, Ordering::Relaxed);
        } else {
            self.in_sync_count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A node holds more or fewer allocations, and the master was told.
    pub(crate) fn note_held(&self, more: isize) {
        if more != 0 {
            self.told_at.fetch_max(self.passed(), Ordering::Relaxed);
            self.held.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(crate) fn fail(&self, why: String) {
        locked(&self.failures).push(why);
    }

    /// What went wrong so far.
    pub(crate) fn failures(&self) -> Vec<String> {
        locked(&self.failures).clone()
    }

    /// Agents that are welcomed and owed nothing.
    pub(crate) fn in_sync(&self) -> usize {
        self.in_sync_count.load(Ordering::Relaxed)
    }

    /// Allocations that nodes hold.
    pub(crate) fn held(&self) -> usize {
        usize::try_from(self.held.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// When an allocation was last acknowledged.
    pub(crate) fn told_at(&self) -> Instant {
        self.start + Duration::from_nanos(self.told_at.load(Ordering::Relaxed))
    }

    /// When an agent last came into sync.
    pub(crate) fn synced_at(&self) -> Instant {
        self.start + Duration::from_nanos(self.synced_at.load(Ordering::Relaxed))
    }

    /// What crossed the links that are up.
    pub(crate) fn traffic(&self) -> Traffic {
        let up = self.links.iter().filter_map(|link| locked(link).clone());
        up.map(|connection| Traffic::of(&connection)).fold(Traffic::default(), |sum, more| Traffic {
            bytes: sum.bytes + more.bytes,
            datagrams: sum.datagrams + more.datagrams,
        })
    }

    fn passed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (in_sync, all) = (self.in_sync(), self.in_sync.len());
        let up = self.links.iter().filter(|link| locked(link).is_some()).count();
        write!(
            f,
            "{in_sync} of {all} agents in sync, {up} links up, {} ever, {} allocations held",
            self.links_ever(),
            self.held()
        )
    }
}
