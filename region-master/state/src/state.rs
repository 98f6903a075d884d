//! The region's brain: inputs in, actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_allocator::Cluster;
use skerry_federation::Alike;
use skerry_types::mutant::{self, Mutant};
use skerry_types::{
    AllocationId, AllocationIntent, InstanceSet, MonoTime, NodeName, Now, Outbox, RegionName, Resources,
    Share, TenantName, WorkloadKey, WorkloadSpec,
};
use skerry_wire::{Incarnation, ToParent};

use crate::allocations::Allocations;
use crate::api::{ApiCall, ApiError, ApiReply};
use crate::input::{Action, Input, LinkId};
use crate::lease::Leases;
use crate::ledger::{Value, put};
use crate::life::Life;
use crate::nodes::Node;
use crate::past::Past;
use crate::placing::Pending;
use crate::preempting::MakingWay;
use crate::records::{ChildName, Counters, Origin, SplitRecord, TokenId, TokenRecord};
use crate::regions::ChildRegion;
use crate::sites::Sites;
use crate::tenants::Tenants;
use crate::uplink::Uplink;
use crate::waiting::Waiting;
use crate::workloads::Workload;

/// Writes after which a batch is full. What one change adds beside it, a dozen at most, stays below the 100 keys that every
/// store takes at once.
const BATCH_FULL_AT: usize = 64;

/// What the brain is told once.
#[derive(Debug, Clone)]
pub struct RegionConfig {
    /// The region's name.
    pub region: RegionName,
    /// This process of the region's master: a number made at random when it starts, not zero.
    pub incarnation: Incarnation,
    /// The software's version, for people.
    pub software: String,
    /// Whether there is a region above, connected or not.
    pub has_parent: bool,
}

/// What waits until everything written before it is on disk.
#[derive(Debug)]
pub(crate) enum Effect {
    Do(Action),
    /// Goes to the region above, if the link is still the one of this number.
    Parent(u64, ToParent),
}

/// One region's brain.
#[derive(Debug)]
pub struct RegionState {
    pub(crate) config: RegionConfig,
    pub(crate) now: Now,
    pub(crate) outbox: Outbox<Effect>,
    pub(crate) past: Past,
    pub(crate) counters: Counters,
    pub(crate) workloads: BTreeMap<WorkloadKey, Workload>,
    pub(crate) allocations: Allocations,
    /// Boxed, as the leaves of a tree are little more than half full.
    pub(crate) nodes: BTreeMap<NodeName, Box<Node>>,
    pub(crate) regions: BTreeMap<RegionName, ChildRegion>,
    /// What the sites of many regions have in common.
    pub(crate) alike: Alike,
    pub(crate) links: BTreeMap<LinkId, ChildName>,
    pub(crate) tokens: BTreeMap<TokenId, TokenRecord>,
    /// Events by number, as they lie on disk: few are ever read again.
    pub(crate) events: BTreeMap<u64, Box<[u8]>>,
    pub(crate) cluster: Cluster,
    pub(crate) sites: Sites,
    pub(crate) uplink: Uplink,
    /// Shares of the region above that are not taken, and why.
    pub(crate) refused: BTreeMap<WorkloadKey, (Share, String)>,
    /// How workloads are split among the own nodes and the regions below.
    pub(crate) splits: BTreeMap<WorkloadKey, SplitRecord>,
    pub(crate) tenants: Tenants,
    /// Applies that wait for room in their tenants' limits to come back from other regions, in their order.
    pub(crate) waiting: Vec<Waiting>,
    /// When workloads are to be looked at without news.
    pub(crate) wakes: BTreeSet<(MonoTime, WorkloadKey)>,
    /// Workloads to look at before this input is done.
    pub(crate) dirty: BTreeSet<WorkloadKey>,
    /// Workloads with instances that found no place.
    pub(crate) pending: BTreeSet<WorkloadKey>,
    /// Those of them that must be beside other workloads.
    pub(crate) lonely: BTreeSet<WorkloadKey>,
    /// What each tenant's allocations reserve on the own nodes.
    pub(crate) reserved: BTreeMap<TenantName, Resources>,
    /// Instances that wait for room that others were told to leave.
    pub(crate) making_way: MakingWay,
    /// Most instances of a workload that are placed at a turn, while tenants contend.
    pub(crate) turn: Option<u32>,
    /// Whether the workload that is looked at is to have another turn.
    pub(crate) unfinished: bool,
    /// Instances of the workload that is looked at for which the own nodes found no place.
    pub(crate) stuck: Vec<Pending>,
    /// Children that may have something to be sent.
    pub(crate) touched: BTreeSet<ChildName>,
    pub(crate) life: Life,
    pub(crate) leases: Leases,
    /// Orphans whose name another node's allocation has.
    pub(crate) refused_orphans: BTreeMap<AllocationId, (NodeName, AllocationIntent)>,
    pub(crate) changed: bool,
    pub(crate) change: u64,
}

