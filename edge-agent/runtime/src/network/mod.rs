//! The node's container network: a bridge, an address pool, a namespace with a veth per allocation, masquerade and host ports.
//!
//! The kernel is the record: links carry their allocation and address, namespaces are pinned under a name, the rules are one
//! table that is replaced as a whole. [`Network::reconcile`] reads it back at start, keeps what is known and removes the rest.

mod error;
mod links;
mod netlink;
mod netns;
mod pool;
mod ports;
mod publisher;
mod rules;
mod spare;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skerry_types::AllocationId;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use error::NetworkError;
pub use pool::{Subnet, SubnetError};
pub use ports::PortForward;
pub use publisher::RulesError;

use netlink::Netlink;
use publisher::Applied;
use rules::Rules;
use spare::{Spare, Stock};
use state::{Claim, State};

/// Neighbours that the kernel must be able to know, over all network namespaces: the node knows each allocation and each allocation the
/// node, for 1,000 of them, and twice that for what else there is. Its own bound is 1,024, past which packets are lost.
const NEIGHBOURS: u32 = 4096;

/// What the node's network is made with.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The bridge's name, at most 15 bytes; also the name of the nftables table.
    pub bridge: String,
    /// Where allocations get their addresses from.
    pub pool: Subnet,
    /// Where namespaces are pinned; made if it is not there.
    pub netns_dir: PathBuf,
    /// How many networks lie ready for allocations to come.
    pub spares: usize,
}

/// What is known of an allocation when the agent starts.
#[derive(Debug, Clone, Default)]
pub struct KnownNetwork {
    /// Its host ports.
    pub ports: Vec<PortForward>,
    /// A process that lives in its namespace, if one runs: the namespace is pinned again from it if its pin was lost.
    pub pid: Option<u32>,
}

/// The network of one allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its namespace, for `setns` and the OCI runtime.
    pub netns: PathBuf,
}

