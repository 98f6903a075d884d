//! The nodes of the region: who they are, what they said, what they should hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use skerry_types::{AllocationId, EventLevel, NodeFacts, NodeLayers, NodeName, NodeUsage, SiteName};
use skerry_wire::{Epoch, ObservedRow, Row, RowKey, RowValue, TableId};

use crate::api::{ApiError, ApiReply};
use crate::child::Child;
use crate::ledger::{NODE, Value, put};
use crate::records::{AllocationRecord, ChildName, EventRecord, NodeRecord};
use crate::state::RegionState;

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) site: SiteName,
    /// The newest of its events that was taken.
    pub(crate) events_seen: u64,
    pub(crate) facts: Option<Arc<NodeFacts>>,
    pub(crate) usage: NodeUsage,
    /// Layers of images that it holds; `None` until it said so.
    pub(crate) layers: Option<Arc<NodeLayers>>,
    pub(crate) allocations: BTreeSet<AllocationId>,
}

impl Node {
    pub(crate) fn new(epoch: Epoch, record: NodeRecord) -> Self {
        let NodeRecord { child, site, events_seen } = record;
        Self {
            child: Child::new(epoch, child),
            site,
            events_seen,
            facts: None,
            usage: NodeUsage::default(),
            layers: None,
            allocations: BTreeSet::new(),
        }
    }

    pub(crate) fn record(&self) -> NodeRecord {
        let (child, site) = (self.child.record.clone(), self.site.clone());
        NodeRecord { child, site, events_seen: self.events_seen }
    }

    pub(crate) fn is_reachable(&self) -> bool {
        self.child.is_reachable()
    }

    /// Takes up what the node says of itself, now or before a restart. What it says of allocations is kept with those.
    fn fold(&mut self, row: &ObservedRow) {
        match row {
            ObservedRow::Facts(facts) => self.facts = Some(Arc::new(facts.clone())),
            ObservedRow::Usage(usage) => self.usage = *usage,
            ObservedRow::Layers(layers) => self.layers = Some(Arc::new(layers.clone())),
            _ => {}
        }
    }
}

/// The row of a node's allocation.
pub(crate) fn intent_key(id: &AllocationId) -> RowKey {
    RowKey::new(TableId::INTENT, id.clone())
}

impl RegionState {
    pub(crate) fn save_node(&mut self, name: &NodeName) {
        if let Some(node) = self.nodes.get(name) {
            put(self.outbox.batch(), &Value::NodeV1(name.clone(), node.record()));
            self.changed = true;
        }
    }

    /// Writes an allocation's row to disk and for its node.
    pub(crate) fn save_allocation(&mut self, mut record: AllocationRecord) {
        record.revision = self.next_revision();
        put(self.outbox.batch(), &Value::AllocationV1(record.clone()));
        self.show_allocation(&record);
        self.allocations.insert(record);
        self.changed = true;
    }

    /// Puts an allocation into its node's table.
    pub(crate) fn show_allocation(&mut self, record: &AllocationRecord) {
        let Some(node) = self.nodes.get_mut(&record.node) else { return };
        node.allocations.insert(record.intent.id.clone());
        let child = ChildName::Node(record.node.clone());
        let value = RowValue::Intent(Arc::clone(&record.intent));
        self.show_row(&child, record.revision, intent_key(&record.intent.id), value);
    }

