//! The nodes of the region: who they are, what they said, what they should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_types::{AllocationId, AllocationStatus, EventLevel, NodeFacts, NodeName, NodeUsage};
use skerry_wire::{
    Acknowledged, Epoch, IntentRow, ObservedRow, Reader, Revision, Row, RowKey, TableId, Writer,
};

use crate::api::{ApiError, ApiReply};
use crate::input::LinkId;
use crate::ledger::{
    AllocationRecord, EventRecord, NODE, NodeRecord, OBSERVED, TOMBSTONE, Value, observed_key, put,
    tombstone_key,
};
use crate::state::RegionState;

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) record: NodeRecord,
    pub(crate) facts: Option<Arc<NodeFacts>>,
    pub(crate) usage: NodeUsage,
    pub(crate) statuses: BTreeMap<AllocationId, Arc<AllocationStatus>>,
    pub(crate) allocations: BTreeSet<AllocationId>,
    /// Keys of its rows that are on disk here.
    pub(crate) held: BTreeSet<RowKey>,
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    pub(crate) link: Option<Link>,
}

/// A node's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// Whether its hello was answered.
    pub(crate) welcomed: bool,
}

impl Node {
    pub(crate) fn new(epoch: Epoch, record: NodeRecord) -> Self {
        Self {
            facts: None,
            usage: NodeUsage::default(),
            statuses: BTreeMap::new(),
            allocations: BTreeSet::new(),
            held: BTreeSet::new(),
            writer: Writer::new(epoch, record.floor),
            reader: Reader::new(record.cursor),
            link: None,
            record,
        }
    }

    pub(crate) fn is_reachable(&self) -> bool {
        self.link.is_some_and(|link| link.welcomed)
    }

    /// Takes up a row that the node sent, now or before a restart. Events are not kept here.
    fn fold(&mut self, key: &RowKey, row: Option<&ObservedRow>) {
        match (key.table, row) {
            (TableId::STATUS, Some(ObservedRow::Status(status))) => {
                self.statuses.insert(status.id.clone(), Arc::new(status.clone()));
            }
            (TableId::STATUS, None) => {
                if let Ok(id) = AllocationId::new(key.key.as_str()) {
                    self.statuses.remove(&id);
                }
            }
            (TableId::FACTS, Some(ObservedRow::Facts(facts))) => self.facts = Some(Arc::new(facts.clone())),
            (TableId::USAGE, Some(ObservedRow::Usage(usage))) => self.usage = *usage,
            _ => {}
        }
    }

    /// Takes up a row from disk. One that cannot be read is asked for again with the node's next snapshot.
    pub(crate) fn restore(&mut self, key: RowKey, bytes: &[u8]) {
        if let Ok(row) = ObservedRow::decode(bytes) {
            self.fold(&key, Some(&row));
        }
        self.held.insert(key);
    }
}

impl RegionState {
    pub(crate) fn save_node(&mut self, name: &NodeName) {
        if let Some(node) = self.nodes.get(name) {
            put(self.outbox.batch(), &Value::NodeV1(name.clone(), node.record.clone()));
            self.changed = true;
        }
    }

    /// Writes an allocation's row to disk and for its node.
    pub(crate) fn save_allocation(&mut self, mut record: AllocationRecord) {
        self.counters.revision = self.counters.revision.next();
        record.revision = self.counters.revision;
        put(self.outbox.batch(), &Value::AllocationV1(record.clone()));
        self.show_allocation(&record);
        self.allocations.insert(record.intent.id.clone(), record);
        self.changed = true;
    }

    /// Puts an allocation into its node's table.
    pub(crate) fn show_allocation(&mut self, record: &AllocationRecord) {
        let Some(node) = self.nodes.get_mut(&record.node) else { return };
        let id = &record.intent.id;
        let value = IntentRow::Allocation((*record.intent).clone()).encode();
        node.writer.set(record.revision, RowKey::new(TableId::INTENT, id.as_str()), Some(value.into()));
        node.allocations.insert(id.clone());
        self.touched.insert(record.node.clone());
    }

    /// Takes an allocation out of its node's table, and tells the node to forget it.
    pub(crate) fn bury(&mut self, name: &NodeName, id: &AllocationId) {
        self.counters.revision = self.counters.revision.next();
        let revision = self.counters.revision;
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.writer.set(revision, RowKey::new(TableId::INTENT, id.as_str()), None);
        node.allocations.remove(id);
        put(self.outbox.batch(), &Value::TombstoneV1(name.clone(), id.clone(), revision));
        self.touched.insert(name.clone());
    }

