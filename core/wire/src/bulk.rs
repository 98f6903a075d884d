//! Streams beside the control stream.

use serde::{Deserialize, Serialize};
use skerry_types::{AllocationId, ContainerName, WallTime};

/// First on every bulk stream: what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkHeader {
    /// Parent to node: send a container's log; answered by [`BulkFrame`]s.
    Logs(LogsRequest),
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
    Data(Vec<u8>),
    /// It cannot go on, and why, for people.
    Failed(String),
}

impl BulkFrame {
    /// Most bytes in one frame: a bulk stream's share of a lean window.
    pub const DATA_MAX: usize = 32 * 1024;
}
