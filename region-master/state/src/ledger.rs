//! What the region keeps on disk, and how it reads it again.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skerry_types::{
    AllocationId, AllocationIntent, Batch, Event, Generation, InstanceSpec, NodeName, RegionName, SiteName,
    TableName, WallTime, WorkloadKey, WorkloadSpec,
};
use skerry_wire::{Cursor, DecodeError, Revision, RowKey, TableId, decode, encode};

/// The running numbers, under an empty key.
pub(crate) const COUNTERS: TableName = "counters";
/// Workloads, by `TENANT/NAME`.
pub(crate) const WORKLOAD: TableName = "workload";
/// Allocations, by id.
pub(crate) const ALLOCATION: TableName = "allocation";
/// Nodes, by name.
pub(crate) const NODE: TableName = "node";
/// Allocations that a node has to forget, by `NODE/ALLOCATION`: the revision of the removal.
pub(crate) const TOMBSTONE: TableName = "tombstone";
/// What nodes said last, by `NODE/TABLE/KEY`.
pub(crate) const OBSERVED: TableName = "observed";
/// Join tokens, by id.
pub(crate) const TOKEN: TableName = "token";
/// Events, by running number.
pub(crate) const EVENT: TableName = "event";

/// Every table that the brain writes.
pub const TABLES: [TableName; 8] = [COUNTERS, WORKLOAD, ALLOCATION, NODE, TOMBSTONE, OBSERVED, TOKEN, EVENT];

const VALUE_MAX: usize = Batch::VALUE_MAX;

/// A row of the store: table, key, value.
pub type LedgerRow = (String, Vec<u8>, Vec<u8>);

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A row is not what its table says.
    #[error("the store's row '{key}' of table '{table}' cannot be read: restore the store from a backup")]
    Row {
        /// Its table.
        table: String,
        /// Its key as text.
        key: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A key is not what its table says.
    #[error("the store's table '{table}' has a key '{key}' that is none: restore the store from a backup")]
    Key {
        /// Its table.
        table: String,
        /// The key as text.
        key: String,
    },
    /// A table that this version does not know: the store is of a newer one.
    #[error("the store has a table '{table}' that this version does not know: run a newer version")]
    Table {
        /// The table.
        table: String,
    },
}

/// Numbers that only grow, over restarts too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) revision: Revision,
    pub(crate) serial: u64,
    pub(crate) event: u64,
}

/// A workload as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkloadRecord {
    pub(crate) spec: Arc<WorkloadSpec>,
    pub(crate) generation: Generation,
    pub(crate) created_at: WallTime,
    pub(crate) changed_at: WallTime,
    pub(crate) deleting: bool,
}

/// An allocation as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllocationRecord {
    pub(crate) intent: Arc<AllocationIntent>,
    pub(crate) node: NodeName,
    pub(crate) revision: Revision,
    pub(crate) placed_at: WallTime,
}

/// A node as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) site: SiteName,
    /// SHA-256 of its public key.
    pub(crate) key: [u8; 32],
    pub(crate) joined_at: WallTime,
    pub(crate) last_seen: WallTime,
    pub(crate) certificate_expires: WallTime,
    /// The newest tombstone that was forgotten.
    pub(crate) floor: Revision,
    /// Up to where the node's rows are here.
    pub(crate) cursor: Cursor,
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

/// Values of the store. Variants are only ever appended; each table has those of one kind.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Value {
    CountersV1(Counters),
    WorkloadV1(WorkloadRecord),
    AllocationV1(AllocationRecord),
    NodeV1(NodeName, NodeRecord),
    TombstoneV1(NodeName, AllocationId, Revision),
    ObservedV1(NodeName, RowKey, Vec<u8>),
    TokenV1(TokenId, TokenRecord),
    EventV1(u64, EventRecord),
}

/// Writes one row. The value names its own key, so a load needs no parsing of keys.
pub(crate) fn put(batch: &mut Batch, value: &Value) {
    let (table, key) = place(value);
    batch.put(table, key, encode(value));
}

pub(crate) fn workload_key(key: &WorkloadKey) -> Vec<u8> {
    format!("{}/{}", key.tenant, key.name).into_bytes()
}

