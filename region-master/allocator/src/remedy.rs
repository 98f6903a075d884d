//! What would have to change for an instance to fit.

use std::collections::BTreeSet;

use skerry_types::{
    Bandwidth, Bytes, MilliCpu, MilliGpu, Placement, Resources, Rule, Selector, SpreadBy, Taint,
};

use crate::cluster::Cluster;
use crate::demand::Demand;
use crate::fit::{Load, Need};
use crate::preempt::Taken;
use crate::round::Round;

/// Most remedies that are told.
const REMEDIES_MAX: usize = 8;
/// Most terms and taints that are tried: each costs a look at every node.
const TRIED_MAX: usize = 8;

/// What would help, in sentences for people: other wishes of the workload first, from the smallest change on, then what operators can do.
/// Call when no node was found.
pub(crate) fn remedies(
    cluster: &mut Cluster,
    demand: &Demand<'_>,
    need: &Need,
    round: &Round,
    allowed: &dyn Fn(&Taken) -> bool,
) -> Vec<String> {
    let mut found: Vec<String> = less_skew(cluster, need, round).into_iter().collect();
    found.extend(without_taints(cluster, demand, need));
    found.extend(without_terms(cluster, demand, need));
    found.extend(without_wishes(cluster, demand, need));
    found.extend(more_room(cluster, need, round));
    found.extend(with_shut_nodes(cluster, need, round));
    let preemption = cluster.preempt(demand, allowed);
    found.extend(preemption.filter(|found| !found.victims.is_empty()).map(|found| {
        let victims: Vec<&str> = found.victims.iter().map(skerry_types::AllocationId::as_str).collect();
        let known = cluster.slot(&found.node).map(|slot| priorities(cluster, slot, &victims));
        format!(
            "preempting {} on node {}{}: one fits",
            victims.join(", "),
            found.node,
            known.unwrap_or_default()
        )
    }));
    found.truncate(REMEDIES_MAX);
    found
}

fn priorities(cluster: &Cluster, slot: usize, victims: &[&str]) -> String {
    let held = cluster.slot_load(slot).held.iter().filter(|(id, _)| victims.contains(&id.as_str()));
    let highest = held.map(|(_, held)| held.priority).max().unwrap_or_default();
    format!(", of priority {highest} at most")
}

fn nodes(count: usize) -> String {
    if count == 1 { "1 node fits".to_owned() } else { format!("{count} nodes fit") }
}

/// How many nodes would fit if the placement were another.
fn fitting(cluster: &mut Cluster, demand: &Demand<'_>, need: &Need, placement: &Placement) -> usize {
    let round = Round::new(cluster, &Demand { placement, ..*demand }, need, 1);
    let fits = |slot: &usize| round.may_ever_take(cluster, *slot) && cluster.slot_load(*slot).fits(need);
    let count = cluster.slots().filter(fits).count();
    cluster.keep(round.standing);
    count
}

/// A sentence for each changed placement that lets some nodes fit.
fn try_each(
    cluster: &mut Cluster,
    demand: &Demand<'_>,
    need: &Need,
    changes: impl IntoIterator<Item = (String, Placement)>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (words, placement) in changes {
        let count = fitting(cluster, demand, need, &placement);
        if count > 0 {
            found.push(format!("{words}: {}", nodes(count)));
        }
    }
    found
}

fn without_taints(cluster: &mut Cluster, demand: &Demand<'_>, need: &Need) -> Vec<String> {
    let tolerate = &demand.placement.tolerate;
    let all: BTreeSet<&Taint> = cluster.slots().flat_map(|slot| &cluster.kinds().of(slot).taints).collect();
    let new = all.into_iter().filter(|taint| !tolerate.contains(taint)).take(TRIED_MAX);
    let changes: Vec<(String, Placement)> = new
        .map(|taint| {
            let mut placement = demand.placement.clone();
            placement.tolerate.push(taint.clone());
            (format!("tolerating {taint}"), placement)
        })
        .collect();
    try_each(cluster, demand, need, changes)
}

fn without_terms(cluster: &mut Cluster, demand: &Demand<'_>, need: &Need) -> Vec<String> {
    // Terms are written with a space between, and have none within a list.
    let written = demand.placement.require.to_string();
    let terms: Vec<&str> = written.split(", ").filter(|term| !term.is_empty()).collect();
    let changes: Vec<(String, Placement)> = (0..terms.len().min(TRIED_MAX))
        .filter_map(|left_out| {
            let mut rest = terms.clone();
            let term = rest.remove(left_out);
            let require: Selector = rest.join(", ").parse().ok()?;
            Some((format!("without the term {term}"), Placement { require, ..demand.placement.clone() }))
        })
        .collect();
    try_each(cluster, demand, need, changes)
}

