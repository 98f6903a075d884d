//! Where the instances of daemons belong: one on each node that matches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_types::{Desired, InstanceIndex, NodeName, WorkloadKey, WorkloadSpec};

use crate::state::RegionState;

/// The node of each instance.
pub(crate) type HomesOf = Arc<BTreeMap<InstanceIndex, NodeName>>;

/// The homes of daemons, kept until a node or a spec changes: ten thousand of them are not looked for anew at every look.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    known: BTreeMap<WorkloadKey, (Arc<WorkloadSpec>, HomesOf)>,
}

impl Homes {
    /// A node came, went or changed, or what is on a node that takes nothing more.
    pub(crate) fn stale(&mut self) {
        self.known.clear();
    }

    pub(crate) fn forget(&mut self, key: &WorkloadKey) {
        self.known.remove(key);
    }
}

impl RegionState {
    /// The node of each instance: those that have one keep it, others get the lowest free number.
    pub(crate) fn homes(&mut self, spec: &Arc<WorkloadSpec>) -> HomesOf {
        let known = self.life.homes.known.get(&spec.key);
        if let Some((_, homes)) = known.filter(|(of, _)| Arc::ptr_eq(of, spec)) {
            return Arc::clone(homes);
        }
        let homes = Arc::new(self.find_homes(spec));
        self.life.homes.known.insert(spec.key.clone(), (Arc::clone(spec), Arc::clone(&homes)));
        homes
    }

    fn find_homes(&self, spec: &WorkloadSpec) -> BTreeMap<InstanceIndex, NodeName> {
        let run = self.allocations_of(&spec.key).filter(|a| a.intent.desired == Desired::Run);
        let mut present: Vec<(InstanceIndex, NodeName)> =
            run.map(|allocation| (allocation.intent.instance, allocation.node.clone())).collect();
        let holders = present.iter().map(|(_, node)| node.clone()).collect();
        let wanted = self.daemon_nodes(spec, &holders);
        // Where orphans were adopted a number may be at two nodes, and a node may have two.
        present.sort();
        let (mut homes, mut housed) = (BTreeMap::new(), BTreeSet::new());
        for (number, node) in present.into_iter().filter(|(_, node)| wanted.contains(node)) {
            if !homes.contains_key(&number) && housed.insert(node.clone()) {
                homes.insert(number, node);
            }
        }
        let free = (0..).map(InstanceIndex).filter(|number| !homes.contains_key(number));
        let fresh: Vec<(InstanceIndex, NodeName)> = free.zip(wanted.difference(&housed).cloned()).collect();
        homes.extend(fresh);
        homes
    }

    /// The nodes that are to have an instance. A node that is being emptied keeps its own to the last.
    fn daemon_nodes(&self, spec: &WorkloadSpec, holders: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
        let placement = &spec.placement;
        let fits = |name: &NodeName| {
            let Some(facts) = self.nodes.get(name).and_then(|node| node.facts.as_ref()) else { return false };
            let tolerated = facts.taints.iter().all(|taint| placement.tolerate.contains(taint));
            let matches =
                || self.cluster_attributes(name).is_some_and(|found| placement.require.matches(&found));
            tolerated && (placement.require.is_empty() || matches())
        };
        let open = |name: &NodeName| match self.life.drains.get(name) {
            None => true,
            Some(drain) if drain.draining.is_none() => holders.contains(name),
            Some(_) => holders.contains(name) && self.others_on(name),
        };
        self.nodes.keys().filter(|name| fits(name) && open(name)).cloned().collect()
    }
}
