//! Preemption against a search through all sets of victims.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use skerry_allocator::{Cluster, NodeView, Taken};
use skerry_types::{
    AllocationId, AllocationLimit, Attributes, Bytes, HostPort, MilliCpu, MilliGpu, NodeName, Placement,
    Protocol, Resources, TenantName,
};

use crate::model::{Work, site, workload_spec};

fn node(name: usize, cpu: u64, memory: u64, gpus: u16) -> NodeView {
    NodeView {
        name: NodeName::new(format!("n{name}")).unwrap(),
        site: site(0),
        attributes: Attributes::new(),
        taints: Vec::new(),
        capacity: Resources {
            cpu: MilliCpu(cpu),
            memory: Bytes(memory),
            gpu: MilliGpu(u64::from(gpus) * 1000),
            ..Resources::default()
        },
        gpus,
        limit: AllocationLimit::MAX,
        port_range: (200, 201),
        reachable: true,
        schedulable: true,
        point: None,
        micros_per_mb: 0,
    }
}

#[derive(Debug, Clone)]
struct Shape {
    cpu: u64,
    memory: u64,
    gpu: u64,
    port: bool,
    priority: u8,
    tenant: usize,
}

impl Shape {
    fn work(&self, number: usize) -> Work {
        let port = (HostPort::Fixed(80), Protocol::Tcp);
        let ports = if self.port { vec![port] } else { Vec::new() };
        let mut work = Work::new(
            &format!("w{number}"),
            workload_spec(self.cpu, self.memory, &ports),
            Placement::default(),
        );
        work.spec.containers[0].resources.gpu = MilliGpu(self.gpu);
        work.priority = self.priority;
        work.key.tenant = TenantName::new(format!("t{}", self.tenant)).unwrap();
        work
    }
}

fn shape() -> impl Strategy<Value = Shape> {
    let gpu = prop::sample::select(vec![0, 0, 0, 400, 1000]);
    let rest = (prop::bool::weighted(0.2), 0..4u8, 0..2usize);
    (0..5u64, 0..5u64, gpu, rest).prop_map(|(cpu, memory, gpu, (port, priority, tenant))| Shape {
        cpu: cpu * 100,
        memory: memory * 100,
        gpu,
        port,
        priority: priority * 10,
        tenant,
    })
}

/// What is placed: by node, id and shape.
type Held = BTreeMap<AllocationId, (NodeName, Work)>;

/// Fills the nodes, as far as they go.
fn filled(nodes: &[NodeView], shapes: &[Shape]) -> (Cluster, Held) {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.set_node(node.clone());
    }
    let mut held = Held::new();
    for (number, shape) in shapes.iter().enumerate() {
        let work = shape.work(number);
        let placed = cluster.place(&work.demand(&[]), 1, &mut |_| work.id(0)).remove(0);
        if let Ok(placed) = placed {
            held.insert(placed.id, (placed.node, work));
        }
    }
    (cluster, held)
}

/// Tenants may lose so much cpu.
fn allowed(taken: &Taken, spare: [u64; 2]) -> bool {
    taken.iter().all(|(tenant, taken)| taken.cpu.0 <= spare[usize::from(tenant.as_str() == "t1")])
}

/// Number of victims, their highest priority, all priorities.
type Cost = (usize, u8, u32);

fn cost(held: &Held, victims: &[AllocationId]) -> Cost {
    let priorities = || victims.iter().map(|id| held[id].1.priority);
    (victims.len(), priorities().max().unwrap_or_default(), priorities().map(u32::from).sum())
}

/// The lowest cost of all sets on all nodes after which the instance fits.
fn cheapest(cluster: &Cluster, held: &Held, work: &Work, spare: [u64; 2]) -> Option<Cost> {
    let mut best: Option<Cost> = None;
    for node in cluster.nodes() {
        let here: Vec<&AllocationId> = held
            .iter()
            .filter(|(_, (at, other))| at == node && other.priority < work.priority)
            .map(|(id, _)| id)
            .collect();
        for set in 0..1_u32 << here.len() {
            let victims: Vec<AllocationId> = here
                .iter()
                .enumerate()
                .filter(|(bit, _)| set >> bit & 1 == 1)
                .map(|(_, id)| (*id).clone())
                .collect();
            if fits_after(cluster, held, work, node, &victims, spare) {
                let cost = cost(held, &victims);
                best = Some(best.map_or(cost, |best| best.min(cost)));
            }
        }
    }
    best
}

