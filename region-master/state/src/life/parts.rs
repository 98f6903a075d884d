//! Moves over regions: the owner of a workload decides how far each region below may go, and hears how far it is.

use std::collections::BTreeMap;

use skerry_rollout::rolling::{Part, Plan};
use skerry_types::{Generation, Hold, Leave, PartProgress, RegionName, WorkloadKey, WorkloadKind};
use skerry_wire::RegionRow;

use crate::records::{Origin, WorkloadRecord};
use crate::regions::ChildRegion;
use crate::state::RegionState;

/// What the last look said of how far regions below may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    generation: Generation,
    leave: Leave,
    /// Those that go first, by region; none where a region is not named.
    canaries: BTreeMap<RegionName, u32>,
}

impl RegionState {
    /// The regions below that have a part of a workload.
    pub(crate) fn holders(&self, key: &WorkloadKey) -> impl Iterator<Item = (&RegionName, &ChildRegion)> {
        self.regions.iter().filter(|(_, region)| {
            region
                .shares
                .get(key)
                .is_some_and(|share| !share.instances.is_empty() || share.spec.kind == WorkloadKind::Daemon)
        })
    }

    /// Their names.
    pub(crate) fn part_names(&self, key: &WorkloadKey) -> Vec<RegionName> {
        self.holders(key).map(|(name, _)| name.clone()).collect()
    }

    /// What those regions say of their parts, in their order.
    pub(crate) fn moving_parts(&self, key: &WorkloadKey) -> Vec<Part> {
        let part = |region: &ChildRegion| {
            let share = region.shares.get(key);
            let total = share.map_or(0, |share| share.instances.len());
            let said = region.statuses.get(key).filter(|status| {
                share.is_some_and(|share| share.generation == status.generation) && status.refused.is_none()
            });
            Part {
                reachable: region.is_reachable(),
                awaited: !region.is_reachable() && self.is_brief(region.contact_since),
                answered: said.is_some(),
                progress: said
                    .map_or(PartProgress { total, ..PartProgress::default() }, |status| status.progress),
            }
        };
        self.holders(key).map(|(_, region)| part(region)).collect()
    }

    /// How many instances of a workload of this region nobody has.
    pub(crate) fn homeless(&self, record: &WorkloadRecord) -> u32 {
        let Some(split) = self.splits.get(&record.spec.key).filter(|_| record.origin == Origin::Own) else {
            return 0;
        };
        let shares =
            self.holders(&record.spec.key).filter_map(|(_, region)| region.shares.get(&record.spec.key));
        let held = shares.fold(split.local.clone(), |held, share| held.union(&share.instances));
        self.wanted_instances(record).difference(&held).len()
    }

    /// How long regions are away that have a part of a workload.
    pub(crate) fn absent_parts(&self, key: &WorkloadKey) -> impl Iterator<Item = std::time::Duration> {
        let away = self.holders(key).filter(|(_, region)| !region.is_reachable());
        away.map(|(_, region)| self.now.mono.since(region.contact_since))
    }

    /// Tells regions below how far they may go, those to which that is news.
    pub(crate) fn give_leave(&mut self, record: &WorkloadRecord, plan: &Plan) {
        let key = &record.spec.key;
        let names = self.part_names(key);
        let moves = self.life.rollouts.contains_key(key) || record.received().is_some();
        let leave = if moves { plan.leave.clone() } else { Leave::FREE };
        let canaries = names.iter().cloned().zip(plan.canaries.iter().copied());
        let given = Given { generation: record.generation, leave, canaries: canaries.collect() };
        if let Some(moving) = self.life.moving.get_mut(key) {
            moving.given = Some(given);
        }
        for name in &names {
            let leave = self.leave_of(name, record);
            self.tell_leave(name, key, leave);
        }
    }

    /// Tells a region below how far it may go with its share, if that is news.
    pub(crate) fn tell_leave(&mut self, name: &RegionName, key: &WorkloadKey, leave: Leave) {
        let known = self.regions.get_mut(name).and_then(|region| region.shares.get_mut(key));
        // The same offer: nothing of it is to be placed anew.
        if let Some(share) = known.filter(|share| share.leave != leave) {
            share.leave = leave;
            let row = RegionRow::Share(share.clone());
            self.send_down(name, row);
            self.seal_if_full();
        }
    }

    /// How far a region below may go: what the last look said; before the first one of a generation, what holds of any.
    pub(crate) fn leave_of(&self, name: &RegionName, record: &WorkloadRecord) -> Leave {
        let leave = self.general_leave(name, record);
        let (sizes, parallelism) = (self.seats_below(name, record), self.parallelism_below(name, record));
        Leave { sizes, parallelism, ..leave }
    }

    fn general_leave(&self, name: &RegionName, record: &WorkloadRecord) -> Leave {
        let key = &record.spec.key;
        let given = self.life.moving.get(key).and_then(|moving| moving.given.as_ref());
        if let Some(given) = given.filter(|given| given.generation == record.generation) {
            let canaries = given.canaries.get(name).copied().unwrap_or_default();
            return Leave { canaries, ..given.leave.clone() };
        }
        let told = self.regions.get(name).and_then(|region| region.shares.get(key));
        if let Some(share) = told.filter(|share| share.generation == record.generation) {
            return share.leave.clone();
        }
        let rollout = self.life.rollouts.get(key);
        match (&record.origin, rollout) {
            (Origin::Parent(received), _) => Leave { canaries: 0, ..received.leave.clone() },
            (Origin::Own, None) => Leave::FREE,
            (Origin::Own, Some(rollout)) => {
                let reverts = rollout.reverts.is_some();
                let promoted = record.spec.update.canary == 0 || reverts || rollout.promoted;
                let hold = match (&rollout.failed, rollout.paused) {
                    (Some(_), _) => Hold::GivenUp,
                    (None, true) => Hold::Paused,
                    (None, false) => Hold::Moves,
                };
                let waves = if reverts { u32::MAX } else { 1 };
                Leave { hold, promoted, waves, reverts, ..Leave::FREE }
            }
        }
    }
}
