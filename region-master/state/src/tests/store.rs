//! What is on disk is what is in memory, whenever the process ends.

use std::sync::Arc;

use skerry_types::{HostPort, Phase, Resources};

use super::bench::*;
use super::node::Manner;
use crate::*;

/// What survives a restart, as text.
fn picture(state: &RegionState) -> String {
    let nodes: Vec<_> = state
        .nodes
        .iter()
        .map(|(name, node)| {
            let used = state.cluster_used(name);
            let tombstones: Vec<_> = node.child.writer.tombstones().collect();
            format!(
                "{name} {:?} {:?} {:?} {:?} {:?} {tombstones:?} {used:?} {:?}\n",
                node.record(),
                node.facts,
                node.usage,
                node.allocations,
                node.child.held,
                node.child.writer.floor(),
            )
        })
        .collect();
    let regions: Vec<_> = state
        .regions
        .iter()
        .map(|(name, region)| {
            let told = (&region.regions, &region.sites, &region.nodes, &region.statuses, &region.uses);
            let tombstones: Vec<_> = region.child.writer.tombstones().collect();
            format!(
                "{name} {:?} {told:?} {:?} {:?} {:?} {tombstones:?} {:?}\n",
                region.child.record, region.shares, region.grants, region.in_flight, region.child.held
            )
        })
        .collect();
    let tree = (&state.uplink.record, &state.refused, &state.splits, &state.sites.specs);
    let reserved: Vec<_> = state.reserved.iter().filter(|(_, r)| **r != Resources::ZERO).collect();
    let tenants = (&state.tenants.specs, &state.tenants.grants, reserved);
    let workloads: Vec<_> =
        state.workloads.iter().map(|(key, w)| format!("{key} {:?}\n", w.record)).collect();
    let tokens = &state.tokens;
    let known = state.allocations.keys().filter_map(|id| state.allocations.known(id));
    let allocations: Vec<_> = known.map(|known| (&known.record, &known.status)).collect();
    let (events, counters) = (&state.events, state.counters);
    format!(
        "{regions:?} {tree:?} {tenants:?} {workloads:?} {allocations:?} {nodes:?} {tokens:?} {events:?} {counters:?}"
    )
}

