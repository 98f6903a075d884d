//! Whom each wave of an update takes: the owner of a workload deals the seats of its waves out, over all regions.
//!
//! A region says how many of its members the next wave could take, those of the regions below it included. When all that are heard from
//! have said so, the seats are dealt out: to the own nodes first, then to the regions below in the order of their names. What was dealt out
//! stays so, on disk. A region that is not heard from then gets none: its members go in the last wave, with those that no wave takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use skerry_rollout::waves::{Seating, deal, matching, seats};
use skerry_types::{
    Desired, Generation, InstanceIndex, InstanceSet, NodeName, RegionName, WaveMembers, WaveSize,
    WorkloadSpec,
};

use crate::records::WorkloadRecord;
use crate::state::RegionState;

/// The waves of a workload's members, in one generation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waves {
    generation: Generation,
    seating: Seating,
    known: Arc<BTreeMap<InstanceIndex, usize>>,
    /// What regions below were dealt in this life of the process; their shares say what they were told.
    below: BTreeMap<RegionName, Vec<u32>>,
    /// Whom the next wave could take, here and below.
    matching: Option<WaveMembers>,
}

/// A member on a node.
pub(crate) struct Placed {
    pub(crate) instance: InstanceIndex,
    pub(crate) node: NodeName,
    /// A bit for each wave that it matches.
    pub(crate) matching: u64,
}

/// Seats of one wave.
struct Dealt {
    own: u32,
    below: Vec<u32>,
}

impl RegionState {
    /// The wave of each member. Nobody changes the wave from the beginning of a generation to its end, but for those of the last one that an
    /// earlier one takes when it is dealt out.
    pub(crate) fn waves(
        &mut self,
        record: &WorkloadRecord,
        set: &InstanceSet,
    ) -> Arc<BTreeMap<InstanceIndex, usize>> {
        let key = &record.spec.key;
        if record.spec.update.waves.is_empty() || !self.life.rollouts.contains_key(key) {
            return Arc::default();
        }
        let mut waves =
            self.life.moving.get_mut(key).map(|m| std::mem::take(&mut m.waves)).unwrap_or_default();
        if waves.generation != record.generation {
            let seating = self.seating(&record.spec, set);
            let known = Arc::new(seating.waves().collect());
            waves = Waves { generation: record.generation, seating, known, ..Waves::default() };
            self.life.moving.entry(key.clone()).or_default().at = self.now.mono;
        }
        // While nobody at all is heard from the first wave waits: whoever is back first is in it.
        let is_own = record.received().is_none();
        if !is_own || !set.is_empty() || self.holders(key).any(|(_, region)| region.is_reachable()) {
            self.deal_seats(record, &mut waves);
        }
        // Nobody asks the owner.
        let matching = record.received().and_then(|_| self.could_take(record, &waves.seating));
        if matching != waves.matching {
            waves.matching = matching;
            self.mark_share(key);
        }
        let known = Arc::clone(&waves.known);
        self.life.moving.entry(key.clone()).or_default().waves = waves;
        known
    }

    /// The members as they are placed. Those that are not are in no wave.
    fn seating(&self, spec: &WorkloadSpec, set: &InstanceSet) -> Seating {
        let members = self.placed_members(spec).into_iter().filter(|member| set.contains(member.instance));
        Seating::new(spec.update.waves.len(), members.map(|member| (member.instance, member.matching)))
    }

    /// The members that are placed on the own nodes, in order of their numbers, each on one node.
    pub(crate) fn placed_members(&self, spec: &WorkloadSpec) -> Vec<Placed> {
        let run = self.allocations_of(&spec.key).filter(|a| a.intent.desired == Desired::Run);
        let mut placed: Vec<_> =
            run.map(|allocation| (allocation.intent.instance, &allocation.node)).collect();
        placed.sort_unstable();
        placed.dedup_by_key(|(instance, _)| *instance);
        // What is not heard from could show nobody that the update is well: it goes last, unless there is nobody else.
        let is_heard = |node: &NodeName| self.life.away.get(node).is_none_or(|since| self.is_brief(*since));
        let is_anybody_heard = placed.iter().any(|(_, node)| is_heard(node));
        let member = |(instance, node): (InstanceIndex, &NodeName)| {
            let attributes = self.cluster_attributes(node).unwrap_or_default();
            let is_left_behind = is_anybody_heard && !is_heard(node);
            let matching = if is_left_behind { 0 } else { matching(&spec.update.waves, &attributes) };
            Placed { instance, node: node.clone(), matching }
        };
        placed.into_iter().map(member).collect()
    }

