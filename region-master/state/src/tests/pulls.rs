//! What nodes say of the layers that they hold, and what a plan makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use skerry_types::{Bytes, LayerId, LayerSize, NodeLayers};

use super::bench::*;
use crate::*;

/// Bytes that the nodes of the first wave would pull of an image of one layer, and those that did not say.
fn pull(bench: &mut Bench) -> (u64, usize) {
    let next = changed(&spec("web", 2), "x");
    let Ok(LifeReply::Plan(plan)) = bench.life(LifeCall::Plan(Arc::new(next))) else {
        panic!("a plan is due")
    };
    let size = LayerSize { layer: LayerId::of(&[1; 32]), size: Bytes(700) };
    assert_eq!(plan.members.len(), 2);
    let layers = BTreeMap::from([(plan.members[0].arch.clone(), vec![size])]);
    let pulls: Vec<Option<Bytes>> = plan.members.iter().map(|member| to_pull(member, &layers)).collect();
    (pulls.iter().flatten().map(|bytes| bytes.0).sum(), pulls.iter().filter(|pull| pull.is_none()).count())
}

#[test]
fn a_plan_counts_what_nodes_said_that_they_lack() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 2));
    assert_eq!(pull(&mut bench), (0, 2), "nobody said anything");
    let hold = |bench: &mut Bench, node: &str, layers: &[u8]| {
        bench.node(node).layers(NodeLayers::new(layers.iter().map(|number| LayerId::of(&[*number; 32]))));
        bench.exchange();
    };
    hold(&mut bench, "n1", &[9]);
    assert_eq!(pull(&mut bench), (700, 1));
    hold(&mut bench, "n2", &[1, 2]);
    assert_eq!(pull(&mut bench), (700, 0));
    bench.restart();
    bench.connect_all();
    assert_eq!(pull(&mut bench), (700, 0), "it is kept over a restart of the master");
}
