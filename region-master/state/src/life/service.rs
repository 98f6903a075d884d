//! Services and cron workloads: as many instances as are asked for, each in its one place.

use std::sync::Arc;
use std::time::Duration;

use skerry_rollout::rolling::{self, Plan};
use skerry_types::{AllocationId, InstanceSet};

use crate::placing::Pending;
use crate::records::WorkloadRecord;
use crate::state::RegionState;

/// Shortest wait between two looks.
const SHORTEST: Duration = Duration::from_millis(10);

impl RegionState {
    pub(crate) fn reconcile_service(&mut self, record: &WorkloadRecord, set: &InstanceSet) {
        let key = &record.spec.key;
        self.stop_where(key, |allocation| !set.contains(allocation.intent.instance));
        let course = self.course(key);
        let members = self.members(record, set);
        let plan = rolling::plan(&record.spec.update, record.spec.on_disconnect.on_return, &course, &members);
        self.carry_out(record, &plan, &members);
        self.set_timer(record, &plan);
        self.progressed(key, plan.progress);
    }

    fn carry_out(&mut self, record: &WorkloadRecord, plan: &Plan, members: &[rolling::Member]) {
        for id in &plan.stop {
            self.stop(id);
        }
        let starts = |current: bool| -> InstanceSet {
            plan.start.iter().filter(|start| start.current == current).map(|start| start.instance).collect()
        };
        let mut pending = self.place_missing(record, &starts(true));
        if let Some(former) = self.former_of(record) {
            pending.extend(self.place_missing(&former, &starts(false)));
        }
        self.make_room(record, plan, &pending, members);
        self.found_no_place(pending);
    }

    /// The generation that a move comes from, as a record of its own.
    pub(crate) fn former_of(&self, record: &WorkloadRecord) -> Option<WorkloadRecord> {
        let rollout = self.life.rollouts.get(&record.spec.key)?;
        Some(WorkloadRecord { spec: Arc::clone(&rollout.former), generation: rollout.from, ..record.clone() })
    }

    /// An update that may surge and may also have a gap takes the gap where there is no room beside: it would wait for ever.
    fn make_room(
        &mut self,
        record: &WorkloadRecord,
        plan: &Plan,
        pending: &[Pending],
        members: &[rolling::Member],
    ) {
        let policy = &record.spec.update;
        if policy.max_surge == 0 || policy.max_unavailable == 0 {
            return;
        }
        let waits = |instance| pending.iter().any(|pending| pending.instances.contains(instance));
        // What the plan stops is a gap as well.
        let ready = |replica: &&rolling::Replica| {
            matches!(replica.health, rolling::Health::Ready(_)) && !plan.stop.contains(&replica.id)
        };
        let gaps = members.iter().filter(|member| !member.replicas.iter().any(|r| ready(&r))).count();
        let left = usize::try_from(policy.max_unavailable).unwrap_or(usize::MAX).saturating_sub(gaps);
        let stuck = members.iter().filter(|member| waits(member.instance) && !member.replicas.is_empty());
        let outdated = stuck.flat_map(|member| &member.replicas).filter(|replica| !replica.current);
        let ids: Vec<AllocationId> = outdated.take(left).map(|replica| replica.id.clone()).collect();
        for id in &ids {
            self.stop(id);
        }
    }

    /// Looks again when a wait of the plan is over, a node becomes lost, a window opens, or a move has made no progress for long
    /// enough.
    pub(crate) fn set_timer(&mut self, record: &WorkloadRecord, plan: &Plan) {
        let key = &record.spec.key;
        let moves = self.life.rollouts.get(key).is_some_and(|rollout| rollout.failed.is_none());
        let stalled =
            moves.then(|| record.spec.update.deadline.saturating_sub(self.course(key).since_progress));
        let window = (plan.progress.waiting > 0).then(|| self.next_window(record)).flatten();
        let absent = self.life.rollouts.get(key).and_then(|_| self.next_absence(record));
        let waits = [
            plan.again_in,
            absent,
            self.next_loss(record),
            window,
            stalled,
            self.next_eviction(key),
            Self::next_scale(record),
        ];
        // What is due was looked at just before: only news makes a difference to it.
        match waits.into_iter().flatten().filter(|wait| !wait.is_zero()).min() {
            // A wait of nearly nothing would spin.
            Some(wait) => self.life.timers.set(key, self.now.mono + wait.max(SHORTEST)),
            None => self.life.timers.clear(key),
        }
    }
}
