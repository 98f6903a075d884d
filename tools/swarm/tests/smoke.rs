//! A small swarm through everything. Nothing here is timed, since tests share the machine.

use std::time::Duration;

use skerry_ground::{Snapshot, processes};
use skerry_swarm::{Course, Plan};

/// Two hundred agents join, hold what is asked for, lose their master to a kill and are in sync with the next one; no process
/// and no namespace is left.
#[test]
fn two_hundred_agents_outlive_their_master() {
    let before = Snapshot::take().expect("the machine can be looked at");
    let plan = Plan {
        agents: 200,
        allocations: 3,
        operation: Duration::from_millis(5),
        settle: Duration::ZERO,
        idle: Duration::ZERO,
        outage: None,
    };
    Course::run(plan).expect("a swarm gets through");
    let own = format!("skerry-swarm-{}", std::process::id());
    let after = Snapshot::take().expect("the machine can be looked at");
    assert_eq!(after.left_by(&before, &[&own]), Vec::<String>::new());
    let left = processes().into_values().filter(|seen| seen.command.contains(&own));
    assert_eq!(left.map(|seen| seen.command).collect::<Vec<_>>(), Vec::<String>::new());
}
