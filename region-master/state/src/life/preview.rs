//! What a rollout would do, before anything moves.

use std::sync::Arc;

use skerry_rollout::waves::matching;
use skerry_types::{Desired, InstanceIndex, NodeName, WorkloadSpec};

use super::calls::{LifeReply, PlanView, PlannedMember};
use crate::state::RegionState;

impl RegionState {
    /// The members of a workload as they are placed, and the waves that could take them. Those that are not placed are in none.
    pub(crate) fn plan_rollout(&self, spec: &Arc<WorkloadSpec>) -> LifeReply {
        let mut nodes: Vec<(InstanceIndex, NodeName)> = self
            .allocations_of(&spec.key)
            .filter(|allocation| allocation.intent.desired == Desired::Run)
            .map(|allocation| (allocation.intent.instance, allocation.node.clone()))
            .collect();
        nodes.sort();
        nodes.dedup_by_key(|(instance, _)| *instance);
        let member = |(instance, node): (InstanceIndex, NodeName)| {
            let known = self.nodes.get(&node)?;
            Some(PlannedMember {
                instance,
                site: known.site.clone(),
                arch: known.facts.as_ref().map(|facts| facts.arch.clone()).unwrap_or_default(),
                layers: known.layers.clone(),
                matching: matching(&spec.update.waves, &self.cluster_attributes(&node).unwrap_or_default()),
                is_deferred: !known.is_reachable(),
                node,
            })
        };
        let members = nodes.into_iter().filter_map(member).collect();
        LifeReply::Plan(PlanView { members, regions: self.part_names(&spec.key) })
    }
}
