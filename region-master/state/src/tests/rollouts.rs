//! Rollouts over regions.

use std::time::Duration;

use skerry_types::{Desired, Generation, MilliCpu, Phase, UpdatePolicy, Wave, WaveSize, WorkloadSpec};

use super::bench::*;
use super::node::Manner;
use super::tree::*;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_rollout_of_the_root_is_shown_with_its_regions() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 2), ("b<root", 2)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&spec("web", 4));
    tree.settle();
    tree.pass(SECOND * 3);
    let view = tree.of("root").rollout("web");
    assert_eq!((view.progress.settled, view.progress.total, view.state), (4, 4, RolloutState::Done));
    for name in ["a", "b"] {
        tree.of(name).nodes.values_mut().for_each(|node| node.manner = Manner::Mute);
    }
    tree.of("root").apply(&changed(&spec("web", 4), "x"));
    tree.settle();
    tree.pass(SECOND * 3);
    assert_eq!(tree.of("root").rollout("web").state, RolloutState::Running);
}

/// Two regions of two nodes below a root without any, and `web` with two instances in each.
fn two_regions(spec: &WorkloadSpec) -> Tree {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 2), ("b<root", 2)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(spec);
    tree.settle();
    tree.pass(SECOND * 3);
    assert_eq!((tree.placed_in("a", "web").len(), tree.placed_in("b", "web").len()), (2, 2));
    tree
}

/// How many instances in a region are to run with this argument.
fn with(tree: &Tree, region: &str, arg: &str) -> usize {
    let key = key("web");
    let run = tree.masters[region].state.allocations_of(&key).filter(|a| a.intent.desired == Desired::Run);
    run.filter(|allocation| allocation.intent.spec.containers[0].args == [arg]).count()
}

fn update(tree: &mut Tree, spec: &WorkloadSpec) {
    tree.of("root").apply(spec);
    tree.settle();
    tree.pass(SECOND * 30);
}

/// What runs with this argument in a region fails.
fn fail(tree: &mut Tree, region: &str, arg: &str) {
    for node in tree.of(region).nodes.values_mut() {
        for (id, intent) in node.intents.clone() {
            let bad = intent.desired == Desired::Run && intent.spec.containers[0].args == [arg];
            node.say(&id, if bad { Phase::Failed } else { Phase::Stopped });
        }
    }
    tree.settle();
    tree.pass(SECOND * 30);
}

#[test]
fn canaries_are_counted_over_all_regions() {
    let mut web = spec("web", 4);
    web.update =
        UpdatePolicy { canary: 1, auto_promote: false, max_unavailable: 4, ..UpdatePolicy::default() };
    let mut tree = two_regions(&web);
    update(&mut tree, &changed(&web, "x"));
    assert_eq!(with(&tree, "a", "x") + with(&tree, "b", "x"), 1);
    assert_eq!(tree.of("root").rollout("web").state, RolloutState::WaitingPromotion);
    let refused = tree.of("a").life(LifeCall::Promote(key("web")));
    assert!(matches!(refused, Err(ApiError::OwnedElsewhere { .. })), "{refused:?}");
    for name in ["root", "a", "b"] {
        tree.restart(name);
        tree.pass(SECOND * 30);
    }
    assert_eq!(with(&tree, "a", "x") + with(&tree, "b", "x"), 1, "restarts promote nothing");
    tree.of("root").life(LifeCall::Promote(key("web"))).unwrap();
    tree.settle();
    tree.pass(SECOND * 30);
    assert_eq!((with(&tree, "a", "x"), with(&tree, "b", "x")), (2, 2));
    assert_eq!(tree.of("root").rollout("web").state, RolloutState::Done);
    assert_eq!(tree.of("a").rollout("web").state, RolloutState::Done);
}

