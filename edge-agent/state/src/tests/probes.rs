//! Looks, what they come to, and what they cost.

use std::time::Duration;

use skerry_types::{
    AllocationIntent, ExitKind, HostPort, Phase, PortName, PortSpec, Probe, ProbeCheck, Protocol, ReasonCode,
    RestartWhen,
};
use skerry_wire::TableId;

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn probe(check: ProbeCheck, grace: Duration) -> Probe {
    Probe { check, interval: s(10), timeout: s(2), failures: 3, grace }
}

fn http() -> ProbeCheck {
    ProbeCheck::Http { port: PortName::new("http").unwrap(), path: "/well".to_owned() }
}

fn exec() -> ProbeCheck {
    ProbeCheck::Exec { command: vec!["ok".to_owned()] }
}

/// An allocation whose container has these probes.
fn probed(when: RestartWhen, health: Option<Probe>, ready: Option<Probe>) -> AllocationIntent {
    with(intent(ID, &["main"], when), |spec| {
        let main = &mut spec.containers[0];
        main.probes.health = health;
        main.probes.ready = ready;
        main.ports.push(PortSpec {
            name: PortName::new("http").unwrap(),
            container: 8080,
            protocol: Protocol::Tcp,
            host: HostPort::None,
        });
    })
}

fn healthy() -> AllocationIntent {
    probed(RestartWhen::Always, Some(probe(http(), s(0))), None)
}

fn both() -> AllocationIntent {
    probed(RestartWhen::Always, Some(probe(http(), s(30))), Some(probe(exec(), s(0))))
}

#[test]
fn looks_come_at_their_interval_and_a_little_spread() {
    let mut bench = Bench::running(&healthy());
    bench.live(s(10), |_| true);
    let looks = bench.live(s(1000), |_| true);
    assert!((94..=100).contains(&looks.len()), "{}", looks.len());
    assert!(looks.iter().all(|look| look == "get main 8080 /well"), "{looks:?}");
}

#[test]
fn containers_that_start_together_are_not_looked_at_together() {
    let ids: Vec<String> = (0..20).map(|at| format!("web-{at}-1")).collect();
    let many: Vec<AllocationIntent> =
        ids.iter().map(|id| AllocationIntent { id: reference(id, "main").allocation, ..healthy() }).collect();
    let mut bench = Bench::holding(&many);
    bench.feed(Input::Inventory(Vec::new()));
    bench.answer_all();
    let mut times = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let at = bench.state.poll_timeout().expect("a look");
        bench.pass(at.since(bench.now.mono));
        times.insert(at);
        bench.answer_all();
    }
    assert!(times.len() > 15, "{times:?}");
}

#[test]
fn one_look_at_a_time() {
    let mut bench = Bench::running(&healthy());
    bench.pass(s(600));
    assert_eq!(bench.begun(), ["get main 8080 /well"]);
}

#[test]
fn readiness_comes_with_the_first_good_looks_of_all_probes() {
    let mut bench = Bench::running(&both());
    assert_eq!((bench.phase(ID), bench.status(ID).ready_since), (Phase::Running, None));
    bench.live(s(3), |look| matches!(look, Look::Http { .. }));
    assert_eq!(bench.status(ID).ready_since, None, "the other one failed");
    let before = bench.now.wall;
    bench.live(s(4), |_| true);
    let ready = bench.status(ID).ready_since.expect("it is ready soon after it could be");
    assert!(ready >= before);
    bench.live(s(600), |_| true);
    assert_eq!(bench.status(ID).ready_since, Some(ready));
}

#[test]
fn a_container_that_is_not_ready_is_left_alone_and_told_once() {
    let mut bench = Bench::running(&both());
    bench.live(s(20), |_| true);
    bench.link();
    bench.told();
    let failing = |look: &Look| matches!(look, Look::Http { .. });
    bench.live(s(20), failing);
    assert!(bench.status(ID).ready_since.is_some(), "two failures are not three");
    bench.live(s(60), failing);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.ready_since), (Phase::Running, None));
    let reason = status.reason.expect("why it is not ready");
    assert_eq!(reason.code, ReasonCode::Unhealthy);
    assert_eq!(reason.message, "container main is not ready: no answer");
    bench.live(s(600), failing);
    assert_eq!(bench.events(), ["NotReady"]);
    bench.live(s(20), |_| true);
    let status = bench.status(ID);
    assert!(status.ready_since.is_some() && status.reason.is_none(), "{status:?}");
    assert_eq!(bench.events(), ["Ready"]);
    assert_eq!(status.containers[0].restarts, 0);
}

