//! Exclusive workloads: another copy starts when no other can run, whatever became of links, nodes and this master.

use std::time::Duration;

use skerry_types::{Desired, Lease, OnDisconnect, OnReturn, Phase, Rule, UpdatePolicy, WorkloadSpec};
use skerry_wire::ToParent;

use super::bench::*;
use super::node::Manner;
use super::tree::Tree;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);
/// A lease of 30 s is over after 30.3 s by a clock that may be fast.
const OVER: Duration = Duration::from_millis(30_300);

/// One exclusive instance, replaced when its node is away for five seconds and its lease of thirty is over.
fn exclusive(name: &str) -> WorkloadSpec {
    let mut spec = spec(name, 1);
    std::sync::Arc::make_mut(&mut spec.instance).exclusive = Some(Lease::new(SECOND * 30).unwrap());
    let replace_after = Some(SECOND * 5);
    spec.on_disconnect = OnDisconnect { replace_after, on_return: OnReturn::KeepOriginal, stop_after: None };
    spec
}

impl Bench {
    fn ask(&mut self, node: &str, round: u64) {
        let link = self.node(node).link.expect("a link");
        self.feed(Input::Received(link, ToParent::Renew { round }));
        self.exchange();
    }

    /// Allocations that are there, stopping ones too.
    fn all(&self) -> Vec<String> {
        let word = |desired| if desired == Desired::Run { "runs" } else { "stops" };
        let all = self.state.allocations.values();
        let mut all: Vec<_> = all.map(|a| format!("{} {}", a.node, word(a.intent.desired))).collect();
        all.sort();
        all
    }

    fn waits_for_lease(&mut self, name: &str) -> bool {
        let pending = self.workload(name).unwrap().pending;
        pending.iter().any(|part| part.reasons.iter().any(|reason| reason.rule == Rule::MayStillRun))
    }
}

/// The workload on `n1`, which asked for its lease at this moment.
fn holder() -> Bench {
    let mut bench = Bench::with_nodes(2);
    bench.pass(DAY);
    bench.apply(&exclusive("db"));
    assert_eq!(bench.all(), ["n1 runs"]);
    bench.ask("n1", 1);
    assert_eq!(bench.node("n1").renewed.len(), 1);
    bench
}

#[test]
fn a_replacement_waits_until_the_lease_is_over() {
    let mut bench = holder();
    bench.pass(SECOND * 10);
    bench.ask("n1", 2);
    bench.cut("n1");
    bench.wait(OVER.saturating_sub(MOMENT));
    assert_eq!(bench.all(), ["n1 runs"]);
    assert!(bench.waits_for_lease("db"));
    bench.wait(MOMENT);
    assert_eq!(bench.all(), ["n1 stops", "n2 runs"]);
    // Whoever comes back is told to stop before its question counts.
    bench.node("n1").renewed.clear();
    bench.node("n1").manner = Manner::Mute;
    bench.connect("n1");
    bench.ask("n1", 3);
    let (round, cursor) = bench.node("n1").renewed[0];
    let stop = bench.state.allocations.values().find(|a| a.intent.desired == Desired::Stop).unwrap();
    assert!(round == 3 && cursor.revision >= stop.revision && cursor.epoch == bench.state.epoch());
    bench.node("n1").catch_up();
    bench.exchange();
    assert_eq!(bench.all(), ["n2 runs"], "the policy of who stays has nothing to say");
}

#[test]
fn a_master_that_starts_again_waits_a_whole_lease() {
    let mut bench = holder();
    bench.cut("n1");
    bench.pass(OVER.saturating_sub(SECOND));
    bench.restart();
    bench.connect("n2");
    bench.wait(OVER.saturating_sub(MOMENT));
    assert_eq!(bench.all(), ["n1 runs"]);
    bench.wait(MOMENT);
    assert_eq!(bench.all(), ["n1 stops", "n2 runs"]);
    bench.restart();
    assert_eq!(bench.all(), ["n1 stops", "n2 runs"], "it is on disk, the stop no later than the start");
}