/// Reads the store beside the brain, without letting the copy do anything with it.
pub(super) fn check_round_trip(bench: &Bench) {
    let mut copy = load_as(bench.config.clone(), bench.now, &bench.disk);
    // One that has not given out rows yet leaves numbers out again.
    copy.counters.serial = copy.counters.serial.min(bench.state.counters.serial);
    let (here, there) = (picture(&bench.state), picture(&copy));
    let same = here.bytes().zip(there.bytes()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.chars().skip(same.saturating_sub(200)).take(600).collect::<String>();
    assert!(here == there, "memory: {}\n\nstore: {}", part(&here), part(&there));
}

#[test]
fn load_gives_back_everything_that_was_written() {
    let mut bench = Bench::with_nodes(3);
    check_round_trip(&bench);
    bench.apply(&spec("web", 3));
    check_round_trip(&bench);
    bench.apply(&with_port(small(spec("db", 4)), HostPort::Auto));
    bench.node("n1").event(1);
    bench.exchange();
    check_round_trip(&bench);
    bench.cut("n2");
    check_round_trip(&bench);
    bench.call(ApiCall::Delete(key("db"))).unwrap();
    check_round_trip(&bench);
    bench.call(ApiCall::RemoveNode(node_name("n2"))).unwrap();
    check_round_trip(&bench);
    bench.node("n1").manner = Manner::Mute;
    bench.apply(&changed(&spec("web", 3), "x"));
    check_round_trip(&bench);
    bench.node("n1").catch_up();
    bench.exchange();
    check_round_trip(&bench);
}

/// Ends the process after each batch of `act` in turn, and sees that the region comes to the same end.
fn crash_everywhere(prepare: fn() -> Bench, act: fn(&mut Bench), settled: fn(&mut Bench)) {
    for batches in 0..200 {
        let mut bench = prepare();
        bench.batches_left = Some(batches);
        act(&mut bench);
        let crashed = bench.batches_left == Some(0);
        bench.restart();
        bench.connect_all();
        bench.batches_left = None;
        act(&mut bench);
        settled(&mut bench);
        check_round_trip(&bench);
        if !crashed {
            assert!(batches > 1, "more than one batch was written");
            return;
        }
    }
    panic!("more batches than expected");
}

fn call(bench: &mut Bench, call: ApiCall) {
    let id = bench.call_id();
    bench.feed(Input::Call(id, call));
    bench.exchange();
}

#[test]
fn an_apply_that_was_cut_short_is_whole_or_absent() {
    crash_everywhere(
        || Bench::with_nodes(3),
        |bench| call(bench, ApiCall::Apply { spec: Arc::new(small(spec("web", 150))), dry_run: false }),
        |bench| {
            let view = bench.workload("web").unwrap();
            assert_eq!((view.placed, view.running), (150, 150));
            assert_eq!(bench.state.allocations.len(), 150);
        },
    );
}

#[test]
fn a_delete_that_was_cut_short_comes_to_its_end() {
    crash_everywhere(
        || {
            let mut bench = Bench::with_nodes(3);
            bench.apply(&small(spec("web", 150)));
            bench
        },
        |bench| call(bench, ApiCall::Delete(key("web"))),
        |bench| {
            assert!(bench.workload("web").is_none());
            assert!(bench.nodes.values().all(|node| node.intents.is_empty()));
            assert!(bench.disk.keys().all(|(table, _)| table != "tombstone"));
        },
    );
}

#[test]
fn a_removal_of_a_node_that_was_cut_short_leaves_nothing() {
    crash_everywhere(
        || {
            let mut bench = Bench::with_nodes(2);
            bench.apply(&small(spec("web", 300)));
            bench.node("n1").manner = Manner::Mute;
            bench.apply(&small(spec("web", 100)));
            bench.cut("n1");
            bench
        },
        |bench| {
            bench.nodes.remove(&node_name("n1"));
            call(bench, ApiCall::RemoveNode(node_name("n1")));
        },
        |bench| {
            assert_eq!(bench.placed().len(), 100);
            assert!(bench.placed().iter().all(|text| text.contains("@n2/")));
            let of_n1 = |(_, key): &(String, Vec<u8>)| key.starts_with(b"n1") || key.starts_with(b"node/n1/");
            assert!(!bench.disk.keys().any(of_n1), "rows of the node are left");
            assert_eq!(bench.workload("web").unwrap().running, 100);
        },
    );
}

#[test]
fn a_flood_of_rows_that_was_cut_short_is_taken_again() {
    crash_everywhere(
        || {
            let mut bench = Bench::with_nodes(1);
            bench.apply(&small(spec("web", 200)));
            bench.cut("n1");
            bench
        },
        |bench| {
            if bench.node("n1").link.is_some() {
                return;
            }
            let ids: Vec<_> = bench.node("n1").intents.keys().cloned().collect();
            for (number, id) in (1..).zip(&ids) {
                bench.node("n1").say(id, Phase::Backoff);
                bench.node("n1").event(number);
            }
            bench.connect("n1");
        },
        |bench| {
            let heard = bench.events().into_iter().filter(|view| view.event.reason == "Heard");
            let mut numbers: Vec<String> = heard.map(|view| view.event.message).collect();
            let count = numbers.len();
            numbers.sort();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "no event counts twice");
        },
    );
}

#[test]
fn a_store_that_cannot_be_read_says_where() {
    let config = || RegionConfig {
        region: skerry_types::RegionName::new("north").unwrap(),
        incarnation: skerry_wire::Incarnation(1),
        software: String::new(),
        has_parent: false,
    };
    let check = |row: LedgerRow, says: &str| {
        let error = RegionState::load(config(), skerry_types::Now::default(), [row]).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    };
    let mut bench = Bench::with_nodes(1);
    bench.apply(&spec("web", 1));
    let (place, value) = bench.disk.iter().find(|((table, _), _)| table == "workload").unwrap();
    check((place.0.clone(), place.1.clone(), vec![0xff; 4]), "row 'default/web' of table 'workload'");
    check((place.0.clone(), b"default/db".to_vec(), value.clone()), "a key 'default/db' that is none");
    check(("node".to_owned(), place.1.clone(), value.clone()), "a key 'default/web' that is none");
    check(("rumour".to_owned(), Vec::new(), Vec::new()), "a table 'rumour'");
}
