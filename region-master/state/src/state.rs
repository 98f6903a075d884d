//! The region's brain: inputs in, actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_allocator::Cluster;
use skerry_types::{
    AllocationId, AllocationIntent, Explanation, MonoTime, NodeName, Now, Outbox, RegionName, TableName,
    WorkloadKey, WorkloadSpec,
};
use skerry_wire::{Epoch, RowKey};

use crate::api::{ApiCall, ApiError, ApiReply, AppliedHow};
use crate::input::{Action, Input, LinkId};
use crate::ledger::{ALLOCATION, Ledger, LedgerRow, LoadError, OBSERVED, TOMBSTONE, Value, child_key, put};
use crate::life::Life;
use crate::listing::Page;
use crate::nodes::Node;
use crate::records::{AllocationRecord, ChildName, Counters, EventRecord, TokenId, TokenRecord};
use crate::regions::ChildRegion;
use crate::workloads::Workload;

/// Writes after which a batch is full. What one change adds beside it, a dozen at most, stays below the 100 keys that every
/// store takes at once.
const BATCH_FULL_AT: usize = 64;

/// What the brain is told once.
#[derive(Debug, Clone)]
pub struct RegionConfig {
    /// The region's name.
    pub region: RegionName,
    /// The epoch of the region's tables: made at random with the store, and again when it is restored from a backup.
    pub epoch: Epoch,
    /// The software's version, for people.
    pub software: String,
    /// Whether there is a region above, connected or not.
    pub has_parent: bool,
}

/// One region's brain.
#[derive(Debug)]
pub struct RegionState {
    pub(crate) config: RegionConfig,
    pub(crate) now: Now,
    pub(crate) outbox: Outbox<Action>,
    pub(crate) counters: Counters,
    pub(crate) workloads: BTreeMap<WorkloadKey, Workload>,
    pub(crate) allocations: BTreeMap<AllocationId, AllocationRecord>,
    pub(crate) by_workload: BTreeMap<WorkloadKey, BTreeSet<AllocationId>>,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    pub(crate) regions: BTreeMap<RegionName, ChildRegion>,
    pub(crate) links: BTreeMap<LinkId, ChildName>,
    pub(crate) tokens: BTreeMap<TokenId, TokenRecord>,
    pub(crate) events: BTreeMap<u64, Arc<EventRecord>>,
    pub(crate) cluster: Cluster,
    /// Workloads to look at before this input is done.
    pub(crate) dirty: BTreeSet<WorkloadKey>,
    /// Workloads with instances that found no place.
    pub(crate) pending: BTreeSet<WorkloadKey>,
    /// Children that may have something to be sent.
    pub(crate) touched: BTreeSet<ChildName>,
    pub(crate) life: Life,
    pub(crate) changed: bool,
    change: u64,
}

impl RegionState {
    /// Begins with what the store holds.
    pub fn load(
        config: RegionConfig,
        now: Now,
        rows: impl IntoIterator<Item = LedgerRow>,
    ) -> Result<Self, LoadError> {
        let ledger = Ledger::read(rows)?;
        let epoch = config.epoch;
        let mut state = Self {
            config,
            now,
            outbox: Outbox::default(),
            counters: ledger.counters,
            workloads: ledger
                .workloads
                .into_iter()
                .map(|(key, record)| (key, Workload::new(record)))
                .collect(),
            allocations: BTreeMap::new(),
            by_workload: BTreeMap::new(),
            nodes: ledger.nodes.into_iter().map(|(name, record)| (name, Node::new(epoch, record))).collect(),
            regions: ledger
                .regions
                .into_iter()
                .map(|(name, record)| (name, ChildRegion::new(epoch, record)))
                .collect(),
            links: BTreeMap::new(),
            tokens: ledger.tokens,
            events: ledger.events.into_iter().map(|(number, event)| (number, Arc::new(event))).collect(),
            cluster: Cluster::default(),
            dirty: BTreeSet::new(),
            pending: BTreeSet::new(),
            touched: BTreeSet::new(),
            life: ledger.life,
            changed: false,
            change: 0,
        };
        for (name, key, revision) in ledger.tombstones {
            match state.child_mut(&name) {
                Some(child) => child.writer.set(revision, key, None),
                None => state.clear(TOMBSTONE, child_key(&name, &key)),
            }
        }
        for (name, key, bytes) in ledger.observed {
            state.restore_observed(&name, key, &bytes);
        }
        let names: Vec<NodeName> = state.nodes.keys().cloned().collect();
        for name in &names {
            state.cluster_upsert(name);
        }
        for record in ledger.allocations.into_values() {
            if state.nodes.contains_key(&record.node) {
                state.restore_allocation(record);
            } else {
                state.clear(ALLOCATION, record.intent.id.as_str().into());
            }
        }
        state.restore_life();
        state.dirty = state.workloads.keys().cloned().collect();
        state.finish();
        Ok(state)
    }

    fn restore_observed(&mut self, name: &ChildName, key: RowKey, bytes: &[u8]) {
        let restored = match name {
            ChildName::Node(node) => self.nodes.get_mut(node).map(|node| node.restore(key.clone(), bytes)),
            ChildName::Region(region) => {
                self.regions.get_mut(region).map(|region| region.restore(key.clone(), bytes))
            }
        };
        if restored.is_none() {
            self.clear(OBSERVED, child_key(name, &key));
        }
    }

    /// Removes a row that the removal of its child, cut short, left behind.
    fn clear(&mut self, table: TableName, key: Vec<u8>) {
        self.outbox.batch().delete(table, key);
        self.seal_if_full();
    }

