//! Daemons: one instance on each node that matches.

use std::collections::{BTreeMap, BTreeSet};

use skerry_rollout::rolling;
use skerry_types::{Desired, InstanceIndex, InstanceSet, NodeName};

use crate::placing::Pending;
use crate::records::WorkloadRecord;
use crate::state::RegionState;

impl RegionState {
    pub(crate) fn reconcile_daemon(&mut self, record: &WorkloadRecord) {
        let key = &record.spec.key;
        let homes = self.homes(record);
        let numbers: InstanceSet = homes.keys().copied().collect();
        // Instances on nodes that are not to have one.
        self.stop_where(key, |allocation| homes.get(&allocation.intent.instance) != Some(&allocation.node));
        let course = self.course(key);
        let members = self.members(record, &numbers);
        let plan = rolling::plan(&record.spec.update, record.spec.on_disconnect.on_return, &course, &members);
        for id in &plan.stop {
            self.stop(id);
        }
        let mut pending: Vec<Pending> = Vec::new();
        for start in plan.start.iter().filter(|start| start.current || course.has_former) {
            let Some(node) = homes.get(&start.instance) else { continue };
            let base = if start.current { Some(record.clone()) } else { self.former_of(record) };
            let Some(base) = base else { continue };
            match self.cluster_place_on(&base.spec, start.instance, node) {
                Ok(place) => self.bind(&base, start.instance, place),
                Err(reasons) => Pending::add(&mut pending, start.instance, reasons),
            }
            self.seal_if_full();
        }
        self.found_no_place(pending);
        self.set_timer(record, &plan);
        self.progressed(key, plan.progress);
    }

    /// The node of each instance: those that have one keep it, others get the lowest free number.
    fn homes(&self, record: &WorkloadRecord) -> BTreeMap<InstanceIndex, NodeName> {
        let wanted = self.daemon_nodes(record);
        let mut homes = BTreeMap::new();
        for allocation in self.allocations_of(&record.spec.key).filter(|a| a.intent.desired == Desired::Run) {
            if wanted.contains(&allocation.node) {
                homes.insert(allocation.intent.instance, allocation.node.clone());
            }
        }
        let housed: BTreeSet<NodeName> = homes.values().cloned().collect();
        let free = (0..).map(InstanceIndex).filter(|number| !homes.contains_key(number));
        let fresh: Vec<(InstanceIndex, NodeName)> = free.zip(wanted.difference(&housed).cloned()).collect();
        homes.extend(fresh);
        homes
    }

    /// The nodes that are to have an instance. A node that is being emptied keeps its own to the last.
    fn daemon_nodes(&self, record: &WorkloadRecord) -> BTreeSet<NodeName> {
        let placement = &record.spec.placement;
        let has = |name: &NodeName| {
            self.allocations_of(&record.spec.key)
                .any(|allocation| allocation.node == *name && allocation.intent.desired == Desired::Run)
        };
        let fits = |name: &NodeName| {
            let Some(facts) = self.nodes.get(name).and_then(|node| node.facts.as_ref()) else { return false };
            let tolerated = facts.taints.iter().all(|taint| placement.tolerate.contains(taint));
            let matches =
                || self.cluster_attributes(name).is_some_and(|found| placement.require.matches(&found));
            tolerated && (placement.require.is_empty() || matches())
        };
        let open = |name: &NodeName| match self.life.drains.get(name) {
            None => true,
            Some(drain) if drain.draining.is_none() => has(name),
            Some(_) => has(name) && self.others_on(name),
        };
        self.nodes.keys().filter(|name| fits(name) && open(name)).cloned().collect()
    }
}
