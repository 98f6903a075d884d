//! Instances of higher priority that take the room of lower ones.

use std::collections::BTreeMap;

use skerry_allocator::Taken;
use skerry_types::{
    AllocationId, EventLevel, EventSubject, InstanceIndex, InstanceSet, NodeName, Quota, Resources,
    TenantName, WorkloadKey, WorkloadKind,
};

use crate::capacity::demand;
use crate::placing::Pending;
use crate::records::WorkloadRecord;
use crate::state::RegionState;

/// Instances of one workload that look for room to take at a time: each look goes over all nodes. The others follow when the
/// first have theirs.
const AT_ONCE: usize = 16;

/// For each instance that waits for room that was taken for it, the allocations that have to leave.
pub(crate) type MakingWay = BTreeMap<WorkloadKey, BTreeMap<InstanceIndex, Vec<AllocationId>>>;

impl RegionState {
    /// Instances for which others are being stopped.
    pub(crate) fn awaiting_room(&mut self, key: &WorkloadKey) -> InstanceSet {
        let Some(waiting) = self.making_way.get_mut(key) else { return InstanceSet::default() };
        waiting.retain(|_, victims| victims.iter().any(|id| self.allocations.contains_key(id)));
        let instances = waiting.keys().copied().collect();
        if waiting.is_empty() {
            self.making_way.remove(key);
        }
        instances
    }

    /// Stops instances of lower priority for those that found no place. Gives back those for which that would not help.
    pub(crate) fn make_way(
        &mut self,
        record: &WorkloadRecord,
        homeless: Vec<Pending>,
    ) -> (Vec<Pending>, Vec<Pending>) {
        if record.spec.kind == WorkloadKind::Daemon || record.spec.priority == 0 {
            return (Vec::new(), homeless);
        }
        let (mut helped, mut left) = (Vec::new(), Vec::new());
        let mut looks = AT_ONCE;
        for part in homeless {
            let mut found = InstanceSet::default();
            for instance in part.instances.iter().take(looks) {
                looks -= 1;
                if !self.take_room(record, instance) {
                    break;
                }
                found.insert(instance);
            }
            let rest = part.instances.difference(&found);
            let reasons = part.reasons;
            helped.push(Pending { instances: found, reasons: reasons.clone() });
            left.push(Pending { instances: rest, reasons });
        }
        helped.retain(|part| !part.instances.is_empty());
        left.retain(|part| !part.instances.is_empty());
        (helped, left)
    }

    /// Finds allocations whose room an instance can have, and stops them.
    fn take_room(&mut self, record: &WorkloadRecord, instance: InstanceIndex) -> bool {
        let spec = &record.spec;
        let existing = self.nodes_of(&spec.key);
        let guarantees = self.guarantees();
        let allowed = |taken: &Taken| guarantees.allow(taken);
        let found = self.cluster.preempt(&demand(spec, &existing), &allowed);
        let Some(found) = found.filter(|found| !found.victims.is_empty()) else { return false };
        let names: Vec<&str> = found.victims.iter().map(AllocationId::as_str).collect();
        let message = format!(
            "instance {instance} of priority {} takes the room of {} on node {}",
            spec.priority,
            names.join(", "),
            found.node
        );
        self.tell(EventLevel::Info, EventSubject::Workload(spec.key.clone()), "Preempting", message);
        for id in &found.victims {
            self.evict(id, record, instance, &found.node);
        }
        self.making_way.entry(spec.key.clone()).or_default().insert(instance, found.victims);
        true
    }

