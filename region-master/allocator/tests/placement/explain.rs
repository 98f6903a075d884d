//! What people are told of where instances are, would go, and why others find no place.

use skerry_allocator::{Cluster, NodeView};
use skerry_types::{
    Affinity, AllocationLimit, Attributes, Bytes, Explanation, HostPort, InstanceIndex, InstanceSet,
    MilliCpu, Near, NodeName, Place, Placement, Point, Preference, Protocol, Resources, Spread, SpreadBy,
    Taint, Target,
};

use crate::model::{Work, site, workload_spec};

fn name(node: &str) -> NodeName {
    NodeName::new(node).unwrap()
}

fn view(node: &str, at: usize) -> NodeView {
    NodeView {
        name: name(node),
        site: site(at),
        attributes: Attributes::new(),
        taints: Vec::new(),
        capacity: Resources { cpu: MilliCpu(4000), memory: Bytes(4 << 30), ..Resources::default() },
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

fn explain(cluster: &mut Cluster, work: &Work, placed: &[&str], missing: u32) -> Explanation {
    let placed: Vec<(InstanceIndex, NodeName)> =
        (0..).map(InstanceIndex).zip(placed.iter().map(|node| name(node))).collect();
    let count = u32::try_from(placed.len()).unwrap();
    let all = InstanceSet::first(count + missing).difference(&InstanceSet::first(count));
    cluster.explain(&work.demand(&[]), &placed, &all, &|_| true)
}

/// One line for each: instances, node, whether present, parts.
fn lines(explanation: &Explanation) -> Vec<String> {
    let line = |why: &skerry_types::PlacedWhy| {
        let Target::Node { node, .. } = &why.target else { panic!("{why:?}") };
        let parts: Vec<String> =
            why.score.iter().map(|part| format!("{} ({})", part.what, part.points)).collect();
        let verb = if why.present { "on" } else { "to" };
        format!("{} {verb} {node}: {}", why.instances, parts.join("; "))
    };
    explanation.placed.iter().map(line).collect()
}

#[test]
fn the_parts_of_a_score_are_told() {
    let mut views = [view("a1", 0), view("b1", 1)];
    views[0].point = Some(Point { latitude: 0, longitude: 0 });
    views[1].point = Some(Point { latitude: 0, longitude: 9_000_000 });
    views[1].micros_per_mb = 30;
    let mut cluster = cluster(&views);
    let mut db = Work::new("db", workload_spec(1000, 1 << 30, &[]), Placement::default());
    db.labels.insert("app".to_owned(), "db".to_owned());
    cluster.reserve(&name("a1"), &db.booking(&db.id(1), &[], &[])).unwrap();
    let placement = Placement {
        prefer: vec![Preference { matches: "site.name=s0".parse().unwrap(), weight: 20 }],
        spread: vec![Spread { by: SpreadBy::Site, max_skew: None }],
        near: vec![Near { to: Place::Site(site(0)), weight: 100 }],
        affinity: vec![Affinity { matches: "app=db".parse().unwrap(), by: SpreadBy::Node, weight: Some(15) }],
        ..Placement::default()
    };
    let work = Work::new("web", workload_spec(500, 1 << 29, &[]), placement);
    cluster.reserve(&name("a1"), &work.booking(&work.id(7), &[], &[])).unwrap();
    let before = cluster.used(&name("a1"));
    let found = explain(&mut cluster, &work, &["a1"], 2);
    let a1 = "prefers site.name=s0 (20); 0 km from site s0 (100); beside 'app=db' by node (15)";
    assert_eq!(
        lines(&found),
        [
            format!("0 on a1: {a1}; 37 % of its cpu and 37 % of its memory are reserved (0)"),
            format!(
                "2 to a1: {a1}; 1 of its own on this site (-100); 1 of its own on this node (0); \
                 37 % of its cpu and 37 % of its memory are reserved (0)"
            ),
            "1 to b1: 1001 km from site s0 (49); its link costs 30 millionths for a megabyte (0); \
             0 % of its cpu and 0 % of its memory are reserved (0)"
                .to_owned(),
        ]
    );
    assert!(found.refused.is_empty());
    assert_eq!(cluster.used(&name("a1")), before);
    assert_eq!(cluster.allocations(&name("b1")), Some(0));
    assert_eq!(lines(&explain(&mut cluster, &work, &["a1"], 2)), lines(&found));
}

fn refused(found: &Explanation) -> (Vec<String>, Vec<String>) {
    let [why] = found.refused.as_slice() else { panic!("{found:?}") };
    (why.reasons.iter().map(ToString::to_string).collect(), why.remedies.clone())
}

#[test]
fn what_would_help_is_told() {
    let mut views =
        vec![view("a1", 0), view("a2", 0), view("b1", 1), view("b2", 1), view("c1", 2), view("c2", 2)];
    for view in &mut views {
        view.attributes.insert("node.arch".to_owned(), "amd64".to_owned());
    }
    views[1].taints = vec![Taint::new("maintenance").unwrap()];
    views[2].attributes.insert("node.arch".to_owned(), "arm64".to_owned());
    views[3].schedulable = false;
    views[4].reachable = false;
    let mut cluster = cluster(&views);
    for node in ["a1", "c2"] {
        let mut other = Work::new("batch", workload_spec(2500, 0, &[]), Placement::default());
        other.priority = if node == "a1" { 60 } else { 5 };
        cluster.reserve(&name(node), &other.booking(&other.id(1), &[], &[])).unwrap();
    }
    let placement =
        Placement { require: "node.arch=amd64, site.name".parse().unwrap(), ..Placement::default() };
    let work = Work::new("web", workload_spec(3000, 1 << 30, &[]), placement);
    let (reasons, remedies) = refused(&explain(&mut cluster, &work, &[], 2));
    assert_eq!(
        reasons,
        [
            "2 nodes: needs 3 cpu, at most 1500m free",
            "1 node not connected",
            "1 node does not match 'node.arch=amd64'",
            "1 node has the taint 'maintenance', which is not tolerated",
            "1 node cordoned",
        ]
    );
    assert_eq!(
        remedies,
        [
            "tolerating maintenance: 1 node fits",
            "without the term node.arch=amd64: 1 node fits",
            "1500m cpu more on node a1",
            "when nodes are uncordoned: 1 node fits",
            "when nodes are connected again: 1 node fits",
            "preempting batch-0-1 on node c2, of priority 5 at most: one fits",
        ]
    );
}

#[test]
fn musts_and_bounds_that_stand_in_the_way_are_told() {
    let views = [view("a1", 0), view("b1", 1)];
    let mut cluster = cluster(&views);
    let mut db = Work::new("db", workload_spec(0, 0, &[]), Placement::default());
    db.labels.insert("app".to_owned(), "db".to_owned());
    for (serial, node) in ["a1", "b1"].into_iter().enumerate() {
        cluster.reserve(&name(node), &db.booking(&db.id(u64::try_from(serial).unwrap()), &[], &[])).unwrap();
    }
    let apart = Affinity { matches: "app=db".parse().unwrap(), by: SpreadBy::Site, weight: None };
    let placement = Placement { anti_affinity: vec![apart], ..Placement::default() };
    let work = Work::new("web", workload_spec(1, 1, &[]), placement);
    let (reasons, remedies) = refused(&explain(&mut cluster, &work, &[], 1));
    assert_eq!(reasons, ["2 nodes: a workload with 'app=db' is on the same site"]);
    assert_eq!(remedies, ["without the anti-affinity 'app=db' by site: 2 nodes fit"]);

    let bounded =
        Placement { spread: vec![Spread { by: SpreadBy::Site, max_skew: Some(1) }], ..Placement::default() };
    let port = [(HostPort::Fixed(80), Protocol::Tcp)];
    let work = Work::new("web", workload_spec(1, 1, &port), bounded);
    cluster.set_node(NodeView { name: name("b2"), ..views[1].clone() });
    let (reasons, remedies) = refused(&explain(&mut cluster, &work, &["a1", "b1", "b2"], 3));
    assert_eq!(reasons, ["2 nodes: host port 80/tcp is taken", "1 node would break max_skew 1 over site"]);
    assert_eq!(remedies, ["with max_skew 2 over site instead of 1: 1 node fits"]);
}

#[test]
fn ten_thousand_nodes_read_as_ten_lines() {
    let mut cluster = Cluster::default();
    for number in 0..10_000_u16 {
        let mut node = view(&format!("n{number}"), usize::from(number % 50));
        node.taints = vec![Taint::new(format!("owner-{}", number % 30)).unwrap()];
        cluster.set_node(node);
    }
    let work = Work::new("web", workload_spec(1, 1, &[]), Placement::default());
    let (reasons, remedies) = refused(&explain(&mut cluster, &work, &[], 10));
    assert_eq!(reasons.len(), 10);
    assert!(remedies.len() <= 8, "{remedies:?}");
    assert_eq!(remedies[0], "tolerating owner-0: 334 nodes fit");
}
