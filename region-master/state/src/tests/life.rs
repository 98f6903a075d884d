//! The life of workloads: updates, drains, jobs, daemons, returning nodes and scale, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use skerry_types::{
    AllocationId, AllocationLoad, Bytes, Generation, JobPolicy, MilliCpu, OnDisconnect, OnReturn, Phase,
    Scale, ScaleTarget, Spread, SpreadBy, UpdatePolicy, WorkloadKind, WorkloadSpec,
};
use skerry_wire::{ObservedRow, RowKey, TableId};

use super::bench::*;
use super::node::Manner;
use crate::*;

const MINUTE: Duration = Duration::from_mins(1);

fn with_update(mut spec: WorkloadSpec, update: UpdatePolicy) -> WorkloadSpec {
    spec.update = update;
    spec
}

/// All allocations that should run, in the order of their ids.
fn ids(bench: &Bench) -> Vec<AllocationId> {
    let run = bench.state.allocations.values().filter(|a| a.intent.desired == skerry_types::Desired::Run);
    run.map(|allocation| allocation.intent.id.clone()).collect()
}

fn say_all(bench: &mut Bench, phase: Phase, of: impl Fn(&AllocationId) -> bool) {
    let names: Vec<_> = bench.nodes.keys().cloned().collect();
    for name in names {
        let held: Vec<_> = bench.nodes[&name].intents.keys().filter(|id| of(id)).cloned().collect();
        for id in held {
            bench.nodes.get_mut(&name).unwrap().say(&id, phase);
        }
    }
    bench.exchange();
}

#[test]
fn an_update_waits_until_each_instance_has_been_well() {
    let mut bench = Bench::with_nodes(3);
    let update = UpdatePolicy { min_healthy: Duration::from_secs(10), ..UpdatePolicy::default() };
    let web = with_update(spec("web", 3), update);
    bench.apply(&web);
    bench.apply(&changed(&web, "x"));
    let moved = |bench: &Bench| bench.placed().iter().filter(|text| text.ends_with("/2")).count();
    assert_eq!(moved(&bench), 1);
    bench.wait(Duration::from_secs(9));
    assert_eq!(moved(&bench), 1);
    bench.wait(Duration::from_secs(2));
    assert_eq!(moved(&bench), 2);
    assert_eq!(bench.rollout("web").state, RolloutState::Running);
    bench.wait(Duration::from_secs(30));
    assert_eq!(bench.rollout("web").state, RolloutState::Done);
    assert_eq!(moved(&bench), 3);
}

#[test]
fn a_surge_makes_before_it_breaks() {
    let mut bench = Bench::with_nodes(3);
    let update = UpdatePolicy { max_unavailable: 0, max_surge: 1, ..UpdatePolicy::default() };
    let web = with_update(spec("web", 2), update);
    bench.apply(&web);
    for name in ["n1", "n2", "n3"] {
        bench.node(name).manner = Manner::Mute;
    }
    bench.apply(&changed(&web, "x"));
    assert_eq!(bench.placed().len(), 3, "one more, none less: {:?}", bench.placed());
    for name in ["n1", "n2", "n3"] {
        bench.node(name).catch_up();
    }
    bench.exchange();
    bench.wait(MINUTE);
    assert_eq!(bench.placed().iter().filter(|text| text.ends_with("/2")).count(), 2);
    assert_eq!(bench.placed().len(), 2);
}

#[test]
fn a_bad_generation_goes_back_by_itself_over_a_restart() {
    let mut bench = Bench::with_nodes(3);
    let web = with_update(spec("web", 3), UpdatePolicy { auto_revert: true, ..UpdatePolicy::default() });
    bench.apply(&web);
    let good = ids(&bench);
    for name in ["n1", "n2", "n3"] {
        bench.node(name).manner = Manner::Mute;
    }
    bench.apply(&changed(&web, "bad"));
    say_all(&mut bench, Phase::Failed, |id| !good.contains(id));
    let reasons: Vec<String> = bench.events().into_iter().map(|view| view.event.reason).collect();
    assert!(reasons.iter().any(|reason| reason == "RolloutFailed"), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason == "Reverted"), "{reasons:?}");
    bench.restart();
    bench.connect_all();
    for name in ["n1", "n2", "n3"] {
        bench.node(name).catch_up();
    }
    bench.exchange();
    bench.wait(MINUTE * 5);
    let view = bench.workload("web").unwrap();
    assert_eq!((view.generation, view.running), (Generation(3), 3), "{:?}", bench.placed());
    assert_eq!(*view.spec.instance, *web.instance);
    assert_eq!(view.rollout.state, RolloutState::Done);
    let kept = good.iter().filter(|id| ids(&bench).contains(id)).count();
    assert!(kept >= 2, "instances that never moved stay: {kept}");
}