#[test]
fn waves_go_over_regions_and_a_pause_holds_them() {
    let wave = |text: &str| Wave {
        matches: text.parse().unwrap(),
        size: WaveSize::Percent(100),
        healthy_for: SECOND * 60,
    };
    let mut web = spec("web", 4);
    let waves = vec![wave("region.name=b"), wave("region.name=a")];
    web.update = UpdatePolicy { waves, max_unavailable: 4, ..UpdatePolicy::default() };
    let mut tree = two_regions(&web);
    update(&mut tree, &changed(&web, "x"));
    assert_eq!((with(&tree, "a", "x"), with(&tree, "b", "x")), (0, 2));
    tree.of("root").life(LifeCall::Pause(key("web"))).unwrap();
    tree.pass(SECOND * 90);
    assert_eq!(with(&tree, "a", "x"), 0, "it is held");
    tree.of("root").life(LifeCall::Resume(key("web"))).unwrap();
    tree.settle();
    tree.pass(SECOND * 30);
    assert_eq!((with(&tree, "a", "x"), with(&tree, "b", "x")), (2, 2));
}

#[test]
fn failures_are_counted_over_all_regions_and_all_go_back() {
    let mut web = spec("web", 4);
    web.update =
        UpdatePolicy { auto_revert: true, abort_percent: 40, max_unavailable: 4, ..UpdatePolicy::default() };
    let mut tree = two_regions(&web);
    tree.of("a").nodes.values_mut().for_each(|node| node.manner = Manner::Mute);
    update(&mut tree, &changed(&web, "x"));
    assert_eq!((with(&tree, "a", "x"), with(&tree, "b", "x")), (2, 2));
    assert_eq!(tree.of("root").rollout("web").state, RolloutState::Running);
    tree.of("a").nodes.values_mut().for_each(|node| node.manner = Manner::Prompt);
    fail(&mut tree, "a", "x");
    assert_eq!((with(&tree, "a", "x"), with(&tree, "b", "x")), (0, 0), "{:?}", tree.reasons("root"));
    let view = tree.of("root").rollout("web");
    assert_eq!((view.state, view.generation, view.progress.settled), (RolloutState::Done, Generation(3), 4));
    assert_eq!(tree.running("web"), [0, 1, 2, 3]);
}

#[test]
fn a_region_that_is_cut_goes_on_within_what_it_was_told_and_catches_up() {
    let mut web = spec("web", 4);
    web.update =
        UpdatePolicy { canary: 1, auto_promote: false, max_unavailable: 4, ..UpdatePolicy::default() };
    let mut tree = two_regions(&web);
    update(&mut tree, &changed(&web, "x"));
    let (canary, other) = if with(&tree, "a", "x") == 1 { ("a", "b") } else { ("b", "a") };
    tree.cut(other);
    tree.of("root").life(LifeCall::Promote(key("web"))).unwrap();
    tree.settle();
    tree.pass(SECOND * 60);
    assert_eq!((with(&tree, canary, "x"), with(&tree, other, "x")), (2, 0));
    let view = tree.of("root").rollout("web");
    assert_eq!((view.state, view.progress.deferred), (RolloutState::Running, 2));
    tree.pass(SECOND * 90);
    assert_eq!(tree.of("root").rollout("web").state, RolloutState::Done, "it is away for long enough");
    tree.heal(other);
    tree.pass(SECOND * 30);
    assert_eq!(with(&tree, other, "x"), 2);
}

#[test]
fn a_part_that_finds_no_room_makes_the_whole_late() {
    let mut web = spec("web", 4);
    web.update = UpdatePolicy { auto_revert: true, max_unavailable: 4, ..UpdatePolicy::default() };
    let mut tree = two_regions(&web);
    let mut large = changed(&web, "x");
    std::sync::Arc::make_mut(&mut large.instance).containers[0].resources.cpu = MilliCpu(9000);
    update(&mut tree, &large);
    tree.pass(SECOND * 900);
    assert_eq!(tree.running("web"), [0, 1, 2, 3], "{:?}", tree.reasons("root"));
    assert_eq!((with(&tree, "a", "x"), with(&tree, "b", "x")), (0, 0));
}
