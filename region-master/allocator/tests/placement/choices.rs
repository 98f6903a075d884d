//! Choices that people can foresee, and the words when there is none.

use skerry_allocator::{BookError, Cluster, NodeView};
use skerry_types::{
    Affinity, AllocationLimit, Attributes, Bytes, HostPort, MilliCpu, MilliGpu, Near, NodeName, Place,
    Placement, Point, Preference, Protocol, Refusal, Resources, Spread, SpreadBy, Taint,
};

use crate::model::{Work, site, workload_spec};

fn name(node: &str) -> NodeName {
    NodeName::new(node).unwrap()
}

pub(crate) fn view(node: &str, at: usize) -> NodeView {
    NodeView {
        name: name(node),
        site: site(at),
        attributes: Attributes::new(),
        taints: Vec::new(),
        capacity: Resources {
            cpu: MilliCpu(4000),
            memory: Bytes(4 << 30),
            disk: Bytes(1 << 40),
            ..Resources::default()
        },
        gpus: 0,
        limit: AllocationLimit::MAX,
        port_range: (20000, 20002),
        reachable: true,
        schedulable: true,
        point: None,
        micros_per_mb: 0,
    }
}

fn cluster(views: &[NodeView]) -> Cluster {
    let mut cluster = Cluster::default();
    for view in views {
        cluster.set_node(view.clone());
    }
    cluster
}

/// Four nodes: a1 and a2 at site s0, b1 at s1, c1 at s2.
fn four() -> Vec<NodeView> {
    vec![view("a1", 0), view("a2", 0), view("b1", 1), view("c1", 2)]
}

fn spread(by: SpreadBy, max_skew: Option<u32>) -> Placement {
    Placement { spread: vec![Spread { by, max_skew }], ..Placement::default() }
}

fn prefer(matches: &str, weight: i32) -> Placement {
    Placement {
        prefer: vec![Preference { matches: matches.parse().unwrap(), weight }],
        ..Placement::default()
    }
}

/// Places `count` small instances and gives the nodes, or the words of the first refusal.
fn place(cluster: &mut Cluster, placement: &Placement, existing: &[&str], count: u32) -> Vec<String> {
    let work = Work::new("web", workload_spec(100, 1 << 20, &[]), placement.clone());
    let existing: Vec<NodeName> = existing.iter().map(|node| name(node)).collect();
    let answers = cluster.place(&work.demand(&existing), count, &mut |nth| work.id(u64::from(nth)));
    answers
        .into_iter()
        .map(|answer| answer.map_or_else(|refusals| words(&refusals), |placed| placed.node.to_string()))
        .collect()
}

fn words(refusals: &[Refusal]) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn where_instances_go() {
    let check = |what: &str, placement: &Placement, existing: &[&str], expect: &[&str]| {
        let count = u32::try_from(expect.len()).unwrap();
        assert_eq!(place(&mut cluster(&four()), placement, existing, count), expect, "{what}");
    };
    let none = Placement::default();
    check("over nodes", &none, &[], &["a1", "a2", "b1", "c1", "a1"]);
    check("only what is missing", &none, &["a1", "b1"], &["a2", "c1"]);
    check("a node that is gone", &none, &["a1", "z9"], &["a2"]);
    check("over sites", &spread(SpreadBy::Site, None), &[], &["a1", "b1", "c1", "a2", "b1"]);
    check("over nodes as asked", &spread(SpreadBy::Node, None), &["a1"], &["a2", "b1", "c1", "a2"]);
    check("preferred nodes first, evenly", &prefer("site.name=s0", 50), &[], &["a1", "a2", "a1"]);
    check("rather not", &prefer("site.name=s0", -1), &[], &["b1", "c1", "b1"]);
    let mut both = spread(SpreadBy::Site, None);
    both.prefer = prefer("site.name=s0", 50).prefer;
    check("a spread outweighs a preference of 50", &both, &[], &["a1", "b1", "c1", "a2"]);
    let required = Placement { require: "site.name in (s1,s2)".parse().unwrap(), ..Placement::default() };
    check("required", &required, &[], &["b1", "c1", "b1"]);
}