#[test]
fn canaries_wait_for_a_word_and_a_superseded_one_cannot_be_promoted() {
    let mut bench = Bench::with_nodes(3);
    let update = UpdatePolicy { canary: 1, auto_promote: false, ..UpdatePolicy::default() };
    let web = with_update(spec("web", 3), update);
    bench.apply(&web);
    assert!(matches!(
        bench.life(LifeCall::Promote(key("web"))),
        Err(ApiError::Life(LifeError::NoRollout { .. }))
    ));
    bench.apply(&changed(&web, "x"));
    assert_eq!(bench.rollout("web").state, RolloutState::WaitingPromotion);
    bench.restart();
    bench.connect_all();
    bench.wait(MINUTE * 5);
    assert_eq!(bench.rollout("web").state, RolloutState::WaitingPromotion);
    bench.life(LifeCall::Promote(key("web"))).unwrap();
    bench.wait(MINUTE * 5);
    assert_eq!(bench.rollout("web").state, RolloutState::Done);
    assert_eq!(bench.placed().iter().filter(|text| text.ends_with("/2")).count(), 3);
}

#[test]
fn a_rollout_is_held_undone_and_remembered() {
    let mut bench = Bench::with_nodes(3);
    let web = spec("web", 3);
    bench.apply(&web);
    let undo = bench.life(LifeCall::Undo(key("web"), None));
    assert!(matches!(undo, Err(ApiError::Life(LifeError::NoHistory { .. }))), "{undo:?}");
    bench.node("n1").manner = Manner::Mute;
    bench.node("n2").manner = Manner::Mute;
    bench.node("n3").manner = Manner::Mute;
    bench.apply(&changed(&web, "x"));
    bench.life(LifeCall::Pause(key("web"))).unwrap();
    for name in ["n1", "n2", "n3"] {
        bench.node(name).catch_up();
    }
    bench.exchange();
    bench.wait(MINUTE * 10);
    assert_eq!(bench.rollout("web").state, RolloutState::Paused);
    assert_eq!(bench.placed().iter().filter(|text| text.ends_with("/2")).count(), 1);
    bench.life(LifeCall::Resume(key("web"))).unwrap();
    bench.wait(MINUTE);
    assert_eq!(bench.rollout("web").state, RolloutState::Done);
    bench.life(LifeCall::Undo(key("web"), None)).unwrap();
    bench.wait(MINUTE);
    let view = bench.workload("web").unwrap();
    assert_eq!((view.generation, view.running), (Generation(3), 3));
    assert_eq!(view.spec.instance, web.instance);
    let Ok(LifeReply::History(history)) = bench.life(LifeCall::History(key("web"))) else {
        panic!("a history")
    };
    let states: Vec<_> = history.iter().map(|revision| (revision.generation.0, revision.state)).collect();
    assert_eq!(states, [(3, RevisionState::Done), (2, RevisionState::Done), (1, RevisionState::Done)]);
    let unknown = bench.life(LifeCall::Undo(key("web"), Some(Generation(9))));
    assert!(matches!(unknown, Err(ApiError::Life(LifeError::NoRevision { .. }))), "{unknown:?}");
}

#[test]
fn a_lost_node_is_replaced_once_and_its_return_leaves_one() {
    let check = |on_return, kept: &str| {
        let mut bench = Bench::with_nodes(2);
        let mut web = spec("web", 1);
        web.on_disconnect = OnDisconnect { replace_after: Some(MINUTE * 10), on_return, stop_after: None };
        bench.apply(&web);
        assert_eq!(bench.placed(), ["0@n1/1"]);
        bench.cut("n1");
        bench.wait(MINUTE * 9);
        assert_eq!(bench.placed(), ["0@n1/1"]);
        bench.restart();
        bench.connect("n2");
        bench.wait(MINUTE * 9);
        assert_eq!(bench.placed(), ["0@n1/1"], "the master's own absence does not count");
        bench.wait(MINUTE * 2);
        assert_eq!(bench.placed(), ["0@n1/1", "0@n2/1"]);
        bench.wait(DAY);
        assert_eq!(bench.placed(), ["0@n1/1", "0@n2/1"], "one replacement at most");
        bench.connect("n1");
        bench.wait(MINUTE);
        assert_eq!(bench.placed(), [kept]);
    };
    check(OnReturn::KeepOriginal, "0@n1/1");
    check(OnReturn::KeepNew, "0@n2/1");
}