fn fits_after(
    cluster: &Cluster,
    held: &Held,
    work: &Work,
    node: &NodeName,
    victims: &[AllocationId],
    spare: [u64; 2],
) -> bool {
    let mut taken = Taken::new();
    for id in victims {
        let victim = &held[id].1;
        *taken.entry(victim.key.tenant.clone()).or_default() += victim.spec.resources();
    }
    let mut after = cluster.clone();
    for other in cluster.nodes().iter().filter(|other| *other != node) {
        after.set_schedulable(other, false).unwrap();
    }
    for id in victims {
        after.release(node, id).unwrap();
    }
    allowed(&taken, spare) && after.place(&work.demand(&[]), 1, &mut |_| work.id(9))[0].is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cheapest_victims_of_all_are_found(
        room in prop::collection::vec((3..8u64, 3..8u64, 0..2u16), 1..3),
        shapes in prop::collection::vec(shape(), 0..10),
        wanted in shape(),
        spare in (0..10u64, 0..10u64),
    ) {
        let room = room.into_iter().enumerate();
        let nodes: Vec<NodeView> =
            room.map(|(name, (cpu, memory, gpus))| node(name, cpu * 100, memory * 100, gpus)).collect();
        let (mut cluster, held) = filled(&nodes, &shapes);
        let work = wanted.work(99);
        let spare = [spare.0 * 100, spare.1 * 100];
        let found = cluster.preempt(&work.demand(&[]), &|taken| allowed(taken, spare));
        let best = cheapest(&cluster, &held, &work, spare);
        prop_assert_eq!(found.as_ref().map(|found| cost(&held, &found.victims)), best);
        if let Some(found) = found {
            let distinct: BTreeSet<&AllocationId> = found.victims.iter().collect();
            prop_assert_eq!(distinct.len(), found.victims.len());
            prop_assert!(found.victims.iter().all(|id| held[id].0 == found.node));
            prop_assert!(found.victims.iter().all(|id| held[id].1.priority < work.priority));
            prop_assert!(fits_after(&cluster, &held, &work, &found.node, &found.victims, spare));
        }
    }

    /// What is driven out may drive out others, and this ends: a chain never meets its own priority again.
    #[test]
    fn a_chain_of_preemptions_goes_down(
        shapes in prop::collection::vec(shape(), 1..14),
    ) {
        let nodes = [node(0, 800, 800, 1), node(1, 600, 600, 0)];
        let mut cluster = Cluster::default();
        for node in &nodes {
        cluster.set_node(node.clone());
    }
        let mut held = Held::new();
        let mut serial = 0;
        for (number, shape) in shapes.iter().enumerate() {
            // With each, the priority of whoever drove it out.
            let mut waiting = vec![(shape.work(number), u8::MAX)];
            while let Some((work, driver)) = waiting.pop() {
                prop_assert!(work.priority < driver);
                let Some(found) = cluster.preempt(&work.demand(&[]), &|_| true) else { continue };
                for id in &found.victims {
                    cluster.release(&found.node, id).unwrap();
                    waiting.push((held.remove(id).unwrap().1, work.priority));
                }
                serial += 1;
                let placed = cluster.place(&work.demand(&[]), 1, &mut |_| work.id(serial)).remove(0).unwrap();
                held.insert(placed.id, (placed.node, work));
            }
        }
        let used = nodes.iter().all(|node| node.capacity.fits(&cluster.used(&node.name).unwrap()));
        prop_assert!(used);
    }
}

#[test]
fn the_lowest_of_the_fewest_leaves() {
    let shape = |cpu, priority, tenant| Shape { cpu, memory: 0, gpu: 0, port: false, priority, tenant };
    let shapes =
        [shape(300, 10, 0), shape(300, 5, 0), shape(400, 20, 1), shape(200, 5, 1), shape(100, 60, 0)];
    let (mut cluster, held) = filled(&[node(0, 1300, 0, 0)], &shapes);
    assert_eq!(held.len(), shapes.len());
    let mut check = |cpu, priority, tenants: &[&str], expect: Option<&[&str]>| {
        let work = shape(cpu, priority, 0).work(99);
        let allowed = |taken: &Taken| taken.keys().all(|tenant| tenants.contains(&tenant.as_str()));
        let found = cluster.preempt(&work.demand(&[]), &allowed);
        let victims: Option<Vec<String>> =
            found.map(|found| found.victims.iter().map(ToString::to_string).collect());
        let expect = expect.map(|ids| ids.iter().map(ToString::to_string).collect());
        assert_eq!(victims, expect, "{cpu} {priority} {tenants:?}");
    };
    check(300, 50, &["t0", "t1"], Some(&["w1-0-0"]));
    check(350, 50, &["t0", "t1"], Some(&["w2-0-0"]));
    check(500, 50, &["t0", "t1"], Some(&["w1-0-0", "w3-0-0"]));
    check(500, 50, &["t0"], Some(&["w0-0-0", "w1-0-0"]));
    check(350, 20, &["t0"], Some(&["w0-0-0", "w1-0-0"]));
    check(100, 5, &["t0", "t1"], None);
    check(1300, 50, &["t0", "t1"], None);
    check(0, 0, &[], Some(&[]));
}

#[test]
fn a_node_of_many_is_searched_for_a_bounded_time() {
    let shapes: Vec<Shape> = (0..240)
        .map(|number| Shape {
            cpu: 10 + number % 7,
            memory: 1 + number * 37 % 101,
            gpu: 0,
            port: false,
            priority: 1,
            tenant: 0,
        })
        .collect();
    let (mut cluster, held) = filled(&[node(0, 4000, 20_000, 0)], &shapes);
    assert_eq!(held.len(), shapes.len());
    let work = Shape { cpu: 1500, memory: 9000, gpu: 0, port: false, priority: 9, tenant: 1 }.work(999);
    let found = cluster.preempt(&work.demand(&[]), &|_| true).unwrap();
    let fits_without = |victims: &[AllocationId]| {
        fits_after(&cluster, &held, &work, &found.node, victims, [u64::MAX, u64::MAX])
    };
    assert!(fits_without(&found.victims));
    for at in 0..found.victims.len() {
        let mut fewer = found.victims.clone();
        fewer.remove(at);
        assert!(!fits_without(&fewer), "{} could stay", found.victims[at]);
    }
}