fn without_wishes(cluster: &mut Cluster, demand: &Demand<'_>, need: &Need) -> Vec<String> {
    let placement = demand.placement;
    let words =
        |kind: &str, matches: &Selector, by: &SpreadBy| format!("without the {kind} '{matches}' by {by}");
    let beside = placement.affinity.iter().enumerate().filter(|(_, wish)| wish.weight.is_none());
    let beside = beside.map(|(at, wish)| {
        let mut placement = placement.clone();
        placement.affinity.remove(at);
        (words("affinity", &wish.matches, &wish.by), placement)
    });
    let apart = placement.anti_affinity.iter().enumerate().filter(|(_, wish)| wish.weight.is_none());
    let apart = apart.map(|(at, wish)| {
        let mut placement = placement.clone();
        placement.anti_affinity.remove(at);
        (words("anti-affinity", &wish.matches, &wish.by), placement)
    });
    let changes: Vec<(String, Placement)> = beside.chain(apart).take(TRIED_MAX).collect();
    try_each(cluster, demand, need, changes)
}

/// The smallest `max_skew` with which a node fits, if that is all that is in the way.
fn less_skew(cluster: &Cluster, need: &Need, round: &Round) -> Option<String> {
    let open = cluster.slots().filter(|slot| round.standing_refusal(cluster, *slot).is_none());
    let with_room = open.filter(|slot| cluster.slot_load(*slot).fits(need));
    let broken = with_room.filter_map(|slot| {
        let group = round.standing.group(slot).ok()?;
        round.evenness.broken_by(&round.standing.groups[group])
    });
    let all: Vec<(u32, &str, u32)> = broken.map(|(by, bound, needed)| (needed, by, bound)).collect();
    let (needed, by, bound) = all.iter().min()?;
    let count = all.iter().filter(|found| found.0 == *needed && found.1 == *by).count();
    Some(format!("with max_skew {needed} over {by} instead of {bound}: {}", nodes(count)))
}

/// What is missing on the node that comes nearest, when there is one that lacks nothing but resources.
fn more_room(cluster: &Cluster, need: &Need, round: &Round) -> Option<String> {
    let lacking = cluster.slots().filter(|slot| round.may_ever_take(cluster, *slot)).filter_map(|slot| {
        let missing = missing(cluster.slot_load(slot), need)?;
        let share = |missing: u64, of: u64| {
            if missing == 0 { 0 } else { missing.saturating_mul(1000) / of.max(1) + 1 }
        };
        let (m, n) = (&missing, &need.resources);
        let parts = [
            share(m.cpu.0, n.cpu.0),
            share(m.memory.0, n.memory.0),
            share(m.disk.0, n.disk.0),
            share(m.bandwidth.0, n.bandwidth.0),
            share(m.gpu.0, n.gpu.0),
        ];
        let kinds = parts.iter().filter(|part| **part > 0).count();
        Some(((kinds, parts.iter().sum::<u64>(), slot), missing))
    });
    let ((_, _, slot), missing) = lacking.min_by_key(|(distance, _)| *distance)?;
    Some(format!("{} more on node {}", amounts(&missing), cluster.nodes()[slot]))
}

/// The resources that a node lacks, if they are all that it lacks.
fn missing(load: &Load, need: &Need) -> Option<Resources> {
    let mut missing = need.resources.saturating_sub(&load.free());
    if let Some(Rule::Gpu { need, most_free }) = load.gpu_refusal(need) {
        missing.gpu = missing.gpu.max(MilliGpu(need.0.saturating_sub(most_free.0)));
    }
    let roomy = load.room_for_one() && load.ports.check(&need.ports).is_ok();
    (roomy && missing != Resources::ZERO).then_some(missing)
}

fn amounts(missing: &Resources) -> String {
    let Resources { cpu, memory, disk, bandwidth, gpu } = *missing;
    let parts = [
        (cpu > MilliCpu(0)).then(|| format!("{cpu} cpu")),
        (memory > Bytes(0)).then(|| format!("{memory} memory")),
        (disk > Bytes(0)).then(|| format!("{disk} disk")),
        (bandwidth > Bandwidth(0)).then(|| format!("{bandwidth} bit/s of bandwidth")),
        (gpu > MilliGpu(0)).then(|| format!("{gpu} gpu")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// Nodes that are cordoned or cut off, and would fit otherwise.
fn with_shut_nodes(cluster: &Cluster, need: &Need, round: &Round) -> Vec<String> {
    let shut = |wanted: Rule| {
        let slots =
            cluster.slots().filter(|slot| round.standing_refusal(cluster, *slot).as_ref() == Some(&wanted));
        slots.filter(|slot| round.would_take(*slot) && cluster.slot_load(*slot).fits(need)).count()
    };
    let sentence = |words: &str, count: usize| (count > 0).then(|| format!("{words}: {}", nodes(count)));
    let cordoned = sentence("when nodes are uncordoned", shut(Rule::Cordoned));
    let cut_off = sentence("when nodes are connected again", shut(Rule::Unreachable));
    cordoned.into_iter().chain(cut_off).collect()
}
