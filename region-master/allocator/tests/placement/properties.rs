//! Any sequence of placements, releases and outages against a slow, plain model of the rules.

use std::collections::BTreeMap;

use crate::model::{Held, Work, World, site, workload_spec};
use proptest::prelude::*;
use skerry_allocator::{Cluster, NodeView};
use skerry_types::{
    Attributes, Bytes, HostPort, MilliCpu, NodeName, Placement, Preference, Protocol, Resources, Selector,
    Spread, SpreadBy, Taint,
};

#[derive(Debug, Clone)]
enum Step {
    Place { workload: usize, count: u32 },
    Release(usize),
    Reachable(usize, bool),
    Remove(usize),
    Replace(NodeView),
}

fn node(index: usize) -> impl Strategy<Value = NodeView> {
    let tier = prop::option::of(prop::sample::select(vec!["edge", "metro"]));
    let parts =
        (0..3usize, tier, prop::bool::weighted(0.2), 0..5u64, 0..5u64, prop::bool::weighted(0.9), 0..4u16);
    parts.prop_map(move |(at, tier, tainted, cpu, memory, reachable, ports)| {
        let mut attributes = Attributes::new();
        if let Some(tier) = tier {
            attributes.insert("node.tier".to_owned(), tier.to_owned());
        }
        attributes.insert("node.number".to_owned(), index.to_string());
        NodeView {
            name: NodeName::new(format!("n{index}")).unwrap(),
            site: site(at),
            attributes,
            taints: tainted.then(|| Taint::new("maintenance").unwrap()).into_iter().collect(),
            capacity: Resources {
                cpu: MilliCpu(cpu * 500),
                memory: Bytes(memory * 100),
                disk: Bytes(1000),
                ..Resources::default()
            },
            gpus: 0,
            port_range: (200, 199 + ports),
            reachable,
            schedulable: true,
            point: None,
            micros_per_mb: 0,
        }
    })
}

fn placement() -> impl Strategy<Value = Placement> {
    let require = prop::sample::select(vec!["", "", "node.tier=edge", "node.number<3, node.tier"]);
    let prefer = prop::collection::vec(
        (prop::sample::select(vec!["site.name=s1", "node.tier=metro", "node.number>=2"]), -100..=100i32),
        0..3,
    );
    let by = prop::sample::select(vec![
        SpreadBy::Site,
        SpreadBy::Node,
        SpreadBy::Attribute("node.tier".to_owned()),
    ]);
    let spread = prop::collection::vec((by, prop::option::of(1..3u32)), 0..3);
    (require, prefer, spread, any::<bool>()).prop_map(|(require, prefer, spread, tolerant)| Placement {
        near: Vec::new(),
        affinity: Vec::new(),
        anti_affinity: Vec::new(),
        require: require.parse().unwrap(),
        prefer: prefer
            .into_iter()
            .map(|(matches, weight)| Preference { matches: matches.parse::<Selector>().unwrap(), weight })
            .collect(),
        spread: spread.into_iter().map(|(by, max_skew)| Spread { by, max_skew }).collect(),
        tolerate: tolerant.then(|| Taint::new("maintenance").unwrap()).into_iter().collect(),
    })
}

fn workloads() -> impl Strategy<Value = Vec<Work>> {
    let host = prop_oneof![
        Just(HostPort::None),
        Just(HostPort::Auto),
        prop::sample::select(vec![80u16, 200, 201]).prop_map(HostPort::Fixed),
    ];
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]);
    let ports = prop::collection::vec((host, protocol), 0..4);
    let spec = (0..4u64, 0..3u64, ports)
        .prop_map(|(cpu, memory, ports)| workload_spec(cpu * 250, memory * 50, &ports));
    prop::collection::vec((spec, placement()), 1..4).prop_map(|parts| {
        let named = parts.into_iter().enumerate();
        named.map(|(at, (spec, placement))| Work::new(&format!("w{at}"), spec, placement)).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..4usize, 1..6u32).prop_map(|(workload, count)| Step::Place { workload, count }),
        3 => (0..50usize).prop_map(Step::Release),
        1 => (0..7usize, any::<bool>()).prop_map(|(node, up)| Step::Reachable(node, up)),
        1 => (0..7usize).prop_map(Step::Remove),
        1 => (0..7usize).prop_flat_map(node).prop_map(Step::Replace),
    ]
}