#[test]
fn a_drain_moves_all_and_daemons_last() {
    let mut bench = Bench::with_nodes(3);
    let mut log = small(spec("log", 0));
    log.kind = WorkloadKind::Daemon;
    bench.apply(&log);
    bench.apply(&small(spec("web", 3)));
    assert_eq!(bench.placed().len(), 6, "{:?}", bench.placed());
    bench.node("n2").manner = Manner::Mute;
    bench.node("n3").manner = Manner::Mute;
    bench
        .life(LifeCall::Drain { what: DrainWhat::Node(node_name("n1")), deadline: None, force: false })
        .unwrap();
    let on_n1 = |bench: &Bench| bench.placed().iter().filter(|text| text.contains("@n1/")).count();
    assert_eq!(on_n1(&bench), 2, "it waits for the other copy");
    bench.restart();
    bench.connect_all();
    assert_eq!(on_n1(&bench), 2, "and for a restarted master");
    bench.node("n2").catch_up();
    bench.node("n3").catch_up();
    bench.exchange();
    bench.wait(MINUTE);
    assert_eq!(on_n1(&bench), 0, "{:?}", bench.placed());
    let reasons: Vec<String> = bench.events().into_iter().map(|view| view.event.reason).collect();
    assert!(reasons.iter().any(|reason| reason == "Drained"), "{reasons:?}");
    bench.life(LifeCall::Cordon { node: node_name("n1"), on: false }).unwrap();
    assert_eq!(on_n1(&bench), 1, "the daemon is back: {:?}", bench.placed());
}

#[test]
fn a_drain_that_cannot_end_says_why_and_its_deadline_ends_it() {
    let mut bench = Bench::with_nodes(1);
    bench.apply(&spec("web", 1));
    let drain =
        LifeCall::Drain { what: DrainWhat::Node(node_name("n1")), deadline: Some(MINUTE), force: false };
    bench.life(drain).unwrap();
    let nodes = |bench: &mut Bench| match bench.call(ApiCall::Nodes(Filter::default())) {
        Ok(ApiReply::Nodes(page)) => page.items,
        other => panic!("{other:?}"),
    };
    let drain = nodes(&mut bench)[0].drain.clone().unwrap();
    assert_eq!(drain.remaining, 1);
    assert!(drain.blocked[0].contains("no room"), "{:?}", drain.blocked);
    bench.wait(MINUTE * 2);
    assert_eq!(nodes(&mut bench)[0].drain.clone().unwrap().remaining, 0);
}

#[test]
fn a_daemon_is_on_every_node_that_comes() {
    let mut bench = Bench::with_nodes(2);
    let mut log = small(spec("log", 0));
    log.kind = WorkloadKind::Daemon;
    bench.apply(&log);
    assert_eq!(bench.placed(), ["0@n1/1", "1@n2/1"]);
    bench.join("n3", "s1");
    bench.connect("n3");
    assert_eq!(bench.placed(), ["0@n1/1", "1@n2/1", "2@n3/1"]);
    bench.apply(&changed(&log, "x"));
    bench.wait(MINUTE);
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/2", "2@n3/2"]);
    bench.cut("n2");
    bench.call(ApiCall::RemoveNode(node_name("n2"))).unwrap();
    assert_eq!(bench.placed(), ["0@n1/2", "2@n3/2"]);
}

#[test]
fn a_job_comes_to_its_end() {
    let mut bench = Bench::with_nodes(1);
    let mut job = small(spec("job", 3));
    job.kind = WorkloadKind::Job(JobPolicy { parallelism: 2, retries: 1, deadline: None });
    bench.apply(&job);
    assert_eq!(bench.placed(), ["0@n1/1", "1@n1/1"]);
    say_all(&mut bench, Phase::Completed, |id| id.as_str().starts_with("job-0-"));
    assert_eq!(bench.placed(), ["1@n1/1", "2@n1/1"]);
    say_all(&mut bench, Phase::Failed, |id| id.as_str().starts_with("job-1-"));
    assert_eq!(bench.placed(), ["1@n1/1", "2@n1/1"], "it is tried again");
    bench.restart();
    bench.connect_all();
    say_all(&mut bench, Phase::Completed, |_| true);
    let view = bench.workload("job").unwrap().job.unwrap();
    assert_eq!((view.completed, view.failures, view.active, view.failed), (3, 1, 0, None));
    assert_eq!(view.results.len(), 4);
    assert!(bench.placed().is_empty());
    bench.wait(DAY);
    assert!(bench.placed().is_empty(), "over is over");
}

