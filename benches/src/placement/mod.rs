//! How well the allocator packs, against what everybody knows and against what nobody can beat.

mod bound;
mod packer;
mod replay;
mod trace;

use std::path::Path;

use anyhow::Result;

use crate::Measurement;
use packer::{Packer, Plain};
use replay::{Churned, Filled, churn, fill, ratio, stretch_for, uniform};
use trace::{Trace, TraceNode};

/// The fullest that the trace's own nodes get when pods leave again, as a part of their graphics processors: high enough for
/// room to be scarce, low enough for a good packer to refuse nobody.
const PEAK: f64 = 0.75;
/// Arrivals between two looks.
const EVERY: usize = 200;

/// The packers, ours first.
const PACKERS: [(&str, fn(&[TraceNode]) -> Box<dyn Packer>); 2] = [
    ("first fit", |nodes| Box::new(Plain::first_fit(nodes))),
    ("best fit", |nodes| Box::new(Plain::best_fit(nodes))),
];

/// The openb trace on its own nodes and on nodes that are all the same.
pub(crate) fn packing(folder: &Path) -> Result<Vec<Measurement>> {
    let trace = Trace::load(folder)?;
    let mut rows = Vec::new();
    rows.extend(filled(&trace));
    rows.extend(needed(&trace)?);
    rows.extend(churned(&trace)?);
    Ok(rows)
}

/// Pods arrive until nothing fits any more.
fn filled(trace: &Trace) -> Vec<Measurement> {
    let all: u64 = trace.nodes.iter().map(|node| node.room.gpu_milli).sum();
    let mut rows = Vec::new();
    for (name, packer) in PACKERS {
        let found: Filled = fill(trace, trace.pods.len(), packer(&trace.nodes).as_mut());
        let placed = found.placed.len() as f64 / trace.pods.len() as f64;
        rows.push(Measurement::new(format!("{name}: pods placed, none leaves"), placed * 100.0, "%"));
        rows.push(Measurement::new(format!("{name}: gpus held"), ratio(found.gpu_milli, all) * 100.0, "%"));
        rows.push(Measurement::new(format!("{name}: free gpus of no use"), found.fragmented * 100.0, "%"));
    }
    rows
}

/// The first pods of the trace on nodes that are all the same: how many nodes it takes.
fn needed(trace: &Trace) -> Result<Vec<Measurement>> {
    let trace = &uniform(trace);
    let nodes = &trace.nodes;
    let mut rows = Vec::new();
    for part in [4, 2, 1] {
        let count = trace.pods.len() / part;
        let bound = bound::fewest_nodes(nodes, trace.pods[..count].iter().map(|pod| &pod.need))?;
        for (name, packer) in PACKERS {
            let found = fill(trace, count, packer(nodes).as_mut());
            rows.push(
                Measurement::new(format!("{name}: nodes for {count} pods"), found.nodes as f64, "")
                    .with_peer("linear program", bound),
            );
        }
    }
    Ok(rows)
}

/// Pods arrive and leave: nodes in use over all moments, against the fewest that each moment's pods could be on.
fn churned(trace: &Trace) -> Result<Vec<Measurement>> {
    let stretch = stretch_for(trace, PEAK);
    let mut rows = Vec::new();
    for (name, packer) in PACKERS {
        let found: Churned = churn(trace, stretch, EVERY, packer(&trace.nodes).as_mut());
        let used: usize = found.moments.iter().map(|(nodes, _)| nodes).sum();
        let mut bound = 0.0;
        for (_, pods) in &found.moments {
            bound += bound::fewest_nodes(&trace.nodes, pods.iter().map(|pod| &trace.pods[*pod].need))?;
        }
        rows.push(
            Measurement::new(
                format!("{name}: nodes in use over time, {} refused", found.refused),
                used as f64 / found.moments.len() as f64,
                "",
            )
            .with_peer("linear program", bound / found.moments.len() as f64),
        );
    }
    Ok(rows)
}
