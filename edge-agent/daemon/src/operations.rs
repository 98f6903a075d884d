//! Carries out the brain's operations with the runtime.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use skerry_agent_state::{ContainerRef, Failure, Fence, Look, OpId, Operation, Outcome, StopSignal};
use skerry_runtime::image::{Digest, ImageRef, ImageStore, PullProgress};
use skerry_runtime::network::PortForward;
use skerry_runtime::{ContainerStart, Runtime, SandboxSpec};
use skerry_types::{AllocationIntent, ContainerName, ContainerSpec, Gpu, ImageDigest, ReasonCode};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::clock;
use crate::failure;
use crate::look::{self, Target};
use crate::starts::runtime_reference;

/// What operations work with.
#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) images: ImageStore,
    /// Graphics processors of the node, by their numbers.
    pub(crate) gpus: Arc<[Gpu]>,
}

/// Operations under way.
pub(crate) struct Operations {
    hands: Hands,
    tasks: JoinSet<Result<Outcome, Failure>>,
    names: HashMap<Id, OpId>,
    cancels: BTreeMap<OpId, CancellationToken>,
}

impl Operations {
    pub(crate) fn new(hands: Hands) -> Self {
        Self { hands, tasks: JoinSet::new(), names: HashMap::new(), cancels: BTreeMap::new() }
    }

    pub(crate) fn begin(&mut self, op: OpId, operation: Operation) {
        let cancel = CancellationToken::new();
        let span = tracing::info_span!("op", alloc = %operation.allocation());
        tracing::debug!(alloc = %operation.allocation(), op = op.0, what = name(&operation), "begins");
        let work = carry_out(self.hands.clone(), operation, cancel.clone());
        let task = self.tasks.spawn(work.instrument(span));
        self.names.insert(task.id(), op);
        self.cancels.insert(op, cancel);
    }

    /// Ends an operation early, if it is of a kind that can.
    pub(crate) fn cancel(&self, op: OpId) {
        if let Some(cancel) = self.cancels.get(&op) {
            cancel.cancel();
        }
    }

    /// The next answer; never while nothing is under way. Cancel-safe.
    pub(crate) async fn next(&mut self) -> (OpId, Result<Outcome, Failure>) {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else {
                return std::future::pending().await;
            };
            let (id, result) = match ended {
                Ok((id, result)) => (id, result),
                Err(error) => {
                    tracing::error!(%error, "an operation failed in a way that is a defect of the agent");
                    let message = "the agent has a defect; see its log on the node";
                    (error.id(), Err(Failure::transient(ReasonCode::CreateFailed, message)))
                }
            };
            if let Some(op) = self.names.remove(&id) {
                self.cancels.remove(&op);
                if let Err(failure) = &result {
                    // A container that is not well is news once, which the brain tells.
                    if failure.reason.code == ReasonCode::Unhealthy {
                        tracing::debug!(op = op.0, message = failure.reason.message, "a look failed");
                        return (op, result);
                    }
                    tracing::info!(op = op.0, reason = %failure.reason.code, message = failure.reason.message, "an operation failed");
                }
                return (op, result);
            }
        }
    }

    /// Gives up what is under way, as a crash would: every operation repairs what an earlier run of it left.
    pub(crate) async fn stop(mut self) {
        for cancel in self.cancels.values() {
            cancel.cancel();
        }
        self.tasks.shutdown().await;
    }
}

fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Pull { .. } => "pull",
        Operation::Prepare { .. } => "prepare",
        Operation::Start { .. } => "start",
        Operation::Signal { .. } => "signal",
        Operation::Probe { .. } => "probe",
        Operation::Release { .. } => "release",
        Operation::RemoveContainer { .. } => "remove container",
        Operation::RemoveAllocation { .. } => "remove allocation",
        Operation::Discard { .. } => "discard",
    }
}

async fn carry_out(
    hands: Hands,
    operation: Operation,
    cancel: CancellationToken,
) -> Result<Outcome, Failure> {
    let Hands { runtime, images, gpus } = hands;
    match operation {
        Operation::Pull { intent } => {
            for container in intent.spec.all_containers() {
                pull(&images, container, &cancel).await?;
            }
        }
        Operation::Prepare { intent, address } => {
            let sandbox = SandboxSpec { address, ..sandbox(&intent) };
            let address = runtime.prepare(&sandbox).await.map_err(|error| failure::prepare(&error))?;
            return Ok(Outcome::Prepared { address });
        }
        Operation::Start { intent, container, attempt, fence } => {
            let devices = devices(&gpus, &intent, &container)?;
            return start(&runtime, &images, &intent, (&container, attempt, fence), &devices).await;
        }
        Operation::Signal { container, signal } => {
            let container = runtime_reference(container);
            let sent = match signal {
                StopSignal::Ask { signal } => runtime.ask(&container, signal).await,
                StopSignal::Kill => runtime.kill(&container).await,
            };
            sent.map_err(|error| failure::signal(&error))?;
        }
        Operation::Probe { container, pid, address, look, timeout } => {
            look_at(&runtime, container, (pid, address), look, timeout).await?;
        }
        Operation::Release { allocation } => {
            runtime.release(&allocation).await.map_err(|error| failure::remove(&error))?;
        }
        Operation::RemoveContainer { container } => {
            let removed = runtime.remove_container(&runtime_reference(container)).await;
            removed.map_err(|error| failure::remove(&error))?;
        }
        Operation::RemoveAllocation { allocation } => {
            runtime.remove_allocation(&allocation).await.map_err(|error| failure::remove(&error))?;
        }
        Operation::Discard { allocation, grace } => {
            runtime.discard(&allocation, grace).await.map_err(|error| failure::remove(&error))?;
        }
    }
    Ok(Outcome::Done)
}

