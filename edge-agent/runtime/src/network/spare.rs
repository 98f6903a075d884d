//! Networks made ahead: namespaces with a link that lack only an owner.
//!
//! To make one the kernel waits for all processors, which is most of what a network costs. So a few lie ready while the node is quiet.
//! Nothing pins them but this process: when it ends, however it ends, the kernel takes namespaces and links away.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skerry_types::AllocationId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::netlink::Netlink;
use super::{Subnet, in_thread, links, netns};

/// How long no network may have been asked for before others are made ahead: what was asked for goes first.
const QUIET: Duration = Duration::from_millis(100);

/// A network without an owner.
pub(crate) struct Spare {
    slot: usize,
    /// Index of the link on the node's side.
    link: u32,
    /// A socket in the namespace, which keeps it alive too.
    inside: Netlink,
    namespace: File,
}

impl Spare {
    /// Blocking. The calling thread is left in the fresh namespace and must end after this.
    fn make(slot: usize, bridge: u32) -> io::Result<Self> {
        let mut outside = Netlink::open()?;
        let (inside, namespace) = netns::enter_fresh()?;
        let link = links::lay(&mut outside, namespace.as_fd(), bridge, &links::spare_link(slot))?;
        Ok(Self { slot, link, inside, namespace })
    }

    /// Gives it to an allocation, whose namespace is pinned to `file`. Blocking.
    pub(crate) fn plug(
        mut self,
        file: &Path,
        alloc: &AllocationId,
        ip: Ipv4Addr,
        pool: Subnet,
    ) -> io::Result<()> {
        let mut outside = Netlink::open()?;
        netns::pin(Path::new(&format!("/proc/self/fd/{}", self.namespace.as_raw_fd())), file)?;
        links::own(&mut outside, self.link, alloc, ip)?;
        links::address_inside(&mut self.inside, ip, pool)
    }
}

/// The networks that lie ready.
#[derive(Clone)]
pub(crate) struct Stock {
    spares: Arc<Mutex<Vec<Spare>>>,
    asked: Arc<Notify>,
    bridge: u32,
    count: usize,
}

impl std::fmt::Debug for Stock {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Stock of {} of {}", self.lock().len(), self.count)
    }
}

impl Stock {
    /// A stock of up to `count` networks on a bridge. It is empty until [`Stock::fill`] runs and [`Stock::ask`] was called.
    pub(crate) fn new(bridge: u32, count: usize) -> Self {
        Self { spares: Arc::default(), asked: Arc::default(), bridge, count }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&self) -> Option<Spare> {
        let spare = self.lock().pop();
        self.ask();
        spare
    }

    /// Has the stock filled when the node is quiet.
    pub(crate) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Keeps the stock filled until it is cancelled, and takes it away then.
    pub(crate) async fn fill(self, cancel: CancellationToken) {
        // Both arms are cancel-safe: `notified` keeps its permit.
        while cancel.run_until_cancelled(self.quiet_after_use()).await.is_some() {
            while !cancel.is_cancelled() && self.lock().len() < self.count {
                if let Err(error) = self.add().await {
                    tracing::debug!(%error, "no network can be made ahead");
                    break;
                }
            }
        }
        let left = std::mem::take(&mut *self.lock());
        if !left.is_empty()
            && let Err(error) = in_thread(move || take_away(&left)).await
        {
            tracing::debug!(%error, "the kernel is left to take networks made ahead away");
        }
    }

    async fn quiet_after_use(&self) {
        self.asked.notified().await;
        while tokio::time::timeout(QUIET, self.asked.notified()).await.is_ok() {}
    }

    async fn add(&self) -> io::Result<()> {
        let free = |slot: &usize| !self.lock().iter().any(|spare| spare.slot == *slot);
        let slot = (0..self.count).find(free).unwrap_or_default();
        let bridge = self.bridge;
        let spare = in_thread(move || Spare::make(slot, bridge)).await.map_err(io::Error::other)??;
        self.lock().push(spare);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes links at once, which the kernel would do a little later.
fn take_away(spares: &[Spare]) {
    let Ok(mut netlink) = Netlink::open() else { return };
    for spare in spares {
        // One that cannot be removed goes with its namespace.
        links::remove_index(&mut netlink, spare.link).ok();
    }
}
