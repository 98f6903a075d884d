//! What is kept on disk, a record at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skerry_types::{
    AllocationIntent, Event, Generation, HandedBack, InstanceSet, Leave, NodeName, Refusal, RegionName,
    SiteName, WallTime, WorkloadSpec,
};
use skerry_wire::{Cursor, Epoch, Incarnation, Revision};

/// Numbers that only grow, over restarts too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) revision: Revision,
    pub(crate) serial: u64,
    pub(crate) event: u64,
    /// The newest revision of the rows that go up.
    pub(crate) up: Revision,
}

/// A workload as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkloadRecord {
    pub(crate) spec: Arc<WorkloadSpec>,
    pub(crate) generation: Generation,
    pub(crate) created_at: WallTime,
    pub(crate) changed_at: WallTime,
    pub(crate) deleting: bool,
    pub(crate) origin: Origin,
    pub(crate) asked: Asked,
}

/// When somebody last said what a workload is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// In which life of the region's tables.
    pub(crate) epoch: Epoch,
    /// To which process of the master.
    pub(crate) incarnation: Incarnation,
}

/// Where a workload came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// From this region's own operators.
    Own,
    /// From the region above: a share of it.
    Parent(Received),
}

/// A share that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Received {
    /// The region whose master owns the workload.
    pub(crate) owner: RegionName,
    pub(crate) offer: u64,
    pub(crate) instances: InstanceSet,
    /// How far it may move to its generation.
    pub(crate) leave: Leave,
    /// What found no place here since the offer, and is not tried again before the next.
    pub(crate) handed_back: Vec<HandedBack>,
}

impl Received {
    /// In place of the offer of a share that the region above does not know in this life of its own.
    pub(crate) const NO_OFFER: u64 = 0;

    /// Whether the region above does not know it.
    pub(crate) fn is_orphan(&self) -> bool {
        self.offer == Self::NO_OFFER
    }

    /// All that was handed back.
    pub(crate) fn back(&self) -> InstanceSet {
        self.handed_back.iter().fold(InstanceSet::default(), |all, part| all.union(&part.instances))
    }
}

impl WorkloadRecord {
    /// The part of a share that was taken, if it is one.
    pub(crate) fn received(&self) -> Option<&Received> {
        match &self.origin {
            Origin::Own => None,
            Origin::Parent(received) => Some(received),
        }
    }
}

/// How a workload is split among the own nodes and the regions below, but for the shares themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SplitRecord {
    /// What the own nodes look after.
    pub(crate) local: InstanceSet,
    /// How often instances were handed back since the workload, or room, last changed.
    pub(crate) round: u32,
    /// What regions handed back, this one for its own nodes: they are not asked again before something changes.
    pub(crate) back: BTreeMap<RegionName, (u32, Vec<Refusal>)>,
    /// Those of them that refuse the workload as such, until they say that they no longer do.
    pub(crate) refusing: BTreeSet<RegionName>,
    /// Instances of regions that are or were away which have a replacement elsewhere.
    pub(crate) replaced: BTreeMap<RegionName, InstanceSet>,
    /// Instances taken back from a region that has not said that it gave them up.
    pub(crate) leaving: BTreeMap<RegionName, InstanceSet>,
}

/// What is kept of the link to the region above.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UplinkRecord {
    /// Up to where the rows of the region above are here.
    pub(crate) cursor: Cursor,
    /// The regions above, from the root down, as last heard.
    pub(crate) above: Vec<RegionName>,
}

/// An allocation as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllocationRecord {
    pub(crate) intent: Arc<AllocationIntent>,
    pub(crate) node: NodeName,
    pub(crate) revision: Revision,
    pub(crate) placed_at: WallTime,
}

/// Names a child of the region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum ChildName {
    Node(NodeName),
    Region(RegionName),
}

impl fmt::Display for ChildName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node/{name}"),
            Self::Region(name) => write!(f, "region/{name}"),
        }
    }
}

impl ChildName {
    /// As people read it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Node(name) => format!("node {name}"),
            Self::Region(name) => format!("region {name}"),
        }
    }
}

/// What is kept of every child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChildRecord {
    /// SHA-256 of its public key.
    pub(crate) key: [u8; 32],
    pub(crate) joined_at: WallTime,
    pub(crate) last_seen: WallTime,
    pub(crate) certificate_expires: WallTime,
    /// The newest tombstone that was forgotten.
    pub(crate) floor: Revision,
    /// Up to where the child's rows are here.
    pub(crate) cursor: Cursor,
}

/// A node as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) child: ChildRecord,
    pub(crate) site: SiteName,
    /// The newest of the node's events that was taken.
    pub(crate) events_seen: u64,
}

/// A join token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// SHA-256 of its secret.
    pub secret: SecretHash,
    /// Who may join with it.
    pub scope: TokenScope,
    /// When it was made.
    pub created_at: WallTime,
    /// When it runs out.
    pub expires: WallTime,
    /// How many may join with it.
    pub uses: u32,
    /// How many did.
    pub used: u32,
}

/// Who may join with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenScope {
    /// Nodes of this site.
    Site(SiteName),
    /// A region of this name, or of any when `None`.
    Region(Option<RegionName>),
}

/// SHA-256 of a join token's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHash(pub [u8; 32]);

/// Names a join token; not secret. Lower-case letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenId(String);

impl TokenId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = skerry_types::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        skerry_types::PortName::new(text).map(|name| Self(name.into()))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    pub(crate) event: Event,
    /// The node that saw it; the master if `None`.
    pub(crate) node: Option<NodeName>,
}
