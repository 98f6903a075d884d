//! How many instances of a job run at a time, over regions.

use std::time::Duration;

use skerry_types::{Desired, JobPolicy, Phase, WorkloadKind};

use super::bench::*;
use super::tree::*;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);
const REGIONS: [&str; 4] = ["root", "a", "b", "c"];

/// A root with a node of its own, two regions below it, and one below the second, with a job of eight instances, two in each.
fn tree_of(parallelism: u32, retries: u32) -> Tree {
    let mut tree = Tree::new(&[("root", 1), ("a<root", 1), ("b<root", 1), ("c<b", 1)]);
    tree.pass(SECOND * 60);
    let mut job = spec("job", 8);
    job.kind = WorkloadKind::Job(JobPolicy { parallelism, retries, deadline: None });
    tree.of("root").apply(&job);
    tree.settle();
    tree.pass(SECOND * 20);
    tree
}

/// How many run on the nodes of each region.
fn running(tree: &Tree) -> [usize; 4] {
    let key = key("job");
    REGIONS.map(|region| {
        let known = tree.masters[region].state.allocations_of(&key);
        known.filter(|allocation| allocation.intent.desired == Desired::Run).count()
    })
}

/// What runs in a region ends so.
fn end(tree: &mut Tree, region: &str, phase: Phase) {
    let node = format!("{region}-n1");
    let ids: Vec<_> = tree.of(region).node(&node).intents.keys().cloned().collect();
    for id in &ids {
        tree.of(region).node(&node).say(id, phase);
    }
    tree.settle();
    tree.pass(SECOND * 20);
}

fn view(tree: &mut Tree) -> JobView {
    tree.of("root").workload("job").unwrap().job.unwrap()
}

#[test]
fn so_many_run_at_a_time_over_all_regions() {
    let mut tree = tree_of(3, 0);
    assert_eq!(running(&tree), [2, 1, 0, 0], "the own nodes come first");
    end(&mut tree, "root", Phase::Completed);
    assert_eq!(running(&tree), [0, 2, 1, 0], "what is free goes on, by the names of regions");
    for region in ["root", "b", "a"] {
        tree.restart(region);
        tree.pass(SECOND * 20);
    }
    assert_eq!(running(&tree), [0, 2, 1, 0], "restarts start nothing");
    end(&mut tree, "a", Phase::Completed);
    assert_eq!(running(&tree), [0, 0, 2, 1], "the middle one deals on");
    end(&mut tree, "b", Phase::Completed);
    assert_eq!(running(&tree), [0, 0, 0, 2]);
    end(&mut tree, "c", Phase::Completed);
    let shown = view(&mut tree);
    assert_eq!((running(&tree), shown.completed, shown.ended_at.is_some()), ([0, 0, 0, 0], 8, true));
}

#[test]
fn a_region_that_is_away_keeps_its_part_until_it_is_back() {
    let mut tree = tree_of(3, 0);
    end(&mut tree, "root", Phase::Completed);
    assert_eq!(running(&tree), [0, 2, 1, 0]);
    tree.cut("a");
    tree.pass(SECOND * 600);
    end(&mut tree, "a", Phase::Completed);
    assert_eq!(running(&tree), [0, 0, 1, 0], "nobody knows that it is done");
    end(&mut tree, "b", Phase::Completed);
    assert_eq!(running(&tree), [0, 0, 1, 0], "the next of b");
    tree.heal("a");
    tree.pass(SECOND * 20);
    assert_eq!(running(&tree), [0, 0, 1, 2], "it is back, and done");
}

#[test]
fn a_region_that_was_cut_off_before_it_had_a_part_has_none() {
    let mut tree = tree_of(2, 0);
    assert_eq!(running(&tree), [2, 0, 0, 0]);
    tree.cut("a");
    end(&mut tree, "root", Phase::Completed);
    assert_eq!(running(&tree), [0, 0, 2, 0]);
    end(&mut tree, "b", Phase::Completed);
    assert_eq!(running(&tree), [0, 0, 0, 2]);
    end(&mut tree, "c", Phase::Completed);
    assert_eq!(running(&tree), [0, 0, 0, 0], "what is left is the one's that is away");
    tree.heal("a");
    tree.pass(SECOND * 20);
    assert_eq!(running(&tree), [0, 2, 0, 0]);
}

#[test]
fn a_retry_is_within_the_part_of_its_region() {
    let mut tree = tree_of(3, 2);
    end(&mut tree, "a", Phase::Failed);
    assert_eq!(running(&tree), [2, 1, 0, 0]);
    assert!(view(&mut tree).failed.is_none());
}
