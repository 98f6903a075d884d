//! The runtime as the agent calls it: sandboxes, containers, their logs and their ends.
//!
//! Every operation can be repeated and repairs what a killed run of it left. Operations on one allocation wait for each other;
//! operations on different ones do not.

mod error;
mod etc;
mod events;
mod exec;
mod identity;
mod known;
mod paths;
mod remove;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skerry_keeper_protocol::ContainerStats;
use skerry_types::{AllocationId, WallTime};

use crate::bundle::NodeTraits;
use crate::keeper::{Keeper, KeeperConfig, KeeperError, KeeperEvent};
use crate::logs::{LogError, LogQuery, LogReader};
use crate::network::{KnownNetwork, Network, NetworkConfig, PortForward, Subnet};
use crate::snapshot::{self, SnapshotError};

pub use error::{OpenError, PrepareError, RemoveError, StartError};
pub use events::{FoundContainer, FoundState, RuntimeEvent, RuntimeEvents};
pub use exec::{ExecError, Executed};
pub use identity::ContainerRef;
pub use start::{ContainerStart, Fence, SandboxSpec, Started};

use known::Known;
use paths::Paths;

/// Networks that lie ready: one for what a probe or a person starts, and one for the next, as starts seldom come alone. More come so
/// close to each other that they have to wait for the processors anyway.
const SPARE_NETWORKS: usize = 2;
/// How long the keeper may take to come up.
const KEEPER_START: Duration = Duration::from_secs(20);

/// What the runtime works with.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// State that a reboot keeps: writable layers, logs, the keeper's records. Absolute.
    pub data_dir: PathBuf,
    /// State that a reboot may lose: sockets, mounts, namespaces. Absolute.
    pub run_dir: PathBuf,
    /// The `skerry-keeper` program.
    pub keeper_binary: PathBuf,
    /// Cgroup above all containers, such as `/skerry`.
    pub cgroup_parent: String,
    /// Name of the bridge and of the nftables table, at most 15 bytes.
    pub bridge: String,
    /// Addresses of allocations.
    pub pool: Subnet,
    /// A container's log file is rotated at this size in bytes.
    pub log_max_bytes: u64,
    /// How many log files a container keeps, the current one included.
    pub log_max_files: u16,
    /// How long the making of a container may take.
    pub create_deadline: Duration,
}

/// State that operations and events share.
#[derive(Debug)]
struct Shared {
    paths: Paths,
    known: Mutex<Known>,
}

impl Shared {
    /// A closure and not a guard, so that no lock can be held over an await. Changes are single calls that cannot panic halfway.
    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Containers of one node.
#[derive(Debug)]
pub struct Runtime {
    config: RuntimeConfig,
    traits: NodeTraits,
    shared: Arc<Shared>,
    network: Network,
    keeper: Keeper,
    /// Held while something is done to an allocation.
    allocations: Mutex<BTreeMap<AllocationId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Runtime {
    /// Brings up the node's network and finds or starts the keeper. The first event is [`RuntimeEvent::Inventory`]. Call
    /// [`Runtime::reconcile`] before anything else.
    pub async fn open(config: RuntimeConfig) -> Result<(Self, RuntimeEvents), OpenError> {
        let paths = Paths::new(&config.run_dir, &config.data_dir);
        let keeper_config = KeeperConfig {
            binary: config.keeper_binary.clone(),
            run_dir: paths.keeper_run(),
            state_dir: paths.keeper_state(),
        };
        let network_config = NetworkConfig {
            bridge: config.bridge.clone(),
            pool: config.pool,
            netns_dir: paths.netns_dir(),
            spares: SPARE_NETWORKS,
        };
        let (keeper, mut events) = Keeper::open(keeper_config);
        let (network, first) =
            tokio::join!(Network::open(network_config), tokio::time::timeout(KEEPER_START, events.recv()));
        let network = network?;
        let pending = first.map_err(|_| KeeperError::Deadline { after: KEEPER_START })?;
        let shared = Arc::new(Shared { paths, known: Mutex::default() });
        if let Some(KeeperEvent::Connected(records)) = &pending {
            shared.known(|known| known.take_stock(records));
        }
        let events = RuntimeEvents { events, pending, shared: shared.clone() };
        let traits = NodeTraits::detect();
        let allocations = Mutex::default();
        Ok((Self { config, traits, shared, network, keeper, allocations }, events))
    }

    /// Removes what neither `known` nor the keeper holds: links, namespaces, mounts, directories. Takes over the networks of the
    /// rest, with the host ports of those that are known, and returns their addresses.
    pub async fn reconcile(
        &self,
        known: BTreeMap<AllocationId, Vec<PortForward>>,
    ) -> Result<BTreeMap<AllocationId, Ipv4Addr>, OpenError> {
        let mut networks: BTreeMap<AllocationId, KnownNetwork> =
            known.into_iter().map(|(alloc, ports)| (alloc, KnownNetwork { ports, pid: None })).collect();
        let mut containers = BTreeSet::new();
        self.shared.known(|held| {
            for entry in held.all() {
                let network = networks.entry(entry.start.container.allocation.clone()).or_default();
                network.pid = network.pid.or(entry.pid);
                containers.insert(entry.start.container.clone());
            }
        });
        let allocations = networks.keys().cloned().collect();
        let paths = self.shared.paths.clone();
        let files = move || {
            remove::sweep(&paths, &allocations, &containers)?;
            snapshot::make_ground(&paths.ground())
        };
        blocking(files).await?;
        Ok(self.network.reconcile(networks).await?)
    }

    /// Reads a container's log.
    pub async fn logs(&self, container: &ContainerRef, query: LogQuery) -> Result<LogReader, LogError> {
        LogReader::open(&self.shared.paths.log(container), query).await
    }

    /// What a container uses; `None` when there is none.
    pub async fn stats(&self, container: &ContainerRef) -> Result<Option<ContainerStats>, KeeperError> {
        let key = self.shared.known(|known| known.latest(container).map(|entry| entry.key.clone()));
        match key {
            Some(key) => self.keeper.stats(key).await.map(Some),
            None => Ok(None),
        }
    }

    /// The keeper, for what the agent asks of it directly.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Ends the runtime's own work. Containers, keeper and networks go on.
    pub async fn close(&self) {
        self.keeper.close().await;
        self.network.close().await;
    }

    /// Takes away the node's bridge and packet rules: for a node that leaves, after all allocations were removed.
    pub async fn dismantle(&self) -> Result<(), OpenError> {
        self.keeper.close().await;
        Ok(self.network.destroy().await?)
    }

    fn allocation(&self, alloc: &AllocationId) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.allocations.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(alloc.clone()).or_default().clone()
    }
}

/// Runs work that waits for the disk or the kernel.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, SnapshotError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(SnapshotError::Directory { path: PathBuf::new(), source: std::io::Error::other(panic) })
    })
}

fn now() -> WallTime {
    // A clock before 1970 is wrong in any case.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
