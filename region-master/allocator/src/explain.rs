//! Why instances are where they are or would go, and what keeps the others off.

use std::collections::BTreeMap;

use skerry_types::{
    AllocationId, Explanation, InstanceIndex, InstanceSet, NodeName, Place, PlacedWhy, RefusedWhy, ScorePart,
    Target,
};

use crate::SPREAD_POINTS;
use crate::cluster::Cluster;
use crate::demand::Demand;
use crate::fit::{Load, Need};
use crate::near;
use crate::preempt::Taken;
use crate::refuse::refusals;
use crate::remedy::remedies;
use crate::round::Round;

/// Most lines of refusals: those that keep most nodes off come first.
const REFUSALS_MAX: usize = 10;

impl Cluster {
    /// Says what speaks for the nodes of the instances in `placed`, where those in `missing` would go and why, and for those that would
    /// find no place, which rules keep them off (ten lines at most, whatever the number of nodes) and what would help. Room is as it
    /// is; nothing is taken. `demand.existing` is not looked at: `placed` says it. `allowed` as for [`Cluster::preempt`].
    ///
    /// The parts of a score are in the order in which they count; those of no points decide between nodes of the same points.
    pub fn explain(
        &mut self,
        demand: &Demand<'_>,
        placed: &[(InstanceIndex, NodeName)],
        missing: &InstanceSet,
        allowed: &dyn Fn(&Taken) -> bool,
    ) -> Explanation {
        let existing: Vec<NodeName> = placed.iter().map(|(_, node)| node.clone()).collect();
        let demand = Demand { existing: &existing, ..*demand };
        let need = Need::of(demand.spec);
        let mut round = Round::new(self, &demand, &need, missing.len());
        let mut explanation = Explanation::default();
        let mut lines = Lines::default();
        for (instance, node) in placed {
            if let Some(slot) = self.slot(node) {
                lines.add(*instance, slot, self.score(&demand, &round, slot, true));
            }
        }
        explanation.placed.extend(lines.finish(self, true));
        let mut tried: BTreeMap<usize, Load> = BTreeMap::new();
        let mut lines = Lines::default();
        let mut left = missing.clone();
        let workload = self.footprints_mut().id(demand.key, demand.labels);
        for instance in missing.iter() {
            let Some(slot) = round.next_node(self, &need) else { break };
            lines.add(instance, slot, self.score(&demand, &round, slot, false));
            left = left.difference(&[instance].into_iter().collect());
            tried.entry(slot).or_insert_with(|| self.slot_load(slot).clone());
            let id = untaken(self, slot, &demand, instance);
            self.take(slot, workload, &demand, &need, id);
            round.placed(self, &need, slot);
        }
        explanation.placed.extend(lines.finish(self, false));
        if !left.is_empty() {
            let mut reasons = refusals(self, &round, &need);
            reasons.truncate(REFUSALS_MAX);
            let remedies = remedies(self, &demand, &need, &round, allowed);
            explanation.refused.push(RefusedWhy { instances: left, reasons, remedies });
        }
        for (slot, load) in tried {
            self.restore(slot, load);
        }
        self.footprints_mut().forget_if_empty(workload);
        self.keep(round.standing);
        explanation
    }

    /// What speaks for a node, for an instance that is on it or would go there.
    fn score(&self, demand: &Demand<'_>, round: &Round, slot: usize, present: bool) -> Vec<ScorePart> {
        let mut parts = Vec::new();
        let mut part = |what: String, points: i64| parts.push(ScorePart { what, points });
        let attributes = self.columns().row(slot);
        for preference in &demand.placement.prefer {
            if preference.matches.matches(&attributes) {
                part(format!("prefers {}", preference.matches), i64::from(preference.weight));
            }
        }
        for near in &demand.placement.near {
            let (to, words) = match &near.to {
                Place::Point(point) => (Some(point), point.to_string()),
                Place::Site(site) => (self.site_points().get(site), format!("site {site}")),
            };
            if let (Some(from), Some(to)) = (self.kinds().of(slot).point, to) {
                let km = from.distance_km(to);
                part(format!("{km} km from {words}"), near::points(near.weight, km));
            }
        }
        // One that is there does not speak against itself.
        let itself = u32::from(present);
        let own = round.own(slot).saturating_sub(itself);
        if let Ok(group) = round.standing.group(slot) {
            let group = &round.standing.groups[group];
            for (words, points) in round.wishes.parts(group, slot) {
                part(words.to_owned(), points);
            }
            for (by, count) in round.evenness.counts(group) {
                let count = count.saturating_sub(itself);
                if count > 0 {
                    part(format!("{count} of its own on this {by}"), -SPREAD_POINTS * i64::from(count));
                }
            }
        }
        if own > 0 {
            part(format!("{own} of its own on this node"), -round.own_cost() * i64::from(own));
        }
        if self.kinds().of(slot).micros_per_mb > 0 {
            part(
                format!("its link costs {} millionths for a megabyte", self.kinds().of(slot).micros_per_mb),
                0,
            );
        }
        part(reserved_words(self.slot_load(slot)), 0);
        parts
    }
}

fn reserved_words(load: &Load) -> String {
    let percent = |used: u64, capacity: u64| u128::from(used) * 100 / u128::from(capacity.max(1));
    let cpu = percent(load.used.cpu.0, load.capacity.cpu.0);
    let memory = percent(load.used.memory.0, load.capacity.memory.0);
    format!("{cpu} % of its cpu and {memory} % of its memory are reserved")
}

/// An id that nothing on the node has.
fn untaken(cluster: &Cluster, slot: usize, demand: &Demand<'_>, instance: InstanceIndex) -> AllocationId {
    let ids = (0..=u64::MAX).rev().map(|serial| AllocationId::compose(&demand.key.name, instance, serial));
    let taken = &cluster.slot_load(slot).held;
    ids.into_iter().find(|id| !taken.contains_key(id)).expect("a node does not hold 2^64 allocations")
}

/// Instances by node and score.
#[derive(Debug, Default)]
struct Lines {
    by_node: BTreeMap<usize, Vec<Line>>,
}

/// A score and the instances that have it.
type Line = (Vec<ScorePart>, Vec<InstanceIndex>);

impl Lines {
    fn add(&mut self, instance: InstanceIndex, slot: usize, score: Vec<ScorePart>) {
        let lines = self.by_node.entry(slot).or_default();
        match lines.iter_mut().find(|(known, _)| *known == score) {
            Some((_, instances)) => instances.push(instance),
            None => lines.push((score, vec![instance])),
        }
    }

    fn finish(self, cluster: &Cluster, present: bool) -> impl Iterator<Item = PlacedWhy> {
        self.by_node.into_iter().flat_map(move |(slot, lines)| {
            let site = cluster.side(slot).site.clone().expect("a node that is known has a site");
            let target = Target::Node { site, node: cluster.nodes()[slot].clone() };
            let line = move |(score, instances): Line| PlacedWhy {
                instances: instances.into_iter().collect(),
                target: target.clone(),
                present,
                score,
            };
            lines.into_iter().map(line).collect::<Vec<_>>()
        })
    }
}
