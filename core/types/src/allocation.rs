//! One instance on one node: what it should be, and what the node says it is.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    AllocationId, ContainerName, FencingToken, Generation, InstanceIndex, InstanceSpec, PortName, Protocol,
    WallTime, WorkloadKey,
};

/// What a node should hold for one allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationIntent {
    /// Which allocation.
    pub id: AllocationId,
    /// Of which workload.
    pub workload: WorkloadKey,
    /// Of which generation of it.
    pub generation: Generation,
    /// Which of its instances.
    pub instance: InstanceIndex,
    /// What it runs.
    pub spec: Arc<InstanceSpec>,
    /// Host ports chosen at placement, one for each port of `spec` that has one.
    pub ports: Vec<PortBinding>,
    /// Graphics processors chosen at placement.
    pub gpus: Vec<GpuBinding>,
    /// The time zone of the node's site, an IANA name; UTC when `None`. Schedules go by it.
    pub timezone: Option<String>,
    /// Whether it should run.
    pub desired: Desired,
}

/// Whether an allocation should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Desired {
    /// Run, and start again as its policy says.
    Run,
    /// Stop gracefully, remove everything, say `Stopped`.
    Stop,
    /// An orphan: the store of its master came from an older copy, and nobody knows who asked for it. It goes on as under
    /// `Run`, but begins no further run of a schedule, until somebody says what is to become of it.
    Keep,
}

/// A port of the node that leads to a port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    /// The port's name in the spec.
    pub name: PortName,
    /// Transport.
    pub protocol: Protocol,
    /// Where the container listens.
    pub container: u16,
    /// Where the node listens.
    pub host: u16,
}

/// A graphics processor, or a part of one, that a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuBinding {
    /// Which container.
    pub container: ContainerName,
    /// Its number on the node.
    pub gpu: u16,
    /// How much of it: 1000 for all.
    pub share: crate::MilliGpu,
}

/// What a node says of one allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationStatus {
    /// Which allocation.
    pub id: AllocationId,
    /// Of which generation.
    pub generation: Generation,
    /// Where it is in its life.
    pub phase: Phase,
    /// Why it is not running, when it is not.
    pub reason: Option<Reason>,
    /// Its address on the node's bridge.
    pub address: Option<Ipv4Addr>,
    /// Its containers, in the order of the spec.
    pub containers: Vec<ContainerStatus>,
    /// Since when it has been in this phase, by the node's clock.
    pub since: WallTime,
    /// Since when every container is well and ready, by the node's clock; `None` while not all are.
    pub ready_since: Option<WallTime>,
    /// The newest due time of its schedule that it has run for, by the schedule's clock; `None` before the first.
    pub last_due: Option<WallTime>,
    /// The token of its last start, if it is exclusive and was started here.
    pub token: Option<FencingToken>,
}

/// What an allocation uses, and the gauges that it publishes. Sent when one of them changed by more than a tenth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationLoad {
    /// Which allocation.
    pub id: AllocationId,
    /// Processor time over the last look's interval.
    pub cpu: crate::MilliCpu,
    /// Memory.
    pub memory: crate::Bytes,
    /// Gauges by name, in thousandths.
    pub gauges: std::collections::BTreeMap<String, u64>,
}

/// Where an allocation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Placed; the node has not spoken of it.
    Pending,
    /// Images are being fetched.
    Pulling,
    /// Network and containers are being made.
    Starting,
    /// Every container runs.
    Running,
    /// A container ended, or could not start, and waits for its next try.
    Backoff,
    /// Being stopped.
    Stopping,
    /// Stopped as asked; nothing of it is left on the node.
    Stopped,
    /// Ended by itself with success and will not start again.
    Completed,
    /// Ended by itself with failure and will not start again.
    Failed,
}

impl Phase {
    /// Whether this allocation holds nothing on its node any more and never will again.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// Whether it came to an end by itself and will not start again.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Pulling => "pulling",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Failed => "failed",
        })
    }
}

