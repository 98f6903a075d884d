//! Which instance is where, and how that changes.

use skerry_types::{
    Affinity, AllocationLimit, Bytes, HostPort, MilliCpu, NodeFacts, Phase, Refusal, Rule, SpreadBy,
    WorkloadSpec,
};

use super::bench::*;
use super::node::Manner;
use crate::*;

#[test]
fn instances_spread_over_the_nodes() {
    let mut bench = Bench::with_nodes(3);
    bench.apply(&spec("web", 5));
    assert_eq!(bench.placed(), ["0@n1/1", "1@n2/1", "2@n3/1", "3@n1/1", "4@n2/1"]);
    let view = bench.workload("web").unwrap();
    assert_eq!((view.placed, view.running, view.unreachable), (5, 5, 0));
}

#[test]
fn scaling_leaves_in_place_what_stays() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 2));
    let ids: Vec<_> = bench.state.allocations.keys().cloned().collect();
    bench.apply(&spec("web", 4));
    assert_eq!(bench.placed().len(), 4);
    assert!(ids.iter().all(|id| bench.state.allocations.contains_key(id)));
    bench.apply(&spec("web", 2));
    assert_eq!(bench.state.allocations.keys().cloned().collect::<Vec<_>>(), ids);
    bench.apply(&spec("web", 0));
    assert!(bench.placed().is_empty());
    assert_eq!(bench.workload("web").map(|view| view.spec.instances), Some(0));
}

#[test]
fn what_finds_no_place_says_why_and_goes_where_room_appears() {
    let mut bench = Bench::with_nodes(1);
    bench.apply(&spec("web", 6));
    let view = bench.workload("web").unwrap();
    assert_eq!((view.placed, view.pending.len()), (4, 1));
    assert_eq!(view.pending[0].instances.iter().map(|i| i.0).collect::<Vec<_>>(), [4, 5]);
    let cpu = Rule::Cpu { need: MilliCpu(1000), most_free: MilliCpu(0) };
    assert_eq!(view.pending[0].reasons, [Refusal { rule: cpu, nodes: 1 }]);

    bench.join("n2", "s1");
    assert_eq!(bench.workload("web").unwrap().placed, 4, "a node that never spoke has no room");
    bench.connect("n2");
    assert_eq!(bench.placed()[4..], ["4@n2/1", "5@n2/1"]);
    assert!(bench.workload("web").unwrap().pending.is_empty());
}

#[test]
fn a_node_is_given_no_more_allocations_than_it_has_addresses_for() {
    let with = |addresses| NodeFacts { allocations: AllocationLimit::new(addresses), ..facts(4) };
    let mut bench = Bench::with_nodes(1);
    bench.node("n1").facts(with(2));
    bench.exchange();
    bench.apply(&small(spec("web", 5)));
    let placed = |bench: &mut Bench| bench.workload("web").unwrap().placed;
    let reasons = bench.workload("web").unwrap().pending[0].reasons.clone();
    assert_eq!(
        (placed(&mut bench), reasons.as_slice()),
        (2, &[Refusal { rule: Rule::AllocationLimit, nodes: 1 }][..])
    );
    let slots = |bench: &mut Bench| {
        let site = bench.state.site_digest(&bench.state.nodes[&node_name("n1")].site.clone()).unwrap();
        site.sketch.classes.iter().flat_map(|class| &class.buckets).map(|bucket| bucket.slots).sum::<u32>()
    };
    assert_eq!(slots(&mut bench), 0, "the region above is told");

    bench.restart();
    bench.connect_all();
    assert_eq!(placed(&mut bench), 2, "what the node said is in the store");
    bench.node("n1").facts(with(4));
    bench.exchange();
    assert_eq!(placed(&mut bench), 4, "a wider pool is room");
    bench.node("n1").facts(with(1));
    bench.exchange();
    assert_eq!(placed(&mut bench), 4, "what is there stays");
}

