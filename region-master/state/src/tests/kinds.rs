//! Daemons and jobs over regions above and below each other.

use std::time::Duration;

use super::bench::*;
use super::tree::*;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

fn all_of(count: u32) -> Vec<u32> {
    (0..count).collect()
}

#[test]
fn a_daemon_runs_on_the_nodes_of_every_region() {
    let mut tree = Tree::new(&[("root", 1), ("mid<root", 2), ("x<mid", 1)]);
    tree.pass(SECOND * 10);
    let mut daemon = small(spec("probe", 0));
    daemon.kind = skerry_types::WorkloadKind::Daemon;
    tree.of("root").apply(&daemon);
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(["root", "mid", "x"].map(|name| tree.placed_in(name, "probe").len()), [1, 2, 1]);
    tree.of("x").join("x-n2", "s1");
    tree.of("x").connect("x-n2");
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.placed_in("x", "probe").len(), 2);
    tree.of("root").call(ApiCall::Delete(key("probe"))).unwrap();
    tree.settle();
    tree.pass(SECOND * 10);
    assert!(tree.running("probe").is_empty() && tree.of("x").workload("probe").is_none());
}

fn job(count: u32) -> skerry_types::WorkloadSpec {
    let policy = skerry_types::JobPolicy { parallelism: 9, retries: 0, deadline: None };
    skerry_types::WorkloadSpec { kind: skerry_types::WorkloadKind::Job(policy), ..spec("job", count) }
}

/// What runs on a node comes to an end.
fn end_all(tree: &mut Tree, region: &str, node: &str, phase: skerry_types::Phase) {
    let ids: Vec<_> = tree.of(region).node(node).intents.keys().cloned().collect();
    for id in &ids {
        tree.of(region).node(node).say(id, phase);
    }
    tree.settle();
    tree.pass(SECOND * 10);
}

fn view(tree: &mut Tree) -> JobView {
    tree.of("root").workload("job").unwrap().job.unwrap()
}

#[test]
fn a_job_that_one_region_gives_up_is_given_up_in_all() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("mid<root", 0), ("b<mid", 1)]);
    tree.pass(SECOND * 10);
    tree.of("root").apply(&job(6));
    tree.settle();
    tree.pass(SECOND * 10);
    end_all(&mut tree, "b", "b-n1", skerry_types::Phase::Failed);
    let shown = view(&mut tree);
    assert!(shown.failed.is_some() && shown.ended_at.is_some(), "{shown:?}");
    assert!(tree.running("job").is_empty(), "what runs elsewhere is stopped");
    tree.of("root").apply(&changed(&job(6), "better"));
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.running("job"), all_of(6), "a changed one begins anew");
}

#[test]
fn what_regions_say_of_an_earlier_job_is_not_said_of_this_one() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1)]);
    tree.pass(SECOND * 10);
    tree.of("root").apply(&job(2));
    tree.settle();
    tree.pass(SECOND * 10);
    end_all(&mut tree, "a", "a-n1", skerry_types::Phase::Completed);
    assert_eq!(view(&mut tree).completed, 2);
    tree.cut("a");
    tree.of("root").apply(&changed(&job(2), "x"));
    tree.settle();
    let shown = view(&mut tree);
    assert_eq!((shown.completed, shown.ended_at), (0, None));
    tree.heal("a");
    tree.pass(SECOND * 10);
    assert_eq!((tree.running("job"), view(&mut tree).ended_at), (all_of(2), None));
}

#[test]
fn a_region_that_has_done_its_part_takes_more() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1)]);
    tree.pass(SECOND * 10);
    tree.of("root").apply(&job(6));
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.running("job").len(), 4, "a node has room for four");
    end_all(&mut tree, "a", "a-n1", skerry_types::Phase::Completed);
    tree.pass(SECOND * 120);
    end_all(&mut tree, "a", "a-n1", skerry_types::Phase::Completed);
    let shown = view(&mut tree);
    assert_eq!((shown.completed, shown.ended_at.is_some()), (6, true));
}

#[test]
fn a_job_is_over_when_its_instances_ended_in_all_regions() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1)]);
    tree.pass(SECOND * 10);
    tree.of("root").apply(&job(6));
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.running("job"), all_of(6));
    assert!(tree.of("root").workload("job").unwrap().job.unwrap().ended_at.is_none());
    for (region, node) in [("a", "a-n1"), ("b", "b-n1")] {
        let ids: Vec<_> = tree.of(region).node(node).intents.keys().cloned().collect();
        for id in &ids {
            tree.of(region).node(node).say(id, skerry_types::Phase::Completed);
        }
        tree.settle();
        tree.pass(SECOND * 10);
    }
    let view = tree.of("root").workload("job").unwrap().job.unwrap();
    assert_eq!((view.completed, view.failed.clone(), view.ended_at.is_some()), (6, None, true));
    assert!(tree.running("job").is_empty(), "nothing runs again");
}
