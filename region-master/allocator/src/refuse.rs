//! Why nothing fits: each node is counted under the first rule that refuses it.

use std::cmp::Reverse;

use skerry_types::{Refusal, Rule};

use crate::cluster::Cluster;
use crate::fit::Need;
use crate::round::Round;

/// The refusals of all nodes, most nodes first. Call when no node was found.
pub(crate) fn refusals(cluster: &Cluster, round: &Round, need: &Need) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = Vec::new();
    for slot in cluster.slots() {
        let rule =
            round.refusal(cluster, need, slot).expect("a node that no rule refuses would have been chosen");
        match refusals.iter_mut().find_map(|known| merge(known, &rule)) {
            Some(()) => {}
            None => refusals.push(Refusal { rule, nodes: 1 }),
        }
    }
    if refusals.is_empty() {
        return vec![Refusal { rule: Rule::NoNodes, nodes: 0 }];
    }
    refusals.sort_by(|a, b| (Reverse(a.nodes), &a.rule).cmp(&(Reverse(b.nodes), &b.rule)));
    refusals
}

/// Counts one more node under `known` if `rule` is of its kind, keeping the most that any of them has free.
fn merge(known: &mut Refusal, rule: &Rule) -> Option<()> {
    match (&mut known.rule, rule) {
        (Rule::Cpu { most_free, .. }, Rule::Cpu { most_free: free, .. }) => {
            *most_free = (*most_free).max(*free);
        }
        (Rule::Memory { most_free, .. }, Rule::Memory { most_free: free, .. })
        | (Rule::Disk { most_free, .. }, Rule::Disk { most_free: free, .. }) => {
            *most_free = (*most_free).max(*free);
        }
        (Rule::Bandwidth { most_free, .. }, Rule::Bandwidth { most_free: free, .. }) => {
            *most_free = (*most_free).max(*free);
        }
        (Rule::Gpu { most_free, .. }, Rule::Gpu { most_free: free, .. }) => {
            *most_free = (*most_free).max(*free);
        }
        (known, rule) if known == rule => {}
        _ => return None,
    }
    known.nodes += 1;
    Some(())
}
