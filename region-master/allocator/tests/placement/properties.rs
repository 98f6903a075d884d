//! Any sequence of placements, releases and outages against a slow, plain model of the rules.

use std::collections::BTreeMap;

use crate::model::{Held, Work, World, site, workload_spec};
use proptest::prelude::*;
use skerry_allocator::{Cluster, NodeView};
use skerry_types::{
    Affinity, AllocationLimit, Attributes, Bandwidth, Bytes, HostPort, MilliCpu, MilliGpu, Near, NodeName,
    Place, Placement, Point, Preference, Protocol, Resources, Selector, Spread, SpreadBy, Taint,
};

#[derive(Debug, Clone)]
enum Step {
    Place { workload: usize, count: u32 },
    Release(usize),
    Reachable(usize, bool),
    Schedulable(usize, bool),
    Remove(usize),
    Replace(NodeView),
}

/// Of a site there is one point, as an operator describes it.
fn point(site: usize) -> Option<Point> {
    (site > 0).then_some(Point { latitude: 50_000_000, longitude: i32::try_from(site).unwrap() * 7_000_000 })
}

pub(crate) fn node(index: usize) -> impl Strategy<Value = NodeView> {
    let tier = prop::option::of(prop::sample::select(vec!["edge", "metro"]));
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.9), prop::bool::weighted(0.9));
    let room = (0..5u64, 0..5u64, 0..4u16, 0..3u16, 0..8u32);
    (0..3usize, tier, flags, room, 0..2u64).prop_map(move |(at, tier, flags, room, link)| {
        let (tainted, reachable, schedulable) = flags;
        let (cpu, memory, ports, gpus, limit) = room;
        // None, few, or as many as any node.
        let limit = if limit < 6 { AllocationLimit::new(limit) } else { AllocationLimit::MAX };
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
                memory: Bytes((memory * 100) << 20),
                disk: Bytes(1000),
                bandwidth: Bandwidth(30),
                gpu: MilliGpu(u64::from(gpus) * 1000),
            },
            gpus,
            limit,
            port_range: (200, 199 + ports),
            reachable,
            schedulable,
            point: point(at),
            micros_per_mb: link,
        }
    })
}

fn by() -> impl Strategy<Value = SpreadBy> {
    prop::sample::select(vec![SpreadBy::Site, SpreadBy::Node, SpreadBy::Attribute("node.tier".to_owned())])
}

fn wishes() -> impl Strategy<Value = Vec<Affinity>> {
    let matches = prop::sample::select(vec!["app=w0", "app!=w0", "app=w1", "app=none"]);
    let wish = (matches, by(), prop::option::weighted(0.6, 1..=100i32))
        .prop_map(|(matches, by, weight)| Affinity { matches: matches.parse().unwrap(), by, weight });
    prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(wish, 1..3)]
}

fn placement() -> impl Strategy<Value = Placement> {
    let require = prop::sample::select(vec!["", "", "node.tier=edge", "node.number<3, node.tier"]);
    let prefer = prop::collection::vec(
        (prop::sample::select(vec!["site.name=s1", "node.tier=metro", "node.number>=2"]), -100..=100i32),
        0..3,
    );
    let spread = prop::collection::vec((by(), prop::option::of(1..3u32)), 0..3);
    let place = prop::sample::select(vec![
        Place::Site(site(1)),
        Place::Site(site(9)),
        Place::Point(Point { latitude: 50_000_000, longitude: 20_000_000 }),
    ]);
    let near = prop::collection::vec((place, 1..=100i32).prop_map(|(to, weight)| Near { to, weight }), 0..2);
    (require, prefer, spread, near, wishes(), wishes(), any::<bool>()).prop_map(
        |(require, prefer, spread, near, affinity, anti_affinity, tolerant)| Placement {
            near,
            affinity,
            anti_affinity,
            require: require.parse().unwrap(),
            prefer: prefer
                .into_iter()
                .map(|(matches, weight)| Preference { matches: matches.parse::<Selector>().unwrap(), weight })
                .collect(),
            spread: spread.into_iter().map(|(by, max_skew)| Spread { by, max_skew }).collect(),
            tolerate: tolerant.then(|| Taint::new("maintenance").unwrap()).into_iter().collect(),
        },
    )
}

