//! What the region keeps on disk, and how it reads it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skerry_types::{
    AllocationId, Batch, Generation, InstanceSpec, NodeName, RegionName, Share, SiteName, SiteSpec,
    TableName, TenantGrant, TenantName, TenantSpec, WorkloadKey,
};
use skerry_wire::{DecodeError, RegionRow, Revision, RowKey, TableId, decode, encode};

use crate::life::{DrainRecord, JobRecord, Life, RevisionRecord, RolloutRecord};
use crate::past::PastRecord;
use crate::records::{
    AllocationRecord, ChildName, ChildRecord, Counters, EventRecord, NodeRecord, SplitRecord, TokenId,
    TokenRecord, UplinkRecord, WorkloadRecord,
};

/// The running numbers, under an empty key.
pub(crate) const COUNTERS: TableName = "counters";
/// Workloads, by `TENANT/NAME`.
pub(crate) const WORKLOAD: TableName = "workload";
/// Allocations, by id.
pub(crate) const ALLOCATION: TableName = "allocation";
/// Nodes, by name.
pub(crate) const NODE: TableName = "node";
/// Regions below, by name.
pub(crate) const REGION: TableName = "region";
/// Rows that a child has to forget, by `CHILD/TABLE/KEY`: the revision of the removal.
pub(crate) const TOMBSTONE: TableName = "tombstone";
/// What children said last, by `CHILD/TABLE/KEY`.
pub(crate) const OBSERVED: TableName = "observed";
/// Join tokens, by id.
pub(crate) const TOKEN: TableName = "token";
/// Events, by running number.
pub(crate) const EVENT: TableName = "event";
/// Rollouts that are not over, by `TENANT/NAME`.
pub(crate) const ROLLOUT: TableName = "rollout";
/// Generations that workloads had, by `TENANT/NAME/GENERATION`.
pub(crate) const REVISION: TableName = "revision";
/// Nodes that take nothing more, by name.
pub(crate) const DRAIN: TableName = "drain";
/// Jobs, by `TENANT/NAME`.
pub(crate) const JOB: TableName = "job";
/// Counts of services that scale by themselves, by `TENANT/NAME`.
pub(crate) const SCALE: TableName = "scale";

/// Rows for regions below, by `REGION/TABLE/KEY`.
pub(crate) const DOWN: TableName = "down";
/// How workloads are split among regions, by `TENANT/NAME`.
pub(crate) const SPLIT: TableName = "split";
/// The link to the region above, under an empty key.
pub(crate) const UPLINK: TableName = "uplink";
/// Shares of the region above that are not taken, by `TENANT/NAME`.
pub(crate) const REFUSED: TableName = "refused";
/// Tenants as operators described them, by name.
pub(crate) const TENANT: TableName = "tenant";
/// Tenants as the region above granted them, by name.
pub(crate) const GRANT: TableName = "grant";
/// Sites as operators described them, by name.
pub(crate) const SITE: TableName = "site";

/// The region's epoch and the processes that gave out rows in it, under an empty key.
pub(crate) const PAST: TableName = "past";

/// Every table that the brain writes.
pub const TABLES: [TableName; 22] = [
    COUNTERS, WORKLOAD, ALLOCATION, NODE, REGION, TOMBSTONE, OBSERVED, TOKEN, EVENT, ROLLOUT, REVISION,
    DRAIN, JOB, SCALE, DOWN, SPLIT, UPLINK, REFUSED, TENANT, GRANT, SITE, PAST,
];

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

/// Values of the store. Variants are only ever appended; each table has those of one kind.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Value {
    CountersV1(Counters),
    WorkloadV1(WorkloadRecord),
    AllocationV1(AllocationRecord),
    NodeV1(NodeName, NodeRecord),
    RegionV1(RegionName, ChildRecord),
    TombstoneV1(ChildName, RowKey, Revision),
    ObservedV1(ChildName, RowKey, #[serde(with = "serde_bytes")] Vec<u8>),
    TokenV1(TokenId, TokenRecord),
    EventV1(u64, EventRecord),
    DownV1(RegionName, Revision, RegionRow),
    SplitV1(WorkloadKey, SplitRecord),
    UplinkV1(UplinkRecord),
    RefusedV1(Share, String),
    TenantV1(TenantSpec),
    GrantV1(TenantGrant),
    SiteV1(SiteSpec),
    RolloutV1(WorkloadKey, RolloutRecord),
    RevisionV1(WorkloadKey, Generation, RevisionRecord),
    DrainV1(NodeName, DrainRecord),
    JobV1(WorkloadKey, JobRecord),
    ScaleV1(WorkloadKey, u32),
    PastV1(PastRecord),
}