    /// Takes an allocation out of its node's table, and tells the node to forget it.
    pub(crate) fn bury_allocation(&mut self, name: &NodeName, id: &AllocationId) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.allocations.remove(id);
        self.bury(&ChildName::Node(name.clone()), intent_key(id));
    }

    /// Takes a row that a node sent. An error is the key of a row that cannot be read.
    pub(crate) fn take_node_row(&mut self, name: &NodeName, row: Row) -> Result<(), String> {
        let decoded = row.value.as_deref().map(ObservedRow::decode).transpose();
        let decoded = decoded.map_err(|_| row.key.key.to_string())?;
        let child = ChildName::Node(name.clone());
        let Some((decoded, value)) = decoded.zip(row.value) else {
            self.forget_row(&child, &row.key);
            return Ok(());
        };
        if let ObservedRow::Event(event) = decoded {
            self.take_event(name, &row.key, EventRecord { event, node: Some(name.clone()) });
            return Ok(());
        }
        let (key, decoded) = self.with_known_names(row.key, decoded);
        if let Some(node) = self.nodes.get_mut(name) {
            node.fold(&decoded);
        }
        self.keep_observed(&child, key, value);
        match decoded {
            ObservedRow::Status(status) => self.status_changed(name, &Arc::new(status)),
            ObservedRow::Facts(_) => self.facts_changed(name),
            ObservedRow::Load(load) => self.take_load(load),
            ObservedRow::Orphan(intent) => self.take_orphan(name, intent),
            _ => {}
        }
        Ok(())
    }

    /// Something of a node, or of what is on it, is not as it was.
    pub(crate) fn node_changed(&mut self, name: &NodeName) {
        if let Some(site) = self.nodes.get(name).map(|node| node.site.clone()) {
            self.mark_node(name, &site);
        }
    }

    /// Another number of what is on a node runs.
    pub(crate) fn count_changed(&mut self, name: &NodeName) {
        if let Some(site) = self.nodes.get(name).map(|node| node.site.clone()) {
            self.recount_site(&site);
        }
    }

    pub(crate) fn forget_node_row(&mut self, name: &NodeName, key: &RowKey) {
        match (key.table, AllocationId::new(&*key.key)) {
            (TableId::STATUS, Ok(id)) => self.allocations.unhear(name, &id),
            (TableId::ORPHAN, Ok(id)) => {
                self.refused_orphans.retain(|refused, (node, _)| *refused != id || node != name);
            }
            _ => {}
        }
    }

    /// Takes up a row from disk; `None` when there is no such node. One that cannot be read is asked for again with the node's
    /// next snapshot.
    pub(crate) fn restore_node_row(&mut self, name: &NodeName, key: &RowKey, bytes: &[u8]) -> Option<()> {
        let row = ObservedRow::decode(bytes);
        let (key, row) = match row {
            Ok(row) => {
                let (key, row) = self.with_known_names(key.clone(), row);
                (key, Some(row))
            }
            Err(_) => (key.clone(), None),
        };
        let node = self.nodes.get_mut(name)?;
        node.child.held.insert(key);
        match row {
            Some(ObservedRow::Status(status)) => {
                self.allocations.hear(self.now.mono, name, Arc::new(status));
            }
            Some(ObservedRow::Orphan(intent)) => self.restore_orphan(name, intent),
            Some(row) => node.fold(&row),
            None => {}
        }
        Some(())
    }

    /// The same with those texts for names that are in memory already: each of ten thousand nodes says the same few.
    fn with_known_names(&self, mut key: RowKey, mut row: ObservedRow) -> (RowKey, ObservedRow) {
        let id = match &row {
            ObservedRow::Status(status) => &status.id,
            ObservedRow::Load(load) => &load.id,
            _ => return (key, row),
        };
        let Some(intent) = self.allocations.get(id).map(|record| &record.intent) else { return (key, row) };
        if *key.key == *id.as_str() {
            key.key = intent.id.clone().into();
        }
        match &mut row {
            ObservedRow::Status(status) => {
                status.id = intent.id.clone();
                let mut known = intent.spec.init.iter().chain(&intent.spec.containers);
                for container in &mut status.containers {
                    if let Some(known) = known.find(|known| known.name == container.name) {
                        container.name = known.name.clone();
                    }
                }
            }
            ObservedRow::Load(load) => load.id = intent.id.clone(),
            _ => {}
        }
        (key, row)
    }

    /// Each event counts once, however often it is sent.
    fn take_event(&mut self, name: &NodeName, key: &RowKey, record: EventRecord) {
        let number: u64 = key.key.parse().unwrap_or(0);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if number > node.events_seen {
            node.events_seen = number;
            self.keep_event(record);
        }
    }

    /// Removes a node for good. What it held is placed elsewhere.
    pub(crate) fn remove_node(&mut self, name: &NodeName) -> Result<ApiReply, ApiError> {
        let Some(node) = self.nodes.get(name) else {
            return Err(ApiError::NotFound { what: "node", name: name.to_string() });
        };
        if node.child.link.is_some() {
            return Err(ApiError::NodeConnected { node: name.clone() });
        }
        self.check_no_lease(name)?;
        let allocations = node.allocations.clone();
        let held: Vec<RowKey> = node.child.held.iter().cloned().collect();
        let tombstones: Vec<RowKey> = node.child.writer.tombstones().cloned().collect();
        let site = node.site.clone();
        self.cluster_remove(name);
        self.nodes.remove(name);
        self.sites.remove_node(&site, name);
        self.mark_node(name, &site);
        self.life.away.remove(name);
        self.refused_orphans.retain(|_, (node, _)| node != name);
        self.forget_drain(name);
        self.outbox.batch().delete(NODE, name.as_str());
        self.clear_child(&ChildName::Node(name.clone()), &held, &tombstones);
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