pub(crate) fn workloads() -> impl Strategy<Value = Vec<Work>> {
    let host = prop_oneof![
        Just(HostPort::None),
        Just(HostPort::Auto),
        prop::sample::select(vec![80u16, 200, 201]).prop_map(HostPort::Fixed),
    ];
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]);
    let ports = prop::collection::vec((host, protocol), 0..4);
    let gpu = prop::sample::select(vec![0, 0, 0, 300, 500, 1000, 2000]);
    let spec = (0..4u64, 0..3u64, gpu, 0..2u64, ports).prop_map(|(cpu, memory, gpu, bandwidth, ports)| {
        let mut spec = workload_spec(cpu * 250, (memory * 50) << 20, &ports);
        spec.containers[0].resources.gpu = MilliGpu(gpu);
        spec.containers[0].resources.bandwidth = Bandwidth(bandwidth * 10);
        spec
    });
    prop::collection::vec((spec, placement()), 1..4).prop_map(|parts| {
        let named = parts.into_iter().enumerate();
        let work = |(at, (spec, placement))| {
            let mut work = Work::new(&format!("w{at}"), spec, placement);
            work.labels.insert("app".to_owned(), work.key.name.to_string());
            work
        };
        named.map(work).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..4usize, 1..6u32).prop_map(|(workload, count)| Step::Place { workload, count }),
        1 => (0..4usize, 10..16u32).prop_map(|(workload, count)| Step::Place { workload, count }),
        3 => (0..50usize).prop_map(Step::Release),
        1 => (0..7usize, any::<bool>()).prop_map(|(node, up)| Step::Reachable(node, up)),
        1 => (0..7usize, any::<bool>()).prop_map(|(node, open)| Step::Schedulable(node, open)),
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
            world.set_node(view);
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

/// A cluster that has nothing kept from earlier calls.
fn made_anew(world: &World) -> Cluster {
    let mut cluster = Cluster::default();
    for (site, point) in &world.site_points {
        cluster.set_site_point(site, *point);
    }
    for view in world.nodes.values() {
        cluster.set_node(view.clone());
    }
    for held in &world.held {
        let booking = held.work.booking(&held.id, &held.ports, &held.gpus);
        cluster.reserve(&held.node, &booking).unwrap();
    }
    cluster
}

fn take(cluster: &mut Cluster, world: &mut World, workloads: &[Work], step: Step) {
    match step {
        Step::Place { workload, count } => {
            let workload = workload % workloads.len();
            let work = &workloads[workload];
            let existing = world.nodes_of(workload);
            // No id of an allocation that is there.
            let unused = world.serial + 1;
            let mut id = |nth| work.id(unused + u64::from(nth));
            let fresh = made_anew(world).place(&work.demand(&existing), count, &mut id);
            let answers = cluster.place(&work.demand(&existing), count, &mut |_| {
                world.serial += 1;
                work.id(world.serial)
            });
            assert_eq!(answers.len(), usize::try_from(count).unwrap());
            // Ports go round, and so tell a cluster that has seen others come and go.
            for pair in answers.iter().zip(&fresh) {
                match pair {
                    (Ok(one), Ok(other)) => assert_eq!((&one.node, &one.gpus), (&other.node, &other.gpus)),
                    (one, other) => assert_eq!(one, other),
                }
            }
            let typical = world.typical(work, count);
            for answer in answers {
                match answer {
                    Ok(placed) => {
                        world.check_choice(workload, work, &typical, &placed);
                        world.held.push(Held {
                            id: placed.id,
                            workload,
                            node: placed.node,
                            work: work.clone(),
                            ports: placed.ports,
                            gpus: placed.gpus,
                        });
                    }
                    Err(refusals) => world.check_refusals(workload, work, &refusals),
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
        Step::Schedulable(index, schedulable) => {
            let name = NodeName::new(format!("n{index}")).unwrap();
            let known = world.nodes.get_mut(&name);
            assert_eq!(cluster.set_schedulable(&name, schedulable).is_ok(), known.is_some());
            if let Some(view) = known {
                view.schedulable = schedulable;
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
            world.set_node(&view);
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
            limit: AllocationLimit::MAX,
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