#[test]
fn the_stop_is_on_disk_no_later_than_the_start() {
    let mut bench = holder();
    bench.cut("n1");
    bench.batches_left = Some(0);
    bench.wait(OVER);
    for _ in 0..8 {
        bench.batches_left = Some(1);
        bench.drain();
        let on_disk = bench.disk.iter().filter(|((table, _), _)| table == "allocation").count();
        let loaded = load_as(bench.config.clone(), bench.now, &bench.disk);
        let run = loaded.intents().filter(|(_, intent)| intent.desired == Desired::Run).count();
        assert_eq!(run, 1, "{on_disk} allocations on disk");
    }
}

#[test]
fn updates_and_drains_stop_before_they_start() {
    let update = |bench: &mut Bench| {
        bench.apply(&changed(&exclusive("db"), "x"));
    };
    let drain = |bench: &mut Bench| {
        let what = DrainWhat::Node(node_name("n1"));
        bench.life(LifeCall::Drain { what, deadline: None, force: false }).unwrap();
    };
    let force = |bench: &mut Bench| {
        let what = DrainWhat::Node(node_name("n1"));
        bench.life(LifeCall::Drain { what, deadline: None, force: true }).unwrap();
    };
    let moves: [&dyn Fn(&mut Bench); 3] = [&update, &drain, &force];
    for (at, begin) in moves.into_iter().enumerate() {
        let mut bench = holder();
        bench.node("n1").manner = Manner::Mute;
        begin(&mut bench);
        assert_eq!(bench.all(), ["n1 stops"], "{at}");
        assert!(bench.waits_for_lease("db"));
        bench.wait(SECOND * 20);
        bench.ask("n1", 2);
        bench.wait(SECOND * 20);
        assert_eq!(bench.all(), ["n1 stops"], "{at}: it is heard, and has not said that it stopped");
        bench.node("n1").catch_up();
        bench.exchange();
        assert_eq!(bench.all().len(), 1, "{at}");
        assert!(bench.all()[0].ends_with("runs") && !bench.waits_for_lease("db"), "{at}: {:?}", bench.all());
    }
}

#[test]
fn a_move_without_room_elsewhere_leaves_it_where_it_is() {
    let mut bench = Bench::with_nodes(1);
    bench.apply(&exclusive("db"));
    bench.ask("n1", 1);
    let what = DrainWhat::Node(node_name("n1"));
    bench.life(LifeCall::Drain { what, deadline: None, force: false }).unwrap();
    assert_eq!(bench.all(), ["n1 runs"]);
}

#[test]
fn a_copy_that_needs_no_lease_is_waited_for() {
    let mut bench = Bench::with_nodes(2);
    let mut free = exclusive("db");
    std::sync::Arc::make_mut(&mut free.instance).exclusive = None;
    bench.apply(&free);
    bench.cut("n1");
    bench.apply(&exclusive("db"));
    bench.wait(DAY);
    assert_eq!(bench.all().iter().filter(|text| text.starts_with("n2")).count(), 0, "{:?}", bench.all());
    bench.connect("n1");
    bench.wait(SECOND * 60);
    assert_eq!(bench.all().len(), 1);
    assert!(!bench.waits_for_lease("db"));
}

#[test]
fn a_node_is_not_removed_while_its_lease_may_be_held() {
    let mut bench = holder();
    bench.cut("n1");
    let refused = bench.call(ApiCall::RemoveNode(node_name("n1")));
    assert!(
        matches!(refused, Err(ApiError::LeaseHeld { over_in, .. }) if over_in == SECOND * 31),
        "{refused:?}"
    );
    bench.wait(OVER);
    bench.call(ApiCall::RemoveNode(node_name("n1"))).expect("it is over");
    assert_eq!(bench.all(), ["n2 runs"]);
}

#[test]
fn serials_grow_with_every_copy() {
    let mut bench = holder();
    let serial =
        |bench: &Bench| bench.state.allocations.keys().filter_map(skerry_types::AllocationId::serial).max();
    let first = serial(&bench);
    bench.cut("n1");
    bench.wait(OVER);
    let second = serial(&bench);
    assert!(second > first);
    bench.restart();
    bench.connect_all();
    bench.ask("n2", 1);
    bench.apply(&WorkloadSpec { update: UpdatePolicy::default(), ..changed(&exclusive("db"), "x") });
    bench.wait(OVER);
    assert!(serial(&bench) > second);
}