#[test]
fn room_appears_in_each_of_these_ways() {
    let check = |case: &str, grow: fn(&mut Bench)| {
        let mut bench = Bench::with_nodes(2);
        bench.cut("n2");
        bench.apply(&spec("db", 1));
        bench.apply(&spec("web", 4));
        assert_eq!(bench.workload("web").unwrap().placed, 3, "{case}");
        grow(&mut bench);
        assert_eq!(bench.workload("web").unwrap().placed, 4, "{case}");
    };
    check("another workload leaves", |bench| drop(bench.call(ApiCall::Delete(key("db")))));
    check("another workload shrinks", |bench| {
        bench.apply(&spec("db", 0));
    });
    check("a node comes back", |bench| bench.connect("n2"));
    check("a node grows", |bench| {
        bench.node("n1").facts(facts(8));
        bench.exchange();
    });
}

/// One instance, with its own name as a label.
pub(super) fn labelled(name: &str) -> WorkloadSpec {
    let mut spec = spec(name, 1);
    spec.labels.insert("app".to_owned(), name.to_owned());
    spec
}

/// One that must be on the node of something else with a label.
pub(super) fn beside(name: &str, label: &str) -> WorkloadSpec {
    let mut spec = labelled(name);
    let (matches, by) = (format!("app={label}").parse().unwrap(), SpreadBy::Node);
    spec.placement.affinity.push(Affinity { matches, by, weight: None });
    spec
}

#[test]
fn what_must_be_beside_another_is_placed_when_that_one_is() {
    let mut bench = Bench::with_nodes(2);
    // Its own label is of no help: it waits for the others, whichever name comes first.
    for name in ["a", "z"] {
        bench.apply(&beside(name, "cache"));
        assert_eq!(bench.workload(name).unwrap().placed, 0, "{name} has nothing to be beside of");
    }
    bench.apply(&labelled("db"));
    assert_eq!(bench.workload("a").unwrap().placed, 0);
    bench.apply(&labelled("cache"));
    let node = |bench: &Bench, name: &str| {
        let all: Vec<_> = bench.state.allocations_of(&key(name)).map(|one| one.node.clone()).collect();
        assert_eq!(all.len(), 1, "{name}");
        all[0].clone()
    };
    assert_eq!(node(&bench, "a"), node(&bench, "cache"));
    assert_eq!(node(&bench, "z"), node(&bench, "cache"));
}

#[test]
fn room_is_free_only_when_the_node_says_stopped() {
    let mut bench = Bench::with_nodes(1);
    bench.apply(&spec("web", 4));
    bench.node("n1").manner = Manner::Mute;
    bench.call(ApiCall::Delete(key("web"))).unwrap();
    bench.apply(&spec("db", 1));
    assert!(bench.placed().is_empty());
    bench.node("n1").catch_up();
    bench.exchange();
    assert_eq!(bench.placed(), ["0@n1/1"]);
}

#[test]
fn an_unreachable_node_keeps_what_it_has_and_gets_no_more() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 2));
    bench.cut("n2");
    let view = bench.workload("web").unwrap();
    assert_eq!((view.placed, view.running, view.unreachable), (2, 2, 1));
    bench.apply(&spec("web", 5));
    assert_eq!(bench.placed(), ["0@n1/1", "1@n2/1", "2@n1/2", "3@n1/2", "4@n1/2"]);
    bench.connect("n2");
    assert_eq!(bench.placed(), ["0@n1/1", "1@n2/1", "2@n1/2", "3@n1/2", "4@n1/2"]);
}

#[test]
fn a_new_spec_replaces_one_instance_at_a_time() {
    let mut bench = Bench::with_nodes(3);
    let web = spec("web", 3);
    bench.apply(&web);
    for name in ["n1", "n2", "n3"] {
        bench.node(name).manner = Manner::Mute;
    }
    bench.apply(&changed(&web, "x"));
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/1", "2@n3/1"]);
    bench.node("n1").catch_up();
    bench.exchange();
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/2", "2@n3/1"], "the next goes when that one runs");
    bench.restart();
    bench.connect_all();
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/2", "2@n3/1"], "a restart of the master hurries nothing");
    bench.node("n2").catch_up();
    bench.node("n3").catch_up();
    bench.exchange();
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/2", "2@n3/2"]);
}

