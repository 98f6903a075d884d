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

fn status_of(id: AllocationId) -> AllocationStatus {
    AllocationStatus {
        id,
        generation: Generation(2),
        phase: Phase::Running,
        reason: None,
        address: None,
        containers: Vec::new(),
        since: WallTime(1),
        ready_since: Some(WallTime(1)),
        last_due: None,
        token: None,
    }
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
        let status = AllocationStatus { ready_since: Some(WallTime(since)), ..status_of(id.clone()) };
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

fn nightly() -> WorkloadSpec {
    let mut nightly = spec("nightly", 1);
    nightly.kind = WorkloadKind::Cron;
    let timezone = TimeZone::Named("UTC".to_owned());
    let cron = "0 3 * * *".to_owned();
    Arc::make_mut(&mut nightly.instance).schedule =
        Some(Schedule { cron, timezone, overlap: Overlap::Forbid, starting_deadline: None });
    nightly
}

#[test]
fn a_schedule_counts_when_it_could_run() {
    let mut bench = Bench::with_nodes(3);
    let nightly = nightly();
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

#[test]
fn when_a_schedule_ran_and_will_run_is_told() {
    let mut bench = Bench::with_nodes(3);
    bench.apply(&nightly());
    let day = 24 * 3_600_000;
    let next = WallTime((bench.now.wall.0 - 3 * 3_600_000).div_ceil(day) * day + 3 * 3_600_000);
    let view = bench.workload("nightly").unwrap();
    assert_eq!((view.due.last, view.due.next), (None, Some(next)));
    let (name, id) = held(&bench, 1).remove(0);
    let key = RowKey::new(TableId::STATUS, id.as_str());
    let status = AllocationStatus { last_due: Some(WallTime(7)), ..status_of(id) };
    bench.node(&name).set(key, Some(&ObservedRow::Status(status)));
    bench.exchange();
    assert_eq!(bench.workload("nightly").unwrap().due.last, Some(WallTime(7)));
    let Ok(ApiReply::Allocations(page)) = bench.call(ApiCall::Allocations(Filter::default())) else {
        panic!()
    };
    assert_eq!((page.items[0].due.last, page.items[0].due.next), (Some(WallTime(7)), Some(next)));
    bench.apply(&spec("web", 1));
    assert_eq!(bench.workload("web").unwrap().due, DueView::default());
}

#[test]
fn when_a_generation_was_over_is_kept() {
    let mut bench = Bench::with_nodes(3);
    let web =
        with_update(spec("web", 1), UpdatePolicy { min_healthy: SECOND * 5, ..UpdatePolicy::default() });
    bench.apply(&web);
    bench.wait(SECOND * 10);
    bench.apply(&changed(&web, "x"));
    let view = bench.rollout("web");
    assert_eq!((view.state, view.ended_at), (RolloutState::Running, None));
    let began = view.started_at.unwrap();
    bench.wait(SECOND * 20);
    let view = bench.rollout("web");
    assert_eq!((view.state, view.started_at), (RolloutState::Done, Some(began)));
    let ended = view.ended_at.unwrap();
    assert!(ended.since(began) >= SECOND * 5 && ended < bench.now.wall, "{ended:?}");
    bench.restart();
    bench.connect_all();
    assert_eq!(bench.rollout("web").ended_at, Some(ended), "over a restart");
    let LifeReply::History(all) = bench.life(LifeCall::History(key("web"))).unwrap() else { panic!() };
    assert_eq!(all.iter().map(|one| one.ended_at.is_some()).collect::<Vec<_>>(), [true, true]);
}
