//! A running master.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use skerry_api::v1::operator_server::OperatorServer;
use skerry_link::tls::api_server;
use skerry_link::{LinkClock, LinkServer, ServerSettings};
use skerry_store::writer;
use skerry_types::WallTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::above::Above;
use crate::api::{Api, OnlyOperators};
use crate::brain::BrainTask;
use crate::ca::{Ca, MasterIdentity, ServerNames};
use crate::calls::CallServer;
use crate::clock::Clock;
use crate::enroll::Enroller;
use crate::join::Patience;
use crate::links::{self, LinkTable};
use crate::settings::Settings;
use crate::{init, store, thrift, tls_listener};

/// Names that stand in every master's certificate, so that it is reached by any address and on the machine itself.
const ALWAYS_NAMED: [&str; 4] = ["skerry-master", "localhost", "127.0.0.1", "::1"];

/// How long calls and links have to end once the master is told to.
const END_WAIT: Duration = Duration::from_secs(3);

/// Runs a master until it is told to end, or its store fails. A region that is to be one below another and has no CA yet joins
/// first, however long that takes.
pub async fn run(settings: Settings) -> Result<()> {
    let (ca, settings) = if settings.joins() {
        let (made, settings) = init::prepare(&settings, Patience::UntilAnswered).await?;
        (made.ca, settings)
    } else {
        (Ca::open(&settings.ca_dir())?, settings)
    };
    let ca = Arc::new(ca);
    let link_clock = Arc::new(LinkClock::system(WallTime(0)));
    let clock = Clock::new(Arc::clone(&link_clock));
    let names =
        ServerNames::new(ALWAYS_NAMED.map(str::to_owned).into_iter().chain(settings.advertise.clone()));
    let identity = MasterIdentity::new(Arc::clone(&ca), names, Arc::clone(&link_clock))?;
    let (state, rows) = store::load(&settings, &ca, &clock).await?;

    let listener = TcpListener::bind(settings.api).await.with_context(|| {
        format!("cannot listen on tcp {}: is another skerry-master running there?", settings.api)
    })?;
    let memory = Some(settings.data_dir.join("connected"));
    let links = ServerSettings { memory, ..ServerSettings::on(settings.links) };
    let server = LinkServer::bind(links, &identity.shared, ca.roots(), Arc::clone(&link_clock))?;
    tracing::info!(api = %listener.local_addr()?, links = %server.local_addr()?, "the master is up");

    let cancel = CancellationToken::new();
    let (writes, progress, store_writer) = writer(rows);
    let (brain, handle) = BrainTask::new(state, clock.clone(), writes, progress);
    let table = LinkTable::default();
    let api = Api::new(&settings, &ca, handle.clone(), table.clone(), clock)?;
    let enroller = Arc::new(Enroller {
        ca: Arc::clone(&ca),
        brain: handle.clone(),
        node_life: settings.node_certificate_life.duration(),
        region_life: settings.region_certificate_life.duration(),
        clock: link_clock,
    });
    let above = Above::new(&settings, &identity, handle.clone(), CallServer::new(api.clone()))?;
    let tls = api_server(&identity.shared, ca.roots())?;
    let tasks = Tasks { cancel: cancel.clone() };
    let served = tokio::join!(
        tasks.guard("the store", async { store_writer.run().await.context("the store") }),
        tasks.guard("the brain", async { brain.run(cancel.clone()).await.context("the brain") }),
        tasks.guard(
            "the links",
            at_most(endless(links::serve(server, handle, table, enroller, cancel.clone())), &cancel)
        ),
        tasks.guard("the API", at_most(serve_api(api, listener, tls, cancel.clone()), &cancel)),
        tasks.guard("the certificate", endless(identity.keep(cancel.clone()))),
        tasks.guard("the region above", at_most(endless(look_up(above, cancel.clone())), &cancel)),
        tasks.guard("the heaps", endless(thrift::keep(cancel.clone()))),
        tasks.guard("signals", wait_for_signal(cancel.clone())),
    );
    let (store, brain, links, api, certificate, above, heaps, signals) = served;
    // The store's own word comes first: when it fails, the others only follow.
    store.and(brain).and(links).and(api).and(certificate).and(above).and(heaps).and(signals)
}

async fn look_up(above: Option<Above>, cancel: CancellationToken) {
    match above {
        Some(above) => above.run(cancel).await,
        None => cancel.cancelled().await,
    }
}

/// For parts that end when they are told to, and fail at nothing.
async fn endless(part: impl Future<Output = ()>) -> Result<()> {
    part.await;
    Ok(())
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
    let only_operators = OnlyOperators::of(&api);
    let operator = OperatorServer::new(api).max_decoding_message_size(skerry_api::MESSAGE_MAX);
    let served = Server::builder()
        .add_service(health)
        .add_service(InterceptedService::new(reflection, only_operators.clone()))
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
