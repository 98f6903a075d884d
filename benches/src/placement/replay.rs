//! The trace, played to a packer.

use std::collections::BTreeMap;

use super::packer::{Free, Packer};
use super::trace::{Amount, Trace, TraceNode};

/// What became of pods that only arrive.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filled {
    /// Pods that found a place.
    pub(crate) placed: usize,
    /// Nodes with at least one pod.
    pub(crate) nodes: usize,
    /// Thousandths of all graphics processors that pods hold.
    pub(crate) gpu_milli: u64,
    /// The part of the free graphics processors that the pods of the trace, one with the other, cannot use: the fragmentation
    /// measure of Weng et al. 2023.
    pub(crate) fragmented: f64,
}

/// Lets the first `count` pods arrive and none leave.
pub(crate) fn fill(trace: &Trace, count: usize, packer: &mut dyn Packer) -> Filled {
    let mut placed = 0;
    let mut nodes = std::collections::BTreeSet::new();
    let mut gpu_milli = 0;
    for (at, pod) in trace.pods.iter().enumerate().take(count) {
        if let Some(node) = packer.place(at, &pod.need) {
            placed += 1;
            nodes.insert(node);
            gpu_milli += pod.need.gpu_milli;
        }
    }
    Filled { placed, nodes: nodes.len(), gpu_milli, fragmented: fragmented(trace, &packer.free()) }
}

/// For each pod of the trace the free graphics processors on nodes that it does not fit, over all that are free; the mean.
fn fragmented(trace: &Trace, free: &[Free]) -> f64 {
    let mut shapes: BTreeMap<Amount, u32> = BTreeMap::new();
    for pod in trace.pods.iter().filter(|pod| pod.need.gpu_milli > 0) {
        *shapes.entry(pod.need).or_default() += 1;
    }
    let milli = |free: &Free| free.gpus.iter().sum::<u64>();
    let all: u64 = free.iter().map(milli).sum();
    let (mut lost, mut pods) = (0.0, 0.0);
    for (need, count) in &shapes {
        let unusable: u64 = free.iter().filter(|free| !free.fits(need)).map(milli).sum();
        lost += f64::from(*count) * ratio(unusable, all);
        pods += f64::from(*count);
    }
    lost / f64::max(pods, 1.0)
}

/// `part` of `whole`; nothing of nothing is nothing.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { number(part) / number(whole) }
}

/// A count as a number to calculate with; none here is near the bound.
pub(crate) fn number(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::MAX, f64::from)
}

/// What became of pods that arrive and leave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Churned {
    /// Pods that found no place.
    pub(crate) refused: usize,
    /// At each moment that was looked at: nodes with at least one pod, and the pods that were there.
    pub(crate) moments: Vec<(usize, Vec<usize>)>,
}

/// Lets pods arrive and leave in the trace's order of time, each staying `stretch` times as long as it did, and looks at it
/// after every `every`th arrival.
pub(crate) fn churn(trace: &Trace, stretch: u64, every: usize, packer: &mut dyn Packer) -> Churned {
    let mut leaving: BTreeMap<(u64, usize), usize> = BTreeMap::new();
    let mut on: BTreeMap<usize, u32> = BTreeMap::new();
    let mut churned = Churned { refused: 0, moments: Vec::new() };
    for (at, pod) in trace.pods.iter().enumerate() {
        while let Some(((due, gone), node)) = leaving.first_key_value().map(|(key, node)| (*key, *node))
            && due <= pod.created
        {
            leaving.remove(&(due, gone));
            packer.remove(gone, node, &trace.pods[gone].need);
            if let Some(count) = on.get_mut(&node) {
                *count -= 1;
            }
            on.retain(|_, count| *count > 0);
        }
        let leaves = pod.created + pod.deleted.saturating_sub(pod.created).saturating_mul(stretch);
        match packer.place(at, &pod.need) {
            Some(node) => {
                *on.entry(node).or_default() += 1;
                leaving.insert((leaves, at), node);
            }
            None => churned.refused += 1,
        }
        if at % every == every - 1 {
            churned.moments.push((on.len(), leaving.keys().map(|(_, pod)| *pod).collect()));
        }
    }
    churned
}

/// By how much pods must stay longer for the trace to hold, at its fullest, about this part of the nodes' graphics processors.
pub(crate) fn stretch_for(trace: &Trace, part: f64) -> u64 {
    let all: u64 = trace.nodes.iter().map(|node| node.room.gpu_milli).sum();
    let mut stretch = 1;
    while stretch < 1 << 20 && ratio(peak_gpu_milli(trace, stretch), all) < part {
        stretch += stretch.div_ceil(4);
    }
    stretch
}

fn peak_gpu_milli(trace: &Trace, stretch: u64) -> u64 {
    let mut changes: Vec<(u64, bool, u64)> = Vec::new();
    for pod in &trace.pods {
        let stays = pod.deleted.saturating_sub(pod.created).saturating_mul(stretch);
        changes.push((pod.created, true, pod.need.gpu_milli));
        changes.push((pod.created + stays, false, pod.need.gpu_milli));
    }
    changes.sort_unstable();
    let (mut now, mut peak) = (0u64, 0);
    for (_, arrives, milli) in changes {
        now = if arrives { now + milli } else { now - milli };
        peak = peak.max(now);
    }
    peak
}

/// The same pods in another order (Fisher and Yates' shuffle, by xorshift64 of Marsaglia 2003).
pub(crate) fn shuffled(trace: &Trace, seed: u64) -> Trace {
    let mut shuffled = trace.clone();
    let mut noise = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for last in (1..shuffled.pods.len()).rev() {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        let other = noise % u64::try_from(last + 1).unwrap_or(u64::MAX);
        shuffled.pods.swap(last, usize::try_from(other).unwrap_or(last));
    }
    shuffled
}

/// The trace on as many nodes of its most common kind as it takes to hold everything, without the few pods that no such node
/// can hold.
pub(crate) fn uniform(trace: &Trace) -> Trace {
    let mut kinds: BTreeMap<Amount, usize> = BTreeMap::new();
    for node in &trace.nodes {
        *kinds.entry(node.room).or_default() += 1;
    }
    let room = kinds.into_iter().max_by_key(|(_, count)| *count).map(|(room, _)| room).unwrap_or_default();
    let empty = Free::all(&room);
    let pods: Vec<_> = trace.pods.iter().filter(|pod| empty.fits(&pod.need)).cloned().collect();
    let node = |number: usize| TraceNode { name: format!("n{number:04}"), room, model: "g".to_owned() };
    Trace { nodes: (0..pods.len()).map(node).collect(), pods }
}
