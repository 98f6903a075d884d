//! Messages of the control stream.

use serde::{Deserialize, Serialize};
use skerry_types::{RegionName, WallTime};

use crate::{Cursor, Epoch, Revision, RowsFrame};

/// The newest protocol version that this build speaks.
pub const PROTOCOL_NEWEST: u16 = 1;
/// The oldest protocol version that this build speaks.
pub const PROTOCOL_OLDEST: u16 = 1;

/// The version that two sides speak: the newest that both know, if there is one.
pub fn negotiate(oldest: u16, newest: u16) -> Option<u16> {
    let version = newest.min(PROTOCOL_NEWEST);
    (version >= oldest.max(PROTOCOL_OLDEST)).then_some(version)
}

/// From a child to its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToParent {
    /// First on every link.
    Hello(Hello),
    /// Rows of the child's tables.
    Rows(RowsFrame),
    /// Answers one frame of rows, in order, once it is on disk: the reader's cursor.
    Ack(Cursor),
    /// A node asks for the leases of what is exclusive on it anew.
    Renew {
        /// Grows with each that the process sends; it remembers when it sent it.
        round: u64,
    },
}

/// From a parent to its child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToChild {
    /// Answers a hello: the link is up.
    Welcome(Welcome),
    /// Answers a hello: the link will be closed.
    Refused(Refused),
    /// Rows of the parent's tables.
    Rows(RowsFrame),
    /// Answers one frame of rows, in order, once it is on disk: the reader's cursor.
    Ack(Cursor),
    /// Answers a question for leases: counted from when it was asked, the node holds the lease of each exclusive allocation
    /// that it is to run by the rows up to `cursor`. It means nothing before these rows are in force at the node.
    Renewed {
        /// The question.
        round: u64,
        /// What the parent had decided by then.
        cursor: Cursor,
    },
}

/// What a child says first. Who it is stands in its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest protocol version it speaks.
    pub oldest: u16,
    /// The newest protocol version it speaks.
    pub newest: u16,
    /// Its software's version, for people.
    pub software: String,
    /// Up to where it has the parent's rows.
    pub cursor: Cursor,
    /// The epoch of its own tables.
    pub epoch: Epoch,
    /// Up to where its own rows go. Until the parent has them, what it holds of the child is of before.
    pub head: Revision,
}

/// What a parent says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol version to speak.
    pub protocol: u16,
    /// Its region.
    pub region: RegionName,
    /// The regions above it, from the root down: a child that finds itself among them has dialled in a circle.
    pub above: Vec<RegionName>,
    /// Its wall clock, by which a child with a wrong clock judges certificates.
    pub now: WallTime,
    /// Up to where it has the child's rows.
    pub cursor: Cursor,
    /// The epoch of its own tables for this child.
    pub epoch: Epoch,
}

/// Why a link is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub message: String,
}

/// Classes of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// No protocol version in common.
    Version,
    /// The identity is not of a child of this region.
    Identity,
    /// The node was removed.
    Removed,
    /// Too much at once: try later.
    Busy,
    /// Another machine with the same key has a link that lives.
    Taken,
}