async fn look_at(
    runtime: &Runtime,
    container: ContainerRef,
    (pid, address): (u32, Option<Ipv4Addr>),
    look: Look,
    timeout: Duration,
) -> Result<(), Failure> {
    match look {
        Look::Http { port, path } => look::http(Target { pid, address, port }, &path, timeout).await,
        Look::Tcp { port } => look::tcp(Target { pid, address, port }, timeout).await,
        Look::Exec { command } => look::exec(runtime, &runtime_reference(container), &command, timeout).await,
    }
}

/// An image that is here needs no registry, so a node starts its containers without a link.
async fn pull(
    images: &ImageStore,
    container: &ContainerSpec,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let (image, digest) = pinned(container)?;
    if images.local(&digest).is_some() {
        return Ok(());
    }
    tracing::info!(%image, container = %container.name, "pulling");
    let progress = watch::Sender::new(PullProgress::default());
    let pulled = images.ensure(&image, &progress, cancel).await;
    let image = pulled.map_err(|error| failure::pull(&container.name, &error))?;
    tracing::info!(image = image.reference, bytes = image.size, "pulled");
    Ok(())
}

async fn start(
    runtime: &Runtime,
    images: &ImageStore,
    intent: &AllocationIntent,
    (name, attempt, fence): (&ContainerName, u32, Option<Fence>),
    devices: &[String],
) -> Result<Outcome, Failure> {
    let Some(spec) = intent.spec.all_containers().find(|spec| spec.name == *name) else {
        let message = format!("container {name} is not in the spec of {}", intent.id);
        return Err(Failure::permanent(ReasonCode::CreateFailed, message));
    };
    let (image, digest) = pinned(spec)?;
    let Some(image) = images.local(&digest) else {
        let message =
            format!("container {name}: image {image} is not on this node any more; it is pulled again");
        return Err(Failure::transient(ReasonCode::ImageNotFound, message));
    };
    let fence = fence.map(|fence| skerry_runtime::Fence {
        token: fence.token,
        kill_at_ms: clock::boottime_ms(fence.deadline),
    });
    let start = ContainerStart { spec, attempt, image: Arc::new(image), devices, fence };
    let started = runtime.start(&sandbox(intent), start).await;
    let started = started.map_err(|error| failure::start(name, &error))?;
    Ok(Outcome::Started { pid: started.pid, started_at: started.started_at })
}

/// Device files of the graphics processors that a container was given, each once.
fn devices(
    gpus: &[Gpu],
    intent: &AllocationIntent,
    container: &ContainerName,
) -> Result<Vec<String>, Failure> {
    let mut devices = BTreeSet::new();
    for binding in intent.gpus.iter().filter(|binding| binding.container == *container) {
        let Some(gpu) = gpus.get(usize::from(binding.gpu)) else {
            let message = format!(
                "container {container}: this node has no graphics processor {} any more",
                binding.gpu
            );
            return Err(Failure::permanent(ReasonCode::CreateFailed, message));
        };
        devices.extend(gpu.devices.iter().cloned());
    }
    Ok(devices.into_iter().collect())
}

fn sandbox(intent: &AllocationIntent) -> SandboxSpec {
    SandboxSpec { allocation: intent.id.clone(), ports: forwards(intent), address: None }
}

/// The host ports of an allocation.
pub(crate) fn forwards(intent: &AllocationIntent) -> Vec<PortForward> {
    let forward = |port: &skerry_types::PortBinding| PortForward {
        protocol: port.protocol,
        host: port.host,
        container: port.container,
    };
    intent.ports.iter().map(forward).collect()
}

/// The digest as the image store knows it.
pub(crate) fn store_digest(digest: &ImageDigest) -> Option<Digest> {
    digest.as_str().parse().ok()
}

/// The image of a container, by the digest that admission found.
fn pinned(container: &ContainerSpec) -> Result<(ImageRef, Digest), Failure> {
    let bad = |why: String| {
        let message = format!("container {}: image '{}': {why}", container.name, container.image);
        Failure::permanent(ReasonCode::ImageInvalid, message)
    };
    let image: ImageRef = container.image.parse().map_err(|error| bad(skerry_types::chain(&error)))?;
    let digest = container.digest.as_ref().and_then(store_digest);
    let digest = digest.ok_or_else(|| bad("it has no digest; apply the workload again".to_owned()))?;
    Ok((image.with_digest(digest), digest))
}