#[test]
fn the_fuller_node_is_taken_first() {
    let mut cluster = cluster(&four());
    let other = Work::new("other", workload_spec(1000, 1 << 30, &[]), Placement::default());
    cluster.reserve(&name("b1"), &other.booking(&other.id(1), &[], &[])).unwrap();
    assert_eq!(place(&mut cluster, &Placement::default(), &[], 2), ["b1", "a1"]);
}

#[test]
fn nodes_fill_up_in_an_order_that_hardly_changes() {
    let mut views = four();
    // Some more for the system of b1 makes it no smaller; c1 is.
    views[2].capacity.memory = Bytes((4 << 30) - (64 << 20));
    views[3].capacity.cpu = MilliCpu(2000);
    views[0].gpus = 1;
    views[0].capacity.gpu = MilliGpu(1000);
    let mut cluster = cluster(&views);
    let mut web = Work::new("web", workload_spec(100, 1 << 20, &[]), Placement::default());
    let order = |cluster: &mut Cluster, work: &Work| -> Vec<String> {
        let placed = cluster.place(&work.demand(&[]), 4, &mut |nth| work.id(u64::from(nth)));
        placed.into_iter().map(|placed| placed.unwrap().node.to_string()).collect()
    };
    assert_eq!(
        order(&mut cluster, &web),
        ["b1", "a2", "c1", "a1"],
        "no gpu is stranded while others have room"
    );
    web.key.name = skerry_types::WorkloadName::new("ai").unwrap();
    web.spec.containers[0].resources.gpu = MilliGpu(250);
    assert_eq!(order(&mut cluster, &web), ["a1"; 4]);
}

#[test]
fn a_cheaper_link_is_a_tie_breaker_and_nearness_is_not() {
    let mut views = four();
    views[0].micros_per_mb = 5;
    views[1].micros_per_mb = 5;
    for (view, longitude) in views.iter_mut().zip([0, 0, 5_000_000, 60_000_000]) {
        view.point = Some(Point { latitude: 0, longitude });
    }
    assert_eq!(place(&mut cluster(&views), &Placement::default(), &[], 3), ["b1", "c1", "a1"]);
    let near =
        |weight| Placement { near: vec![Near { to: Place::Site(site(0)), weight }], ..Placement::default() };
    assert_eq!(place(&mut cluster(&views), &near(100), &[], 3), ["a1", "a2", "a1"]);
    // 556 km of 2,000: 72 of 100 points, and rounded down none of 1 either way.
    assert_eq!(
        place(&mut cluster(&views[2..]), &near(100), &[], 2),
        ["b1", "c1"],
        "nobody knows where s0 is"
    );
    views[0].reachable = false;
    views[1].reachable = false;
    assert_eq!(place(&mut cluster(&views), &near(100), &[], 2), ["b1", "b1"]);
    assert_eq!(place(&mut cluster(&views), &near(1), &[], 2), ["b1", "c1"]);
}

#[test]
fn only_the_one_that_declares_it_stays_apart() {
    let apart = Affinity { matches: "app=db".parse().unwrap(), by: SpreadBy::Site, weight: None };
    let mut db = Work::new("db", workload_spec(1, 1, &[]), Placement::default());
    db.labels.insert("app".to_owned(), "db".to_owned());
    let shy = Placement { anti_affinity: vec![apart.clone()], ..Placement::default() };
    let beside = Placement { affinity: vec![apart], ..Placement::default() };
    let mut cluster = cluster(&four());
    cluster.reserve(&name("b1"), &db.booking(&db.id(1), &[], &[])).unwrap();
    assert_eq!(place(&mut cluster, &shy, &[], 4), ["a1", "a2", "c1", "a1"]);
    assert_eq!(place(&mut cluster, &beside, &[], 2), ["b1", "b1"]);
    // The other may come to it.
    let found = cluster.place(&db.demand(&[name("b1")]), 1, &mut |_| db.id(2)).remove(0).unwrap();
    assert_eq!(found.node, name("a1"));
    cluster.release(&name("b1"), &db.id(1)).unwrap();
    cluster.release(&name("a1"), &db.id(2)).unwrap();
    let nowhere = place(&mut cluster, &beside, &[], 1);
    assert_eq!(nowhere, ["4 nodes: no workload with 'app=db' is on the same site"]);
}

