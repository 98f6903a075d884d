//! Durable applies through the API.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use skerry_api::v1::ApplyRequest;
use skerry_api::v1::operator_client::OperatorClient;
use skerry_ground::region::ContextFile;
use tokio::task::JoinSet;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::Measurement;
use crate::stage::Stage;

const CALLERS: usize = 64;
/// How many connections the callers share.
const CONNECTIONS: usize = 4;
const LENGTH: Duration = Duration::from_secs(8);
const FLOOR_LENGTH: Duration = Duration::from_secs(2);

/// Applies per second, each of a changed workload, answered when it is on disk. The floor is how often the same disk makes one
/// small write durable; a store that commits callers together may pass it.
pub(crate) fn measure() -> Result<Vec<Measurement>> {
    let stage = Stage::new(0)?;
    let channel = channel(&stage)?;
    let image = Arc::new(stage.image.clone());
    let floor = syncs_per_second(&stage.master.host().disk())?;
    let counted = stage.master.host().namespace().within(|| {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        executor.block_on(call(&channel, &image))
    })??;
    let row = Measurement::new(format!("durable applies, {CALLERS} callers"), counted, "1/s");
    Ok(vec![row.with_peer("fdatasync of 4 KiB", floor).at_least(1000.0)])
}

/// Reads the operator's context as the command does.
fn channel(stage: &Stage) -> Result<Endpoint> {
    let context = ContextFile::read(stage.operator.context())?;
    let tls = ClientTlsConfig::new()
        .domain_name(ContextFile::SERVER_NAME)
        .ca_certificate(Certificate::from_pem(context.ca))
        .identity(Identity::from_pem(context.certificate, context.key));
    Ok(Endpoint::from_shared(context.server)?.tls_config(tls)?)
}

async fn call(endpoint: &Endpoint, image: &Arc<String>) -> Result<f64> {
    let mut clients: Vec<OperatorClient<Channel>> = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(OperatorClient::new(endpoint.connect().await.context("connecting to the master")?));
    }
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (client, image) = (clients[number % CONNECTIONS].clone(), Arc::clone(image));
        callers.spawn(caller(client, image, number, start));
    }
    let mut done = 0;
    while let Some(count) = callers.join_next().await {
        done += count??;
    }
    Ok(f64::from(done) / start.elapsed().as_secs_f64())
}

/// Changes one workload over and over; gives how often.
async fn caller(
    mut client: OperatorClient<Channel>,
    image: Arc<String>,
    number: usize,
    start: Instant,
) -> Result<u32> {
    let mut done = 0;
    while start.elapsed() < LENGTH {
        let manifest = manifest(&image, number, done);
        client.apply(ApplyRequest { manifest, dry_run: false }).await.context("applying")?;
        done += 1;
    }
    Ok(done)
}

fn manifest(image: &str, number: usize, round: u32) -> String {
    json!({
        "apiVersion": "skerry/v1",
        "kind": "Workload",
        "metadata": {"name": format!("w{number}")},
        "spec": {
            "type": "service",
            "instances": 1,
            "containers": [{
                "name": "main",
                "image": image,
                "env": {"ROUND": round.to_string()},
                "resources": {"cpu": "10m", "memory": "16Mi"},
            }],
        },
    })
    .to_string()
}

/// Appends of 4 KiB to a file, each followed by a barrier.
fn syncs_per_second(folder: &Path) -> Result<f64> {
    let path = folder.join("floor");
    let mut file = fs::File::create(&path).context("making a file for the floor")?;
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < FLOOR_LENGTH {
        file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).context("writing durably")?;
        done += 1;
    }
    let rate = f64::from(done) / start.elapsed().as_secs_f64();
    fs::remove_file(&path).context("removing the file")?;
    Ok(rate)
}
