//! How far a move is in the regions below: each makes it by itself, and the owner shows the sum.

use skerry_rollout::rolling::{Progress, State};
use skerry_types::WorkloadKey;

use crate::state::RegionState;

impl RegionState {
    /// Adds what regions below say of their parts to what the own nodes do.
    pub(crate) fn with_parts(&self, key: &WorkloadKey, own: Progress) -> Progress {
        let mut all = own;
        for region in self.regions.values() {
            let Some(share) = region.shares.get(key).filter(|share| !share.instances.is_empty()) else {
                continue;
            };
            let answer = region.statuses.get(key).filter(|status| status.generation == share.generation);
            let part = |set: &skerry_types::InstanceSet| set.intersection(&share.instances);
            let settled = answer.map(|status| part(&status.current)).unwrap_or_default();
            let failed = answer.map(|status| part(&status.failed)).unwrap_or_default();
            all.total += share.instances.len();
            all.settled += settled.len();
            all.failed += failed.len();
            all.updated += settled.union(&failed).len();
            if !region.is_reachable() {
                all.deferred += share.instances.len() - settled.len();
            }
        }
        if all.state == State::Done && all.settled + all.deferred < all.total {
            all.state = State::Running;
        }
        all
    }
}