pub(crate) fn tombstone_key(node: &NodeName, id: &AllocationId) -> Vec<u8> {
    format!("{node}/{id}").into_bytes()
}

pub(crate) fn observed_key(node: &NodeName, row: &RowKey) -> Vec<u8> {
    let TableId(table) = row.table;
    format!("{node}/{table}/{}", row.key).into_bytes()
}

fn place(value: &Value) -> (TableName, Vec<u8>) {
    match value {
        Value::CountersV1(_) => (COUNTERS, Vec::new()),
        Value::WorkloadV1(workload) => (WORKLOAD, workload_key(&workload.spec.key)),
        Value::AllocationV1(allocation) => (ALLOCATION, allocation.intent.id.as_str().into()),
        Value::NodeV1(name, _) => (NODE, name.as_str().into()),
        Value::TombstoneV1(node, id, _) => (TOMBSTONE, tombstone_key(node, id)),
        Value::ObservedV1(node, row, _) => (OBSERVED, observed_key(node, row)),
        Value::TokenV1(id, _) => (TOKEN, id.as_str().into()),
        Value::EventV1(number, _) => (EVENT, number.to_be_bytes().into()),
    }
}

/// Everything that a store holds.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) counters: Counters,
    pub(crate) workloads: BTreeMap<WorkloadKey, WorkloadRecord>,
    pub(crate) allocations: BTreeMap<AllocationId, AllocationRecord>,
    pub(crate) nodes: BTreeMap<NodeName, NodeRecord>,
    pub(crate) tombstones: Vec<(NodeName, AllocationId, Revision)>,
    pub(crate) observed: Vec<(NodeName, RowKey, Vec<u8>)>,
    pub(crate) tokens: BTreeMap<TokenId, TokenRecord>,
    pub(crate) events: BTreeMap<u64, EventRecord>,
    specs: BTreeMap<(WorkloadKey, Generation), Arc<InstanceSpec>>,
}

impl Ledger {
    pub(crate) fn read(rows: impl IntoIterator<Item = LedgerRow>) -> Result<Self, LoadError> {
        let mut ledger = Self::default();
        for (table, key, bytes) in rows {
            if !TABLES.contains(&table.as_str()) {
                return Err(LoadError::Table { table });
            }
            let text = || String::from_utf8_lossy(&key).into_owned();
            let value: Value = read(&bytes).map_err(|source| LoadError::Row {
                table: table.clone(),
                key: text(),
                source,
            })?;
            if place(&value) != (known(&table), key.clone()) {
                return Err(LoadError::Key { table, key: text() });
            }
            ledger.take(value);
        }
        Ok(ledger)
    }

    fn take(&mut self, value: Value) {
        match value {
            Value::CountersV1(counters) => self.counters = counters,
            Value::WorkloadV1(workload) => {
                self.workloads.insert(workload.spec.key.clone(), workload);
            }
            Value::AllocationV1(mut allocation) => {
                self.share_spec(&mut allocation);
                self.allocations.insert(allocation.intent.id.clone(), allocation);
            }
            Value::NodeV1(name, node) => {
                self.nodes.insert(name, node);
            }
            Value::TombstoneV1(node, id, revision) => self.tombstones.push((node, id, revision)),
            Value::ObservedV1(node, row, bytes) => self.observed.push((node, row, bytes)),
            Value::TokenV1(id, token) => {
                self.tokens.insert(id, token);
            }
            Value::EventV1(number, event) => {
                self.events.insert(number, event);
            }
        }
    }

    /// Allocations of one generation share one spec in memory, as they did before the restart.
    fn share_spec(&mut self, allocation: &mut AllocationRecord) {
        let intent = Arc::make_mut(&mut allocation.intent);
        let key = (intent.workload.clone(), intent.generation);
        let shared = self.specs.entry(key).or_insert_with(|| Arc::clone(&intent.spec));
        if **shared == *intent.spec {
            intent.spec = Arc::clone(shared);
        }
    }
}

fn known(table: &str) -> TableName {
    TABLES.into_iter().find(|name| *name == table).unwrap_or_default()
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode(bytes, VALUE_MAX)
}
