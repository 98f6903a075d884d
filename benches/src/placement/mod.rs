//! How well the allocator packs, against what everybody knows and against what nobody can beat.

mod bound;
mod packer;
mod partition;
mod region;
mod replay;
mod skerry;
mod trace;

use std::path::Path;

use anyhow::Result;

use crate::Measurement;
use packer::{Packer, Plain};
use partition::{Partitioned, Tenants};
use replay::{churn, fill, number, shuffled, stretch_for, uniform};
use skerry::{OneLevel, Pace, TwoLevel};
use trace::Trace;

pub(crate) use region::fleet_update;

/// The fullest that the trace's own nodes get when pods leave again, as a part of their graphics processors: high enough for
/// room to be scarce, low enough for a good packer to refuse nobody.
const PEAK: f64 = 0.75;
/// The same where each tenant has a part of the nodes: so full that it shows who has none left.
const CROWDED: f64 = 0.92;
/// Arrivals between two looks.
const EVERY: usize = 200;
/// How much worse than the bound a packing may be, and two levels than one.
const OVER_BOUND: f64 = 1.03;
const OVER_ONE_LEVEL: f64 = 1.02;

type Make = fn(&Trace) -> Result<Box<dyn Packer>>;

const ONE: (&str, Make) = ("one level", |trace| Ok(Box::new(OneLevel::new(&trace.nodes)?)));
const TWO: [(&str, Make); 2] = [
    ("10 regions", |trace| Ok(Box::new(TwoLevel::new(trace, 10, Pace::Seconds(2))?))),
    ("100 regions", |trace| Ok(Box::new(TwoLevel::new(trace, 100, Pace::Seconds(2))?))),
];
/// Pods come so fast that a region's digest is always some of its placements old.
const HURRIED: (&str, Make) = ("100 regions, digests up to 25 placements old", |trace| {
    Ok(Box::new(TwoLevel::new(trace, 100, Pace::Changes(25))?))
});
const KNOWN: [(&str, Make); 2] = [
    ("first fit", |trace| Ok(Box::new(Plain::first_fit(&trace.nodes)))),
    ("best fit", |trace| Ok(Box::new(Plain::best_fit(&trace.nodes)))),
];
/// Other orders in which the pods of the trace come, to see what is the packer's and what is the order's.
const SHUFFLES: u64 = 3;

/// Placements with every one of them on disk.
pub(crate) fn durable() -> Result<Vec<Measurement>> {
    let run = skerry_ground::Run::start("bench")?;
    let rows = region::durable(run.folder())?;
    run.take_down()?;
    Ok(rows)
}

/// The openb trace on its own nodes and on nodes that are all the same.
pub(crate) fn packing(folder: &Path) -> Result<Vec<Measurement>> {
    let trace = Trace::load(folder)?;
    let mut rows = filled(&trace)?;
    rows.extend(needed(&trace)?);
    rows.extend(churned(&trace)?);
    rows.extend(divided(&trace)?);
    Ok(rows)
}

/// Pods arrive, and none leaves, until nothing fits any more.
fn filled(trace: &Trace) -> Result<Vec<Measurement>> {
    let mut rows = Vec::new();
    let mut one_level = 0.0;
    for (name, make) in [ONE].into_iter().chain(TWO).chain([HURRIED]).chain(KNOWN) {
        let mut packer = make(trace)?;
        let found = fill(trace, trace.pods.len(), packer.as_mut());
        let gpus = 100.0 * gpus_in_use(trace, found.gpu_milli);
        let placed = 100.0 * number(found.placed) / number(trace.pods.len());
        let row = Measurement::new(format!("openb, nobody leaves: gpus in use, {name}"), gpus, "%");
        let two = TWO.iter().any(|(two, _)| *two == name);
        if name == ONE.0 {
            one_level = gpus;
        }
        rows.push(if two {
            row.with_peer("one level", one_level).at_least(one_level / OVER_ONE_LEVEL)
        } else {
            row
        });
        rows.push(Measurement::new(format!("openb, nobody leaves: pods placed, {name}"), placed, "%"));
        let lost = 100.0 * found.fragmented;
        rows.push(Measurement::new(
            format!("openb, nobody leaves: free gpus that no pod can use, {name}"),
            lost,
            "%",
        ));
    }
    Ok(rows)
}

