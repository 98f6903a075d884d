//! A running agent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use skerry_agent_state::{AgentConfig, AgentState};
use skerry_link::tls::{Identity, TrustRoots};
use skerry_link::{BackoffSettings, DialHint, DialSettings, Dialer, LinkClock};
use skerry_registry::{ConfigError, RegistriesConfig};
use skerry_runtime::image::ImageStore;
use skerry_runtime::{Runtime, RuntimeConfig, RuntimeEvents};
use skerry_store::{Backlog, RedbStore, Store, StoreError, Writer, writer};
use skerry_types::NodeName;
use skerry_wire::Epoch;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::brain::{BrainHandle, BrainTask, Parts};
use crate::clock::{self, TimeFloor};
use crate::facts::{self, Machine};
use crate::link::LinkTask;
use crate::logs::BulkServer;
use crate::operations::{Hands, forwards};
use crate::renewal::{Renewal, RenewalSignals};
use crate::{Settings, control, join};

/// How long the making of a container may take before the keeper gives it up.
const CREATE_DEADLINE: Duration = Duration::from_secs(30);

/// Runs an agent until it is told to end, or its ledger fails. Containers go on after it.
pub async fn run(settings: Settings) -> Result<()> {
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("cannot make {}", settings.data_dir.display()))?;
    // First of all: it keeps a second agent out.
    let mut store = open_ledger(&settings)?;
    let floor = TimeFloor::open(&settings.data_dir);
    let link_clock = Arc::new(LinkClock::system(floor.kept()));
    let (identity, roots) = join::identity(&settings, &link_clock).await?;
    let node = join::node_of(&identity)?;
    let span = tracing::info_span!("agent", %node);
    let rows = store.rows()?.into_iter().map(|row| (row.table, row.key, row.value));
    let config = AgentConfig {
        node: node.clone(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        // No earlier life had this number, but for a chance in 2^64.
        epoch: Epoch(rand::random_range(1..=u64::MAX)),
        boot: facts::boot_id(),
    };
    let state = AgentState::load(config, clock::now(), rows)?;
    let agent = Agent { settings, store, state, node, identity, roots, link_clock, floor };
    Box::pin(agent.run().instrument(span)).await
}

fn open_ledger(settings: &Settings) -> Result<RedbStore> {
    let dir = settings.data_dir.join("ledger");
    RedbStore::open(&dir).map_err(|error| match error {
        StoreError::InUse { .. } => anyhow::anyhow!(
            "another skerry-agent runs on {}: stop that one, or give this one a --data-dir of its own",
            settings.data_dir.display()
        ),
        other => other.into(),
    })
}

/// Everything that is known before anything runs.
struct Agent {
    settings: Settings,
    store: RedbStore,
    state: AgentState,
    node: NodeName,
    identity: Identity,
    roots: TrustRoots,
    link_clock: Arc<LinkClock>,
    floor: TimeFloor,
}

