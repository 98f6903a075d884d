//! What an operator asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Bytes, ContainerName, JobPolicy, Labels, Lease, MilliCpu, OnDisconnect, Placement, PortName, Probes,
    Resources, Scale, Schedule, TenantName, UpdatePolicy, WorkloadName,
};

/// Which workload: its tenant and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadKey {
    /// The tenant that owns it.
    pub tenant: TenantName,
    /// Its name, unique in the tenant.
    pub name: WorkloadName,
}

impl fmt::Display for WorkloadKey {
    /// The bare name for the default tenant, `TENANT/NAME` for others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tenant == TenantName::default() {
            return f.pad(self.name.as_str());
        }
        f.pad(&format!("{}/{}", self.tenant, self.name))
    }
}

/// What kind of life a workload leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// Keep `instances` running.
    Service,
    /// Run `instances` to their end, once.
    Job(JobPolicy),
    /// Run `instances` to their end each time the schedule of their [`InstanceSpec`] says so.
    Cron,
    /// One instance on each matching node; `instances` is zero.
    Daemon,
}

impl WorkloadKind {
    /// The word that manifests use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Job(_) => "job",
            Self::Cron => "cron",
            Self::Daemon => "daemon",
        }
    }
}

/// A validated workload: everything that placement and the nodes need to know. Image references carry digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadSpec {
    /// Which workload.
    pub key: WorkloadKey,
    /// Labels that people select by.
    pub labels: Labels,
    /// What kind.
    pub kind: WorkloadKind,
    /// How many instances to keep.
    pub instances: u32,
    /// 0 to 100; a higher one is placed first, and may take the room of a lower one.
    pub priority: u8,
    /// What each instance runs.
    pub instance: Arc<InstanceSpec>,
    /// Where instances may and should go.
    pub placement: Placement,
    /// How it goes from one generation to the next.
    pub update: UpdatePolicy,
    /// What happens to instances that are not heard from.
    pub on_disconnect: OnDisconnect,
    /// How `instances` follows the load, if it does.
    pub scale: Option<Scale>,
}

impl WorkloadSpec {
    /// Priority of a workload that says nothing of it.
    pub const DEFAULT_PRIORITY: u8 = 50;

    /// The lease of a workload of which no instance ever runs twice at once.
    pub fn exclusive(&self) -> Option<Lease> {
        self.instance.exclusive
    }
}

/// What one instance runs: the part of a workload that a node needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Containers that run one after the other to a good end, before the others start.
    pub init: Vec<ContainerSpec>,
    /// One or more containers, which share a network namespace and a fate. They start in this order and stop in the opposite
    /// one.
    pub containers: Vec<ContainerSpec>,
    /// What happens when a container ends.
    pub restart: RestartPolicy,
    /// From the stop signal to the kill.
    pub stop_grace: Duration,
    /// From the word to stop, upon which it is not ready any more, to the stop signal: what sends it traffic needs a moment to
    /// notice. Only what is ready waits for it.
    pub stop_delay: Duration,
    /// When it runs; at once, and as long as its restart policy says, when `None`.
    pub schedule: Option<Schedule>,
    /// A run that takes longer than this is ended and has failed; `None`: no bound.
    pub deadline: Option<Duration>,
    /// After this long without a link the node stops it; `None`: never.
    pub stop_after: Option<Duration>,
    /// It never runs twice at once, and only as long as its node holds this; `None`: a copy may run elsewhere.
    pub exclusive: Option<Lease>,
}

impl InstanceSpec {
    /// What an instance reserves: the sum over its containers, or what an init container needs where that is more.
    pub fn resources(&self) -> Resources {
        let sum =
            self.containers.iter().fold(Resources::default(), |sum, container| sum + container.resources);
        self.init.iter().fold(sum, |most, container| most.max(&container.resources))
    }

    /// How long a graceful stop takes at most once it begins: containers are stopped one after the other.
    pub fn longest_stop(&self) -> Duration {
        self.stop_grace.saturating_mul(u32::try_from(self.containers.len()).unwrap_or(u32::MAX))
    }

    /// Init containers and then the others.
    pub fn all_containers(&self) -> impl Iterator<Item = &ContainerSpec> {
        self.init.iter().chain(&self.containers)
    }

    /// All ports of all containers, in order.
    pub fn ports(&self) -> impl Iterator<Item = &PortSpec> {
        self.containers.iter().flat_map(|container| &container.ports)
    }
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its name, unique in the workload.
    pub name: ContainerName,
    /// The image as the operator wrote it, such as `registry.example/nginx:1.22`.
    pub image: String,
    /// What the tag meant at admission; the image runs by this for ever after. `None` only before admission.
    pub digest: Option<crate::ImageDigest>,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments when not empty.
    pub args: Vec<String>,
    /// Added to the image's environment, in order; a name that the image has is replaced.
    pub env: Vec<EnvVar>,
    /// Reserved for it.
    pub resources: Resources,
    /// What it may not pass.
    pub limits: Limits,
    /// Ports that it listens on.
    pub ports: Vec<PortSpec>,
    /// `uid[:gid]` or `name[:group]` of the image; the image's own when `None`.
    pub user: Option<String>,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Changes to the default capability set.
    pub capabilities: Capabilities,
    /// How the node looks whether it is well.
    pub probes: Probes,
    /// What asks it to end: a signal's number; the image's stop signal or `SIGTERM` when `None`.
    pub stop_signal: Option<u8>,
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl EnvVar {
    /// Turns a map as a manifest has it into the ordered form.
    pub fn from_map(map: BTreeMap<String, String>) -> Vec<Self> {
        map.into_iter().map(|(name, value)| Self { name, value }).collect()
    }
}

/// Bounds that the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processor time; `None` lets it burst into what is idle.
    pub cpu: Option<MilliCpu>,
    /// Memory, swap included.
    pub memory: Bytes,
    /// Processes and threads.
    pub pids: u32,
}

/// A port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Its name, unique in the workload.
    pub name: PortName,
    /// Where the container listens: 1 to 65535.
    pub container: u16,
    /// Transport.
    pub protocol: Protocol,
    /// Where the node listens for it.
    pub host: HostPort,
}

/// Transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Where the node listens for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPort {
    /// Nowhere: only the allocation's own address has it.
    None,
    /// On a free port of the node's range, chosen at placement.
    Auto,
    /// On this port.
    Fixed(u16),
}

/// What happens when a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// After which ends it starts again.
    pub when: RestartWhen,
    /// Wait before the first restart; doubles with each.
    pub backoff: Duration,
    /// Longest wait.
    pub max_backoff: Duration,
}

/// After which ends a container starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartWhen {
    /// After every end.
    Always,
    /// After an end with a code other than 0, a signal, or an unknown end.
    OnFailure,
    /// Never.
    Never,
}

/// Changes to the default capability set; names without `CAP_`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Added.
    pub add: Vec<String>,
    /// Taken away; `ALL` takes all.
    pub drop: Vec<String>,
}
