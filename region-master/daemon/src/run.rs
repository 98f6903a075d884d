//! A running master.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use skerry_api::v1::operator_server::OperatorServer;
use skerry_link::tls::{SharedIdentity, api_server};
use skerry_link::{LinkClock, LinkServer, ServerSettings};
use skerry_region_state::{RegionConfig, RegionState};
use skerry_registry::{RegistriesConfig, Registry};
use skerry_store::{SledStore, Store, writer};
use skerry_types::WallTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::api::{Api, only_operators};
use crate::brain::{BrainHandle, BrainTask};
use crate::ca::{Ca, ServerNames, keep_server_identity};
use crate::clock::Clock;
use crate::enroll::Enroller;
use crate::links::{self, LinkTable};
use crate::settings::Settings;
use crate::{init, tls_listener};

/// Names that stand in every master's certificate, so that it is reached by any address and on the machine itself.
const ALWAYS_NAMED: [&str; 4] = ["skerry-master", "localhost", "127.0.0.1", "::1"];

/// How long calls and links have to end once the master is told to.
const END_WAIT: Duration = Duration::from_secs(3);

/// Runs a master until it is told to end, or its store fails.
pub async fn run(settings: Settings) -> Result<()> {
    let ca = Arc::new(Ca::open(&settings.ca_dir())?);
    let registry = Arc::new(Registry::new(match &settings.registries {
        Some(path) => RegistriesConfig::load(path)?,
        None => RegistriesConfig::default(),
    }));
    let clock = Clock::new();
    let link_clock = Arc::new(LinkClock::system(WallTime(0)));
    let names =
        ServerNames::new(ALWAYS_NAMED.map(str::to_owned).into_iter().chain(settings.advertise.clone()));
    let identity = SharedIdentity::new(ca.server_identity(&names, clock.now().wall)?, ca.roots());

    let (store, rows) = load_store(&settings).await?;
    let config = RegionConfig {
        region: ca.region().clone(),
        epoch: init::epoch(&settings.data_dir)?,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        has_parent: false,
    };
    let count = rows.len();
    let state = RegionState::load(config, clock.now(), rows)?;
    tracing::info!(region = %ca.region(), rows = count, "the store is loaded");

    let listener = TcpListener::bind(settings.api).await.with_context(|| {
        format!("cannot listen on tcp {}: is another skerry-master running there?", settings.api)
    })?;
    let server =
        LinkServer::bind(ServerSettings::on(settings.links), &identity, ca.roots(), Arc::clone(&link_clock))?;
    tracing::info!(api = %listener.local_addr()?, links = %server.local_addr()?, "the master is up");

    let cancel = CancellationToken::new();
    let (writes, progress, store_writer) = writer(store);
    let (brain, handle) = BrainTask::new(state, clock, writes, progress);
    let table = LinkTable::default();
    let node_life = settings.node_certificate_life.duration();
    let enroller = Arc::new(Enroller { ca: Arc::clone(&ca), brain: handle.clone(), node_life });
    let api = Api {
        brain: handle.clone(),
        links: table.clone(),
        registry,
        region: ca.region().clone(),
        domain: ca.domain().to_string(),
        root: ca.root_hash(),
        link_addresses: settings.link_addresses(),
    };
    let tls = api_server(&identity, ca.roots())?;
    let tasks = Tasks { cancel: cancel.clone() };
    let served = tokio::join!(
        tasks.guard("the store", async { store_writer.run().await.context("the store") }),
        tasks.guard("the brain", async { brain.run(cancel.clone()).await.context("the brain") }),
        tasks.guard(
            "the links",
            at_most(links_until(server, handle, table, enroller, cancel.clone()), &cancel)
        ),
        tasks.guard("the API", at_most(serve_api(api, listener, tls, cancel.clone()), &cancel)),
        tasks.guard("the certificate", async {
            keep_server_identity(Arc::clone(&ca), names, identity.clone(), link_clock, cancel.clone()).await;
            Ok(())
        }),
        tasks.guard("signals", wait_for_signal(cancel.clone())),
    );
    let (store, brain, links, api, certificate, signals) = served;
    // The store's own word comes first: when it fails, the others only follow.
    store.and(brain).and(links).and(api).and(certificate).and(signals)
}

/// A call that goes on for ever, such as a log that is followed, does not hold up the end of the master.
async fn at_most(part: impl Future<Output = Result<()>>, cancel: &CancellationToken) -> Result<()> {
    let too_late = async {
        cancel.cancelled().await;
        tokio::time::sleep(END_WAIT).await;
    };
    tokio::select! {
        // Whatever the part still held belongs to callers, who were told that the master ends.
        result = part => result,
        () = too_late => Ok(()),
    }
}

type Rows = Vec<skerry_region_state::LedgerRow>;

async fn load_store(settings: &Settings) -> Result<(SledStore, Rows)> {
    let dir = settings.store_dir();
    let loaded = tokio::task::spawn_blocking(move || {
        let mut store = SledStore::open(dir)?;
        let rows = store.rows()?;
        Ok::<_, skerry_store::StoreError>((store, rows))
    });
    let (store, rows) = loaded.await.context("loading the store")??;
    Ok((store, rows.into_iter().map(|row| (row.table, row.key, row.value)).collect()))
}

/// Ends everything when one part ends.
struct Tasks {
    cancel: CancellationToken,
}

impl Tasks {
    async fn guard(&self, what: &'static str, part: impl Future<Output = Result<()>>) -> Result<()> {
        let result = part.await;
        if let Err(error) = &result {
            tracing::error!(what, error = format!("{error:#}"), "a part of the master failed, it ends");
        }
        self.cancel.cancel();
        result
    }
}

async fn links_until(
    server: LinkServer,
    brain: BrainHandle,
    table: LinkTable,
    enroller: Arc<Enroller>,
    cancel: CancellationToken,
) -> Result<()> {
    links::serve(server, brain, table, enroller, cancel).await;
    Ok(())
}

async fn serve_api(
    api: Api,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    cancel: CancellationToken,
) -> Result<()> {
    let (ready, connections) = mpsc::channel(tls_listener::READY_MAX);
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_serving::<OperatorServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(skerry_api::v1::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("server reflection")?;
    let operator = OperatorServer::new(api).max_decoding_message_size(skerry_api::MESSAGE_MAX);
    let served = Server::builder()
        .add_service(health)
        .add_service(InterceptedService::new(reflection, only_operators))
        .add_service(InterceptedService::new(operator, only_operators))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), cancel.cancelled());
    let (served, ()) = tokio::join!(served, tls_listener::accept(listener, tls, ready, cancel.clone()));
    served.context("the API")
}

async fn wait_for_signal(cancel: CancellationToken) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        // All are cancel-safe.
        () = cancel.cancelled() => {}
        _ = terminate.recv() => tracing::info!("SIGTERM: the master ends, nodes go on"),
        _ = interrupt.recv() => tracing::info!("SIGINT: the master ends, nodes go on"),
    }
    Ok(())
}
