//! Waves of updates: what runs well is not moved before the waves that come first are well, in whatever region they are.
//!
//! The judge counts: of an update whose first waves have so many seats, no more than that many members are told to make way before
//! that many have run in the new version for as long as they are to. It does not ask who sits where. Where a node or a region is not
//! heard from, its members are left behind and a wave may go on without them, so that nothing is judged of such an update.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skerry_types::{AllocationIntent, Desired, InstanceIndex, WaveSize, WorkloadKey, WorkloadSpec};

use crate::event::{MasterAt, NodeAt};
use crate::operator::Owned;
use crate::spec::Rules;
use crate::world::{SECOND, World};

/// What has run for so long is known to run well, and has no cause to go ahead of its wave.
const WELL_FOR: u64 = 60 * SECOND;

/// An update of a workload, as the region that owns it has it.
#[derive(Debug)]
pub(crate) struct Update {
    spec: Arc<WorkloadSpec>,
    /// Members when it began, and the regions that looked after them.
    members: BTreeSet<(MasterAt, InstanceIndex)>,
    /// How many of them were not heard from then: they are left behind, with the seats that they may have.
    missing: usize,
    /// What was told to make way though it ran well.
    moved: BTreeSet<(MasterAt, InstanceIndex)>,
    /// Something happened by which it may go on without some of its members, or it takes back another.
    is_unsure: bool,
}

/// The newest update of each workload.
pub(crate) type Updates = BTreeMap<Owned, Update>;

impl World {
    /// Takes up what a region's own workloads are to be.
    pub(crate) fn note_updates(&mut self, at: MasterAt) {
        let owned: Vec<Arc<WorkloadSpec>> = self.masters[at].state.owned().cloned().collect();
        let is_owned = |key: &WorkloadKey| owned.iter().any(|spec| spec.key == *key);
        self.judge.updates.retain(|(owner, key), _| *owner != at || is_owned(key));
        for spec in owned {
            let owned = (at, spec.key.clone());
            let known = self.judge.updates.get_mut(&owned);
            let is_unsure = match &known {
                Some(known) if Arc::ptr_eq(&known.spec, &spec) || known.spec == spec => continue,
                Some(known) => {
                    known.spec.instance == spec.instance || self.operators.was_asked_before(&owned, &spec)
                }
                None => true,
            };
            let (members, missing) = (self.members_of(at, &spec), self.missing_of(at, &spec));
            let update = Update { spec, members, missing, moved: BTreeSet::new(), is_unsure };
            self.judge.updates.insert(owned, update);
        }
    }

    /// How many members are on nodes that are not heard from, or in regions that are not.
    fn missing_of(&self, owner: MasterAt, spec: &WorkloadSpec) -> usize {
        let missing = |at: MasterAt| {
            let master = &self.masters[at];
            let is_cut_off = at != owner && master.way.link.is_none();
            let its = master.state.intents_of(&spec.key);
            its.filter(|(node, _)| is_cut_off || !master.state.is_connected(node)).count()
        };
        self.regions_for(owner, spec).into_iter().map(missing).sum()
    }

    /// Somebody is not heard from.
    pub(crate) fn doubt_updates(&mut self) {
        self.judge.updates.values_mut().for_each(|update| update.is_unsure = true);
    }

