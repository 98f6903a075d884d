//! What goes into the brain and what comes out.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_types::{
    AllocationId, AllocationIntent, AllocationLoad, Batch, ContainerName, Exit, FencingToken, MonoTime,
    NodeFacts, NodeLayers, NodeUsage, PersistId, Reason, WallTime,
};
use skerry_wire::{ToChild, ToParent};

/// Names one run of an [`Operation`]. Unique in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId(pub u64);

/// Which container of which allocation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerRef {
    /// The allocation.
    pub allocation: AllocationId,
    /// The container in it.
    pub container: ContainerName,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "an input is handled as it comes and never kept")]
pub enum Input {
    /// All containers that the keeper knows of. Comes first after a start, and again whenever the keeper was away. Between
    /// the listing and this input the shell delivers no later result or exit.
    Inventory(Vec<FoundContainer>),
    /// The node's facts, at start and when they change.
    Facts(NodeFacts),
    /// The node's usage, as often as the shell likes to look.
    Usage(NodeUsage),
    /// The layers of images that the node holds, at start and when they change.
    Layers(NodeLayers),
    /// What each allocation with a running container uses, as often as the shell likes to look. Those it does not name use
    /// nothing.
    Loads(Vec<AllocationLoad>),
    /// The link is up and authenticated; the parent awaits a hello.
    LinkUp,
    /// The link is gone.
    LinkDown,
    /// A message of the parent.
    Received(ToChild),
    /// This batch and all before it are on disk.
    Persisted(PersistId),
    /// An operation ended.
    Done(OpId, Result<Outcome, Failure>),
    /// A container ended by itself or by a signal.
    Exited {
        /// Which.
        container: ContainerRef,
        /// Which start of it, from 0.
        attempt: u32,
        /// How.
        exit: Exit,
        /// The end of its log.
        log_tail: String,
    },
    /// The time that [`poll_timeout`](crate::AgentState::poll_timeout) named has come.
    Timeout,
}

/// A container that the keeper knows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundContainer {
    /// Which.
    pub container: ContainerRef,
    /// Which start of it.
    pub attempt: u32,
    /// What it is doing.
    pub state: FoundState,
    /// When the keeper ends it, if it is exclusive.
    pub deadline: Option<MonoTime>,
}

/// What a found container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FoundState {
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
        /// Since when.
        started_at: WallTime,
    },
    /// It has ended, perhaps while nobody was looking.
    Exited {
        /// How.
        exit: Exit,
        /// The end of its log.
        log_tail: String,
    },
}

/// Something to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Write this; answer with [`Input::Persisted`]. Batches come in order and may be written together.
    Persist(PersistId, Batch),
    /// Send this to the parent. Without a link it is dropped.
    Send(ToParent),
    /// Close the link; the dialer may try again.
    CloseLink {
        /// Why, for the log.
        reason: String,
    },
    /// Begin this; answer with [`Input::Done`].
    Begin(OpId, Operation),
    /// Nobody waits for this operation any more. It is answered all the same.
    Cancel(OpId),
    /// The containers of this exclusive allocation may run up to then: the keeper is told, and ends them unless it is told of
    /// a later time. Not answered: a keeper that was away tells with [`Input::Inventory`] what it was told last.
    Extend {
        /// Which.
        allocation: AllocationId,
        /// When the keeper ends them.
        deadline: MonoTime,
    },
}

/// Something that the runtime does. Each can be repeated, and repairs what a killed run of it left.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Have all images of this allocation on disk. Answer: [`Outcome::Done`].
    Pull {
        /// The allocation.
        intent: Arc<AllocationIntent>,
    },
    /// Make its network namespace, address and host ports, or find them. Answer: [`Outcome::Prepared`].
    Prepare {
        /// The allocation.
        intent: Arc<AllocationIntent>,
        /// The address it had, if it had one.
        address: Option<Ipv4Addr>,
    },
    /// Make and start a container. Answer: [`Outcome::Started`].
    Start {
        /// The allocation.
        intent: Arc<AllocationIntent>,
        /// Which of its containers.
        container: ContainerName,
        /// Which start of it, from 0.
        attempt: u32,
        /// What it is given if it is exclusive. It is not started once the deadline is over.
        fence: Option<Fence>,
    },
    /// Ask a container to end, or end it. Answer: [`Outcome::Done`]; its end comes as [`Input::Exited`].
    Signal {
        /// Which.
        container: ContainerRef,
        /// How.
        signal: StopSignal,
    },
    /// Look whether a container is well. Answer: [`Outcome::Done`] when it is; a failure of the code
    /// [`Unhealthy`](skerry_types::ReasonCode::Unhealthy) when it is not; of any other code when nothing could be found out,
    /// which counts neither way. It is begun while other operations of the allocation are under way.
    Probe {
        /// Which.
        container: ContainerRef,
        /// Its process id.
        pid: u32,
        /// The address that others reach it at.
        address: Option<Ipv4Addr>,
        /// What to do.
        look: Look,
        /// How long an answer may take: longer counts as not well.
        timeout: Duration,
    },
    /// Remove what a container leaves, but for its log; it is killed if it runs. Answer: [`Outcome::Done`].
    RemoveContainer {
        /// Which.
        container: ContainerRef,
    },
    /// Remove the network of an allocation that rests: its namespace, its host ports. Its logs stay, and so may its address.
    /// Answer: [`Outcome::Done`].
    Release {
        /// Which.
        allocation: AllocationId,
    },
    /// Remove everything of an allocation whose containers have ended. Answer: [`Outcome::Done`].
    RemoveAllocation {
        /// Which.
        allocation: AllocationId,
    },
    /// End and remove everything of an allocation that should not be here. Answer: [`Outcome::Done`].
    Discard {
        /// Which.
        allocation: AllocationId,
        /// From the stop signal to the kill.
        grace: Duration,
    },
}

/// What a container of an exclusive allocation is given at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Greater than that of every start of the instance before it.
    pub token: FencingToken,
    /// When the keeper ends it, unless it is told of a later time.
    pub deadline: MonoTime,
}

/// How a container is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    /// By a signal to its first process.
    Ask {
        /// The signal's number; the image's stop signal, or `SIGTERM`, when `None`.
        signal: Option<u8>,
    },
    /// By `SIGKILL`, to all of it.
    Kill,
}

/// One look at a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Look {
    /// `GET path` on this port of the container's network is answered with a status of 200 to 399.
    Http {
        /// The port.
        port: u16,
        /// Path and query, from `/`.
        path: String,
    },
    /// A connection to this port of the container's network is taken.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A command in the container ends with code 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// How an operation ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing more to say.
    Done,
    /// The network is there.
    Prepared {
        /// The allocation's address.
        address: Ipv4Addr,
    },
    /// The container runs.
    Started {
        /// Its process id.
        pid: u32,
        /// Since when.
        started_at: WallTime,
    },
}

/// How an operation ended badly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What to tell people.
    pub reason: Reason,
    /// Whether trying again soon may help. If not, it is tried again all the same, but rarely.
    pub transient: bool,
}