    /// Deals out what can be, and takes up what was.
    fn deal_seats(&mut self, record: &WorkloadRecord, waves: &mut Waves) {
        let key = &record.spec.key;
        let Some(mut rollout) = self.life.rollouts.get(key).cloned() else { return };
        let (before, dealt) = (rollout.seats.len(), waves.seating.dealt());
        while waves.seating.dealt() < record.spec.update.waves.len() {
            let wave = waves.seating.dealt();
            let own = if let Some(own) = rollout.seats.get(wave) {
                *own
            } else {
                let Some(dealt) = self.seats_of(record, wave, waves.seating.matching()) else { break };
                for (name, seats) in self.part_names(key).into_iter().zip(dealt.below) {
                    let told = self.seats_told(&name, record);
                    let all = waves.below.entry(name).or_insert(told);
                    all.resize(wave, 0);
                    all.push(seats);
                }
                rollout.seats.push(dealt.own);
                dealt.own
            };
            waves.seating.deal(own);
        }
        if dealt != waves.seating.dealt() {
            waves.known = Arc::new(waves.seating.waves().collect());
        }
        if before != rollout.seats.len() {
            self.save_rollout(key, rollout);
        }
    }

    /// Who gets how many seats of a wave that could take `own` members of the own nodes; `None` while that cannot be said.
    fn seats_of(&self, record: &WorkloadRecord, wave: usize, own: u32) -> Option<Dealt> {
        let parts = self.moving_parts(&record.spec.key);
        let size = record.spec.update.waves.get(wave)?.size;
        let reverts =
            self.life.rollouts.get(&record.spec.key).is_some_and(|rollout| rollout.reverts.is_some());
        let room = match record.received() {
            // What takes back a failed one goes at once, wherever it is.
            Some(received) if received.leave.reverts => seats(size, own),
            None if reverts => seats(size, own),
            Some(received) => *received.leave.sizes.get(wave)?,
            None if matches!(size, WaveSize::Percent(100..)) => u32::MAX,
            None => {
                let said = parts.iter().filter(|part| part.is_waited_for()).map(|part| part.could_take(wave));
                seats(size, said.sum::<Option<u32>>()?.saturating_add(own))
            }
        };
        if room == u32::MAX {
            // All of it: nobody has to be asked.
            return Some(Dealt { own: room, below: vec![room; parts.len()] });
        }
        let below =
            parts.iter().map(|part| if part.is_waited_for() { part.could_take(wave) } else { Some(0) });
        let said = below.collect::<Option<Vec<u32>>>()?;
        let mut dealt = deal(room, std::iter::once(own).chain(said));
        Some(Dealt { own: dealt.remove(0), below: dealt })
    }

    /// Whom the next wave could take here and below; `None` while a region that is heard from has not said so.
    fn could_take(&self, record: &WorkloadRecord, seating: &Seating) -> Option<WaveMembers> {
        let wave = seating.dealt();
        let parts = self.moving_parts(&record.spec.key);
        let said = parts.iter().filter(|part| part.is_waited_for()).map(|part| part.could_take(wave));
        let members = said.sum::<Option<u32>>()?.saturating_add(seating.matching());
        Some(WaveMembers { wave: u32::try_from(wave).unwrap_or(u32::MAX), members })
    }

    /// The same, for the region above.
    pub(crate) fn wave_members(&self, record: &WorkloadRecord) -> Option<WaveMembers> {
        let (key, received) = (&record.spec.key, record.received()?);
        if record.spec.update.waves.is_empty() {
            return None;
        }
        if !self.life.rollouts.contains_key(key) {
            // What does not move is in no wave.
            let wave = u32::try_from(received.leave.sizes.len()).unwrap_or(u32::MAX);
            return Some(WaveMembers { wave, members: 0 });
        }
        let moving = self.life.moving.get(key)?;
        moving.waves.matching.filter(|_| moving.waves.generation == record.generation)
    }

    /// The seats of a region below, of each wave that is dealt out.
    pub(crate) fn seats_below(&self, name: &RegionName, record: &WorkloadRecord) -> Vec<u32> {
        let key = &record.spec.key;
        let Some(rollout) = self.life.rollouts.get(key) else { return Vec::new() };
        let waves = self.life.moving.get(key).map(|moving| &moving.waves);
        let dealt =
            waves.filter(|waves| waves.generation == record.generation).and_then(|w| w.below.get(name));
        let mut seats = dealt.cloned().unwrap_or_else(|| self.seats_told(name, record));
        seats.resize(rollout.seats.len(), 0);
        seats
    }

    fn seats_told(&self, name: &RegionName, record: &WorkloadRecord) -> Vec<u32> {
        let share = self.regions.get(name).and_then(|region| region.shares.get(&record.spec.key));
        let told = share.filter(|share| share.generation == record.generation);
        told.map(|share| share.leave.sizes.clone()).unwrap_or_default()
    }
}