#[test]
fn a_bounded_spread_waits_for_the_site_that_lags() {
    let mut views = four();
    views[3].capacity.cpu = MilliCpu(150);
    let answers = place(&mut cluster(&views), &spread(SpreadBy::Site, Some(1)), &[], 6);
    assert_eq!(answers[..5], ["a1", "b1", "c1", "a2", "b1"]);
    let refused = "3 nodes: would break max_skew 1 over site; 1 node needs 100m cpu, at most 50m free";
    assert_eq!(answers[5], refused);
}

#[test]
fn a_site_without_a_link_does_not_hold_back_the_others() {
    let mut views = four();
    views[3].reachable = false;
    let answers = place(&mut cluster(&views), &spread(SpreadBy::Site, Some(1)), &[], 4);
    assert_eq!(answers, ["a1", "b1", "a2", "b1"]);
}

#[test]
fn each_rule_says_why() {
    let mut views = four();
    views[0].reachable = false;
    views[1].taints = vec![Taint::new("maintenance").unwrap()];
    views[2].attributes.insert("node.gpu".to_owned(), "1".to_owned());
    let mut cluster = cluster(&views);
    let placement = Placement { require: "node.gpu>=2, node.name".parse().unwrap(), ..Placement::default() };
    assert_eq!(
        place(&mut cluster, &placement, &[], 1),
        ["3 nodes: does not match 'node.gpu>=2'; 1 node not connected"]
    );
    let mut serial = 0;
    let mut ask = |cluster: &mut Cluster, cpu, memory, ports: &[(HostPort, Protocol)]| {
        let work = Work::new("web", workload_spec(cpu, memory, ports), Placement::default());
        serial += 1;
        let answers = cluster.place(&work.demand(&[]), 1, &mut |_| work.id(serial));
        answers
            .into_iter()
            .next()
            .unwrap()
            .map(|placed| placed.node.to_string())
            .map_err(|refusals| words(&refusals))
    };
    let rest = "1 node not connected; 1 node has the taint 'maintenance', which is not tolerated";
    let mut check = |cpu, memory, ports: &[(HostPort, Protocol)], expect: &str| {
        assert_eq!(ask(&mut cluster, cpu, memory, ports), Err(format!("{expect}; {rest}")));
    };
    check(5000, 1, &[], "2 nodes: needs 5 cpu, at most 4 free");
    check(1, 5 << 30, &[], "2 nodes: needs 5Gi memory, at most 4Gi free");
    check(1, 1, &[(HostPort::Auto, Protocol::Tcp); 4], "2 nodes: needs 4 host ports, fewer are free");
    assert_eq!(ask(&mut cluster, 1, 1, &[(HostPort::Fixed(80), Protocol::Tcp)]), Ok("b1".to_owned()));
    assert_eq!(ask(&mut cluster, 1, 1, &[(HostPort::Fixed(80), Protocol::Tcp)]), Ok("c1".to_owned()));
    assert_eq!(ask(&mut cluster, 1, 1, &[(HostPort::Fixed(80), Protocol::Udp)]), Ok("b1".to_owned()));
    let error = ask(&mut cluster, 1, 1, &[(HostPort::Fixed(80), Protocol::Tcp)]);
    assert_eq!(error, Err(format!("2 nodes: host port 80/tcp is taken; {rest}")));
}

#[test]
fn a_tolerated_taint_keeps_nothing_away() {
    let mut views = vec![view("a1", 0)];
    views[0].taints = vec![Taint::new("maintenance").unwrap(), Taint::new("spot").unwrap()];
    let mut placement =
        Placement { tolerate: vec![Taint::new("maintenance").unwrap()], ..Placement::default() };
    assert_eq!(
        place(&mut cluster(&views), &placement, &[], 1),
        ["1 node has the taint 'spot', which is not tolerated"]
    );
    placement.tolerate.push(Taint::new("spot").unwrap());
    assert_eq!(place(&mut cluster(&views), &placement, &[], 1), ["a1"]);
}

#[test]
fn a_region_without_nodes_says_how_to_get_one() {
    let answers = place(&mut Cluster::default(), &Placement::default(), &[], 2);
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].contains("skerry token create"), "{answers:?}");
}