    fn evict(
        &mut self,
        id: &AllocationId,
        record: &WorkloadRecord,
        instance: InstanceIndex,
        node: &NodeName,
    ) {
        let Some(victim) = self.allocations.get(id).cloned() else { return };
        let key = victim.intent.workload.clone();
        let lower = self.workloads.get(&key).map_or(0, |workload| workload.record.spec.priority);
        let message = format!(
            "{id} of priority {lower} leaves node {node} to make room for instance {instance} of {}, of priority {}",
            record.spec.key, record.spec.priority
        );
        let subject = EventSubject::Allocation(id.clone(), key.clone());
        self.tell(EventLevel::Warning, subject, "Preempted", message);
        self.stop(id);
        // Its room is promised: nobody else takes it in turn.
        self.cluster_promise(&victim);
        self.dirty.insert(key);
    }

    /// What a tenant has still and was told to leave to others.
    fn leaving(&self, tenant: &TenantName) -> Resources {
        let victims = self.making_way.values().flat_map(BTreeMap::values).flatten();
        let theirs = victims.filter_map(|id| self.allocations.get(id));
        let theirs = theirs.filter(|record| record.intent.workload.tenant == *tenant);
        theirs.fold(Resources::ZERO, |sum, record| sum + record.intent.spec.resources())
    }

    /// What no preemption takes from tenants.
    pub(crate) fn guarantees(&self) -> Guarantees {
        let mut accounts: BTreeMap<TenantName, Account> = BTreeMap::new();
        for name in self.tenant_names() {
            let Some(spec) = self.tenant_spec(&name) else { continue };
            let used = Resources::ZERO;
            accounts.insert(name, Account { parent: spec.parent, guarantee: spec.guarantee, used });
        }
        let mut guarantees = Guarantees { accounts };
        for (tenant, reserved) in &self.reserved {
            guarantees.add(tenant, &reserved.saturating_sub(&self.leaving(tenant)));
        }
        guarantees
    }
}

/// What tenants have on the own nodes, and what none may have less of.
#[derive(Debug)]
pub(crate) struct Guarantees {
    accounts: BTreeMap<TenantName, Account>,
}

#[derive(Debug)]
struct Account {
    parent: Option<TenantName>,
    guarantee: Quota,
    used: Resources,
}

impl Guarantees {
    /// A tenant and all above it.
    fn above(&self, tenant: &TenantName) -> Vec<TenantName> {
        let next = |name: &TenantName| self.accounts.get(name).and_then(|account| account.parent.clone());
        std::iter::successors(Some(tenant.clone()), next).take(self.accounts.len() + 1).collect()
    }

    fn add(&mut self, tenant: &TenantName, reserved: &Resources) {
        for name in self.above(tenant) {
            if let Some(account) = self.accounts.get_mut(&name) {
                account.used += *reserved;
            }
        }
    }

    /// Whether so much may be taken from each of these tenants.
    pub(crate) fn allow(&self, taken: &Taken) -> bool {
        let mut in_all: BTreeMap<TenantName, Resources> = BTreeMap::new();
        for (tenant, amount) in taken {
            for name in self.above(tenant) {
                *in_all.entry(name).or_default() += *amount;
            }
        }
        in_all.iter().all(|(name, amount)| {
            self.accounts.get(name).is_none_or(|account| {
                let left = account.used.saturating_sub(amount);
                covers(&account.guarantee, &left, amount)
            })
        })
    }
}

/// Whether `left` is not below a guarantee in anything that is taken.
fn covers(guarantee: &Quota, left: &Resources, taken: &Resources) -> bool {
    let keeps = |guarantee: Option<u64>, left: u64, taken: u64| {
        taken == 0 || guarantee.is_none_or(|guarantee| left >= guarantee)
    };
    keeps(guarantee.cpu.map(|amount| amount.0), left.cpu.0, taken.cpu.0)
        && keeps(guarantee.memory.map(|amount| amount.0), left.memory.0, taken.memory.0)
        && keeps(guarantee.disk.map(|amount| amount.0), left.disk.0, taken.disk.0)
        && keeps(guarantee.bandwidth.map(|amount| amount.0), left.bandwidth.0, taken.bandwidth.0)
        && keeps(guarantee.gpu.map(|amount| amount.0), left.gpu.0, taken.gpu.0)
}
