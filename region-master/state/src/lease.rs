//! Leases of what is exclusive: which nodes were heard, and when a replacement may start.
//!
//! The promise: of an exclusive instance no two containers run at once, by true time. It rests on two rules.
//!
//! A node runs a container only until the lease ends that it last *asked* for, counted by its own clock and shorter by the
//! drift that a clock may have. This master starts another copy only when every other one is surely gone: its node said on
//! disk that nothing of it is left, or the lease that the master last *heard* the node ask for is over by its own clock, longer
//! by the drift. A question is asked before it is heard, so the first end is never after the second.
//!
//! What is left is a node that asks anew after the second end. By then the old copy is told to stop: that decision is on disk
//! before the new copy is, and both before an answer leaves. The answer names the newest row that the node should have, and
//! the node counts no answer before that row is in force: the row that stops the old copy comes before the lease that would
//! let it run. An answer that was on its way before the decision counts from a question that was heard before it, whose end
//! was waited for.
//!
//! After its own start the master knows of no question, so it takes every node to have asked at that moment: whatever was
//! answered before counts from earlier. A node's name is never given to another machine while a lease of it may be held, as it
//! is not removed before.

use std::collections::BTreeMap;
use std::time::Duration;

use skerry_types::{
    AllocationId, Desired, InstanceIndex, InstanceSet, MonoTime, NodeName, Refusal, Rule, WallTime,
    WorkloadKey,
};
use skerry_wire::{Cursor, ToChild};

use crate::api::ApiError;
use crate::input::{Action, LinkId};
use crate::listing::LeaseView;
use crate::placing::Pending;
use crate::records::{AllocationRecord, ChildName, WorkloadRecord};
use crate::regions::ChildRegion;
use crate::split::Deal;
use crate::state::RegionState;

/// When nodes asked for their leases.
#[derive(Debug)]
pub(crate) struct Leases {
    /// When this process began.
    began: MonoTime,
    heard: BTreeMap<NodeName, MonoTime>,
}

impl Leases {
    pub(crate) fn new(began: MonoTime) -> Self {
        Self { began, heard: BTreeMap::new() }
    }

    /// When a node asked last, as far as may be.
    fn heard(&self, node: &NodeName) -> MonoTime {
        self.heard.get(node).copied().unwrap_or(self.began)
    }
}

impl RegionState {
    /// A node asks for its leases.
    pub(crate) fn renew_leases(&mut self, id: LinkId, name: &ChildName, round: u64) {
        let now = self.now.mono;
        let ChildName::Node(node) = name else { return };
        let Some(child) = self.child_mut(name) else { return };
        let (epoch, revision) = (child.writer.epoch(), child.writer.newest());
        let cursor = Cursor { epoch, incarnation: self.past.incarnation(), revision };
        self.leases.heard.insert(node.clone(), now);
        self.act(Action::Send(id, ToChild::Renewed { round, cursor }));
    }

    /// When nothing of an allocation can run any more, whatever its node does; `None` for what needs no lease to run.
    fn is_gone_at(&self, allocation: &AllocationRecord) -> Option<MonoTime> {
        let lease = allocation.intent.spec.exclusive?;
        Some(lease.is_over_at(self.leases.heard(&allocation.node)))
    }

    fn is_surely_gone(&self, allocation: &AllocationRecord) -> bool {
        self.is_gone_at(allocation).is_some_and(|at| self.now.mono >= at)
    }

    /// Instances of an exclusive workload of which a copy is here, or was and may run still: no other region may have them.
    pub(crate) fn may_run_here(&self, record: &WorkloadRecord) -> InstanceSet {
        if record.spec.exclusive().is_none() {
            return InstanceSet::default();
        }
        self.allocations_of(&record.spec.key).map(|allocation| allocation.intent.instance).collect()
    }

    /// Whether every region below that has a part of a workload has said what became of it.
    pub(crate) fn have_answered(&self, key: &WorkloadKey) -> bool {
        let with_part = self.regions.iter().filter(|(_, region)| region.shares.contains_key(key));
        with_part.map(|(name, _)| name).all(|name| self.has_answered(name, key))
    }

    /// Which of these instances, which no region is to have, a region below may have a copy of: one that it said is there, or
    /// any while it has not answered what it was last told.
    pub(crate) fn may_run_below(
        &self,
        record: &WorkloadRecord,
        missing: &InstanceSet,
        deal: &Deal,
    ) -> InstanceSet {
        let key = &record.spec.key;
        let mut held = InstanceSet::default();
        if record.spec.exclusive().is_none() {
            return held;
        }
        for (name, region) in &self.regions {
            let answered = self.has_answered(name, key) || !region.shares.contains_key(key);
            let present = deal.parts.get(name).cloned().unwrap_or_default();
            match region.statuses.get(key) {
                _ if !answered => return missing.clone(),
                Some(status) => held = held.union(&status.placed.difference(&present)),
                None => {}
            }
        }
        held.intersection(missing)
    }