/// Writes one row. The value names its own key, so a load needs no parsing of keys.
pub(crate) fn put(batch: &mut Batch, value: &Value) {
    let (table, key) = place(value);
    batch.put(table, key, encode(value));
}

pub(crate) fn workload_key(key: &WorkloadKey) -> Vec<u8> {
    format!("{}/{}", key.tenant, key.name).into_bytes()
}

/// The key under which a row goes down to a region.
pub(crate) fn down_row_key(row: &RegionRow) -> RowKey {
    match row {
        RegionRow::Share(share) => {
            RowKey::new(TableId::SHARE, format!("{}/{}", share.spec.key.tenant, share.spec.key.name))
        }
        RegionRow::Tenant(grant) => RowKey::new(TableId::TENANT, grant.spec.name.as_str()),
    }
}

/// Where a row for a region below lies.
pub(crate) fn down_key(region: &RegionName, row: &RowKey) -> Vec<u8> {
    let TableId(table) = row.table;
    format!("{region}/{table}/{}", row.key).into_bytes()
}

/// Generations sort as numbers.
pub(crate) fn revision_key(key: &WorkloadKey, generation: Generation) -> Vec<u8> {
    format!("{}/{}/{:020}", key.tenant, key.name, generation.0).into_bytes()
}

/// Where a row of a child's table lies.
pub(crate) fn child_key(child: &ChildName, row: &RowKey) -> Vec<u8> {
    let TableId(table) = row.table;
    format!("{child}/{table}/{}", row.key).into_bytes()
}

fn place(value: &Value) -> (TableName, Vec<u8>) {
    match value {
        Value::CountersV1(_) => (COUNTERS, Vec::new()),
        Value::WorkloadV1(workload) => (WORKLOAD, workload_key(&workload.spec.key)),
        Value::AllocationV1(allocation) => (ALLOCATION, allocation.intent.id.as_str().into()),
        Value::NodeV1(name, _) => (NODE, name.as_str().into()),
        Value::RegionV1(name, _) => (REGION, name.as_str().into()),
        Value::TombstoneV1(child, row, _) => (TOMBSTONE, child_key(child, row)),
        Value::ObservedV1(child, row, _) => (OBSERVED, child_key(child, row)),
        Value::TokenV1(id, _) => (TOKEN, id.as_str().into()),
        Value::EventV1(number, _) => (EVENT, number.to_be_bytes().into()),
        Value::DownV1(region, _, row) => (DOWN, down_key(region, &down_row_key(row))),
        Value::SplitV1(key, _) => (SPLIT, workload_key(key)),
        Value::UplinkV1(_) => (UPLINK, Vec::new()),
        Value::RefusedV1(share, _) => (REFUSED, workload_key(&share.spec.key)),
        Value::TenantV1(spec) => (TENANT, spec.name.as_str().into()),
        Value::GrantV1(grant) => (GRANT, grant.spec.name.as_str().into()),
        Value::SiteV1(spec) => (SITE, spec.name.as_str().into()),
        Value::RolloutV1(key, _) => (ROLLOUT, workload_key(key)),
        Value::RevisionV1(key, generation, _) => (REVISION, revision_key(key, *generation)),
        Value::DrainV1(node, _) => (DRAIN, node.as_str().into()),
        Value::JobV1(key, _) => (JOB, workload_key(key)),
        Value::ScaleV1(key, _) => (SCALE, workload_key(key)),
        Value::PastV1(_) => (PAST, Vec::new()),
    }
}

