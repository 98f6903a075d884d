//! Requests, replies and events.

use crate::{CgroupPath, ContainerKey, ContainerRecord, ContainerStats, Exit, Identity, ProcessIdentity};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Chosen by the client, returned in the reply; unique among the client's open requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// One frame from the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientMessage {
    /// Returned in the reply.
    pub id: RequestId,
    /// What is asked for.
    pub request: Request,
}

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First on every connection; answered with [`Reply::Hello`].
    Hello {
        /// [`crate::PROTOCOL_VERSION`] of the client.
        version: u16,
    },
    /// Creates and starts a container; answered with [`Reply::Created`] when its process was told to run.
    Create(Box<CreateRequest>),
    /// Sends a signal to the container's first process, or with `all` to every process in its cgroup;
    /// answered with [`Reply::Done`], or [`FailureKind::NotRunning`].
    Signal {
        /// The container.
        key: ContainerKey,
        /// Signal number, 1 to 31.
        signal: i32,
        /// Every process instead of the first.
        all: bool,
    },
    /// A page of records in the order of their keys; answered with [`Reply::Containers`].
    List {
        /// The last key of the page before; `None` starts over.
        after: Option<ContainerKey>,
    },
    /// One record; answered with [`Reply::Container`].
    Inspect {
        /// The container.
        key: ContainerKey,
    },
    /// Forgets an exited container: record, run files, cgroup, and parent cgroups left empty. Its log directory
    /// stays. Answered with [`Reply::Done`]. With `force` a running container is killed first, and a create under
    /// way is called off; an unknown key is done already.
    Delete {
        /// The container.
        key: ContainerKey,
        /// Kill it first if it runs.
        force: bool,
    },
    /// Resource use; answered with [`Reply::Stats`].
    Stats {
        /// The container.
        key: ContainerKey,
    },
    /// Replaces the keeper by `binary` in place. [`Reply::Done`] comes right before; then the connection closes and
    /// the client connects again. Containers and their exit codes are not touched.
    Upgrade {
        /// Absolute path of a `skerry-keeper`.
        binary: PathBuf,
    },
    /// Ends the keeper; answered with [`Reply::Done`] right before. Refused with [`FailureKind::Running`] while
    /// containers run; with `force` they are killed and their exits recorded first.
    Shutdown {
        /// Kill what runs.
        force: bool,
    },
    /// Says that a create will follow, soon or some time; answered with [`Reply::Done`]. A worker is started for it meanwhile, and
    /// ends unused when the connection closes first. Asking is never needed.
    Expect,
    /// Lets a container that has a time to be killed at run up to a later one; an earlier one changes nothing. Answered with
    /// [`Reply::Done`], or [`FailureKind::NotRunning`] when it is too late.
    Extend {
        /// The container.
        key: ContainerKey,
        /// When it is killed, as in [`CreateRequest::kill_at_ms`].
        kill_at_ms: u64,
    },
}

/// What a container is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequest {
    /// Its name; must not be in use, also not by an exited container that is not deleted.
    pub key: ContainerKey,
    /// Stored with it and returned in its record.
    pub identity: Identity,
    /// Absolute path of the OCI bundle: `config.json`, with the root filesystem mounted where it says.
    pub bundle: PathBuf,
    /// The container's cgroup; it replaces what `config.json` says.
    pub cgroups_path: CgroupPath,
    /// Where its output goes.
    pub log: LogPolicy,
    /// The create is killed and undone when it takes longer, in milliseconds.
    pub deadline_ms: u32,
    /// The container is killed then, and not started any more, unless the time is put off by [`Request::Extend`]: milliseconds
    /// of `CLOCK_BOOTTIME`, which also counts while the machine sleeps. Whoever asked may be dead by then.
    pub kill_at_ms: Option<u64>,
}

/// Where and how much output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPolicy {
    /// Absolute path; made if it is not there. See [`crate::current_log`] and [`crate::rotated_log`].
    pub dir: PathBuf,
    /// A file is rotated before it grows past this many bytes; at least 64 KiB is used.
    pub max_bytes: u64,
    /// How many files are kept, the current one included; at least 1.
    pub max_files: u16,
}

/// One frame from the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// The answer to one request.
    Reply {
        /// Id of the request.
        id: RequestId,
        /// What came of it.
        result: Result<Reply, Failure>,
    },
    /// Something happened.
    Event(Event),
}

/// Answers to requests that went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Hello`.
    Hello {
        /// Protocol version that the keeper speaks.
        version: u16,
        /// Version of the keeper's package, for people.
        keeper: String,
        /// The keeper's process id.
        pid: u32,
    },
    /// To `Create`.
    Created {
        /// The container's first process.
        process: ProcessIdentity,
    },
    /// To requests that have nothing to tell.
    Done,
    /// To `List`.
    Containers {
        /// Ordered by key.
        records: Vec<ContainerRecord>,
        /// Whether a further page follows the last of these.
        more: bool,
    },
    /// To `Inspect`.
    Container(Box<ContainerRecord>),
    /// To `Stats`.
    Stats(ContainerStats),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people: what failed, on which object. At most 4 KiB.
    pub message: String,
}

/// Kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureKind {
    /// The first request was not `Hello`, or a value is out of its range.
    BadRequest,
    /// The client speaks a version that the keeper does not.
    UnsupportedVersion,
    /// The key is in use.
    Exists,
    /// No container has the key.
    NotFound,
    /// The container runs, or the keeper has containers that run.
    Running,
    /// The container has no process to signal.
    NotRunning,
    /// The bundle cannot be read, or asks for what is refused.
    InvalidBundle,
    /// The container could not be made.
    CreateFailed,
    /// The create passed its deadline; nothing is left of it.
    DeadlineExceeded,
    /// Called off by a forced delete, an upgrade or a shutdown.
    Cancelled,
    /// The keeper is upgrading or ending; ask its successor.
    Busy,
    /// Reading or writing the keeper's own files failed, such as on a full disk.
    Io,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadRequest => "bad request",
            Self::UnsupportedVersion => "unsupported version",
            Self::Exists => "exists",
            Self::NotFound => "not found",
            Self::Running => "running",
            Self::NotRunning => "not running",
            Self::InvalidBundle => "invalid bundle",
            Self::CreateFailed => "create failed",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::Cancelled => "cancelled",
            Self::Busy => "busy",
            Self::Io => "input/output",
        })
    }
}

/// What the keeper tells every connected client by itself.
///
/// Events are not kept for clients that are away: after connecting, `List` shows the same facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A container's first process ended.
    Exited {
        /// The container.
        key: ContainerKey,
        /// How it ended.
        exit: Exit,
    },
}