/// The node's container network. Works in the network namespace of the thread that opens it.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    bridge_index: u32,
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
    applied: watch::Receiver<Applied>,
    cancel: CancellationToken,
    stock: Stock,
    /// What works in the background.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Network {
    /// Makes the bridge and sets what the kernel needs to forward. The packet rules follow in the background after
    /// [`Network::reconcile`].
    pub async fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        let settings = config.clone();
        let bridge_index = in_thread(move || prepare_node(&settings)).await??;
        let state = Arc::new(Mutex::new(State::new(config.pool)));
        let wake = Arc::new(Notify::new());
        let cancel = CancellationToken::new();
        let (sender, applied) = watch::channel(Applied::default());
        let latest = {
            let (state, config) = (state.clone(), config.clone());
            move || render(&lock(&state), &config)
        };
        let publisher = tokio::spawn(publisher::run(latest, wake.clone(), sender, cancel.clone()));
        let stock = Stock::new(bridge_index, config.spares);
        let filler = tokio::spawn(stock.clone().fill(cancel.clone()));
        let tasks = Mutex::new(vec![publisher, filler]);
        Ok(Self { config, bridge_index, state, wake, applied, cancel, stock, tasks })
    }

    /// Removes every link and namespace of allocations that are not `known`, takes over those that are, and loads the rules.
    /// Call it once, before the first [`Network::attach`]. Returns the addresses of what was taken over.
    pub async fn reconcile(
        &self,
        known: BTreeMap<AllocationId, KnownNetwork>,
    ) -> Result<BTreeMap<AllocationId, Ipv4Addr>, NetworkError> {
        let (dir, bridge) = (self.config.netns_dir.clone(), self.bridge_index);
        let pids = known.iter().map(|(alloc, network)| (alloc.clone(), network.pid)).collect();
        let found = in_thread(move || sweep(&dir, bridge, &pids)).await?.map_err(NetworkError::Inventory)?;
        let mut state = lock(&self.state);
        for (alloc, ip) in &found {
            let ports = known.get(alloc).map(|network| network.ports.as_slice()).unwrap_or_default();
            state.adopt(alloc, *ip, ports);
        }
        state.touch();
        drop(state);
        self.wake.notify_one();
        self.stock.ask();
        Ok(found)
    }

    /// Gives an allocation its namespace, address and host ports. Doing it again changes nothing; what a crash left half done
    /// is made anew. Does not wait for the packet rules: see [`Network::ports_ready`].
    ///
    /// For one allocation, calls of `attach` and `detach` must not overlap.
    pub async fn attach(
        &self,
        alloc: &AllocationId,
        wanted: Option<Ipv4Addr>,
        ports: &[PortForward],
    ) -> Result<Attached, NetworkError> {
        let netns = self.netns(alloc);
        let claim = self.claimed(alloc, wanted, ports)?;
        let ip = claim.ip;
        if !claim.plugged {
            let (file, id, bridge, pool) =
                (netns.clone(), alloc.clone(), self.bridge_index, self.config.pool);
            let spare = self.stock.take();
            in_thread(move || plug(spare, &file, &id, bridge, ip, pool))
                .await?
                .map_err(|source| NetworkError::Plug { alloc: alloc.clone(), source })?;
            lock(&self.state).plugged(alloc);
        }
        Ok(Attached { ip, netns })
    }

    /// Takes address and host ports for an allocation, as [`Network::attach`] does first. Returns the address.
    pub fn claim(
        &self,
        alloc: &AllocationId,
        wanted: Option<Ipv4Addr>,
        ports: &[PortForward],
    ) -> Result<Ipv4Addr, NetworkError> {
        Ok(self.claimed(alloc, wanted, ports)?.ip)
    }

    fn claimed(
        &self,
        alloc: &AllocationId,
        wanted: Option<Ipv4Addr>,
        ports: &[PortForward],
    ) -> Result<Claim, NetworkError> {
        let claim = lock(&self.state).claim(alloc, wanted, ports)?;
        if claim.rules_changed {
            self.wake.notify_one();
        }
        Ok(claim)
    }

    /// Waits until the host ports of an allocation are in force. Returns at once when it has none.
    pub async fn ports_ready(&self, alloc: &AllocationId) -> Result<(), NetworkError> {
        let Some(version) = lock(&self.state).rules_version(alloc)? else { return Ok(()) };
        let mut applied = self.applied.clone();
        let outcome = applied
            .wait_for(|applied| applied.version >= version)
            .await
            .map_err(|_| NetworkError::Rules(Arc::new(RulesError::Ended)))?;
        outcome.failure.clone().map_or(Ok(()), |failure| Err(NetworkError::Rules(failure)))
    }

    /// Takes an allocation's host ports, link, namespace and address away. Nothing to do is fine.
    pub async fn detach(&self, alloc: &AllocationId) -> Result<(), NetworkError> {
        if lock(&self.state).close_ports(alloc) {
            self.wake.notify_one();
        }
        let (file, id) = (self.netns(alloc), alloc.clone());
        in_thread(move || unplug(&file, &id))
            .await?
            .map_err(|source| NetworkError::Unplug { alloc: alloc.clone(), source })?;
        lock(&self.state).release(alloc);
        Ok(())
    }

    /// Waits until the rules in force are those of this moment.
    pub async fn settled(&self) -> Result<(), NetworkError> {
        let version = lock(&self.state).version();
        let mut applied = self.applied.clone();
        let outcome = applied
            .wait_for(|applied| applied.version >= version)
            .await
            .map_err(|_| NetworkError::Rules(Arc::new(RulesError::Ended)))?;
        outcome.failure.clone().map_or(Ok(()), |failure| Err(NetworkError::Rules(failure)))
    }

    /// The address of an allocation, while it has one.
    pub fn address(&self, alloc: &AllocationId) -> Option<Ipv4Addr> {
        lock(&self.state).address(alloc)
    }

    /// The file to which an allocation's namespace is pinned.
    pub fn netns(&self, alloc: &AllocationId) -> PathBuf {
        self.config.netns_dir.join(alloc.as_str())
    }

    /// Ends the background work. What is in the kernel stays, so that containers go on.
    pub async fn close(&self) {
        self.cancel.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the network failed");
            }
        }
    }

    /// Takes the bridge and the packet rules away too: for a node that leaves, and for tests.
    pub async fn destroy(&self) -> Result<(), NetworkError> {
        self.close().await;
        let table = &self.config.bridge;
        publisher::load(&format!("table ip {table}\ndelete table ip {table}\n"))
            .await
            .map_err(|error| NetworkError::Rules(Arc::new(error)))?;
        let bridge = self.config.bridge.clone();
        in_thread(move || links::remove(&mut Netlink::open()?, &bridge))
            .await?
            .map_err(|source| NetworkError::Bridge { bridge: self.config.bridge.clone(), source })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// State is never left half changed: every change of it is one call that cannot panic in between.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn render(state: &State, config: &NetworkConfig) -> (u64, String) {
    let rules = Rules {
        table: &config.bridge,
        bridge: &config.bridge,
        subnet: config.pool,
        forwards: state.forwards(),
    };
    (state.version(), rules.render())
}

