//! Updates that could hang, or count as well what is not.

use std::sync::Arc;
use std::time::Duration;

use skerry_types::{
    AllocationId, AllocationStatus, Generation, NodeName, Overlap, Phase, Schedule, TimeZone, UpdatePolicy,
    WallTime, Wave, WaveSize, WorkloadKind, WorkloadSpec,
};
use skerry_wire::{ObservedRow, RowKey, TableId};

use super::bench::*;
use super::node::Manner;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);
const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn with_update(spec: WorkloadSpec, update: UpdatePolicy) -> WorkloadSpec {
    WorkloadSpec { update, ..spec }
}

fn mute(bench: &mut Bench) {
    for name in NODES {
        bench.node(name).manner = Manner::Mute;
    }
}

/// What each node holds in this generation.
fn held(bench: &Bench, generation: u64) -> Vec<(String, AllocationId)> {
    let of = |name: &&str| {
        let all = bench.nodes[&NodeName::new(*name).unwrap()].intents.values();
        let found = all.filter(|intent| intent.generation.0 == generation);
        found.map(|intent| ((*name).to_owned(), intent.id.clone())).collect::<Vec<_>>()
    };
    NODES.iter().flat_map(of).collect()
}

fn say(bench: &mut Bench, (node, id): &(String, AllocationId), phase: Phase) {
    bench.node(node).say(id, phase);
    bench.exchange();
}

#[test]
fn one_that_is_well_again_and_again_is_no_progress() {
    let mut bench = Bench::with_nodes(3);
    let update = UpdatePolicy { max_unavailable: 2, min_healthy: SECOND, ..UpdatePolicy::default() };
    let web = with_update(spec("web", 2), update);
    bench.apply(&web);
    mute(&mut bench);
    bench.apply(&changed(&web, "x"));
    let moved = held(&bench, 2);
    assert_eq!(moved.len(), 2);
    for minute in 0..12 {
        let state = bench.rollout("web").state;
        if state == RolloutState::Failed {
            assert!(minute >= 10, "after {minute} minutes");
            return;
        }
        say(&mut bench, &moved[0], Phase::Running);
        bench.wait(SECOND * 30);
        say(&mut bench, &moved[0], Phase::Starting);
        bench.wait(SECOND * 30);
    }
    panic!("it goes on for ever: {:?}", bench.rollout("web"));
}

#[test]
fn a_broken_member_of_a_later_wave_does_not_stop_the_first() {
    let mut bench = Bench::with_nodes(3);
    let wave = Wave { matches: "".parse().unwrap(), size: WaveSize::Count(1), healthy_for: SECOND };
    let web = with_update(spec("web", 3), UpdatePolicy { waves: vec![wave], ..UpdatePolicy::default() });
    bench.apply(&web);
    let broken = held(&bench, 1).into_iter().find(|(_, id)| id.as_str().starts_with("web-2-")).unwrap();
    say(&mut bench, &broken, Phase::Failed);
    bench.apply(&changed(&web, "x"));
    bench.wait(SECOND * 30);
    assert_eq!(bench.rollout("web").state, RolloutState::Done, "{:?}", bench.rollout("web"));
    assert!(bench.placed().iter().all(|text| text.ends_with("/2")), "{:?}", bench.placed());
}

#[test]
fn what_is_taken_back_goes_back_everywhere_at_once() {
    let mut bench = Bench::with_nodes(3);
    let wave =
        Wave { matches: "".parse().unwrap(), size: WaveSize::Count(1), healthy_for: Duration::from_hours(1) };
    let update =
        UpdatePolicy { waves: vec![wave], max_unavailable: 3, auto_revert: true, ..UpdatePolicy::default() };
    let web = with_update(spec("web", 3), update);
    bench.apply(&web);
    bench.apply(&changed(&web, "x"));
    bench.wait(Duration::from_mins(61));
    assert_eq!(held(&bench, 2).len(), 3, "the second wave came after an hour");
    let LifeReply::Rollout(view) = bench.life(LifeCall::Undo(key("web"), None)).unwrap() else { panic!() };
    assert_eq!(view.generation.0, 3);
    bench.exchange();
    bench.wait(SECOND * 10);
    // An operator who goes back to what was well has waves as ever: only what takes back a failure has none.
    assert_eq!(held(&bench, 3).len(), 1);

    let mut bench = Bench::with_nodes(3);
    bench.apply(&web);
    bench.apply(&changed(&web, "x"));
    bench.wait(Duration::from_mins(59));
    mute(&mut bench);
    bench.wait(Duration::from_mins(2));
    for bad in held(&bench, 2) {
        say(&mut bench, &bad, Phase::Failed);
    }
    for name in NODES {
        bench.node(name).catch_up();
    }
    bench.exchange();
    bench.wait(SECOND * 10);
    assert_eq!(held(&bench, 2).len(), 0, "{:?}", bench.placed());
    assert_eq!(bench.rollout("web").state, RolloutState::Done);
}

#[test]
fn a_restart_that_is_heard_of_late_begins_the_time_anew() {
    let mut bench = Bench::with_nodes(3);
    let update = UpdatePolicy { min_healthy: SECOND * 10, ..UpdatePolicy::default() };
    let web = with_update(spec("web", 1), update);
    bench.apply(&web);
    mute(&mut bench);
    bench.apply(&changed(&web, "x"));
    let (name, id) = held(&bench, 2).remove(0);
    let key = RowKey::new(TableId::STATUS, id.as_str());
    let ready = |bench: &mut Bench, since: u64| {
        let status = AllocationStatus {
            id: id.clone(),
            generation: Generation(2),
            phase: Phase::Running,
            reason: None,
            address: None,
            containers: Vec::new(),
            since: WallTime(since),
            ready_since: Some(WallTime(since)),
            last_due: None,
            token: None,
        };
        bench.node(&name).set(key.clone(), Some(&ObservedRow::Status(status)));
        bench.exchange();
    };
    ready(&mut bench, 1);
    bench.wait(SECOND * 8);
    ready(&mut bench, 2);
    bench.wait(SECOND * 8);
    assert_eq!(bench.rollout("web").progress.settled, 0, "it ended and began again in between");
    bench.wait(SECOND * 3);
    assert_eq!(bench.rollout("web").progress.settled, 1);
}

#[test]
fn a_schedule_counts_when_it_could_run() {
    let mut bench = Bench::with_nodes(3);
    let mut nightly = spec("nightly", 1);
    nightly.kind = WorkloadKind::Cron;
    let timezone = TimeZone::Named("UTC".to_owned());
    let cron = "0 3 * * *".to_owned();
    Arc::make_mut(&mut nightly.instance).schedule =
        Some(Schedule { cron, timezone, overlap: Overlap::Forbid, starting_deadline: None });
    bench.apply(&nightly);
    mute(&mut bench);
    bench.apply(&changed(&nightly, "x"));
    let moved = held(&bench, 2).remove(0);
    say(&mut bench, &moved, Phase::Pulling);
    bench.wait(SECOND * 5);
    assert_eq!(bench.rollout("nightly").state, RolloutState::Running, "its image is not there yet");
    say(&mut bench, &moved, Phase::Running);
    assert_eq!(bench.rollout("nightly").state, RolloutState::Done);
}