/// Why an allocation is not where it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For programs.
    pub code: ReasonCode,
    /// For people: what happened, to which object, what happens next. At most [`Reason::MESSAGE_MAX`] bytes.
    pub message: String,
}

impl Reason {
    /// Longest message in bytes: a status row must stay far below a frame.
    pub const MESSAGE_MAX: usize = 1024;

    /// A reason whose message is cut to its bound.
    pub fn new(code: ReasonCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(Self::MESSAGE_MAX));
        Self { code, message }
    }
}

/// Classes of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReasonCode {
    /// The image is not in the registry.
    ImageNotFound,
    /// The registry does not let us in.
    RegistryUnauthorized,
    /// The registry does not answer.
    RegistryUnreachable,
    /// The image is damaged, hostile or not for this platform.
    ImageInvalid,
    /// No room on disk.
    DiskFull,
    /// A host port is taken by something else.
    PortTaken,
    /// The network could not be made.
    Network,
    /// The container could not be made or started.
    CreateFailed,
    /// The container ended.
    Exited,
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// The keeper of containers does not answer.
    Keeper,
    /// A probe says that it is not well.
    Unhealthy,
    /// An init container did not come to a good end.
    InitFailed,
    /// A run took longer than it may.
    DeadlineExceeded,
    /// The node was without a link for too long.
    Disconnected,
    /// The node does not hold the lease without which it may not run.
    NoLease,
    /// What is on the node takes the room or a host port that it was given.
    NoRoom,
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ImageNotFound => "ImageNotFound",
            Self::RegistryUnauthorized => "RegistryUnauthorized",
            Self::RegistryUnreachable => "RegistryUnreachable",
            Self::ImageInvalid => "ImageInvalid",
            Self::DiskFull => "DiskFull",
            Self::PortTaken => "PortTaken",
            Self::Network => "Network",
            Self::CreateFailed => "CreateFailed",
            Self::Exited => "Exited",
            Self::OutOfMemory => "OutOfMemory",
            Self::Keeper => "Keeper",
            Self::Unhealthy => "Unhealthy",
            Self::InitFailed => "InitFailed",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Disconnected => "Disconnected",
            Self::NoLease => "NoLease",
            Self::NoRoom => "NoRoom",
        })
    }
}

/// What a node says of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Which container.
    pub name: ContainerName,
    /// What it is doing.
    pub state: ContainerState,
    /// How often it was started after its first start.
    pub restarts: u32,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// The end of its log at its last end, at most [`ContainerStatus::LOG_TAIL_MAX`] bytes.
    pub log_tail: String,
}

impl ContainerStatus {
    /// Longest log tail in bytes: enough for a stack of errors, little enough for a metered link.
    pub const LOG_TAIL_MAX: usize = 1024;
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Not started.
    Waiting,
    /// Running.
    Running {
        /// Its process id on the node.
        pid: u32,
        /// Since when, by the node's clock.
        started_at: WallTime,
    },
    /// Ended; starts again when the wait is over.
    Backoff {
        /// When, by the node's clock.
        until: WallTime,
    },
    /// Ended for good.
    Ended,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How.
    pub kind: ExitKind,
    /// Whether the kernel ended a process of it for want of memory.
    pub out_of_memory: bool,
    /// When, by the node's clock.
    pub at: WallTime,
    /// How long it had run; zero when unknown.
    pub ran_for: Duration,
}

impl Exit {
    /// Whether it ended with code 0.
    pub fn is_success(&self) -> bool {
        self.kind == ExitKind::Code(0)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitKind {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// While nobody could see it.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ExitKind::Code(code) => write!(f, "exit code {code}")?,
            ExitKind::Signal(signal) => write!(f, "signal {signal}")?,
            ExitKind::Unknown => write!(f, "unknown end")?,
        }
        if self.out_of_memory { f.write_str(", out of memory") } else { Ok(()) }
    }
}
