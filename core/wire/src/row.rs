//! Rows, and what their values mean.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skerry_types::{
    AllocationIntent, AllocationLoad, AllocationStatus, Batch, Event, NodeDigest, NodeFacts, NodeLayers,
    NodeUsage, RegionDigest, Share, ShareStatus, SiteDigest, TenantGrant, TenantUse,
};

use crate::{DecodeError, decode, encode};

/// Which life of a writer's tables: revisions of two epochs cannot be compared. Zero is no epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// Which process of a writer, within its epoch: a number made at random when it starts. By it a writer whose rows were put back
/// to an older copy tells what it gave out since the copy was made from what it gave out before. Zero: the writer does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// The running number of a change to a writer's tables; it only grows within an epoch. Zero is before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Up to where a reader has a writer's rows. The default has nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Of which life of the writer.
    pub epoch: Epoch,
    /// Which process of the writer said so last.
    pub incarnation: Incarnation,
    /// The last revision held.
    pub revision: Revision,
}

/// A table of rows that crosses a link. A reader skips rows of tables that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableId(pub u16);

impl TableId {
    /// Up: allocations of a node that this life of its parent does not know; key: allocation id; value:
    /// [`ObservedRow::Orphan`]. The first table, so that an orphan is known before its status is heard.
    pub const ORPHAN: Self = Self(0);
    /// Down: what a node should hold; key: allocation id; value: [`IntentRow`].
    pub const INTENT: Self = Self(1);
    /// Up: what a node says of its allocations; key: allocation id; value: [`ObservedRow::Status`].
    pub const STATUS: Self = Self(2);
    /// Up: facts of the node; key: empty; value: [`ObservedRow::Facts`].
    pub const FACTS: Self = Self(3);
    /// Up: usage of the node; key: empty; value: [`ObservedRow::Usage`].
    pub const USAGE: Self = Self(4);
    /// Up: events; key: the node's running number in 20 decimal digits, so that keys sort as numbers; value: [`ObservedRow::Event`].
    pub const EVENT: Self = Self(5);
    /// Up: what allocations use; key: allocation id; value: [`ObservedRow::Load`].
    pub const LOAD: Self = Self(6);
    /// Up: layers of images that the node holds; key: empty; value: [`ObservedRow::Layers`].
    pub const LAYERS: Self = Self(7);
    /// Down to a region: its part of a workload; key: `TENANT/NAME`; value: [`RegionRow::Share`].
    pub const SHARE: Self = Self(16);
    /// Down to a region: a tenant and its part of the limit; key: the tenant; value: [`RegionRow::Tenant`].
    pub const TENANT: Self = Self(17);
    /// Up from a region: what became of a share; key: `TENANT/NAME`; value: [`DigestRow::Share`].
    pub const SHARE_STATUS: Self = Self(18);
    /// Up from a region: a site, its own or further down; key: `REGION/SITE`; value: [`DigestRow::Site`].
    pub const SITE: Self = Self(19);
    /// Up from a region: a region, itself or further down; key: the region; value: [`DigestRow::Region`].
    pub const REGION: Self = Self(20);
    /// Up from a region: a node, its own or further down; key: `REGION/NODE`; value: [`DigestRow::Node`].
    pub const NODE: Self = Self(21);
    /// Up from a region: what it holds of a tenant's limit; key: the tenant; value: [`DigestRow::Tenant`].
    pub const TENANT_USE: Self = Self(22);
}

/// Names a row on a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowKey {
    /// Its table.
    pub table: TableId,
    /// Its key in the table, at most [`RowKey::KEY_MAX`] bytes. A key is cloned far more often than it is made.
    pub key: Arc<str>,
}

impl RowKey {
    /// Longest key in bytes; the longest name in use is an allocation id of 88.
    pub const KEY_MAX: usize = 256;

    /// Names a row.
    pub fn new(table: TableId, key: impl Into<Arc<str>>) -> Self {
        Self { table, key: key.into() }
    }
}

/// A row as it crosses a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Which row.
    pub key: RowKey,
    /// When it changed last.
    pub revision: Revision,
    /// Its value, encoded so that a reader may pass on or skip what it does not know; `None`: the row is gone.
    #[serde(with = "serde_bytes")]
    pub value: Option<Vec<u8>>,
}

impl Row {
    /// Longest value in bytes: what a store takes.
    pub const VALUE_MAX: usize = Batch::VALUE_MAX;

    /// About how many bytes it takes in a frame: value, key and at most 16 of numbers.
    pub(crate) fn weight(&self) -> usize {
        self.value.as_ref().map_or(0, Vec::len) + self.key.key.len() + 16
    }
}

/// Some rows, in one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowsFrame {
    /// Rows changed since the reader's cursor, by growing revision.
    Delta {
        /// Of which life of the writer.
        epoch: Epoch,
        /// Of which process of the writer.
        incarnation: Incarnation,
        /// The rows; the last one's revision is the reader's next cursor.
        rows: Vec<Row>,
    },
    /// A part of everything there is, by growing key.
    Snapshot {
        /// Of which life of the writer.
        epoch: Epoch,
        /// Of which process of the writer.
        incarnation: Incarnation,
        /// Whether this is the first part: what came before of an earlier snapshot does not count.
        first: bool,
        /// The rows.
        rows: Vec<Row>,
        /// In the last part: the reader's next cursor. Every row it holds that no part named is gone.
        end: Option<Revision>,
    },
}

impl RowsFrame {
    /// Bytes of rows after which a frame is full. One row of the longest value always fits, and two frames fit a link's
    /// largest message of 1 MiB.
    pub const FULL_AT: usize = 128 * 1024;
}

/// The value of a row in [`TableId::INTENT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntentRow {
    /// What the node should hold.
    Allocation(Arc<AllocationIntent>),
}

/// The value of a row that a node sends up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObservedRow {
    /// State of an allocation.
    Status(AllocationStatus),
    /// Facts of the node.
    Facts(NodeFacts),
    /// Usage of the node.
    Usage(NodeUsage),
    /// Something that happened.
    Event(Event),
    /// What an allocation uses.
    Load(AllocationLoad),
    /// Layers of images that the node holds.
    Layers(NodeLayers),
    /// What the node holds by the word of a former life of its parent, and goes on with.
    Orphan(AllocationIntent),
}

/// The value of a row that a region sends down to a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a row is made, encoded and dropped, never kept")]
pub enum RegionRow {
    /// The child's part of a workload.
    Share(Share),
    /// A tenant, and the child's part of its limit.
    Tenant(TenantGrant),
}

/// The value of a row that a region sends up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DigestRow {
    /// What became of a share.
    Share(ShareStatus),
    /// A site.
    Site(SiteDigest),
    /// A region.
    Region(RegionDigest),
    /// A node.
    Node(NodeDigest),
    /// What is held of a tenant's limit.
    Tenant(TenantUse),
}

macro_rules! row_codec {
    ($name:ident) => {
        impl $name {
            /// The row's bytes.
            pub fn encode(&self) -> Vec<u8> {
                encode(self)
            }

            /// Reads a row's bytes.
            pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                decode(bytes, Row::VALUE_MAX)
            }
        }
    };
}

row_codec!(IntentRow);
row_codec!(ObservedRow);
row_codec!(RegionRow);
row_codec!(DigestRow);