#[test]
fn of_a_job_with_many_ends_the_last_are_kept() {
    let mut bench = Bench::with_nodes(1);
    let mut job = small(spec("job", 30));
    job.kind = WorkloadKind::Job(JobPolicy { parallelism: 30, retries: 0, deadline: None });
    bench.apply(&job);
    say_all(&mut bench, Phase::Completed, |_| true);
    let view = bench.workload("job").unwrap().job.unwrap();
    assert_eq!((view.completed, view.results.len(), view.ended_at.is_some()), (30, 20, true));
}

#[test]
fn a_job_that_fails_for_good_says_so() {
    let mut bench = Bench::with_nodes(1);
    let mut job = small(spec("job", 2));
    job.kind = WorkloadKind::Job(JobPolicy { parallelism: 2, retries: 0, deadline: Some(MINUTE) });
    bench.apply(&job);
    say_all(&mut bench, Phase::Failed, |id| id.as_str().starts_with("job-0-"));
    assert!(bench.placed().is_empty(), "the rest is ended");
    assert!(bench.workload("job").unwrap().job.unwrap().failed.unwrap().contains("instance 0"));
    let mut slow = small(spec("slow", 1));
    slow.kind = job.kind;
    bench.apply(&slow);
    bench.wait(MINUTE * 2);
    assert!(bench.workload("slow").unwrap().job.unwrap().failed.unwrap().contains("deadline"));
    assert!(bench.placed().is_empty());
}

#[test]
fn a_service_follows_its_load() {
    let mut bench = Bench::with_nodes(3);
    let mut web = spec("web", 2);
    web.scale = Some(Scale { min: 1, max: 6, target: ScaleTarget::Cpu(50), stabilization: MINUTE, step: 4 });
    bench.apply(&web);
    let load = |bench: &mut Bench, cpu: u64| {
        for id in ids(bench) {
            let node = bench.state.allocations.get(&id).unwrap().node.clone();
            let load =
                AllocationLoad { id: id.clone(), cpu: MilliCpu(cpu), memory: Bytes(0), gauges: [].into() };
            let row = ObservedRow::Load(load);
            bench.nodes.get_mut(&node).unwrap().set(RowKey::new(TableId::LOAD, id.as_str()), Some(&row));
        }
        bench.exchange();
    };
    load(&mut bench, 1000);
    bench.wait(Duration::from_secs(16));
    assert_eq!(bench.placed().len(), 4);
    load(&mut bench, 500);
    bench.restart();
    bench.connect_all();
    assert_eq!(bench.placed().len(), 4, "a restart keeps the count");
    load(&mut bench, 100);
    bench.wait(MINUTE * 5);
    assert_eq!(bench.placed().len(), 1);
    let set = bench.life(LifeCall::Scale(key("web"), 3));
    assert!(matches!(set, Err(ApiError::Life(LifeError::ScalesItself { .. }))), "{set:?}");
}

#[test]
fn a_count_is_set_in_place() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 2));
    let before = ids(&bench);
    let reply = bench.life(LifeCall::Scale(key("web"), 3)).unwrap();
    assert!(matches!(reply, LifeReply::Scaled { generation: Generation(2), before: 2 }), "{reply:?}");
    assert_eq!(bench.placed().len(), 3);
    assert!(before.iter().all(|id| ids(&bench).contains(id)));
    assert_eq!(bench.rollout("web").state, RolloutState::Done);
}

#[test]
fn a_stuck_rollout_blocks_no_other_and_a_newer_one_supersedes_it() {
    let mut bench = Bench::with_nodes(3);
    let web = spec("web", 2);
    bench.apply(&web);
    bench.apply(&spec("db", 1));
    for name in ["n1", "n2", "n3"] {
        bench.node(name).manner = Manner::Mute;
    }
    bench.apply(&changed(&web, "stuck"));
    bench.wait(MINUTE * 11);
    let view = bench.rollout("web");
    assert_eq!(view.state, RolloutState::Failed, "{view:?}");
    assert!(view.message.contains("10m"), "{}", view.message);
    bench.apply(&changed(&spec("db", 1), "y"));
    bench.apply(&changed(&web, "good"));
    for name in ["n1", "n2", "n3"] {
        bench.node(name).catch_up();
    }
    bench.exchange();
    bench.wait(MINUTE);
    assert_eq!(bench.rollout("web").state, RolloutState::Done);
    assert_eq!(bench.rollout("db").state, RolloutState::Done);
    assert_eq!(bench.workload("web").unwrap().running, 2);
}