    /// A copy of an earlier version is told to stop.
    pub(crate) fn judge_wave(&mut self, at: MasterAt, node: NodeAt, intent: &AllocationIntent) {
        let Some(owner) = self.owner_of(at, &intent.workload) else { return };
        let owned = (owner, intent.workload.clone());
        let Some(update) = self.judge.updates.get(&owned).filter(|update| !update.is_unsure) else { return };
        let spec = Arc::clone(&update.spec);
        if spec.update.waves.is_empty() || !self.moves(at, node, intent, &spec) {
            return;
        }
        let (begun, moved) = (update.members.len(), update.moved.len() + 1);
        let now = self.members_of(owner, &spec);
        // One that found its place in another region has lost its seat, and a wave may be without it.
        if !now.is_subset(&update.members) {
            return;
        }
        let now = now.len();
        // Who was placed when the seats were dealt out is not known: there are so many in all.
        let most =
            if Rules::of(&spec.key) == Rules::Daemon { self.machines() } else { number(spec.instances) };
        let missing = update.missing;
        let (fewest, most) = (seats(&spec, begun.min(now)), seats(&spec, most));
        let fewest: Vec<usize> = fewest.into_iter().map(|seats| seats.saturating_sub(missing)).collect();
        for (at, wave) in spec.update.waves.iter().enumerate() {
            let least = wave.healthy_for.max(spec.update.min_healthy);
            let settled = self.settled(owner, &spec, least);
            if moved > most[at] + number(spec.update.canary) && settled < fewest[at] {
                let what = format!(
                    "{} makes way as number {moved} of its update, and of the {} in the first {} waves {settled} have run for {least:?}",
                    intent.id,
                    fewest[at],
                    at + 1
                );
                return self.fail(what);
            }
        }
        if let Some(update) = self.judge.updates.get_mut(&owned) {
            update.moved.insert((at, intent.instance));
        }
    }

    /// Whether a copy makes way for one of this version, and for nothing else.
    fn moves(&self, at: MasterAt, node: NodeAt, intent: &AllocationIntent, spec: &WorkloadSpec) -> bool {
        let region = &self.masters[at].state;
        let is_known = region.wanted().any(|known| known.key == spec.key && known.instance == spec.instance);
        let mut others = region.intents_of(&spec.key).map(|(_, other)| other);
        let has_former = others.any(|other| {
            let is_other = other.instance == intent.instance && other.id != intent.id;
            is_other && other.desired == Desired::Run && other.spec != spec.instance
        });
        is_known
            && !has_former
            && intent.spec != spec.instance
            && !self.judge.emptied.contains(&node)
            && self.runs_well(node, intent, WELL_FOR)
    }

    /// The region whose workload this is.
    fn owner_of(&self, at: MasterAt, key: &WorkloadKey) -> Option<MasterAt> {
        let mut region = Some(at);
        while let Some(at) = region {
            if self.masters[at].state.owned().any(|spec| spec.key == *key) {
                return Some(at);
            }
            region = self.masters[at].parent;
        }
        None
    }

    /// What is placed of a workload in all regions that may look after it.
    fn members_of(&self, owner: MasterAt, spec: &WorkloadSpec) -> BTreeSet<(MasterAt, InstanceIndex)> {
        let regions = self.regions_for(owner, spec).into_iter();
        let placed = regions.flat_map(|at| {
            let runs =
                self.masters[at].state.intents_of(&spec.key).filter(|(_, i)| i.desired == Desired::Run);
            runs.map(move |(_, intent)| (at, intent.instance))
        });
        placed.collect()
    }

    /// How many members have had a copy of this version that began to run at least so long ago.
    fn settled(&self, owner: MasterAt, spec: &WorkloadSpec, least: Duration) -> usize {
        // A master's clock may be fast by one in a hundred.
        let least_us = u64::try_from(least.as_micros()).unwrap_or(u64::MAX) / 100 * 98;
        let regions = self.regions_for(owner, spec).into_iter();
        let settled = regions.flat_map(|at| {
            let current =
                self.masters[at].state.intents_of(&spec.key).filter(|(_, i)| i.spec == spec.instance);
            let ran = current.filter(move |(_, intent)| {
                let since = self.judge.ran.get(&(at, intent.id.clone()));
                since.is_some_and(|since| since + least_us <= self.now_us)
            });
            ran.map(move |(_, intent)| (at, intent.instance))
        });
        settled.collect::<BTreeSet<_>>().len()
    }
}

/// Seats of the first wave, of the first two, and so on.
fn seats(spec: &WorkloadSpec, members: usize) -> Vec<usize> {
    let mut taken = 0;
    let wave = |size: WaveSize| {
        let left = members - taken;
        taken += match size {
            WaveSize::Count(count) => number(count).min(left),
            WaveSize::Percent(percent) => (left * number(percent)).div_ceil(100).min(left),
        };
        taken
    };
    spec.update.waves.iter().map(|wave| wave.size).map(wave).collect()
}

fn number(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
