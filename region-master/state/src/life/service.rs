//! Services and cron workloads: as many instances as are asked for, each in its one place.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use skerry_rollout::rolling::{self, Member, Plan, Reach, Replica};
use skerry_types::{AllocationId, InstanceIndex, InstanceSet, UpdatePolicy};

use crate::placing::Pending;
use crate::records::WorkloadRecord;
use crate::state::RegionState;

/// The gaps that an update may make where there is no room for a copy beside.
#[derive(Default)]
struct Gaps {
    /// How many.
    left: usize,
    /// Copies of the former generation whose successors are to start.
    outdated: Vec<(InstanceIndex, AllocationId)>,
}

impl Gaps {
    fn of(policy: &UpdatePolicy, plan: &Plan, members: &[Member<'_>]) -> Self {
        if policy.max_surge == 0 || policy.max_unavailable == 0 || plan.start.is_empty() {
            return Self::default();
        }
        // What the plan stops is a gap as well.
        let stopped: BTreeSet<&AllocationId> = plan.stop.iter().collect();
        let ready = |replica: &Replica<'_>| {
            matches!(replica.health, rolling::Health::Ready(_)) && !stopped.contains(replica.id)
        };
        let gaps = members.iter().filter(|member| !member.replicas.iter().any(&ready)).count();
        let started: InstanceSet = plan.start.iter().map(|start| start.instance).collect();
        let replaced = members.iter().filter(|member| started.contains(member.instance));
        let copies =
            replaced.flat_map(|member| member.replicas.iter().map(move |replica| (member.instance, replica)));
        // What is not heard from may be all that is left of its instance, and its room would not be free.
        let outdated = copies.filter(|(_, replica)| !replica.current && replica.reach == Reach::Reachable);
        Self {
            left: usize::try_from(policy.max_unavailable).unwrap_or(usize::MAX).saturating_sub(gaps),
            outdated: outdated.map(|(instance, replica)| (instance, replica.id.clone())).collect(),
        }
    }
}

/// Shortest wait between two looks.
const SHORTEST: Duration = Duration::from_millis(10);

impl RegionState {
    pub(crate) fn reconcile_service(&mut self, record: &WorkloadRecord, set: &InstanceSet) {
        let key = &record.spec.key;
        self.stop_where(key, |known| !set.contains(known.instance));
        let (course, waves) = (self.course(key), self.waves(record, set));
        let copies = self.copies(&record.spec);
        let members = self.members(&record.spec, set, &waves, &copies);
        let plan = rolling::plan(&record.spec.update, record.spec.on_disconnect.on_return, &course, &members);
        let gaps = Gaps::of(&record.spec.update, &plan, &members);
        self.carry_out(record, &plan, &gaps);
        self.set_timer(record, &plan);
        self.progressed(key, &plan.progress);
        self.give_leave(record, &plan);
    }

    fn carry_out(&mut self, record: &WorkloadRecord, plan: &Plan, gaps: &Gaps) {
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
        self.make_room(gaps, &pending);
        self.found_no_place(pending);
    }

    /// The generation that a move comes from, as a record of its own.
    pub(crate) fn former_of(&self, record: &WorkloadRecord) -> Option<WorkloadRecord> {
        let rollout = self.life.rollouts.get(&record.spec.key)?;
        Some(WorkloadRecord { spec: Arc::clone(&rollout.former), generation: rollout.from, ..record.clone() })
    }

    /// An update that may surge and may also have a gap takes the gap where there is no room beside: it would wait for ever.
    fn make_room(&mut self, gaps: &Gaps, pending: &[Pending]) {
        let waits = |instance| pending.iter().any(|pending| pending.instances.contains(instance));
        let stuck = gaps.outdated.iter().filter(|(instance, _)| waits(*instance));
        for (_, id) in stuck.take(gaps.left) {
            self.stop(id);
        }
    }

    /// Looks again when a wait of the plan is over, a node becomes lost, a window opens, or a move has made no progress for long
    /// enough.
    pub(crate) fn set_timer(&mut self, record: &WorkloadRecord, plan: &Plan) {
        let key = &record.spec.key;
        // Where nothing is under way, the time without progress does not grow.
        let moves = plan.progress.under_way > 0
            && self.life.rollouts.get(key).is_some_and(|rollout| rollout.failed.is_none());
        let stalled =
            moves.then(|| record.spec.update.deadline.saturating_sub(self.course(key).since_progress));
        let window = (plan.progress.waiting > 0).then(|| self.next_window(record)).flatten();
        let waits = [
            plan.again_in,
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

#[cfg(test)]
mod tests {
    use skerry_rollout::rolling::{Drain, Health, Start};

    use super::*;

    /// The copies whose room an instance may take that finds none beside them.
    fn taken(reach: Reach, stops: bool) -> usize {
        let policy = UpdatePolicy { max_surge: 1, max_unavailable: 1, ..UpdatePolicy::default() };
        let id = AllocationId::new("web-0-1").unwrap();
        let health = Health::Ready(Duration::from_mins(1));
        let (current, drain, age) = (false, Drain::No, Duration::ZERO);
        let replicas = [Replica { id: &id, current, health, reach, drain, age }];
        let instance = InstanceIndex(0);
        let member =
            Member { instance, site: None, wave: 0, open: true, awaited: false, replicas: &replicas };
        let stop = if stops { vec![id.clone()] } else { Vec::new() };
        let plan = Plan { start: vec![Start { instance, current: true }], stop, ..Plan::default() };
        let gaps = Gaps::of(&policy, &plan, &[member]);
        gaps.outdated.len().min(gaps.left)
    }

    #[test]
    fn the_room_of_what_is_not_heard_from_is_not_taken() {
        assert_eq!(taken(Reach::Reachable, false), 1);
        assert_eq!(taken(Reach::Unreachable, false), 0);
        assert_eq!(taken(Reach::Lost, false), 0);
        assert_eq!(taken(Reach::Reachable, true), 0, "what goes leaves a gap already");
    }
}