/// Everything that a store holds.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) counters: Counters,
    pub(crate) workloads: BTreeMap<WorkloadKey, WorkloadRecord>,
    pub(crate) allocations: BTreeMap<AllocationId, AllocationRecord>,
    pub(crate) nodes: BTreeMap<NodeName, NodeRecord>,
    pub(crate) regions: BTreeMap<RegionName, ChildRecord>,
    pub(crate) tombstones: Vec<(ChildName, RowKey, Revision)>,
    pub(crate) observed: Vec<(ChildName, RowKey, Vec<u8>)>,
    pub(crate) tokens: BTreeMap<TokenId, TokenRecord>,
    /// As they lie on disk.
    pub(crate) events: BTreeMap<u64, Box<[u8]>>,
    pub(crate) down: Vec<(RegionName, Revision, RegionRow)>,
    pub(crate) splits: BTreeMap<WorkloadKey, SplitRecord>,
    pub(crate) uplink: UplinkRecord,
    pub(crate) past: PastRecord,
    pub(crate) refused: BTreeMap<WorkloadKey, (Share, String)>,
    pub(crate) tenants: BTreeMap<TenantName, TenantSpec>,
    pub(crate) grants: BTreeMap<TenantName, TenantGrant>,
    pub(crate) sites: BTreeMap<SiteName, SiteSpec>,
    pub(crate) life: Life,
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
            if table == EVENT {
                let Ok(number) = key.as_slice().try_into() else {
                    return Err(LoadError::Key { key: text(), table });
                };
                ledger.events.insert(u64::from_be_bytes(number), bytes.into());
                continue;
            }
            let value: Value = read(&bytes).map_err(|source| LoadError::Row {
                table: table.clone(),
                key: text(),
                source,
            })?;
            let (its_table, its_key) = place(&value);
            if its_table != table || its_key != key {
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
            Value::RegionV1(name, region) => {
                self.regions.insert(name, region);
            }
            Value::TombstoneV1(child, row, revision) => self.tombstones.push((child, row, revision)),
            Value::ObservedV1(child, row, bytes) => self.observed.push((child, row, bytes)),
            Value::TokenV1(id, token) => {
                self.tokens.insert(id, token);
            }
            Value::EventV1(number, event) => {
                self.events.insert(number, event_value(number, event).into());
            }
            Value::DownV1(region, revision, row) => self.down.push((region, revision, row)),
            Value::SplitV1(key, split) => {
                self.splits.insert(key, split);
            }
            Value::UplinkV1(uplink) => self.uplink = uplink,
            Value::PastV1(past) => self.past = past,
            Value::RefusedV1(share, why) => {
                self.refused.insert(share.spec.key.clone(), (share, why));
            }
            Value::TenantV1(spec) => {
                self.tenants.insert(spec.name.clone(), spec);
            }
            Value::GrantV1(grant) => {
                self.grants.insert(grant.spec.name.clone(), grant);
            }
            Value::SiteV1(spec) => {
                self.sites.insert(spec.name.clone(), spec);
            }
            value => self.take_life(value),
        }
    }

    fn take_life(&mut self, value: Value) {
        match value {
            Value::RolloutV1(key, rollout) => drop(self.life.rollouts.insert(key, rollout)),
            Value::RevisionV1(key, generation, revision) => {
                self.life.revisions.insert((key, generation), revision);
            }
            Value::DrainV1(node, drain) => drop(self.life.drains.insert(node, drain)),
            Value::JobV1(key, job) => drop(self.life.jobs.insert(key, job)),
            Value::ScaleV1(key, count) => drop(self.life.scaled.insert(key, count)),
            other => unreachable!("{other:?} is not of the life of workloads"),
        }
    }

    /// Allocations of one generation share one spec and one workload's name in memory, as they did before the restart.
    fn share_spec(&mut self, allocation: &mut AllocationRecord) {
        let intent = Arc::make_mut(&mut allocation.intent);
        let key = (intent.workload.clone(), intent.generation);
        let Some((key, shared)) = self.specs.get_key_value(&key) else {
            self.specs.insert(key, Arc::clone(&intent.spec));
            return;
        };
        intent.workload = key.0.clone();
        if **shared == *intent.spec {
            intent.spec = Arc::clone(shared);
        }
    }
}

/// An event as it lies on disk.
pub(crate) fn event_value(number: u64, record: EventRecord) -> Vec<u8> {
    encode(&Value::EventV1(number, record))
}

/// The event in such a value; `None` when it cannot be read.
pub(crate) fn event_in(bytes: &[u8]) -> Option<EventRecord> {
    match read(bytes) {
        Ok(Value::EventV1(_, record)) => Some(record),
        Ok(_) | Err(_) => None,
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode(bytes, VALUE_MAX)
}
