//! Who is placed first when there is not room for all: higher priority, then the tenant that has the smaller part of what is
//! scarce for its weight (weighted dominant resource fairness), then the name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use skerry_federation::{FairTenant, Fairness};
use skerry_types::{Resources, TenantName, TenantSpec, WorkloadKey, WorkloadSpec};

use crate::state::RegionState;

/// Instances that a tenant's workload gets at a turn while tenants contend: few, so that each comes to its part, and enough that a
/// turn's cost is spread.
const TURN: u32 = 8;

/// Workloads of one priority, by tenant.
type Contenders = BTreeMap<TenantName, VecDeque<WorkloadKey>>;

impl RegionState {
    /// Looks at workloads, in order.
    pub(crate) fn work_off(&mut self, batch: BTreeSet<WorkloadKey>) {
        let mut by_priority: BTreeMap<Reverse<u8>, Contenders> = BTreeMap::new();
        for key in batch {
            let known = self.workloads.get(&key);
            let priority = known.map_or(WorkloadSpec::DEFAULT_PRIORITY, |known| known.record.spec.priority);
            let tenants = by_priority.entry(Reverse(priority)).or_default();
            tenants.entry(key.tenant.clone()).or_default().push_back(key);
        }
        for contenders in by_priority.into_values() {
            if contenders.len() > 1 {
                self.take_turns(contenders);
                continue;
            }
            for key in contenders.into_values().flatten() {
                self.reconcile(&key);
                self.seal_if_full();
            }
        }
    }

    fn take_turns(&mut self, mut contenders: Contenders) {
        let mut fairness = self.fairness();
        self.turn = Some(TURN);
        while let Some(tenant) = fairness.next(contenders.keys()).cloned() {
            let Some(key) = contenders.get(&tenant).and_then(|queue| queue.front()).cloned() else { break };
            let before = self.reserved_by(&tenant);
            let finished = self.reconcile(&key);
            self.seal_if_full();
            fairness.charge(&tenant, &self.reserved_by(&tenant).saturating_sub(&before));
            if !finished {
                continue;
            }
            if let Some(queue) = contenders.get_mut(&tenant) {
                queue.pop_front();
                if queue.is_empty() {
                    contenders.remove(&tenant);
                }
            }
        }
        self.turn = None;
    }

    /// What a tenant's allocations reserve on the own nodes.
    pub(crate) fn reserved_by(&self, tenant: &TenantName) -> Resources {
        self.reserved.get(tenant).copied().unwrap_or_default()
    }

    fn fairness(&self) -> Fairness {
        let capacities =
            self.nodes.values().filter_map(|node| node.facts.as_ref()).map(|facts| facts.capacity);
        let capacity = capacities.fold(Resources::ZERO, |sum, capacity| sum + capacity);
        let mut names = BTreeSet::from_iter(self.tenant_names());
        names.extend(self.reserved.keys().cloned());
        let tenants = names.into_iter().map(|name| {
            let spec = self.tenant_spec(&name);
            FairTenant {
                parent: spec.as_ref().and_then(|spec| spec.parent.clone()),
                weight: spec.map_or(TenantSpec::DEFAULT_WEIGHT, |spec| spec.weight),
                used: self.reserved_by(&name),
                name,
            }
        });
        Fairness::new(capacity, tenants)
    }
}