#[test]
fn a_new_spec_waits_for_a_node_that_is_away_and_goes_on_when_it_is_back() {
    let mut bench = Bench::with_nodes(3);
    let web = spec("web", 3);
    bench.apply(&web);
    bench.cut("n2");
    bench.apply(&changed(&web, "x"));
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/1", "2@n3/2"], "never two of one instance");
    bench.pass(DAY * 30);
    bench.restart();
    bench.connect("n1");
    bench.connect("n3");
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/1", "2@n3/2"]);
    bench.connect("n2");
    assert_eq!(bench.placed().iter().filter(|text| text.ends_with("/2")).count(), 3);
}

#[test]
fn instances_that_do_not_run_are_replaced_at_once() {
    let mut bench = Bench::with_nodes(3);
    let web = spec("web", 3);
    bench.apply(&web);
    let ids: Vec<_> = bench.state.allocations.keys().cloned().collect();
    for (name, id) in ["n1", "n2"].iter().zip(&ids) {
        bench.node(name).say(id, Phase::Backoff);
    }
    bench.exchange();
    bench.node("n3").manner = Manner::Mute;
    bench.apply(&changed(&web, "x"));
    let new = bench.placed().iter().filter(|text| text.ends_with("/2")).count();
    assert!(new >= 2, "{:?}", bench.placed());
}

#[test]
fn a_spec_whose_placement_changed_moves_nothing() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 2));
    let before = bench.placed();
    let mut other = spec("web", 2);
    other.labels.insert("tier".to_owned(), "front".to_owned());
    assert_eq!(bench.apply(&other).how, AppliedHow::Changed);
    assert_eq!(bench.placed(), before);
}

#[test]
fn host_ports_are_given_once_on_a_node() {
    let mut bench = Bench::with_nodes(1);
    bench.apply(&with_port(small(spec("web", 12)), HostPort::Auto));
    let mut ports: Vec<u16> =
        bench.state.allocations.values().map(|record| record.intent.ports[0].host).collect();
    ports.sort_unstable();
    assert_eq!(ports, (30000..=30009).collect::<Vec<_>>());
    let reasons = bench.workload("web").unwrap().pending[0].reasons.clone();
    assert!(matches!(reasons[0].rule, Rule::HostPortRange { need: 1 }), "{reasons:?}");

    bench.apply(&with_port(small(spec("db", 2)), HostPort::Fixed(5432)));
    let view = bench.workload("db").unwrap();
    assert_eq!(view.placed, 1);
    assert!(matches!(view.pending[0].reasons[0].rule, Rule::HostPort { port: 5432, .. }));
    bench.restart();
    bench.connect_all();
    bench.apply(&with_port(small(spec("web", 13)), HostPort::Auto));
    assert_eq!(bench.workload("web").unwrap().placed, 10, "ports stay taken over a restart");
}

#[test]
fn what_waits_for_want_of_memory_says_the_numbers() {
    let mut bench = Bench::with_nodes(1);
    let mut big = small(spec("web", 1));
    let need = Bytes(5 << 30);
    std::sync::Arc::make_mut(&mut big.instance).containers[0].resources.memory = need;
    bench.apply(&big);
    let reasons = bench.workload("web").unwrap().pending[0].reasons.clone();
    assert_eq!(reasons, [Refusal { rule: Rule::Memory { need, most_free: Bytes(4 << 30) }, nodes: 1 }]);
}

#[test]
fn a_removed_node_loses_its_instances_to_the_others() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 2));
    let connected = bench.call(ApiCall::RemoveNode(node_name("n2")));
    assert!(matches!(connected, Err(ApiError::NodeConnected { .. })), "{connected:?}");
    bench.cut("n2");
    let reply = bench.call(ApiCall::RemoveNode(node_name("n2")));
    assert!(matches!(reply, Ok(ApiReply::Removed(1))), "{reply:?}");
    assert_eq!(bench.placed(), ["0@n1/1", "1@n1/1"]);
    let of_n2 = |(_, row): &(String, Vec<u8>)| row.starts_with(b"n2");
    assert!(!bench.disk.keys().any(of_n2), "no row of it is left");
    bench.dial("n2");
    assert!(bench.closed.last().unwrap().1.contains("n2 is not a node of this region"));
    let before = bench.placed();
    bench.restart();
    assert_eq!(bench.placed(), before);
}