impl RegionState {
    /// The region's name.
    pub fn region(&self) -> &RegionName {
        &self.config.region
    }

    /// What each node should hold, workload by workload.
    pub fn intents(&self) -> impl Iterator<Item = (&NodeName, &Arc<AllocationIntent>)> {
        self.allocations.all().map(|record| (&record.node, &record.intent))
    }

    /// What is wanted of an allocation, and of which node.
    pub fn intent(&self, id: &AllocationId) -> Option<(&NodeName, &Arc<AllocationIntent>)> {
        self.allocations.get(id).map(|record| (&record.node, &record.intent))
    }

    /// What is wanted of a workload's allocations, and of which nodes.
    pub fn intents_of(&self, key: &WorkloadKey) -> impl Iterator<Item = (&NodeName, &Arc<AllocationIntent>)> {
        self.allocations_of(key).map(|record| (&record.node, &record.intent))
    }

    /// Whether a node's link is up.
    pub fn is_connected(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(|node| node.is_reachable())
    }

    /// What operators asked for, but for what is being deleted.
    pub fn wanted(&self) -> impl Iterator<Item = &Arc<WorkloadSpec>> {
        let records = self.workloads.values().map(|workload| &workload.record);
        records.filter(|record| !record.deleting).map(|record| &record.spec)
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        [wake, self.refresh_due(), self.life_timeout(), self.tenants.next_timeout(), self.waiting_timeout()]
            .into_iter()
            .flatten()
            .filter(|_| !mutant::is(Mutant::MasterNeverWakes))
            .min()
    }

    /// What this region's own operators asked for, but for what is being deleted.
    pub fn owned(&self) -> impl Iterator<Item = &Arc<WorkloadSpec>> {
        let records = self.workloads.values().map(|workload| &workload.record);
        let own = records.filter(|record| record.origin == Origin::Own && !record.deleting);
        own.map(|record| &record.spec)
    }

    /// The instances of a workload that this region's own nodes look after; none of one that is being deleted.
    pub fn local_instances(&self, key: &WorkloadKey) -> InstanceSet {
        let known = self.workloads.get(key).filter(|workload| !workload.record.deleting);
        let Some(wanted) = known.map(|workload| self.wanted_instances(&workload.record)) else {
            return InstanceSet::default();
        };
        match self.splits.get(key) {
            Some(split) => split.local.intersection(&wanted),
            None => wanted,
        }
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
        loop {
            match self.outbox.poll_effect()? {
                Effect::Do(action) => return Some(action),
                Effect::Parent(link, message) if link == self.uplink.number => {
                    return Some(Action::SendParent(message));
                }
                // Its link is gone.
                Effect::Parent(..) => {}
            }
        }
    }

