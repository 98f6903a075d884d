//! Streams beside the control stream.

use serde::{Deserialize, Serialize};
use skerry_types::{AllocationId, ContainerName, WallTime};

/// First on every bulk stream: what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkHeader {
    /// Parent to node: send a container's log; answered by [`BulkFrame`]s.
    Logs(LogsRequest),
    /// Parent to region: a call of the operator API, for a caller who may make it at the parent; answered by [`BulkFrame`]s
    /// that are the answer's messages, each with its length before it.
    Call(CallRequest),
}

/// A call of the operator API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRequest {
    /// The call's name, such as `ListAllocations`.
    pub method: String,
    /// Who asks, for the log.
    pub user: String,
    /// The request, protobuf, at most [`CallRequest::MESSAGE_MAX`] bytes.
    #[serde(with = "serde_bytes")]
    pub message: Vec<u8>,
}

impl CallRequest {
    /// Longest request in bytes: a manifest and some.
    pub const MESSAGE_MAX: usize = 512 * 1024;
}

/// Which part of which log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRequest {
    /// Of which allocation.
    pub allocation: AllocationId,
    /// Of which container.
    pub container: ContainerName,
    /// Only this many lines at the end.
    pub tail: Option<u64>,
    /// Only lines written at or after this time.
    pub since: Option<WallTime>,
    /// Go on with what is written later.
    pub follow: bool,
}

/// The answer on a bulk stream, until the stream ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkFrame {
    /// Bytes, at most [`BulkFrame::DATA_MAX`].
    Data(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It cannot go on, and why, for people.
    Failed(String),
}

impl BulkFrame {
    /// Most bytes in one frame: a bulk stream's share of a lean window.
    pub const DATA_MAX: usize = 32 * 1024;
}
