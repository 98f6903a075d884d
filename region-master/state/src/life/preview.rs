//! What a rollout would do, before anything moves.

use std::sync::Arc;

use skerry_types::WorkloadSpec;

use super::calls::{LifeReply, PlanView, PlannedMember};
use super::seats::Placed;
use crate::state::RegionState;

impl RegionState {
    /// The members of a workload as they are placed, and the waves that could take them. Those that are not placed are in none.
    pub(crate) fn plan_rollout(&self, spec: &Arc<WorkloadSpec>) -> LifeReply {
        let member = |placed: Placed| {
            let known = self.nodes.get(&placed.node)?;
            Some(PlannedMember {
                instance: placed.instance,
                site: known.site.clone(),
                arch: known.facts.as_ref().map(|facts| facts.arch.clone()).unwrap_or_default(),
                layers: known.layers.clone(),
                matching: placed.matching,
                is_deferred: !known.is_reachable(),
                node: placed.node,
            })
        };
        let members = self.placed_members(spec).into_iter().filter_map(member).collect();
        LifeReply::Plan(PlanView { members, regions: self.part_names(&spec.key) })
    }
}