#[test]
fn a_plan_shows_waves_and_who_is_away() {
    use skerry_types::{Wave, WaveSize};
    let mut bench = Bench::with_nodes(3);
    let wave =
        Wave { matches: "node.name=n1".parse().unwrap(), size: WaveSize::Percent(100), healthy_for: MINUTE };
    let update = UpdatePolicy { waves: vec![wave], ..UpdatePolicy::default() };
    let web = with_update(spec("web", 3), update);
    bench.apply(&web);
    bench.cut("n3");
    let before = bench.disk.clone();
    let Ok(LifeReply::Plan(plan)) = bench.life(LifeCall::Plan(Arc::new(changed(&web, "x")))) else {
        panic!()
    };
    let members: Vec<(String, u64, bool)> =
        plan.members.iter().map(|m| (m.node.to_string(), m.matching, m.is_deferred)).collect();
    let member = |node: &str, matching, is_deferred| (node.to_owned(), matching, is_deferred);
    assert_eq!(members, [member("n1", 1, false), member("n2", 0, false), member("n3", 0, true)]);
    assert_eq!(bench.disk, before, "nothing moves");
    bench.apply(&changed(&web, "x"));
    bench.wait(Duration::from_secs(50));
    assert_eq!(bench.placed().iter().filter(|text| text.ends_with("/2")).count(), 1, "{:?}", bench.placed());
    bench.wait(MINUTE * 5);
    assert_eq!(bench.rollout("web").state, RolloutState::Done, "{:?}", bench.rollout("web"));
    assert_eq!(bench.rollout("web").progress.deferred, 1);
    bench.connect("n3");
    bench.wait(MINUTE);
    assert_eq!(bench.placed().iter().filter(|text| text.ends_with("/2")).count(), 3, "it catches up");
}

#[test]
fn nothing_goes_back_to_what_never_was_well() {
    let mut bench = Bench::with_nodes(1);
    let web = with_update(spec("web", 1), UpdatePolicy { auto_revert: true, ..UpdatePolicy::default() });
    bench.node("n1").manner = Manner::Mute;
    bench.apply(&changed(&web, "bad"));
    say_all(&mut bench, Phase::Failed, |_| true);
    bench.apply(&changed(&web, "worse"));
    say_all(&mut bench, Phase::Failed, |_| true);
    bench.wait(MINUTE * 15);
    let view = bench.workload("web").unwrap();
    assert_eq!(
        (view.generation, view.rollout.state),
        (Generation(2), RolloutState::Failed),
        "{:?}",
        bench.placed()
    );
}

#[test]
fn a_rollout_that_finds_no_room_says_so() {
    let mut bench = Bench::with_nodes(1);
    let web = spec("web", 4);
    bench.apply(&web);
    let mut larger = changed(&web, "x");
    Arc::make_mut(&mut larger.instance).containers[0].resources.cpu = MilliCpu(2000);
    bench.apply(&larger);
    bench.wait(MINUTE);
    let view = bench.rollout("web");
    assert_eq!(view.state, RolloutState::Running, "{view:?}");
    assert_eq!(view.message, "1 have no place: 'skerry explain web' says why");
}

#[test]
fn what_an_update_starts_is_spread_as_what_it_replaces_was() {
    let mut bench = Bench::with_nodes(2);
    let mut web = spec("web", 2);
    web.placement.spread = vec![Spread { by: SpreadBy::Node, max_skew: None }];
    web.update = UpdatePolicy {
        max_surge: 1,
        max_unavailable: 0,
        min_healthy: Duration::from_secs(1),
        ..UpdatePolicy::default()
    };
    bench.apply(&web);
    for arg in ["x", "y", "z"] {
        bench.apply(&changed(&web, arg));
        bench.exchange();
        bench.wait(Duration::from_secs(30));
        let nodes: Vec<String> = bench.placed().iter().map(|text| text[2..4].to_owned()).collect();
        assert!(nodes == ["n1", "n2"] || nodes == ["n2", "n1"], "{:?}", bench.placed());
    }
}