#[test]
fn a_container_that_is_not_well_is_ended_gracefully_and_starts_again() {
    let mut bench = Bench::running(&healthy());
    bench.live(s(25), |_| true);
    let done = bench.live(s(35), |_| false);
    assert_eq!(done.last().map(String::as_str), Some("ask main"), "{done:?}");
    assert_eq!(done.len(), 4, "three failures in a row: {done:?}");
    assert_eq!(bench.status(ID).ready_since, None);
    assert_eq!(bench.live(s(10), |_| false), ["kill main"], "after its grace, and nobody looks meanwhile");
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    let status = bench.status(ID);
    let reason = status.reason.unwrap();
    assert_eq!(reason.code, ReasonCode::Unhealthy);
    assert_eq!(
        reason.message,
        "container main: was not well (no answer) and was ended: exit code 0; it starts again after a wait"
    );
    let done = bench.live(s(3), |_| true);
    assert_eq!(done[..2], ["remove main", "start main 1"]);
    assert!(bench.status(ID).ready_since.is_some());
    assert_eq!(bench.status(ID).reason, None);
}

#[test]
fn failures_count_only_in_a_row_and_only_when_something_was_found_out() {
    let mut bench = Bench::running(&healthy());
    bench.live(s(5), |_| true);
    let mut answer = |result: Result<Outcome, Failure>| {
        while bench.begun.is_empty() {
            bench.pass(s(1));
        }
        let (op, operation) = bench.begun.pop_front().unwrap();
        assert!(matches!(operation, Operation::Probe { .. }), "{operation:?}");
        bench.feed(Input::Done(op, result));
    };
    let bad = || Err(Failure::transient(ReasonCode::Unhealthy, "status 503"));
    let unknown = || Err(Failure::transient(ReasonCode::Keeper, "the keeper is away"));
    for _ in 0..5 {
        answer(bad());
        answer(bad());
        answer(Ok(Outcome::Done));
    }
    answer(bad());
    answer(unknown());
    answer(bad());
    (0..9).for_each(|_| answer(unknown()));
    assert_eq!(bench.status(ID).containers[0].restarts, 0);
    assert!(bench.begun.is_empty());
    let done = bench.live(s(12), |_| false);
    assert_eq!(done, ["get main 8080 /well", "ask main"], "the third of those that count");
}

#[test]
fn a_start_has_its_grace() {
    let check = |grace: u64, failures: u32, ended_between: (u64, u64)| {
        let health = Probe { failures, ..probe(http(), s(grace)) };
        let mut bench = Bench::running(&probed(RestartWhen::Always, Some(health), None));
        let done = bench.live(s(ended_between.0), |_| false);
        assert!(!done.contains(&"ask main".to_owned()), "grace {grace}: {done:?}");
        let done = bench.live(s(ended_between.1 - ended_between.0), |_| false);
        assert!(done.contains(&"ask main".to_owned()), "grace {grace}: {done:?}");
    };
    check(60, 3, (79, 102));
    check(60, 1, (59, 73));
    check(0, 3, (20, 23));
    check(0, 1, (0, 1));
}

#[test]
fn grace_is_for_what_never_was_well_only() {
    let mut bench = Bench::running(&probed(RestartWhen::Always, Some(probe(http(), s(600))), None));
    bench.live(s(5), |_| true);
    let done = bench.live(s(45), |_| false);
    assert!(done.contains(&"ask main".to_owned()), "{done:?}");
}

#[test]
fn restart_policies_hold_for_what_is_not_well() {
    let check = |when: RestartWhen, phase: Phase, done: &[&str]| {
        let mut bench = Bench::running(&probed(when, Some(probe(http(), s(0))), None));
        bench.live(s(5), |_| true);
        bench.live(s(36), |_| false);
        bench.exit(ID, "main", 0, ExitKind::Code(0));
        assert_eq!(bench.answer_all(), done, "{when:?}");
        assert_eq!(bench.phase(ID), phase, "{when:?}");
        assert_eq!(bench.status(ID).reason.unwrap().code, ReasonCode::Unhealthy);
    };
    check(RestartWhen::Always, Phase::Backoff, &["remove main"]);
    check(RestartWhen::OnFailure, Phase::Backoff, &["remove main"]);
    check(RestartWhen::Never, Phase::Failed, &["remove main", "release"]);
}

