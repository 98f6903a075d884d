//! How far a move is in the regions below: each makes it by itself, the owner adds up and decides for the whole.

use skerry_rollout::rolling::{Progress, State};
use skerry_types::{WorkloadKey, show_duration};

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
            let count = share.instances.len();
            all.total += count;
            let settled =
                answer.map(|status| status.current.intersection(&share.instances)).unwrap_or_default();
            let failed =
                answer.map(|status| status.failed.intersection(&share.instances)).unwrap_or_default();
            all.settled += settled.len();
            all.failed += failed.len();
            all.updated += settled.union(&failed).len();
            if !region.is_reachable() {
                all.deferred += count - settled.len();
            }
        }
        let untouched = matches!(all.state, State::Done | State::Running);
        if untouched && self.is_dealt_out(key) {
            all.state = self.state_of_all(key, &all);
        }
        all
    }

    fn is_dealt_out(&self, key: &WorkloadKey) -> bool {
        self.regions.values().any(|region| region.shares.contains_key(key))
    }

    /// By the rules that hold for the own nodes: failures among those that were tried, no progress for too long, all well.
    fn state_of_all(&self, key: &WorkloadKey, all: &Progress) -> State {
        let Some(workload) = self.workloads.get(key) else { return State::Done };
        let policy = &workload.record.spec.update;
        let moves = self.life.rollouts.get(key).is_some_and(|rollout| rollout.reverts.is_none());
        let (failed, tried) = (u64::from(all.failed), u64::from(all.updated));
        if moves && failed > 0 && failed * 100 >= u64::from(policy.abort_percent) * tried {
            return State::Failed(format!("{failed} of {tried} updated instances do not run"));
        }
        let left = all.settled + all.deferred < all.total;
        if moves && left && all.updated > 0 && self.course(key).since_progress >= policy.deadline {
            let deadline = show_duration(policy.deadline);
            return State::Failed(format!("no instance became healthy for {deadline}"));
        }
        if left { State::Running } else { all.state.clone() }
    }
}
