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

#[test]
fn a_job_is_over_when_its_instances_ended_in_all_regions() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1)]);
    tree.pass(SECOND * 10);
    let mut job = spec("job", 6);
    job.kind = skerry_types::WorkloadKind::Job(skerry_types::JobPolicy {
        parallelism: 9,
        retries: 0,
        deadline: None,
    });
    tree.of("root").apply(&job);
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