/// Runs blocking work on a thread of its own that ends with it. Not the runtime's pool: making a namespace leaves the thread in it.
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NetworkError> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("network".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || {
            // Nobody waits any more when the caller was cancelled; the work is done all the same.
            drop(sender.send(work()));
        })
        .map_err(NetworkError::Thread)?;
    receiver.await.map_err(|_| NetworkError::Thread(io::Error::other("the thread panicked")))
}

fn prepare_node(config: &NetworkConfig) -> Result<u32, NetworkError> {
    fs::create_dir_all(&config.netns_dir).map_err(NetworkError::Inventory)?;
    let bridge_error = |source| NetworkError::Bridge { bridge: config.bridge.clone(), source };
    let mut netlink = Netlink::open().map_err(bridge_error)?;
    let index = links::ensure_bridge(&mut netlink, &config.bridge, config.pool).map_err(bridge_error)?;
    enable(Path::new("/proc/sys/net/ipv4/ip_forward"))?;
    // Lets the node reach a host port by its loopback address: the packet leaves by the bridge with a loopback source and is
    // masqueraded there. The rules keep containers from using it the other way.
    enable(&Path::new("/proc/sys/net/ipv4/conf").join(&config.bridge).join("route_localnet"))?;
    let neighbours = Path::new("/proc/sys/net/ipv4/neigh/default/gc_thresh3");
    if let Err(error) = raise(neighbours, NEIGHBOURS) {
        tracing::warn!(%error, file = %neighbours.display(), "cannot let the kernel know more neighbours");
    }
    Ok(index)
}

/// Writes only when it must: some nodes have `/proc/sys` read-only and right already.
fn enable(path: &Path) -> Result<(), NetworkError> {
    let is_set = fs::read_to_string(path).is_ok_and(|value| value.trim() == "1");
    if is_set {
        return Ok(());
    }
    fs::write(path, "1").map_err(|source| NetworkError::Sysctl { path: path.to_owned(), source })
}

/// Sets a number of the kernel to `least` where it is lower. One that is not there is not ours to set: this one is the machine's and
/// not to be seen from within a network namespace.
fn raise(path: &Path, least: u32) -> io::Result<()> {
    let value = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    match value.trim().parse::<u32>() {
        Ok(value) if value >= least => Ok(()),
        _ => fs::write(path, least.to_string()),
    }
}

/// Makes namespace and link, of what lies ready if there is something. May leave the calling thread in the fresh namespace.
fn plug(
    spare: Option<Spare>,
    file: &Path,
    alloc: &AllocationId,
    bridge: u32,
    ip: Ipv4Addr,
    pool: Subnet,
) -> io::Result<()> {
    unplug(file, alloc)?;
    if let Some(spare) = spare {
        match spare.plug(file, alloc, ip, pool) {
            Ok(()) => return Ok(()),
            Err(error) => tracing::debug!(%alloc, %error, "a network made ahead is of no use"),
        }
        unplug(file, alloc)?;
    }
    netns::create(file, |outside, inside, namespace| {
        links::plug(outside, inside, namespace, bridge, alloc, ip, pool)
    })
}

fn unplug(file: &Path, alloc: &AllocationId) -> io::Result<()> {
    links::remove(&mut Netlink::open()?, &links::host_link(alloc))?;
    netns::remove(file)
}

/// Removes what belongs to no known allocation, and what is incomplete of those that are known. Returns what is whole.
fn sweep(
    dir: &Path,
    bridge: u32,
    known: &BTreeMap<AllocationId, Option<u32>>,
) -> io::Result<BTreeMap<AllocationId, Ipv4Addr>> {
    let mut netlink = Netlink::open()?;
    let mut whole = BTreeMap::new();
    for veth in links::veths(&mut netlink, bridge)? {
        let keep = veth.owner.filter(|(alloc, _)| {
            known.get(alloc).is_some_and(|pid| pinned_again(&dir.join(alloc.as_str()), *pid))
        });
        match keep {
            Some((alloc, ip)) => drop(whole.insert(alloc, ip)),
            None => links::remove_index(&mut netlink, veth.index)?,
        }
    }
    let kept: BTreeSet<&str> = whole.keys().map(AllocationId::as_str).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_kept = entry.file_name().to_str().is_some_and(|name| kept.contains(name));
        if !is_kept {
            netns::remove(&entry.path())?;
        }
    }
    Ok(whole)
}

/// Whether the namespace is pinned, after pinning it from a living process if its pin was lost: a mount table can be younger
/// than the containers, as when the agent's service was restarted with a mount namespace of its own.
fn pinned_again(file: &Path, pid: Option<u32>) -> bool {
    netns::is_pinned(file)
        || pid.is_some_and(|pid| netns::pin(Path::new(&format!("/proc/{pid}/ns/net")), file).is_ok())
}
