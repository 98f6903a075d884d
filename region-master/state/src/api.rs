//! What operators ask for and what they are told.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_types::{
    AllocationId, Explanation, Generation, InstanceIndex, NodeName, RegionName, SiteName, SiteSpec,
    TenantName, TenantSpec, WallTime, WorkloadKey, WorkloadSpec, show_duration,
};

use crate::life::{LifeCall, LifeError, LifeReply};
use crate::listing::{
    AllocationView, EventView, Filter, NodeView, Page, RegionView, SiteView, TenantView, WorkloadView,
};
use crate::records::{SecretHash, TokenId, TokenRecord, TokenScope};

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
    /// End one allocation: an orphan for good, any other so that a fresh one takes its place.
    DeleteAllocation(AllocationId),
    /// Remove a node that is gone for good.
    RemoveNode(NodeName),
    /// Remove a child region that is gone for good.
    RemoveRegion(RegionName),
    /// Add or change a tenant; only where there is no region above.
    ApplyTenant {
        /// The tenant.
        spec: TenantSpec,
        /// Check everything, change nothing.
        dry_run: bool,
    },
    /// Remove a tenant that nothing is left of.
    DeleteTenant(TenantName),
    /// List tenants.
    Tenants(Filter),
    /// Say what a site is like; its nodes may come before or after.
    ApplySite {
        /// The site.
        spec: SiteSpec,
        /// Check everything, change nothing.
        dry_run: bool,
    },
    /// Forget what was said of a site. Its nodes stay.
    DeleteSite(SiteName),
    /// Say where instances are or would be, and why.
    Explain(ExplainWhat),
    /// Say which moves would free nodes; nothing is moved.
    Rebalance,
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
    /// About the life of workloads.
    Life(LifeCall),
}

/// What is to be explained.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ExplainWhat {
    /// A workload that was applied.
    Workload(WorkloadKey),
    /// One that would be.
    Spec(Arc<WorkloadSpec>),
}

/// A token to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// Its id, made by the shell at random.
    pub id: TokenId,
    /// SHA-256 of its secret, made by the shell at random.
    pub secret: SecretHash,
    /// Who may join with it.
    pub scope: TokenScope,
    /// When it runs out.
    pub expires: WallTime,
    /// How many may join with it.
    pub uses: u32,
}

/// A good answer.
#[derive(Debug, Clone)]
pub enum ApiReply {
    /// To [`ApiCall::Apply`].
    Applied(Applied),
    /// To [`ApiCall::Delete`], [`ApiCall::DeleteAllocation`], [`ApiCall::RemoveNode`] and [`ApiCall::RemoveRegion`]: how many allocations stop, or lost
    /// their node or region.
    Removed(u32),
    /// To [`ApiCall::ApplyTenant`] and [`ApiCall::ApplySite`].
    Described(AppliedHow),
    /// To [`ApiCall::DeleteTenant`] and [`ApiCall::DeleteSite`].
    Forgotten,
    /// To [`ApiCall::Tenants`].
    Tenants(Page<TenantView>),
    /// To [`ApiCall::Explain`].
    Explanation(Explanation),
    /// To [`ApiCall::Rebalance`].
    Moves {
        /// In the order in which they can be carried out.
        moves: Vec<Move>,
        /// Why no node could be emptied, a sentence for each reason; empty when one could.
        why_none: Vec<String>,
    },
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
    /// To [`ApiCall::Life`].
    Life(LifeReply),
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The workload's generation.
    pub generation: Generation,
    /// What it did.
    pub how: AppliedHow,
}

/// A move that would free a node or make room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// What moves.
    pub allocation: AllocationId,
    /// Of which workload.
    pub workload: WorkloadKey,
    /// Which of its instances.
    pub instance: InstanceIndex,
    /// From where.
    pub from: NodeName,
    /// To where.
    pub to: NodeName,
}

/// What an apply did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppliedHow {
    /// Nothing: it was so already.
    Unchanged,
    /// There was no such thing.
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
    /// The node may run what no other node may run meanwhile.
    #[error(
        "node '{node}' may still run '{allocation}', which is exclusive, until its lease is over: remove it in {}",
        show_duration(*.over_in)
    )]
    LeaseHeld {
        /// Which.
        node: NodeName,
        /// What it may run.
        allocation: AllocationId,
        /// When it does not any more, rounded up.
        over_in: Duration,
    },
    /// The region is alive.
    #[error("region '{region}' is connected: stop its master first")]
    RegionConnected {
        /// Which.
        region: RegionName,
    },
    /// The workload came from a region above, or is another's.
    #[error("workload '{key}' belongs to region '{owner}': change it there")]
    OwnedElsewhere {
        /// Which.
        key: WorkloadKey,
        /// Its owner.
        owner: RegionName,
    },
    /// Nobody described the tenant.
    #[error("there is no tenant '{tenant}': describe it {}", how_to_describe(.root.as_ref(), .tenant))]
    TenantUnknown {
        /// Which.
        tenant: TenantName,
        /// The region where tenants are described, if it is another.
        root: Option<RegionName>,
    },
    /// Tenants are described where there is no region above.
    #[error("tenants are described at the top of the tree: ask the master of region '{root}'")]
    TenantsElsewhere {
        /// Where.
        root: RegionName,
    },
    /// What is said of a tenant does not hold together.
    #[error("tenant '{tenant}' {why}")]
    BadTenant {
        /// Which.
        tenant: TenantName,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A tenant would have more than it may.
    #[error("tenant '{tenant}' would use {excess}: remove something of it, or raise its limit")]
    Quota {
        /// Whose limit.
        tenant: TenantName,
        /// How much of what.
        excess: String,
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
    /// About the life of workloads.
    #[error(transparent)]
    Life(#[from] LifeError),
}

fn how_to_describe(root: Option<&RegionName>, tenant: &TenantName) -> String {
    let command = format!("'skerry apply' and a document of kind Tenant, name {tenant}");
    match root {
        Some(root) => format!("with {command}, at the master of region '{root}'"),
        None => format!("with {command}"),
    }
}