fn nodes() -> impl Strategy<Value = Vec<NodeView>> {
    (0..7usize).prop_flat_map(|count| (0..count).map(node).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_right(
        nodes in nodes(),
        workloads in workloads(),
        steps in prop::collection::vec(step(), 1..12),
    ) {
        let mut world = World::default();
        let mut cluster = Cluster::default();
        for view in &nodes {
            cluster.set_node(view.clone());
            world.nodes.insert(view.name.clone(), view.clone());
        }
        for step in steps {
            take(&mut cluster, &mut world, &workloads, step);
            world.check_usage(&cluster);
        }
        while let Some(held) = world.held.pop() {
            cluster.release(&held.node, &held.id).unwrap();
        }
        world.check_usage(&cluster);
    }

    #[test]
    fn the_order_in_which_nodes_came_does_not_matter(
        nodes in nodes(),
        workloads in workloads(),
        places in prop::collection::vec((0..4usize, 1..6u32), 1..5),
    ) {
        let answers = |nodes: &mut dyn Iterator<Item = &NodeView>| {
            let mut cluster = Cluster::default();
            nodes.for_each(|view| cluster.set_node(view.clone()));
            let placed = places.iter().map(|(workload, count)| {
                let work = &workloads[workload % workloads.len()];
                let mut serial = 0;
                cluster.place(&work.demand(&[]), *count, &mut |_| {
                    serial += 1;
                    work.id(serial)
                })
            });
            placed.collect::<Vec<_>>()
        };
        let forwards = answers(&mut nodes.iter());
        prop_assert_eq!(&forwards, &answers(&mut nodes.iter()));
        prop_assert_eq!(&forwards, &answers(&mut nodes.iter().rev()));
    }
}

fn take(cluster: &mut Cluster, world: &mut World, workloads: &[Work], step: Step) {
    match step {
        Step::Place { workload, count } => {
            let workload = workload % workloads.len();
            let work = &workloads[workload];
            let (spec, placement) = (&work.spec, &work.placement);
            let existing = world.nodes_of(workload);
            let answers = cluster.place(&work.demand(&existing), count, &mut |_| {
                world.serial += 1;
                work.id(world.serial)
            });
            assert_eq!(answers.len(), usize::try_from(count).unwrap());
            for answer in answers {
                match answer {
                    Ok(placed) => {
                        world.check_choice(workload, spec, placement, &placed);
                        world.held.push(Held {
                            id: placed.id,
                            workload,
                            node: placed.node,
                            spec: spec.clone(),
                            ports: placed.ports,
                        });
                    }
                    Err(refusals) => world.check_refusals(workload, spec, placement, &refusals),
                }
            }
        }
        Step::Release(pick) => {
            if !world.held.is_empty() {
                let held = world.held.remove(pick % world.held.len());
                cluster.release(&held.node, &held.id).unwrap();
            }
        }
        Step::Reachable(index, reachable) => {
            let name = NodeName::new(format!("n{index}")).unwrap();
            let known = world.nodes.get_mut(&name);
            assert_eq!(cluster.set_reachable(&name, reachable).is_ok(), known.is_some());
            if let Some(view) = known {
                view.reachable = reachable;
            }
        }
        Step::Remove(index) => {
            let name = NodeName::new(format!("n{index}")).unwrap();
            cluster.remove_node(&name);
            world.nodes.remove(&name);
            world.held.retain(|held| held.node != name);
        }
        Step::Replace(view) => {
            cluster.set_node(view.clone());
            world.nodes.insert(view.name.clone(), view);
        }
    }
}

#[test]
fn a_cluster_made_from_its_allocations_answers_the_same() {
    let mut cluster = Cluster::default();
    let views: Vec<NodeView> = (0..4)
        .map(|index| NodeView {
            name: NodeName::new(format!("n{index}")).unwrap(),
            site: site(index),
            attributes: BTreeMap::new(),
            taints: Vec::new(),
            capacity: Resources {
                cpu: MilliCpu(2000),
                memory: Bytes(1000),
                disk: Bytes(1000),
                ..Resources::default()
            },
            gpus: 0,
            port_range: (200, 210),
            reachable: true,
            schedulable: true,
            point: None,
            micros_per_mb: 0,
        })
        .collect();
    for view in &views {
        cluster.set_node(view.clone());
    }
    let spec = workload_spec(500, 100, &[(HostPort::Fixed(80), Protocol::Tcp)]);
    let work = Work::new("web", spec, Placement::default());
    let place = |cluster: &mut Cluster, existing: &[NodeName], from: u64, count: u32| {
        cluster.place(&work.demand(existing), count, &mut |nth| work.id(from + u64::from(nth)))
    };
    let first = place(&mut cluster, &[], 0, 2);
    let mut loaded = Cluster::default();
    for view in views.iter().rev() {
        loaded.set_node(view.clone());
    }
    let mut existing = Vec::new();
    for placed in first.into_iter().map(Result::unwrap) {
        loaded.reserve(&placed.node, &work.booking(&placed.id, &placed.ports, &placed.gpus)).unwrap();
        existing.push(placed.node);
    }
    assert_eq!(place(&mut loaded, &existing, 2, 3), place(&mut cluster, &existing, 2, 3));
}
