//! What goes into the brain and what comes out.

use serde::{Deserialize, Serialize};
use skerry_types::{Batch, NodeName, PersistId, RegionName, SiteName, WallTime};
use skerry_wire::{ToChild, ToParent};

use crate::api::{ApiCall, ApiError, ApiReply};
use crate::enroll::{EnrollRefusal, EnrollWish, Enrolled};
use crate::records::{SecretHash, TokenId};

/// Names one call of the API, until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId(pub u64);

/// Names one link of a child. Unique in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u64);

/// Who a link's certificate says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildIdentity {
    /// A node.
    Node(NodeIdentity),
    /// The master of a region.
    Region(RegionIdentity),
}

/// What a region's certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionIdentity {
    /// The region.
    pub region: RegionName,
    /// When its certificate runs out.
    pub expires: WallTime,
    /// SHA-256 of its public key. Only the key that joined may link and renew.
    pub key: [u8; 32],
}

/// What a node's certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// The node.
    pub node: NodeName,
    /// Its site.
    pub site: SiteName,
    /// When its certificate runs out.
    pub expires: WallTime,
    /// SHA-256 of its public key. Only the key that joined may link and renew.
    pub key: [u8; 32],
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Input {
    /// A caller with permission asks for something.
    Call(CallId, ApiCall),
    /// A node or a region shows a join token.
    Enroll {
        /// Where the answer goes.
        call: CallId,
        /// Which token.
        token: TokenId,
        /// SHA-256 of the secret it showed.
        secret: SecretHash,
        /// What it wants to be.
        wish: EnrollWish,
        /// SHA-256 of the public key it wants certified.
        key: [u8; 32],
    },
    /// A child wants its certificate renewed. The shell has checked that the key is the certificate's.
    Renew {
        /// Where the answer goes.
        call: CallId,
        /// Who it was.
        identity: ChildIdentity,
    },
    /// A child's link is up and authenticated; its hello comes next.
    LinkUp(LinkId, ChildIdentity),
    /// A second link with the identity of a child whose link is up and answers.
    Twin {
        /// The second link.
        link: LinkId,
        /// Whose key it has.
        identity: ChildIdentity,
        /// Where the living link is from, and where the second, `IP:PORT` each.
        from: [String; 2],
    },
    /// A child's link is gone.
    LinkDown(LinkId),
    /// A child's message.
    Received(LinkId, ToParent),
    /// The link to the region above is up and authenticated; it awaits a hello.
    ParentUp,
    /// The link to the region above is gone.
    ParentDown,
    /// A message of the region above.
    FromParent(ToChild),
    /// An operator says that the store was put back to an older copy, before any child showed it.
    Restored,
    /// The time that [`poll_timeout`](crate::RegionState::poll_timeout) named has come.
    Timeout,
    /// This batch and all before it are on disk.
    Persisted(PersistId),
}

/// Something to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Write this; answer with [`Input::Persisted`]. Batches come in order and may be written together.
    Persist(PersistId, Batch),
    /// Answer a call.
    Reply(CallId, Result<ApiReply, ApiError>),
    /// Answer a child that wants a certificate.
    Certify(CallId, Result<Enrolled, EnrollRefusal>),
    /// Send this to a child.
    Send(LinkId, ToChild),
    /// Close a link.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for the log and the other side.
        reason: String,
    },
    /// Send this to the region above. Without a link it is dropped.
    SendParent(ToParent),
    /// Close the link to the region above; the dialer may try again.
    CloseParent {
        /// Why, for the log.
        reason: String,
    },
    /// Somebody should know this who reads the log.
    Warn(String),
    /// What lists show has changed; this number only grows.
    Changed(u64),
}