    fn restore_allocation(&mut self, record: AllocationRecord) {
        self.show_allocation(&record);
        self.cluster_occupy(&record);
        let id = record.intent.id.clone();
        self.by_workload.entry(record.intent.workload.clone()).or_default().insert(id.clone());
        self.allocations.insert(id, record);
    }

    /// The region's name.
    pub fn region(&self) -> &RegionName {
        &self.config.region
    }

    /// What each node should hold.
    pub fn intents(&self) -> impl Iterator<Item = (&NodeName, &Arc<AllocationIntent>)> {
        self.allocations.values().map(|record| (&record.node, &record.intent))
    }

    /// Whether a node's link is up.
    pub fn is_connected(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(Node::is_reachable)
    }

    /// The regions above this one, from the root down, with this one at the end.
    pub(crate) fn above(&self) -> Vec<RegionName> {
        vec![self.config.region.clone()]
    }

    /// What operators asked for, but for what is being deleted.
    pub fn wanted(&self) -> impl Iterator<Item = &Arc<WorkloadSpec>> {
        let records = self.workloads.values().map(|workload| &workload.record);
        records.filter(|record| !record.deleting).map(|record| &record.spec)
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        self.life_timeout()
    }

    /// The number of the last change to what lists show.
    pub fn change(&self) -> u64 {
        self.change
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some((id, batch)) = self.outbox.poll_batch() {
            return Some(Action::Persist(id, batch));
        }
        self.outbox.poll_effect()
    }

    /// Takes in something that happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Call(call, request) => {
                let reply = self.call(request);
                self.settle_up();
                self.act(Action::Reply(call, reply));
            }
            Input::Enroll { call, token, secret, wish, key } => {
                let decision = self.enroll(&token, secret, wish, key);
                self.act(Action::Certify(call, decision));
            }
            Input::Renew { call, identity } => {
                let decision = self.renew(&identity);
                self.act(Action::Certify(call, decision));
            }
            Input::LinkUp(link, identity) => self.link_up(link, &identity),
            Input::LinkDown(link) => self.link_down(link),
            Input::Received(link, message) => self.receive(link, message),
            Input::ParentUp | Input::ParentDown | Input::FromParent(_) => {}
            Input::Timeout => self.life_timed_out(),
            Input::Persisted(id) => self.outbox.persisted(id),
        }
        self.finish();
    }

    fn call(&mut self, call: ApiCall) -> Result<ApiReply, ApiError> {
        match call {
            ApiCall::Apply { spec, dry_run } => self.apply(spec, dry_run),
            ApiCall::Delete(key) => self.delete(&key),
            ApiCall::RemoveNode(name) => self.remove_node(&name),
            ApiCall::RemoveRegion(name) => self.remove_region(&name),
            ApiCall::ApplyTenant { .. } => Ok(ApiReply::Described(AppliedHow::Unchanged)),
            ApiCall::DeleteTenant(name) => Err(ApiError::NotFound { what: "tenant", name: name.to_string() }),
            ApiCall::Tenants(_) => {
                Ok(ApiReply::Tenants(Page { items: Vec::new(), next: None, change: self.change }))
            }
            ApiCall::ApplySite { .. } => Ok(ApiReply::Described(AppliedHow::Unchanged)),
            ApiCall::DeleteSite(name) => Err(ApiError::NotFound { what: "site", name: name.to_string() }),
            ApiCall::Explain(_) => Ok(ApiReply::Explanation(Explanation::default())),
            ApiCall::Rebalance => Ok(ApiReply::Moves(Vec::new())),
            ApiCall::CreateToken(token) => self.create_token(token),
            ApiCall::RevokeToken(id) => self.revoke_token(&id),
            ApiCall::Tokens => Ok(ApiReply::Tokens(self.tokens.clone().into_iter().collect())),
            ApiCall::Workloads(filter) => self.list_workloads(&filter).map(ApiReply::Workloads),
            ApiCall::Allocations(filter) => self.list_allocations(&filter).map(ApiReply::Allocations),
            ApiCall::Nodes(filter) => self.list_nodes(&filter).map(ApiReply::Nodes),
            ApiCall::Sites(filter) => self.list_sites(&filter).map(ApiReply::Sites),
            ApiCall::Regions(filter) => Ok(ApiReply::Regions(self.list_regions(&filter))),
            ApiCall::Events(filter) => self.list_events(&filter).map(ApiReply::Events),
            ApiCall::Life(call) => Ok(ApiReply::Life(self.life_call(call)?)),
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.outbox.push(action);
    }

    /// Works off what the input left to look at.
    fn settle_up(&mut self) {
        while let Some(key) = self.dirty.pop_first() {
            self.reconcile(&key);
            self.seal_if_full();
        }
        self.save_counters();
    }

    /// Ends a batch that holds much, between two changes each of which leaves the state valid. The running numbers go with
    /// every batch: one that is on disk without them would have its numbers given out again.
    pub(crate) fn seal_if_full(&mut self) {
        if self.is_batch_full() {
            self.save_counters();
            self.outbox.seal();
        }
    }

    pub(crate) fn is_batch_full(&mut self) -> bool {
        self.outbox.batch().writes.len() >= BATCH_FULL_AT
    }

    fn save_counters(&mut self) {
        if !self.outbox.batch().is_empty() {
            put(self.outbox.batch(), &Value::CountersV1(self.counters));
        }
    }

    /// Closes the input: placements are made, rows go down, the batch is sealed.
    fn finish(&mut self) {
        self.settle_up();
        self.pump();
        if std::mem::take(&mut self.changed) {
            self.change += 1;
            let change = self.change;
            self.act(Action::Changed(change));
        }
        self.outbox.seal();
    }
}