#[test]
fn a_node_holds_so_many_and_no_more() {
    let check = |limit: AllocationLimit| {
        let mut cluster = cluster(&[NodeView { limit, ..view("a1", 0) }]);
        let work = Work::new("web", workload_spec(0, 0, &[]), Placement::default());
        let mut serial = 0;
        let mut id = |_| {
            serial += 1;
            work.id(serial)
        };
        let bound = limit.get();
        let answers = cluster.place(&work.demand(&[]), bound + 1, &mut id);
        let placed = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(placed, usize::try_from(bound).unwrap());
        assert_eq!(
            place(&mut cluster, &Placement::default(), &[], 1),
            [
                "1 node already holds as many allocations as it may: 1000, or fewer where its agent's 'pool' of \
              addresses is smaller"
            ]
        );
        let taken = NodeView { limit: AllocationLimit::new(bound / 2), ..view("a1", 0) };
        cluster.set_node(taken);
        assert_eq!(cluster.allocations(&name("a1")), Some(bound), "what is there stays");
        assert!(cluster.place_on(&name("a1"), &work.demand(&[]), work.id(5000)).is_err());
    };
    check(AllocationLimit::MAX);
    check(AllocationLimit::new(5));
    check(AllocationLimit::new(0));
}

#[test]
fn a_port_given_back_rests_while_others_are_free() {
    let mut cluster = cluster(&[view("a1", 0)]);
    let spec = workload_spec(1, 1, &[(HostPort::Auto, Protocol::Tcp), (HostPort::None, Protocol::Tcp)]);
    let work = Work::new("web", spec, Placement::default());
    let mut chosen = Vec::new();
    for serial in 0..5 {
        let placed = cluster.place(&work.demand(&[]), 1, &mut |_| work.id(serial)).remove(0).unwrap();
        chosen.push(placed.ports[0].host);
        cluster.release(&placed.node, &placed.id).unwrap();
    }
    assert_eq!(chosen, [20000, 20001, 20002, 20000, 20001]);
}

#[test]
fn a_port_that_two_have_is_free_when_both_are_gone() {
    let mut cluster = cluster(&[view("a1", 0)]);
    let spec = workload_spec(1, 1, &[(HostPort::Fixed(8080), Protocol::Tcp)]);
    let work = Work::new("web", spec, Placement::default());
    let placed = cluster.place(&work.demand(&[]), 1, &mut |_| work.id(1)).remove(0).unwrap();
    // What an orphan holds was given without the knowledge of this one.
    cluster.reserve(&placed.node, &work.booking(&work.id(2), &placed.ports, &[])).unwrap();
    let mut is_free = |serial, gone| {
        cluster.release(&placed.node, &work.id(gone)).unwrap();
        cluster.place(&work.demand(&[]), 1, &mut |_| work.id(serial)).remove(0).is_ok()
    };
    assert!(!is_free(3, 1));
    assert!(is_free(3, 2));
}

#[test]
fn a_node_that_shrank_keeps_what_it_holds_and_takes_nothing() {
    let mut small = view("a1", 0);
    let mut cluster = cluster(&[small.clone()]);
    let work = Work::new("other", workload_spec(3000, 1, &[]), Placement::default());
    cluster.reserve(&name("a1"), &work.booking(&work.id(1), &[], &[])).unwrap();
    small.capacity.cpu = MilliCpu(1000);
    cluster.set_node(small);
    assert_eq!(cluster.used(&name("a1")).map(|used| used.cpu), Some(MilliCpu(3000)));
    assert_eq!(place(&mut cluster, &Placement::default(), &[], 1), ["1 node needs 100m cpu, at most 0 free"]);
    cluster.release(&name("a1"), &work.id(1)).unwrap();
    assert_eq!(place(&mut cluster, &Placement::default(), &[], 1), ["a1"]);
}

#[test]
fn a_stranger_is_named() {
    let mut cluster = cluster(&four());
    let work = Work::new("web", workload_spec(1, 1, &[]), Placement::default());
    let unknown = Err(BookError::UnknownNode(name("z9")));
    assert_eq!(cluster.reserve(&name("z9"), &work.booking(&work.id(1), &[], &[])), unknown);
    assert_eq!(cluster.set_reachable(&name("z9"), true), unknown);
    let error = cluster.release(&name("a1"), &work.id(1)).unwrap_err();
    assert_eq!(error.to_string(), "node 'a1' holds no allocation 'web-0-1'");
}
