//! Waves of so many members, over regions.

use std::time::Duration;

use skerry_types::{Desired, InstanceIndex, Spread, SpreadBy, UpdatePolicy, Wave, WaveSize, WorkloadSpec};

use super::bench::*;
use super::tree::*;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

fn wave(text: &str, size: WaveSize) -> Wave {
    Wave { matches: text.parse().unwrap(), size, healthy_for: SECOND * 60 }
}

/// A root with a node of its own, two regions below it, and one below the second, with eight instances of `web`.
fn tree_of(waves: Vec<Wave>) -> (Tree, WorkloadSpec) {
    let mut tree = Tree::new(&[("root", 1), ("a<root", 1), ("b<root", 1), ("c<b", 1)]);
    tree.pass(SECOND * 60);
    let mut web = spec("web", 8);
    web.update = UpdatePolicy { waves, max_unavailable: 8, ..UpdatePolicy::default() };
    tree.of("root").apply(&web);
    tree.settle();
    tree.pass(SECOND * 30);
    assert_eq!(moved(&tree, ""), [2, 2, 2, 2]);
    (tree, web)
}

/// How many instances on the nodes of each region are to run with this argument.
fn moved(tree: &Tree, arg: &str) -> [usize; 4] {
    moved_in(tree, ["root", "a", "b", "c"], arg)
}

fn moved_in<const REGIONS: usize>(tree: &Tree, regions: [&str; REGIONS], arg: &str) -> [usize; REGIONS] {
    regions.map(|region| {
        let key = key("web");
        let run =
            tree.masters[region].state.allocations_of(&key).filter(|a| a.intent.desired == Desired::Run);
        run.filter(|known| arg.is_empty() || known.intent.spec.containers[0].args == [arg]).count()
    })
}

/// Nodes of a region that are to run it with this argument.
fn nodes_with(bench: &Bench, arg: &str) -> Vec<String> {
    let run = bench.state.intents().filter(|(_, intent)| intent.desired == Desired::Run);
    let found = run.filter(|(_, intent)| intent.spec.containers[0].args == [arg]);
    found.map(|(node, _)| node.to_string()).collect()
}

/// How many moved in each region when each wave has had its time.
fn course(tree: &mut Tree, web: &WorkloadSpec, looks: usize) -> Vec<[usize; 4]> {
    tree.of("root").apply(&changed(web, "x"));
    tree.settle();
    follow(tree, looks)
}

fn follow(tree: &mut Tree, looks: usize) -> Vec<[usize; 4]> {
    let look = |_| {
        tree.pass(SECOND * 30);
        let found = moved(tree, "x");
        tree.pass(SECOND * 42);
        found
    };
    (0..looks).map(look).collect()
}

#[test]
fn a_wave_has_so_many_members_over_all_regions() {
    let check = |waves: Vec<Wave>, expect: &[[usize; 4]]| {
        let (mut tree, web) = tree_of(waves.clone());
        assert_eq!(course(&mut tree, &web, expect.len()), expect, "{waves:?}");
        assert_eq!(tree.of("root").rollout("web").state, RolloutState::Done);
    };
    let count = |text, count| wave(text, WaveSize::Count(count));
    let percent = |text, percent| wave(text, WaveSize::Percent(percent));
    let all = [2, 2, 2, 2];
    check(vec![count("", 3)], &[[2, 1, 0, 0], all]);
    check(vec![count("", 7)], &[[2, 2, 2, 1], all]);
    check(vec![count("", 1), count("", 5)], &[[1, 0, 0, 0], [2, 2, 2, 0], all]);
    check(vec![percent("", 50), percent("", 50)], &[[2, 2, 0, 0], [2, 2, 2, 0], all]);
    // Of those that match: what is below the second region is asked by way of it.
    check(
        vec![count("region.name in (b,c)", 3), percent("region.name=c", 100)],
        &[[0, 0, 2, 1], [0, 0, 2, 2], all],
    );
    check(vec![count("region.name=moon", 3), percent("", 10)], &[[1, 0, 0, 0], all]);
}

#[test]
fn what_was_dealt_out_stays_over_restarts() {
    let (mut tree, web) = tree_of(vec![wave("", WaveSize::Count(1)), wave("", WaveSize::Count(6))]);
    assert_eq!(course(&mut tree, &web, 1), [[1, 0, 0, 0]]);
    for name in ["root", "b", "c", "root"] {
        tree.restart(name);
        tree.settle();
    }
    tree.pass(SECOND * 50);
    assert_eq!(moved(&tree, "x"), [2, 2, 2, 1]);
    for name in ["a", "b", "c", "root"] {
        tree.restart(name);
        tree.settle();
    }
    tree.pass(SECOND * 10);
    assert_eq!(moved(&tree, "x"), [2, 2, 2, 1]);
    tree.pass(SECOND * 240);
    assert_eq!(moved(&tree, "x"), [2, 2, 2, 2]);
}

#[test]
fn a_region_that_is_away_holds_no_wave_up_and_is_in_the_last() {
    let (mut tree, web) = tree_of(vec![wave("", WaveSize::Count(3)), wave("", WaveSize::Count(2))]);
    tree.cut("a");
    tree.pass(SECOND * 130);
    assert_eq!(course(&mut tree, &web, 3), [[2, 0, 1, 0], [2, 0, 2, 1], [2, 0, 2, 2]]);
    tree.pass(SECOND * 60);
    assert_eq!(tree.of("root").rollout("web").state, RolloutState::Done);
    tree.heal("a");
    tree.pass(SECOND * 30);
    assert_eq!(moved(&tree, "x"), [2, 2, 2, 2], "it catches up");
}