impl Agent {
    async fn run(self) -> Result<()> {
        let listener = control::listen(&self.settings)?;
        let (runtime, events, images) = self.open_runtime().await?;
        let cancel = CancellationToken::new();
        let (queue, progress, store_writer) = writer(self.store);
        let (brain, inbox) = BrainHandle::new();
        let machine = Machine::new(&self.settings.data_dir);
        let gpus = self.settings.gpus.as_slice().into();
        let hands = Hands { runtime: Arc::clone(&runtime), images: images.clone(), gpus };
        let parts = Parts {
            state: self.state,
            ledger: Backlog::new(queue, progress),
            hands,
            inbox,
            facts: machine.facts(&self.settings),
            machine,
            address_is_fixed: self.settings.address.is_some(),
            disk_reserve: self.settings.reserve.disk,
        };
        let (renewed_in, renewed) = mpsc::channel(1);
        let signals = Arc::new(RenewalSignals::default());
        let masters = join::masters(&self.settings)?;
        let mut dial = DialSettings::to(masters.clone());
        dial.keep_alive = self.settings.keep_alive;
        if self.settings.metered {
            dial.backoff = BackoffSettings::metered();
        }
        let clock = Arc::clone(&self.link_clock);
        let dialer = Dialer::new(dial, &self.identity, &self.roots, clock, rand::random())?;
        let hint = dialer.hint();
        let link = LinkTask {
            dialer,
            keep_alive: self.settings.keep_alive,
            clock: Arc::clone(&self.link_clock),
            floor: self.floor,
            bulk: BulkServer { runtime: Arc::clone(&runtime), brain: brain.clone() },
            brain,
            renewed,
            signals: Arc::clone(&signals),
        };
        let renewal = Renewal {
            identity: self.identity,
            roots: self.roots,
            masters,
            credentials: join::credentials(&self.settings),
            clock: self.link_clock,
            signals,
            renewed: renewed_in,
        };
        tracing::info!(node = %self.node, version = env!("CARGO_PKG_VERSION"), "the agent is up");
        let ended = tokio::join!(
            guard(&cancel, write(store_writer)),
            guard(&cancel, BrainTask::new(parts).run(events, cancel.clone())),
            link.run(cancel.clone()),
            renewal.run(cancel.clone()),
            control::serve(listener, images, cancel.clone()),
            guard(&cancel, follow_signals(hint, cancel.clone())),
        );
        runtime.close().await;
        let (written, brain, (), (), (), signals) = ended;
        // The ledger's own word comes first: when it fails, the brain only follows.
        written.and(brain).and(signals)
    }

    /// Brings up the runtime with what the ledger knows; the rest of what is on the node is removed.
    async fn open_runtime(&self) -> Result<(Arc<Runtime>, RuntimeEvents, ImageStore)> {
        let settings = &self.settings;
        let images = control::open_images(settings, Arc::clone(&self.link_clock))?;
        let (runtime, events) = Runtime::open(runtime_config(settings)).await?;
        let known = self.state.lifecycles().map(|lifecycle| {
            let intent = lifecycle.intent();
            (intent.id.clone(), forwards(intent))
        });
        let addresses = runtime.reconcile(known.collect::<BTreeMap<_, _>>()).await?;
        tracing::info!(networks = addresses.len(), "what was left running is taken over");
        Ok((Arc::new(runtime), events, images))
    }
}

/// How registries are reached.
pub(crate) fn registries(settings: &Settings) -> Result<RegistriesConfig, ConfigError> {
    settings
        .registries
        .as_ref()
        .map_or_else(|| Ok(RegistriesConfig::default()), |path| RegistriesConfig::load(path))
}

fn runtime_config(settings: &Settings) -> RuntimeConfig {
    RuntimeConfig {
        data_dir: settings.data_dir.clone(),
        run_dir: settings.run_dir.clone(),
        keeper_binary: settings.keeper.clone(),
        cgroup_parent: settings.cgroup_root.clone(),
        bridge: settings.bridge.clone(),
        pool: settings.pool,
        log_max_bytes: settings.log_max_bytes,
        log_max_files: settings.log_max_files,
        create_deadline: CREATE_DEADLINE,
    }
}

async fn write(writer: Writer<RedbStore>) -> Result<()> {
    writer.run().await.context("the ledger")
}

/// Ends everything when one part ends.
async fn guard(cancel: &CancellationToken, part: impl Future<Output = Result<()>>) -> Result<()> {
    let result = part.await;
    cancel.cancel();
    result
}

/// SIGTERM and SIGINT end the agent, SIGHUP has it dial at once.
async fn follow_signals(hint: DialHint, cancel: CancellationToken) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    loop {
        tokio::select! {
            // All are cancel-safe.
            () = cancel.cancelled() => return Ok(()),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => hint.try_again(),
        }
    }
    tracing::info!("the agent ends, containers go on");
    Ok(())
}