    /// Forgets tombstones that the node has on disk.
    pub(crate) fn settle(&mut self, name: &NodeName, settled: &Acknowledged) {
        if settled.forgotten.is_empty() {
            return;
        }
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.record.floor = node.writer.floor();
        // The floor goes first: were a tombstone gone from above it, a node that is further back would not hear of it.
        self.save_node(name);
        for key in &settled.forgotten {
            if let Ok(id) = AllocationId::new(key.key.as_str()) {
                self.outbox.batch().delete(TOMBSTONE, tombstone_key(name, &id));
                self.seal_if_full();
            }
        }
    }

    /// Takes a row that a node sent.
    pub(crate) fn take_row(&mut self, name: &NodeName, row: Row) {
        let decoded = row.value.as_deref().map(ObservedRow::decode).transpose();
        let Ok(decoded) = decoded else {
            let message =
                format!("node {name} sent a row '{}' that cannot be read; it is left out", row.key.key);
            return self.tell_node(EventLevel::Warning, name, "BadRow", message);
        };
        if let Some(ObservedRow::Event(event)) = decoded {
            return self.take_event(name, &row.key, EventRecord { event, node: Some(name.clone()) });
        }
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.fold(&row.key, decoded.as_ref());
        match row.value {
            Some(value) => {
                put(self.outbox.batch(), &Value::ObservedV1(name.clone(), row.key.clone(), value));
                node.held.insert(row.key.clone());
            }
            None => self.forget_row(name, &row.key),
        }
        self.changed = true;
        match decoded {
            Some(ObservedRow::Status(status)) => self.status_changed(name, &status),
            Some(ObservedRow::Facts(_)) => self.facts_changed(name),
            _ => {}
        }
    }

    /// Forgets a row of a node.
    pub(crate) fn forget_row(&mut self, name: &NodeName, key: &RowKey) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.fold(key, None);
        node.held.remove(key);
        self.outbox.batch().delete(OBSERVED, observed_key(name, key));
        self.changed = true;
    }

    /// Each event counts once, however often it is sent.
    fn take_event(&mut self, name: &NodeName, key: &RowKey, record: EventRecord) {
        let number: u64 = key.key.parse().unwrap_or(0);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if number > node.record.events_seen {
            node.record.events_seen = number;
            self.keep_event(record);
        }
    }

    /// Removes a node for good. What it held is placed elsewhere.
    pub(crate) fn remove_node(&mut self, name: &NodeName) -> Result<ApiReply, ApiError> {
        let Some(node) = self.nodes.get(name) else {
            return Err(ApiError::NotFound { what: "node", name: name.to_string() });
        };
        if node.link.is_some() {
            return Err(ApiError::NodeConnected { node: name.clone() });
        }
        let (allocations, held) = (node.allocations.clone(), node.held.clone());
        let tombstones: Vec<AllocationId> =
            node.writer.tombstones().filter_map(|key| AllocationId::new(key.key.as_str()).ok()).collect();
        // The node's own row goes first: what is of a node that is none is cleared away at the next start.
        self.cluster_remove(name);
        self.nodes.remove(name);
        self.outbox.batch().delete(NODE, name.as_str());
        for key in &held {
            self.outbox.batch().delete(OBSERVED, observed_key(name, key));
            self.seal_if_full();
        }
        for id in &tombstones {
            self.outbox.batch().delete(TOMBSTONE, tombstone_key(name, id));
            self.seal_if_full();
        }
        for id in &allocations {
            self.drop_allocation(id);
            self.seal_if_full();
        }
        let count = u32::try_from(allocations.len()).unwrap_or(u32::MAX);
        let message = format!("node {name} is removed; {count} allocations are placed elsewhere");
        self.tell_node(EventLevel::Info, name, "Removed", message);
        Ok(ApiReply::Removed(count))
    }
}

/// The revision a writer begins with is never below one that was given out.
pub(crate) fn restore_tombstone(node: &mut Node, id: &AllocationId, revision: Revision) {
    node.writer.set(revision, RowKey::new(TableId::INTENT, id.as_str()), None);
}