#[test]
fn a_region_that_is_cut_amid_its_wave_goes_on_within_its_seats() {
    let (mut tree, web) = tree_of(vec![wave("", WaveSize::Count(3)), wave("", WaveSize::Count(2))]);
    tree.of("root").apply(&changed(&web, "x"));
    tree.settle();
    // Regions tell of themselves every two seconds.
    tree.pass(SECOND * 8);
    tree.cut("a");
    let expect = [[2, 1, 0, 0], [2, 1, 0, 0], [2, 1, 1, 0], [2, 1, 2, 2]];
    assert_eq!(
        follow(&mut tree, 4),
        expect,
        "it is waited for for two minutes, and seats of the next wave stay with it"
    );
    tree.heal("a");
    tree.pass(SECOND * 30);
    assert_eq!(moved(&tree, "x"), [2, 2, 2, 2]);
}

#[test]
fn a_region_that_is_away_for_a_moment_is_waited_for() {
    let (mut tree, web) = tree_of(vec![wave("region.name=a", WaveSize::Count(1))]);
    tree.cut("a");
    tree.of("root").apply(&changed(&web, "x"));
    tree.settle();
    tree.pass(SECOND * 100);
    assert_eq!(moved(&tree, "x"), [0; 4]);
    tree.heal("a");
    assert_eq!(follow(&mut tree, 2), [[0, 1, 0, 0], [2, 2, 2, 2]]);
}

#[test]
fn while_nobody_is_heard_from_nothing_is_over_and_whoever_is_back_first_goes_first() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1)]);
    tree.pass(SECOND * 60);
    let mut web = spec("web", 4);
    web.update = UpdatePolicy {
        waves: vec![wave("", WaveSize::Count(1))],
        max_unavailable: 8,
        ..UpdatePolicy::default()
    };
    tree.of("root").apply(&web);
    tree.settle();
    tree.pass(SECOND * 30);
    for name in ["a", "b"] {
        tree.cut(name);
    }
    tree.pass(SECOND * 600);
    tree.of("root").apply(&changed(&web, "x"));
    tree.settle();
    tree.pass(SECOND * 600);
    assert_eq!(tree.of("root").rollout("web").state, RolloutState::Running);
    tree.heal("b");
    tree.pass(SECOND * 30);
    assert_eq!(moved_in(&tree, ["a", "b"], "x"), [0, 1]);
    tree.heal("a");
    tree.pass(SECOND * 30);
    assert_eq!(moved_in(&tree, ["a", "b"], "x"), [0, 1], "its members go with the next wave");
    tree.pass(SECOND * 120);
    assert_eq!(moved_in(&tree, ["a", "b"], "x"), [2, 2]);
}

#[test]
fn a_member_that_is_away_is_in_no_early_wave() {
    let mut bench = Bench::with_nodes(3);
    let mut web = spec("web", 3);
    let waves = vec![wave("", WaveSize::Count(1))];
    web.placement.spread = vec![Spread { by: SpreadBy::Node, max_skew: Some(1) }];
    web.update = UpdatePolicy { waves, max_unavailable: 3, ..UpdatePolicy::default() };
    bench.apply(&web);
    bench.wait(SECOND * 30);
    let first =
        bench.state.intents().find(|(_, intent)| intent.instance == InstanceIndex(0)).unwrap().0.to_string();
    bench.cut(&first);
    bench.wait(SECOND * 130);
    bench.apply(&changed(&web, "x"));
    bench.wait(SECOND * 30);
    assert_eq!(nodes_with(&bench, "x").len(), 1, "one that is heard from shows that it runs");
    bench.wait(SECOND * 60);
    assert_eq!(nodes_with(&bench, "x").len(), 2);
    bench.connect(&first);
    bench.wait(SECOND * 30);
    assert_eq!(nodes_with(&bench, "x").len(), 3);
}

#[test]
fn while_all_that_moved_are_silent_no_wave_begins() {
    let mut bench = Bench::with_nodes(2);
    let mut web = spec("web", 2);
    web.placement.spread = vec![Spread { by: SpreadBy::Node, max_skew: Some(1) }];
    let waves = vec![wave("", WaveSize::Count(1))];
    web.update = UpdatePolicy { waves, max_unavailable: 2, ..UpdatePolicy::default() };
    bench.apply(&web);
    bench.wait(SECOND * 30);
    bench.apply(&changed(&web, "x"));
    bench.wait(SECOND);
    let first = nodes_with(&bench, "x");
    assert_eq!(first.len(), 1);
    bench.cut(&first[0]);
    bench.wait(Duration::from_hours(1));
    let view = bench.rollout("web");
    assert_eq!((nodes_with(&bench, "x"), view.state), (first.clone(), RolloutState::Running));
    assert!(view.message.contains("not heard from, and no more move"), "{}", view.message);
    bench.connect(&first[0]);
    bench.wait(SECOND * 150);
    assert_eq!((nodes_with(&bench, "x").len(), bench.rollout("web").state), (2, RolloutState::Done));
}

#[test]
fn a_plan_names_the_regions_that_have_a_part_also_of_a_daemon() {
    let mut tree = Tree::new(&[("root", 1), ("a<root", 1), ("b<root", 1)]);
    tree.pass(SECOND * 10);
    let mut log = small(spec("log", 0));
    log.kind = skerry_types::WorkloadKind::Daemon;
    tree.of("root").apply(&log);
    tree.settle();
    tree.pass(SECOND * 10);
    let Ok(LifeReply::Plan(plan)) =
        tree.of("root").life(LifeCall::Plan(std::sync::Arc::new(changed(&log, "x"))))
    else {
        panic!("a plan is due")
    };
    let regions: Vec<&str> = plan.regions.iter().map(skerry_types::RegionName::as_str).collect();
    assert_eq!((plan.members.len(), regions), (1, vec!["a", "b"]));
}