    /// Which of these instances may get a copy, and which wait until a copy that they have is surely gone. One that is to go
    /// is told to: what is exclusive stops before it starts elsewhere.
    pub(crate) fn hold_back(
        &mut self,
        record: &WorkloadRecord,
        missing: &InstanceSet,
    ) -> (InstanceSet, Vec<Pending>) {
        let key = &record.spec.key;
        if record.spec.exclusive().is_none() {
            return (missing.clone(), Vec::new());
        }
        let mut held: BTreeMap<InstanceIndex, Option<MonoTime>> = BTreeMap::new();
        let mut moved: Vec<(InstanceIndex, AllocationId)> = Vec::new();
        for allocation in self.allocations_of(key) {
            let instance = allocation.intent.instance;
            if !missing.contains(instance) || self.is_surely_gone(allocation) {
                continue;
            }
            let at = self.is_gone_at(allocation);
            let known = held.entry(instance).or_insert(at);
            *known = (*known).zip(at).map(|(one, other)| one.max(other));
            if allocation.intent.desired != Desired::Stop && self.is_connected(&allocation.node) {
                moved.push((instance, allocation.intent.id.clone()));
            }
        }
        for at in held.values().flatten() {
            self.wake(key, *at);
        }
        let waits: InstanceSet = held.keys().copied().collect();
        let homeless = self.make_moves(record, moved);
        let staying = waits.difference(
            &homeless.iter().fold(InstanceSet::default(), |all, part| all.union(&part.instances)),
        );
        let mut pending = homeless;
        pending.extend(waiting(staying));
        (missing.difference(&waits), pending)
    }

    /// Stops copies that another one is to take the place of, where there is a place for that. Gives back those for which there
    /// is none: they stay.
    fn make_moves(
        &mut self,
        record: &WorkloadRecord,
        moved: Vec<(InstanceIndex, AllocationId)>,
    ) -> Vec<Pending> {
        let mut homeless: Vec<Pending> = Vec::new();
        for (instance, id) in moved {
            let one = InstanceSet::from_iter([instance]);
            for (_, place) in self.cluster_place(&record.spec, &one) {
                match place {
                    Ok(place) => {
                        // The room is only looked for: it is taken when the old copy is gone.
                        self.cluster.release(&place.node, &place.id).ok();
                        self.stop(&id);
                    }
                    Err(reasons) => Pending::add(&mut homeless, instance, reasons),
                }
            }
        }
        homeless
    }

    /// Another copy of an exclusive instance is about to be written: those that may have been one are told to stop before.
    pub(crate) fn give_up_others(&mut self, key: &WorkloadKey, instance: InstanceIndex) {
        self.stop_all(key, |known| known.instance == instance);
    }

    /// Refuses to forget a node that may run what is exclusive.
    pub(crate) fn check_no_lease(&self, node: &NodeName) -> Result<(), ApiError> {
        let ids = self.nodes.get(node).into_iter().flat_map(|node| &node.allocations);
        let held = ids.filter_map(|id| self.allocations.get(id));
        let last = held
            .filter_map(|allocation| Some((self.is_gone_at(allocation)?, allocation)))
            .max_by_key(|(at, _)| *at);
        match last.filter(|(at, _)| self.now.mono < *at) {
            None => Ok(()),
            Some((at, allocation)) => Err(ApiError::LeaseHeld {
                node: node.clone(),
                allocation: allocation.intent.id.clone(),
                // Rounded up, so that it is over when a person who waited tries again.
                over_in: Duration::from_secs(at.since(self.now.mono).as_secs() + 1),
            }),
        }
    }

    /// The clock on the wall at a moment near the present.
    fn wall_at(&self, at: MonoTime) -> WallTime {
        let ahead = u64::try_from(at.since(self.now.mono).as_millis()).unwrap_or(u64::MAX);
        WallTime((self.now.wall - self.now.mono.since(at)).0.saturating_add(ahead))
    }

    /// What is shown of an allocation's lease.
    pub(crate) fn lease_view(&self, allocation: &AllocationRecord) -> Option<LeaseView> {
        let lease = allocation.intent.spec.exclusive?;
        let heard = self.leases.heard.get(&allocation.node);
        Some(LeaseView {
            length: lease.length(),
            renewed_at: heard.map(|heard| self.wall_at(*heard)),
            over_at: self.wall_at(self.is_gone_at(allocation)?),
        })
    }
}

/// Instances that wait until a copy of them is surely gone; nothing when there are none.
pub(crate) fn waiting(instances: InstanceSet) -> Option<Pending> {
    let reasons = || vec![Refusal { rule: Rule::MayStillRun, nodes: 1 }];
    (!instances.is_empty()).then(|| Pending { instances, reasons: reasons() })
}

impl ChildRegion {
    /// Whether it has said that nothing of an empty part is left there.
    pub(crate) fn has_let_go(&self, key: &WorkloadKey) -> bool {
        let Some(share) = self.shares.get(key) else { return true };
        let status = self.statuses.get(key).filter(|status| status.offer == share.offer);
        share.instances.is_empty() && status.is_some_and(|status| status.placed.is_empty())
    }
}
