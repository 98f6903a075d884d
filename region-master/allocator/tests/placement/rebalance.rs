//! Moves that empty nodes: all rules hold afterwards, and nothing is changed by asking.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use skerry_allocator::{Cluster, Demand, Move};
use skerry_types::{AllocationId, NodeName, Placement, Spread, SpreadBy};

use crate::model::{Held, Work, World};
use crate::properties::{node, workloads};

/// The world after some moves, carried out in order, each of which had to be possible.
fn carry_out(world: &mut World, moves: &[Move]) {
    for step in moves {
        let at = world.held.iter().position(|held| held.id == step.allocation).unwrap();
        let held = world.held.remove(at);
        assert_eq!(held.node, step.from);
        let view = world.nodes[&step.to].clone();
        let refusal = world.refusal(held.workload, &view, &held.work);
        assert_eq!(refusal, None, "{step:?}");
        world.held.push(Held { node: step.to.clone(), ports: Vec::new(), gpus: Vec::new(), ..held });
    }
}

fn nodes_in_use(world: &World) -> BTreeSet<NodeName> {
    world.held.iter().map(|held| held.node.clone()).collect()
}

/// The allocations whose musts about others do not hold where they are.
fn unmet(world: &World) -> BTreeSet<AllocationId> {
    let broken = |held: &&Held| !world.musts_hold(&held.work, &world.nodes[&held.node]);
    world.held.iter().filter(broken).map(|held| held.id.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rules_hold_after_the_moves(
        nodes in (2..7usize).prop_flat_map(|count| (0..count).map(node).collect::<Vec<_>>()),
        works in workloads(),
        places in prop::collection::vec(0..4usize, 1..10),
        leave in prop::collection::vec(0..10usize, 0..6),
        max_moves in 0..6usize,
    ) {
        let (mut cluster, mut world) = (Cluster::default(), World::default());
        for view in &nodes {
            cluster.set_node(view.clone());
            world.set_node(view);
        }
        // Ports and processors of a move are chosen when it is made.
        let mut works = works;
        for work in &mut works {
            work.spec.containers[0].ports.clear();
            work.spec.containers[0].resources.gpu.0 = 0;
        }
        for workload in places {
            let workload = workload % works.len();
            let existing = world.nodes_of(workload);
            world.serial += 1;
            let id = works[workload].id(world.serial);
            let placed = cluster.place(&works[workload].demand(&existing), 1, &mut |_| id.clone()).remove(0);
            if let Ok(placed) = placed {
                let work = works[workload].clone();
                world.held.push(Held { id, workload, node: placed.node, work, ports: Vec::new(), gpus: Vec::new() });
            }
        }
        for at in leave {
            if at < world.held.len() {
                let held = world.held.remove(at);
                cluster.release(&held.node, &held.id).unwrap();
            }
        }
        let by_id: BTreeMap<AllocationId, usize> =
            world.held.iter().map(|held| (held.id.clone(), held.workload)).collect();
        let asked = |id: &AllocationId| -> Option<Demand<'_>> { Some(works[by_id[id]].demand(&[])) };
        let moves = cluster.rebalance(max_moves, &asked);
        world.check_usage(&cluster);
        prop_assert!(moves.len() <= max_moves);
        let moved: BTreeSet<&AllocationId> = moves.iter().map(|step| &step.allocation).collect();
        prop_assert_eq!(moved.len(), moves.len());
        let left: BTreeSet<&NodeName> = moves.iter().map(|step| &step.from).collect();
        let (before, unmet_before) = (nodes_in_use(&world), unmet(&world));
        let broken_before = world.broken_spreads(&works);
        carry_out(&mut world, &moves);
        prop_assert_eq!(nodes_in_use(&world).len(), before.len() - left.len());
        prop_assert!(nodes_in_use(&world).is_subset(&before));
        prop_assert!(unmet(&world).is_subset(&unmet_before));
        prop_assert!(world.broken_spreads(&works).is_subset(&broken_before));
        prop_assert_eq!(cluster.rebalance(max_moves, &asked), moves);
    }
}

#[test]
fn the_emptiest_node_is_left_for_fuller_ones() {
    let mut cluster = Cluster::default();
    let work =
        Work::new("web", crate::model::workload_spec(1000, 0, &[]), skerry_types::Placement::default());
    for (at, node) in ["a1", "a2", "a3", "a4"].into_iter().enumerate() {
        cluster.set_node(crate::choices::view(node, 0));
        for serial in 0..[2, 3, 1, 0][at] {
            let id = work.id(10 * u64::try_from(at).unwrap() + serial);
            cluster.reserve(&NodeName::new(node).unwrap(), &work.booking(&id, &[], &[])).unwrap();
        }
    }
    let told = |max_moves, pinned: Option<u64>| -> Vec<String> {
        let asked = |id: &AllocationId| {
            (pinned.is_none_or(|serial| *id != work.id(serial))).then(|| work.demand(&[]))
        };
        let moves = cluster.rebalance(max_moves, &asked);
        moves.iter().map(|step| format!("{} {} {}", step.allocation, step.from, step.to)).collect()
    };
    assert_eq!(told(10, None), ["web-0-k a3 a1"]);
    assert_eq!(told(0, None), Vec::<String>::new());
    assert_eq!(told(10, Some(20)), ["web-0-0 a1 a3", "web-0-1 a1 a3"]);
}

#[test]
fn leaving_a_site_must_not_break_a_spread_elsewhere() {
    let bounded = Spread { by: SpreadBy::Site, max_skew: Some(2) };
    let moves = |bound: u32| {
        let placement = Placement {
            spread: vec![Spread { max_skew: Some(bound), ..bounded.clone() }],
            ..Placement::default()
        };
        let work = Work::new("web", crate::model::workload_spec(1, 0, &[]), placement);
        let mut cluster = Cluster::default();
        let mut serial = 0;
        for (at, (node, count)) in [("a1", 1), ("b1", 3), ("c1", 1)].into_iter().enumerate() {
            cluster.set_node(crate::choices::view(node, at));
            for _ in 0..count {
                serial += 1;
                let id = work.id(serial);
                cluster.reserve(&NodeName::new(node).unwrap(), &work.booking(&id, &[], &[])).unwrap();
            }
        }
        cluster.rebalance(1, &|_| Some(work.demand(&[]))).len()
    };
    // With none left at the first site, the three at the second are three more than the fewest.
    assert_eq!(moves(2), 0);
    assert_eq!(moves(3), 1);
}
