//! The operator API as other programs see it, and what it acknowledged when its master is killed.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use skerry_api::v1;
use skerry_api::v1::operator_client::OperatorClient;
use skerry_e2e::{Plan, Region, Workload, in_region};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const SERVICE: &str = "skerry.v1.Operator";
/// An image that is named by its digest needs no registry to be admitted.
const IMAGE: &str =
    "registry.example/hello@sha256:3866a90c1db10ae2da0d0a70e3790071ad55f111dc5c952cbfa29063623715c4";

#[test]
fn the_api_describes_itself_and_keeps_what_it_acknowledged() {
    in_region(&Plan::default(), |region| {
        region.step("health and reflection");
        within(region, describes_itself)?;
        region.step("messages that are too large");
        within(region, refuses_what_is_too_large)?;
        acknowledged_work_survives(region)
    });
}

/// Runs async work on the wan, where no host is, with the first operator's certificate.
fn within<T: Send, Work>(region: &Region, work: impl FnOnce(Endpoint) -> Work + Send) -> Result<T>
where
    Work: Future<Output = Result<T>>,
{
    let endpoint = endpoint(region)?;
    region.wan.namespace().within(|| {
        // All sockets are opened on this thread, which stands in the namespace.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work(endpoint))
    })?
}

fn endpoint(region: &Region) -> Result<Endpoint> {
    let context: toml::Table = fs::read_to_string(region.operator.context())?.parse()?;
    let file = |name: &str| -> Result<Vec<u8>> {
        let path = context["contexts"]["north"][name].as_str().context("a path")?;
        fs::read(path).with_context(|| format!("reading {path}"))
    };
    let tls = ClientTlsConfig::new()
        .domain_name("skerry-master")
        .ca_certificate(Certificate::from_pem(file("ca")?))
        .identity(Identity::from_pem(file("cert")?, file("key")?));
    Ok(Endpoint::from_shared(format!("https://{}", region.master.api()))?
        .tls_config(tls)?
        .connect_timeout(Duration::from_secs(5)))
}

async fn describes_itself(endpoint: Endpoint) -> Result<()> {
    let channel = endpoint.connect().await?;
    for service in ["", SERVICE] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel.clone()).check(request).await?.into_inner();
        ensure!(answer.status() == ServingStatus::Serving, "{service:?}: {answer:?}");
    }
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let asks = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
    ];
    let mut client = ServerReflectionClient::new(channel);
    let stream = client.server_reflection_info(Request::new(tokio_stream::iter(asks))).await?;
    let mut answers = stream.into_inner();
    let services = match answers.message().await?.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => list.service,
        other => bail!("{other:?}"),
    };
    ensure!(services.iter().any(|service| service.name == SERVICE), "{services:?}");
    match answers.message().await?.and_then(|answer| answer.message_response) {
        Some(MessageResponse::FileDescriptorResponse(files)) => {
            ensure!(!files.file_descriptor_proto.is_empty());
        }
        other => bail!("{other:?}"),
    }
    Ok(())
}

async fn refuses_what_is_too_large(endpoint: Endpoint) -> Result<()> {
    let mut client = OperatorClient::new(endpoint.connect().await?);
    for (bytes, codes) in [
        (skerry_api::MESSAGE_MAX + 1024, [Code::OutOfRange, Code::ResourceExhausted]),
        (4 << 20, [Code::InvalidArgument, Code::InvalidArgument]),
    ] {
        let manifest = format!("apiVersion: skerry/v1 # {}", "x".repeat(bytes));
        let answer = client.apply(v1::ApplyRequest { manifest, dry_run: false }).await;
        let status = answer.err().context("it was taken")?;
        ensure!(codes.contains(&status.code()), "{bytes} bytes: {status:?}");
    }
    client.version(v1::VersionRequest {}).await.context("the connection is as good as before")?;
    Ok(())
}

/// Kills the master at random moments while callers apply and delete; what was answered must be so afterwards.
fn acknowledged_work_survives(region: &mut Region) -> Result<()> {
    let seed = rand::random();
    region.step(&format!("the master is killed under load, seed {seed}"));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut must_be = BTreeSet::new();
    for round in 0..6 {
        let done = Arc::new(Mutex::new(Vec::new()));
        let wait = Duration::from_millis(rng.random_range(20..200));
        let endpoint = endpoint(region)?;
        let namespace = region.wan.namespace().clone();
        let shared = Arc::clone(&done);
        let load = std::thread::spawn(move || {
            namespace.within(|| -> Result<()> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(apply_until_it_fails(endpoint, round, &shared))
            })
        });
        // The moment of the fault, not a wait for something.
        std::thread::sleep(wait);
        region.master.kill()?;
        load.join().ok().context("a caller panicked")???;
        let done = std::mem::take(&mut *done.lock().unwrap_or_else(PoisonError::into_inner));
        region.step(&format!("{} applies were acknowledged in {wait:?}", done.len()));
        must_be.extend(done);
        region.master.start()?;
        let listed = region.operator.list("workloads")?;
        let there: BTreeSet<String> = listed
            .iter()
            .filter_map(|one| one.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned))
            .collect();
        let lost: Vec<&String> = must_be.difference(&there).collect();
        ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
    ensure!(!must_be.is_empty(), "the master was never fast enough to acknowledge anything");
    Ok(())
}

/// Thirty-two callers, each with one request under way at a time.
async fn apply_until_it_fails(endpoint: Endpoint, round: u32, done: &Arc<Mutex<Vec<String>>>) -> Result<()> {
    let channel = endpoint.connect().await?;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..32 {
        let (channel, done) = (channel.clone(), Arc::clone(done));
        callers
            .spawn(async move { call_until_it_fails(channel, &format!("w{round}-{caller}"), &done).await });
    }
    while callers.join_next().await.transpose()?.is_some() {}
    Ok(())
}

async fn call_until_it_fails(channel: Channel, prefix: &str, done: &Mutex<Vec<String>>) {
    let mut client = OperatorClient::new(channel);
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        let manifest = Workload::new(&name, IMAGE, &["sleep"]).to_string();
        match client.apply(v1::ApplyRequest { manifest, dry_run: false }).await {
            Ok(_) => done.lock().unwrap_or_else(PoisonError::into_inner).push(name),
            Err(_) => return,
        }
    }
}