    /// Takes in something that happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Call(call, request) => {
                if let Some(reply) = self.call_or_wait(call, request) {
                    self.settle_up();
                    self.act(Action::Reply(call, reply));
                }
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
            Input::Twin { link, identity, from } => self.refuse_twin(link, &identity, &from),
            Input::LinkDown(link) => self.link_down(link),
            Input::Received(link, message) => self.receive(link, message),
            Input::ParentUp => self.parent_up(),
            Input::ParentDown => self.parent_down(),
            Input::FromParent(message) => self.hear_parent(message),
            Input::Restored => {
                self.begin_another_life("the operator says that the store was put back to an older copy");
            }
            Input::Timeout => self.life_timed_out(),
            Input::Persisted(id) => self.outbox.persisted(id),
        }
        self.admit_waiting();
        self.finish();
    }

    pub(crate) fn call(&mut self, call: ApiCall) -> Result<ApiReply, ApiError> {
        match call {
            ApiCall::Apply { spec, dry_run } => self.apply(spec, dry_run),
            ApiCall::Delete(key) => self.delete(&key),
            ApiCall::DeleteAllocation(id) => self.delete_allocation(&id),
            ApiCall::RemoveNode(name) => self.remove_node(&name),
            ApiCall::RemoveRegion(name) => self.remove_region(&name),
            ApiCall::ApplyTenant { spec, dry_run } => self.apply_tenant(spec, dry_run),
            ApiCall::DeleteTenant(name) => self.delete_tenant(&name),
            ApiCall::Tenants(filter) => self.list_tenants(&filter).map(ApiReply::Tenants),
            ApiCall::ApplySite { spec, dry_run } => self.apply_site(spec, dry_run),
            ApiCall::DeleteSite(name) => self.delete_site(&name),
            ApiCall::Explain(what) => self.explain(&what),
            ApiCall::Rebalance => Ok(self.rebalance()),
            ApiCall::CreateToken(token) => self.create_token(token),
            ApiCall::RevokeToken(id) => self.revoke_token(&id),
            ApiCall::Tokens => Ok(ApiReply::Tokens(self.tokens.clone().into_iter().collect())),
            ApiCall::Workloads(filter) => self.list_workloads(&filter).map(ApiReply::Workloads),
            ApiCall::Allocations(filter) => self.list_allocations(&filter).map(ApiReply::Allocations),
            ApiCall::Nodes(filter) => self.list_nodes(&filter).map(ApiReply::Nodes),
            ApiCall::Sites(filter) => self.list_sites(&filter).map(ApiReply::Sites),
            ApiCall::Regions(filter) => self.list_regions(&filter).map(ApiReply::Regions),
            ApiCall::Events(filter) => self.list_events(&filter).map(ApiReply::Events),
            ApiCall::Life(call) => Ok(ApiReply::Life(self.life_call(call)?)),
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.outbox.push(Effect::Do(action));
    }

    /// Looks at a workload at this time, if no news comes before.
    pub(crate) fn wake(&mut self, key: &WorkloadKey, at: MonoTime) {
        self.wakes.insert((at, key.clone()));
    }

    /// Whatever input comes, what is due is looked at.
    fn wake_up(&mut self) {
        while let Some((at, _)) = self.wakes.first()
            && *at <= self.now.mono
            && let Some((_, key)) = self.wakes.pop_first()
        {
            self.dirty.insert(key);
        }
    }

    /// Works off what the input left to look at.
    pub(crate) fn settle_up(&mut self) {
        self.settle_tenants();
        while !self.dirty.is_empty() {
            let batch = std::mem::take(&mut self.dirty);
            self.work_off(batch);
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
    pub(crate) fn finish(&mut self) {
        self.wake_up();
        self.settle_up();
        self.refresh_up();
        self.pump();
        self.pump_up();
        if std::mem::take(&mut self.changed) {
            self.change += 1;
            let change = self.change;
            self.act(Action::Changed(change));
        }
        self.outbox.seal();
        self.allocations.pack();
    }
}
