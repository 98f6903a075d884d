//! What goes into the brain and what comes out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skerry_types::{Batch, Generation, NodeName, PersistId, SiteName, WallTime, WorkloadKey, WorkloadSpec};
use skerry_wire::{ToChild, ToParent};

use crate::ledger::{SecretHash, TokenId, TokenRecord};
use crate::listing::{AllocationView, EventView, Filter, NodeView, Page, RegionView, SiteView, WorkloadView};

/// Names one call of the API, until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId(pub u64);

/// Names one link of a child. Unique in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u64);

/// Who a link's certificate says it is.
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
    /// A node shows a join token.
    Enroll {
        /// Where the answer goes.
        call: CallId,
        /// Which token.
        token: TokenId,
        /// SHA-256 of the secret it showed.
        secret: SecretHash,
        /// The name it wants.
        node: NodeName,
        /// The site it wants, if it says so.
        site: Option<SiteName>,
        /// SHA-256 of the public key it wants certified.
        key: [u8; 32],
    },
    /// A node wants its certificate renewed. The shell has checked that the key is the certificate's.
    Renew {
        /// Where the answer goes.
        call: CallId,
        /// Who it was.
        identity: NodeIdentity,
    },
    /// A node's link is up and authenticated; its hello comes next.
    LinkUp(LinkId, NodeIdentity),
    /// A link is gone.
    LinkDown(LinkId),
    /// A node's message.
    Received(LinkId, ToParent),
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
    /// Answer a node that wants a certificate.
    Certify(CallId, Result<Enrolled, EnrollRefusal>),
    /// Send this to a node.
    Send(LinkId, ToChild),
    /// Close a link.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for the log and the other side.
        reason: String,
    },
    /// What lists show has changed; this number only grows.
    Changed(u64),
}

/// What a caller asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ApiCall {
    /// Add or change a workload. Images carry digests.
    Apply {
        /// The workload.
        spec: Arc<WorkloadSpec>,
        /// Check everything, change nothing.
        dry_run: bool,
    },
    /// Remove a workload.
    Delete(WorkloadKey),
    /// Remove a node that is gone for good.
    RemoveNode(NodeName),
    /// Make a join token.
    CreateToken(NewToken),
    /// Take a join token back.
    RevokeToken(TokenId),
    /// List join tokens.
    Tokens,
    /// List workloads.
    Workloads(Filter),
    /// List allocations.
    Allocations(Filter),
    /// List nodes.
    Nodes(Filter),
    /// List sites.
    Sites(Filter),
    /// List regions.
    Regions(Filter),
    /// List events.
    Events(Filter),
}

/// A token to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// Its id, made by the shell at random.
    pub id: TokenId,
    /// SHA-256 of its secret, made by the shell at random.
    pub secret: SecretHash,
    /// The site its nodes join.
    pub site: SiteName,
    /// When it runs out.
    pub expires: WallTime,
    /// How many nodes may join with it.
    pub uses: u32,
}

/// A good answer.
#[derive(Debug, Clone)]
pub enum ApiReply {
    /// To [`ApiCall::Apply`].
    Applied(Applied),
    /// To [`ApiCall::Delete`] and [`ApiCall::RemoveNode`]: how many allocations stop, or lost their node.
    Removed(u32),
    /// To [`ApiCall::CreateToken`] and [`ApiCall::RevokeToken`].
    Token,
    /// To [`ApiCall::Tokens`].
    Tokens(Vec<(TokenId, TokenRecord)>),
    /// To [`ApiCall::Workloads`].
    Workloads(Page<WorkloadView>),
    /// To [`ApiCall::Allocations`].
    Allocations(Page<AllocationView>),
    /// To [`ApiCall::Nodes`].
    Nodes(Page<NodeView>),
    /// To [`ApiCall::Sites`].
    Sites(Page<SiteView>),
    /// To [`ApiCall::Regions`].
    Regions(Page<RegionView>),
    /// To [`ApiCall::Events`].
    Events(Page<EventView>),
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The workload's generation.
    pub generation: Generation,
    /// What it did.
    pub how: AppliedHow,
}

/// What an apply did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppliedHow {
    /// Nothing: it was so already.
    Unchanged,
    /// There was no such workload.
    Created,
    /// It is a new generation.
    Changed,
}

/// A bad answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No such thing.
    #[error("there is no {what} '{name}'")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Not while it is being removed.
    #[error(
        "workload '{key}' is being deleted: wait until it is gone ('skerry wait --for deleted') and apply it again"
    )]
    Deleting {
        /// Which.
        key: WorkloadKey,
    },
    /// The node is alive.
    #[error("node '{node}' is connected: stop its agent first")]
    NodeConnected {
        /// Which.
        node: NodeName,
    },
    /// A bound of the region.
    #[error("the region holds {count} {what}, the most it may")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// A page token that this master did not give.
    #[error("the page token '{token}' is not of this list: begin again without one")]
    PageToken {
        /// The token.
        token: String,
    },
}

/// A node that may have a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Its name.
    pub node: NodeName,
    /// Its site.
    pub site: SiteName,
}

/// Why a node may not have a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrollRefusal {
    /// No such token, or the secret is not its.
    #[error("the join token is not known here: make one with 'skerry token create'")]
    TokenUnknown,
    /// It ran out.
    #[error("the join token ran out: make another with 'skerry token create'")]
    TokenExpired,
    /// Enough nodes joined with it.
    #[error(
        "the join token was used {uses} times, as often as it may be: make another with 'skerry token create'"
    )]
    TokenUsedUp {
        /// How often it may be used.
        uses: u32,
    },
    /// The token is for another site.
    #[error("the join token is for site '{site}', not '{wanted}'")]
    OtherSite {
        /// What the node asked for.
        wanted: SiteName,
        /// What the token is for.
        site: SiteName,
    },
    /// Another node has the name.
    #[error(
        "the region has a node '{node}' already: choose another name, or remove that one with 'skerry delete node {node}'"
    )]
    NameTaken {
        /// The name.
        node: NodeName,
    },
    /// The node was removed.
    #[error("node '{node}' was removed from the region: join it again with a new token")]
    Removed {
        /// The name.
        node: NodeName,
    },
    /// A bound of the region.
    #[error("the region holds {count} nodes, the most it may")]
    Full {
        /// How many.
        count: usize,
    },
}