#[test]
fn failed_runs_of_an_exclusive_job_are_tried_again_one_after_the_other() {
    let mut bench = Bench::with_nodes(2);
    let mut job = exclusive("import");
    let policy = skerry_types::JobPolicy { parallelism: 1, retries: 3, deadline: None };
    job.kind = skerry_types::WorkloadKind::Job(policy);
    bench.apply(&job);
    let id = bench.state.allocations.keys().next().unwrap().clone();
    bench.node("n1").manner = Manner::Mute;
    bench.node("n1").say(&id, Phase::Failed);
    bench.exchange();
    bench.wait(SECOND * 10);
    assert_eq!(bench.all(), ["n1 stops"]);
    bench.node("n1").catch_up();
    bench.exchange();
    bench.wait(SECOND * 60);
    assert_eq!(bench.all().len(), 1);
    assert!(bench.all()[0].ends_with("runs"));
}

#[test]
fn an_answer_names_what_was_decided() {
    let mut bench = holder();
    let (_, cursor) = bench.node("n1").renewed[0];
    let newest = bench.state.allocations.values().map(|a| a.revision).max().unwrap();
    assert_eq!((cursor.epoch, cursor.revision), (bench.state.epoch(), newest));
    assert!(!bench.node("n1").intents.is_empty());
}

#[test]
fn a_region_that_is_away_keeps_what_is_exclusive_and_hands_on_how_far_it_counted() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&exclusive("db"));
    tree.settle();
    tree.pass(SECOND * 3);
    let (has, other) = if tree.placed_in("a", "db").is_empty() { ("b", "a") } else { ("a", "b") };
    assert_eq!(tree.placed_in(has, "db").len(), 1);
    // It counts far ahead of the other region.
    for round in 0..5 {
        tree.of(has).apply(&spec(&format!("own{round}"), 1));
        let own = key(&format!("own{round}"));
        tree.of(has).call(ApiCall::Delete(own)).unwrap();
    }
    tree.cut(has);
    tree.pass(SECOND * 36_000);
    assert!(tree.placed_in(other, "db").is_empty(), "nobody knows whether it runs there");
    tree.heal(has);
    tree.pass(SECOND * 10);
    let serial = |tree: &mut Tree, region: &str| {
        let all = tree.of(region).state.allocations.values();
        all.filter(|a| a.intent.workload == key("db")).filter_map(|a| a.intent.id.serial()).max()
    };
    let before = serial(&mut tree, has);
    let node = format!("{has}-n1");
    tree.of(has).node(&node).manner = Manner::Mute;
    let what = DrainWhat::Node(node_name(&node));
    tree.of(has).life(LifeCall::Drain { what, deadline: None, force: true }).unwrap();
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.of(has).all(), [format!("{node} stops")]);
    assert!(tree.placed_in(other, "db").is_empty(), "it has not said that it stopped");
    tree.of(has).node(&node).catch_up();
    tree.of(has).exchange();
    tree.settle();
    tree.pass(SECOND * 60);
    assert_eq!(tree.placed_in(other, "db").len(), 1);
    assert!(serial(&mut tree, other) > before, "its tokens are greater");
}

#[test]
fn what_is_exclusive_and_has_no_room_is_not_asked_for_again_and_again() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("a").life(LifeCall::Cordon { node: node_name("a-n1"), on: true }).unwrap();
    tree.of("root").apply(&exclusive("db"));
    tree.settle();
    tree.pass(SECOND * 300);
    let view = tree.of("root").workload("db").unwrap();
    assert_eq!(view.pending.iter().map(|pending| pending.instances.len()).sum::<u32>(), 1);
    assert!(!view.pending[0].reasons.is_empty());
    let quiet = tree.carried;
    tree.pass(SECOND * 600);
    assert_eq!(tree.carried, quiet, "nobody asks again while nothing changes");
    tree.of("a").life(LifeCall::Cordon { node: node_name("a-n1"), on: false }).unwrap();
    tree.settle();
    tree.pass(SECOND * 60);
    assert_eq!(tree.placed_in("a", "db").len(), 1);
}