#[test]
fn waits_grow_while_a_container_never_gets_well() {
    let health = Probe { interval: s(40), ..probe(http(), s(0)) };
    let mut bench = Bench::running(&probed(RestartWhen::Always, Some(health), None));
    let mut waits = Vec::new();
    for attempt in 0..5 {
        bench.live(s(130), |_| false);
        bench.exit_after(ID, "main", attempt, ExitKind::Signal(15), s(130));
        assert_eq!(bench.answer_all(), ["remove main"]);
        let ended = bench.now.mono;
        while bench.begun.is_empty() {
            bench.pass(Duration::from_millis(100));
        }
        waits.push(bench.now.mono.since(ended).as_secs());
        bench.answer_all();
    }
    assert_eq!(waits.len(), 5);
    assert!(waits.is_sorted() && waits[4] >= 16, "a long run that was never well is not stable: {waits:?}");
}

#[test]
fn an_agent_that_restarts_neither_restarts_nor_unreadies() {
    let mut bench = Bench::running(&both());
    bench.live(s(20), |_| true);
    let ready = bench.status(ID).ready_since;
    assert!(ready.is_some());
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!((bench.phase(ID), bench.status(ID).ready_since), (Phase::Running, ready));
    bench.answer_all();
    assert_eq!(bench.status(ID).ready_since, ready);
    bench.live(s(19), |_| false);
    assert_eq!(bench.status(ID).ready_since, ready, "two failures are not three");
    let done = bench.live(s(25), |_| false);
    assert!(done.contains(&"ask main".to_owned()), "grace is over for what was well: {done:?}");
}

#[test]
fn a_start_that_the_ledger_missed_has_to_get_ready_itself() {
    let mut bench = Bench::running(&both());
    bench.live(s(20), |_| true);
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 3)]));
    bench.answer_all();
    assert_eq!(bench.status(ID).ready_since, None);
    bench.live(s(2), |_| true);
    assert!(bench.status(ID).ready_since.is_some());
}

#[test]
fn looks_cost_an_idle_link_and_the_disk_nothing() {
    let mut bench = Bench::running(&both());
    bench.link();
    bench.live(s(20), |_| true);
    bench.told();
    let disk = bench.disk.clone();
    let looks = bench.live(s(3600), |_| true).len();
    assert!(looks > 600, "{looks}");
    assert_eq!(bench.sent, []);
    assert!(bench.disk == disk, "nothing was written");
}

#[test]
fn a_status_goes_up_only_when_readiness_changes() {
    let mut bench = Bench::running(&both());
    bench.live(s(20), |_| true);
    bench.link();
    bench.told();
    let statuses =
        |bench: &mut Bench| bench.told().iter().filter(|(key, _)| key.table == TableId::STATUS).count();
    bench.live(s(300), |look| matches!(look, Look::Http { .. }));
    assert_eq!(statuses(&mut bench), 1);
    bench.live(s(300), |_| true);
    assert_eq!(statuses(&mut bench), 1);
}

#[test]
fn a_port_that_is_not_declared_is_told_and_never_ready() {
    let check = ProbeCheck::Tcp { port: PortName::new("other").unwrap() };
    let mut bench = Bench::running(&probed(RestartWhen::Always, None, Some(probe(check, s(0)))));
    bench.pass(s(60));
    assert_eq!(bench.begun(), [""; 0]);
    let status = bench.status(ID);
    assert_eq!(status.ready_since, None);
    let message = status.reason.expect("why").message;
    assert!(message.contains("port 'other', which is not declared"), "{message}");
}

#[test]
fn a_stop_ends_the_looking() {
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &both())]);
    bench.live(s(20), |_| true);
    bench.rows(&[row(2, &stopped(&both()))]);
    let done = bench.live(s(60), |_| false);
    assert_eq!(done, ["ask main", "kill main", "kill main"]);
    bench.exit(ID, "main", 0, ExitKind::Signal(9));
    bench.answer_all();
    assert_eq!(bench.phase(ID), Phase::Stopped);
}

#[test]
fn an_answer_after_the_end_says_nothing() {
    let mut bench = Bench::running(&healthy());
    bench.pass(s(1));
    assert_eq!(bench.begun(), ["get main 8080 /well"]);
    let (op, _) = bench.begun.pop_front().unwrap();
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    bench.feed(Input::Done(op, Err(Failure::transient(ReasonCode::Unhealthy, "late"))));
    assert_eq!(bench.answer_all(), ["remove main"]);
    bench.live(s(3), |_| true);
    assert_eq!((bench.phase(ID), bench.status(ID).reason), (Phase::Running, None));
}
