//! What operators were told, and what that means for what regions must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_region_state::{
    AllocationView, ApiCall, ApiError, ApiReply, CallId, Filter, Input, NodeView, RegionState, WorkloadView,
};
use skerry_types::{InstanceSpec, WorkloadKey, WorkloadSpec};

use crate::event::MasterAt;
use crate::world::World;

/// What a workload may be, by what its operators asked for; `None`: gone.
pub(crate) type Wish = Option<Arc<WorkloadSpec>>;

/// A workload and the master where it is applied.
pub(crate) type Owned = (MasterAt, WorkloadKey);

#[derive(Debug, Default)]
pub(crate) struct Operators {
    /// In order: what was acknowledged last, then what was asked for since.
    wishes: BTreeMap<Owned, Vec<(CallId, Wish)>>,
    open: BTreeMap<(MasterAt, CallId), WorkloadKey>,
    /// Workloads that may have gone back to an earlier version.
    gone_back: BTreeSet<Owned>,
    /// Everything that instances of a workload were ever asked to run.
    versions: BTreeMap<Owned, Vec<Arc<InstanceSpec>>>,
    pub(crate) acknowledged: u64,
}

/// What lists last said.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) allocations: Option<Vec<AllocationView>>,
    pub(crate) workloads: Option<Vec<WorkloadView>>,
    pub(crate) nodes: Option<Vec<NodeView>>,
}

impl Operators {
    /// The master died: its callers never hear.
    pub(crate) fn forget_callers(&mut self, at: MasterAt) {
        self.open.retain(|(master, _), _| *master != at);
    }

    /// A master's store went back: what was acknowledged since is forgotten. Whatever it holds of a workload may be so.
    pub(crate) fn forget_all_but(&mut self, at: MasterAt) {
        self.wishes.retain(|(master, _), _| *master != at);
    }

    pub(crate) fn may_go_back(&mut self, owned: Owned) {
        self.gone_back.insert(owned);
    }

    /// What a region does not hold, though it was acknowledged and nothing else was asked for since.
    pub(crate) fn missing(&self, at: MasterAt, region: &RegionState) -> Option<String> {
        let held: BTreeMap<&WorkloadKey, &Arc<WorkloadSpec>> =
            region.owned().map(|spec| (&spec.key, spec)).collect();
        let of_it = self.wishes.iter().filter(|((master, _), _)| *master == at);
        of_it.into_iter().find_map(|(owned, wishes)| {
            let (_, key) = owned;
            let is = held.get(key).copied();
            let good = wishes.iter().any(|(_, wish)| wish.as_ref() == is || self.is_earlier(owned, wish, is));
            let version = |spec: &Arc<WorkloadSpec>| {
                format!("{} {:?}", spec.instances, spec.instance.containers[0].args)
            };
            let known: Vec<_> = wishes.iter().map(|(_, wish)| wish.as_ref().map(version)).collect();
            (!good)
                .then(|| format!("workload {key} is {:?}, where {known:?} was acknowledged", is.map(version)))
        })
    }

    /// Whether a workload was asked to be so before the last time.
    pub(crate) fn was_asked_before(&self, owned: &Owned, spec: &WorkloadSpec) -> bool {
        let versions = self.versions.get(owned).map(Vec::as_slice).unwrap_or_default();
        versions.iter().rev().skip(1).any(|version| *version == spec.instance)
    }

    /// Whether it is an earlier version in the number that was asked for.
    fn is_earlier(&self, owned: &Owned, wish: &Wish, is: Option<&Arc<WorkloadSpec>>) -> bool {
        let Some((wish, is)) = wish.as_ref().zip(is) else { return false };
        let versions = self.versions.get(owned).map(Vec::as_slice).unwrap_or_default();
        self.gone_back.contains(owned)
            && wish.instances == is.instances
            && versions.iter().any(|version| *version == is.instance)
    }
}

impl World {
    /// Asks for something that changes what a workload is to be.
    pub(crate) fn wish(&mut self, at: MasterAt, key: WorkloadKey, request: ApiCall, wish: Wish) {
        let call = self.masters[at].next_call();
        self.speak_of(at, &key);
        let held = self.masters[at].state.owned().find(|spec| spec.key == key).cloned();
        let owned = (at, key.clone());
        if let Some(spec) = &wish {
            if spec.update.auto_revert {
                self.operators.may_go_back(owned.clone());
            }
            self.operators.versions.entry(owned.clone()).or_default().push(Arc::clone(&spec.instance));
        }
        let wishes = self.operators.wishes.entry(owned).or_insert_with(|| vec![(CallId(0), held)]);
        wishes.push((call, wish));
        self.operators.open.insert((at, call), key);
        self.tell_master(at, Input::Call(call, request));
    }

    pub(crate) fn replied(&mut self, at: MasterAt, call: CallId, reply: &Result<ApiReply, ApiError>) {
        let Some(key) = self.operators.open.remove(&(at, call)) else { return };
        let Some(wishes) = self.operators.wishes.get_mut(&(at, key)) else { return };
        self.masters[at].unjudged = true;
        if reply.is_err() {
            wishes.retain(|(id, _)| *id != call);
            return;
        }
        let Some(at_hand) = wishes.iter().position(|(id, _)| *id == call) else { return };
        self.operators.acknowledged += 1;
        let acknowledged = wishes.remove(at_hand);
        // The first was acknowledged before. What was asked for before this one may still be on its way, and come into force after it.
        let open = &self.operators.open;
        wishes.drain(..1);
        wishes.retain(|(id, _)| *id > call || open.contains_key(&(at, *id)));
        wishes.insert(0, acknowledged);
    }

    fn list(&mut self, at: MasterAt, request: ApiCall) {
        let call = self.masters[at].next_call();
        self.lists = Lists::default();
        self.tell_master(at, Input::Call(call, request));
    }

    /// All allocations of a region as an operator sees them; `None` while its master owes the answer.
    pub(crate) fn allocations(&mut self, at: MasterAt) -> Option<Vec<AllocationView>> {
        self.list(at, ApiCall::Allocations(Filter::default()));
        self.lists.allocations.take()
    }

    pub(crate) fn workloads(&mut self, at: MasterAt) -> Option<Vec<WorkloadView>> {
        self.list(at, ApiCall::Workloads(Filter::default()));
        self.lists.workloads.take()
    }

    /// All nodes of a region and of those below it.
    pub(crate) fn nodes_below(&mut self, at: MasterAt) -> Option<Vec<NodeView>> {
        self.list(at, ApiCall::Nodes(Filter { below: true, ..Filter::default() }));
        self.lists.nodes.take()
    }
}