/// The first pods of the trace on nodes that are all the same: how many nodes it takes.
fn needed(trace: &Trace) -> Result<Vec<Measurement>> {
    let trace = &uniform(trace);
    let mut rows = Vec::new();
    for part in [4, 2, 1] {
        let count = trace.pods.len() / part;
        let bound = bound::fewest_nodes(&trace.nodes, trace.pods[..count].iter().map(|pod| &pod.need))?;
        for (name, make) in [ONE].into_iter().chain(KNOWN) {
            let found = fill(trace, count, make(trace)?.as_mut());
            let row = Measurement::new(format!("nodes for {count} pods, {name}"), number(found.nodes), "");
            let row = row.with_peer("linear program", bound);
            rows.push(if name == ONE.0 { row.at_most(bound * OVER_BOUND) } else { row });
        }
    }
    for seed in 1..=SHUFFLES {
        let trace = &shuffled(trace, seed);
        for part in [4, 2, 1] {
            let count = trace.pods.len() / part;
            let bound = bound::fewest_nodes(&trace.nodes, trace.pods[..count].iter().map(|pod| &pod.need))?;
            let found = fill(trace, count, ONE.1(trace)?.as_mut());
            let row = Measurement::new(
                format!("nodes for {count} pods in random order {seed}, {}", ONE.0),
                number(found.nodes),
                "",
            );
            rows.push(row.with_peer("linear program", bound).at_most(bound * OVER_BOUND));
        }
    }
    Ok(rows)
}

/// Pods arrive and leave: nodes in use over all moments, against the fewest that each moment's pods could be on.
fn churned(trace: &Trace) -> Result<Vec<Measurement>> {
    let stretch = stretch_for(trace, PEAK);
    let mut rows = Vec::new();
    let mut one_level = 0.0;
    for (name, make) in [ONE].into_iter().chain(TWO).chain([HURRIED]).chain(KNOWN) {
        let found = churn(trace, stretch, EVERY, make(trace)?.as_mut());
        let moments = number(found.moments.len());
        let used = number(found.moments.iter().map(|(nodes, _)| nodes).sum::<usize>()) / moments;
        let row = Measurement::new(
            format!("openb in time: nodes in use, {} refused, {name}", found.refused),
            used,
            "",
        );
        if name == ONE.0 {
            one_level = used;
            let mut bound = 0.0;
            for (_, pods) in &found.moments {
                bound += bound::fewest_nodes(&trace.nodes, pods.iter().map(|pod| &trace.pods[*pod].need))?;
            }
            rows.push(row.with_peer("linear program", bound / moments));
        } else {
            rows.push(row.with_peer("one level", one_level));
        }
    }
    Ok(rows)
}

/// A part of the nodes for each tenant, against one pool for all: pods that find no place while they come and go, and what can be had when
/// nobody leaves.
fn divided(trace: &Trace) -> Result<Vec<Measurement>> {
    let stretch = stretch_for(trace, CROWDED);
    let ways = [
        ("shared pool", None),
        ("parts for 2 tenants, by class", Some(Tenants::by_class(trace))),
        ("parts for 8 tenants, pods in turn", Some(Tenants::in_turn(trace, 8))),
    ];
    let mut rows = Vec::new();
    let mut shared = None;
    for (name, tenants) in ways {
        let make = || -> Result<Box<dyn Packer>> {
            Ok(match &tenants {
                None => Box::new(OneLevel::new(&trace.nodes)?),
                Some(tenants) => Box::new(Partitioned::new(trace, tenants)?),
            })
        };
        let filled = fill(trace, trace.pods.len(), make()?.as_mut());
        let churned = churn(trace, stretch, EVERY, make()?.as_mut());
        let all = number(trace.pods.len());
        let used = number(churned.moments.iter().map(|(nodes, _)| nodes).sum::<usize>());
        let found = [
            ("openb in time, crowded: pods placed", 100.0 * (all - number(churned.refused)) / all, "%"),
            ("openb in time, crowded: nodes in use", used / number(churned.moments.len()), ""),
            ("openb, nobody leaves: pods placed", 100.0 * number(filled.placed) / all, "%"),
            ("openb, nobody leaves: gpus in use", 100.0 * gpus_in_use(trace, filled.gpu_milli), "%"),
        ];
        let peers = *shared.get_or_insert(found.map(|(_, value, _)| value));
        for ((what, value, unit), peer) in found.into_iter().zip(peers) {
            let row = Measurement::new(format!("{what}, {name}"), value, unit);
            rows.push(if tenants.is_some() { row.with_peer("shared pool", peer) } else { row });
        }
    }
    Ok(rows)
}

/// The part of all graphics processors of the trace's nodes.
fn gpus_in_use(trace: &Trace, gpu_milli: u64) -> f64 {
    number(gpu_milli) / number(trace.nodes.iter().map(|node| node.room.gpu_milli).sum::<u64>())
}
