//! What a rollout would do, before anything moves.

use std::sync::Arc;

use skerry_types::{Desired, InstanceIndex, NodeName, WorkloadSpec};

use super::calls::{LifeReply, PlanView, PlannedMember, PlannedWave};
use crate::state::RegionState;

impl RegionState {
    /// The waves of a workload's members as they are placed. Those that are not placed are in none.
    pub(crate) fn plan_rollout(&self, spec: &Arc<WorkloadSpec>) -> LifeReply {
        let mut nodes: Vec<(InstanceIndex, NodeName)> = self
            .allocations_of(&spec.key)
            .filter(|allocation| allocation.intent.desired == Desired::Run)
            .map(|allocation| (allocation.intent.instance, allocation.node.clone()))
            .collect();
        nodes.sort();
        nodes.dedup_by_key(|(instance, _)| *instance);
        let waves = self.assign_waves(spec, &nodes);
        let last = spec.update.waves.len();
        let mut plan = PlanView { waves: Vec::new(), deferred: Vec::new() };
        for number in 0..=last {
            let wave = spec.update.waves.get(number);
            plan.waves.push(PlannedWave { wave: wave.cloned(), members: Vec::new() });
        }
        for (instance, node) in nodes {
            let Some(known) = self.nodes.get(&node) else { continue };
            let arch = known.facts.as_ref().map(|facts| facts.arch.clone()).unwrap_or_default();
            let layers = known.layers.clone();
            let member = PlannedMember { instance, site: known.site.clone(), node, arch, layers };
            if known.is_reachable() {
                plan.waves[waves.get(&instance).copied().unwrap_or(last)].members.push(member);
            } else {
                plan.deferred.push(member);
            }
        }
        LifeReply::Plan(plan)
    }
}
