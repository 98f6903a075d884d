//! Init containers, and the order of starts and stops.

use std::time::Duration;

use skerry_types::{AllocationIntent, ContainerState, ExitKind, Phase, ReasonCode, RestartWhen};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";

/// `init` containers before `main` ones.
fn staged(init: &[&str], main: &[&str], when: RestartWhen) -> AllocationIntent {
    let init = intent(ID, init, when).spec.containers.clone();
    with(intent(ID, main, when), |spec| spec.init = init)
}

fn started(wanted: &AllocationIntent) -> Bench {
    let mut bench = Bench::holding(std::slice::from_ref(wanted));
    bench.feed(Input::Inventory(Vec::new()));
    bench
}

#[test]
fn init_containers_run_one_after_the_other_before_the_others() {
    let mut bench = started(&staged(&["fetch", "migrate"], &["a", "b"], RestartWhen::Always));
    assert_eq!(bench.answer_all(), ["pull", "prepare", "start fetch 0"]);
    assert_eq!(bench.phase(ID), Phase::Starting);
    bench.exit(ID, "fetch", 0, ExitKind::Code(0));
    assert_eq!(bench.status(ID).reason, None);
    assert_eq!(bench.begun(), ["start migrate 0", "remove fetch"]);
    assert_eq!(bench.answer_all(), ["start migrate 0", "remove fetch"]);
    bench.exit(ID, "migrate", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["start a 0", "remove migrate", "start b 0"]);
    let status = bench.status(ID);
    assert_eq!(
        (status.phase, status.reason.is_none(), status.ready_since.is_some()),
        (Phase::Running, true, true)
    );
    let names: Vec<&str> = status.containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["fetch", "migrate", "a", "b"]);
    assert_eq!(status.containers[0].state, ContainerState::Ended);
}

#[test]
fn a_failed_init_container_is_tried_again_as_the_policy_says() {
    for when in [RestartWhen::Always, RestartWhen::OnFailure] {
        let mut bench = started(&staged(&["fetch"], &["main"], when));
        bench.answer_all();
        bench.exit(ID, "fetch", 0, ExitKind::Code(3));
        assert_eq!(bench.answer_all(), ["remove fetch"]);
        let status = bench.status(ID);
        let reason = status.reason.unwrap();
        assert_eq!((status.phase, reason.code), (Phase::Backoff, ReasonCode::InitFailed));
        assert_eq!(reason.message, "init container fetch: exit code 3; it starts again after a wait");
        bench.pass(Duration::from_secs(2));
        assert_eq!(bench.answer_all(), ["start fetch 1"]);
        bench.exit(ID, "fetch", 1, ExitKind::Code(0));
        assert_eq!(bench.answer_all(), ["start main 0", "remove fetch"]);
        assert_eq!((bench.phase(ID), bench.status(ID).reason), (Phase::Running, None));
    }
}

#[test]
fn a_failed_init_container_that_never_restarts_fails_all() {
    let mut bench = started(&staged(&["fetch"], &["main"], RestartWhen::Never));
    bench.answer_all();
    bench.exit(ID, "fetch", 0, ExitKind::Code(3));
    assert_eq!(bench.answer_all(), ["remove fetch", "release"]);
    let check = |bench: &mut Bench| {
        let status = bench.status(ID);
        assert_eq!((status.phase, status.reason.unwrap().code), (Phase::Failed, ReasonCode::InitFailed));
        assert_eq!(status.containers[1].last_exit, None);
    };
    check(&mut bench);
    bench.restart();
    bench.feed(Input::Inventory(Vec::new()));
    bench.pass(Duration::from_hours(1));
    assert_eq!(bench.begun(), [""; 0]);
    check(&mut bench);
}

#[test]
fn what_init_containers_did_lasts_as_long_as_the_boot() {
    let mut bench = started(&staged(&["fetch"], &["main"], RestartWhen::Always));
    bench.answer_all();
    bench.exit(ID, "fetch", 0, ExitKind::Code(0));
    bench.answer_all();

    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!(bench.answer_all(), ["prepare 10.0.0.2"], "the agent alone");
    assert_eq!(bench.phase(ID), Phase::Running);

    bench.restart();
    bench.feed(Input::Inventory(Vec::new()));
    let unseen = ["remove main", "pull", "prepare 10.0.0.2", "start main 1"];
    assert_eq!(bench.answer_all(), unseen, "agent and keeper");

    bench.reboot(Duration::from_secs(20));
    assert_eq!(bench.answer_all(), ["pull", "prepare 10.0.0.2", "start fetch 1"], "the machine");
    bench.exit(ID, "fetch", 1, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["start main 2", "remove fetch"]);
}

#[test]
fn what_a_failed_start_may_have_left_is_removed_before_the_next() {
    let mut bench = started(&intent(ID, &["main"], RestartWhen::Always));
    while bench.begun() != ["start main 0"] {
        bench.answer();
    }
    bench.fail(ReasonCode::CreateFailed, true);
    assert_eq!(bench.begun(), ["remove main"]);
    bench.fail(ReasonCode::Keeper, true);
    bench.restart();
    bench.feed(Input::Inventory(Vec::new()));
    assert_eq!(bench.answer_all(), ["remove main", "pull", "prepare 10.0.0.2", "start main 1"]);
}

#[test]
fn an_init_container_goes_on_when_the_agent_restarts() {
    let mut bench = started(&staged(&["fetch"], &["main"], RestartWhen::Always));
    bench.answer_all();
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "fetch", 0)]));
    assert_eq!(bench.answer_all(), ["prepare 10.0.0.2"]);
    bench.exit(ID, "fetch", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["start main 0", "remove fetch"]);
}

#[test]
fn an_end_that_the_ledger_has_is_not_told_twice() {
    let mut bench = started(&staged(&["fetch"], &["main"], RestartWhen::Always));
    bench.answer_all();
    bench.exit(ID, "fetch", 0, ExitKind::Code(0));
    bench.restart();
    bench.feed(Input::Inventory(vec![found_dead(ID, "fetch", 0, ExitKind::Code(0))]));
    let mut done = bench.answer_all();
    done.sort();
    assert_eq!(done, ["prepare 10.0.0.2", "pull", "remove fetch", "remove main", "start main 1"]);
}

#[test]
fn a_container_that_crashes_holds_up_nobody_after_it() {
    let mut bench = started(&intent(ID, &["a", "b"], RestartWhen::Always));
    bench.answer_all();
    bench.exit(ID, "a", 0, ExitKind::Code(1));
    bench.exit(ID, "b", 0, ExitKind::Code(1));
    bench.answer_all();
    bench.pass(Duration::from_secs(2));
    let mut done = bench.answer_all();
    done.sort();
    assert_eq!(done, ["start a 1", "start b 1"]);
}

#[test]
fn stops_go_in_the_opposite_order_each_with_its_own_grace() {
    let mut wanted = intent(ID, &["a", "b", "c"], RestartWhen::Always);
    wanted = with(wanted, |spec| spec.containers[1].stop_signal = Some(3));
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &wanted)]);
    bench.answer_all();
    bench.rows(&[row(2, &stopped(&wanted))]);
    assert_eq!(bench.answer_all(), ["ask c"]);
    bench.pass(Duration::from_secs(3));
    bench.exit(ID, "c", 0, ExitKind::Code(0));
    let mut done = bench.answer_all();
    done.sort();
    assert_eq!(done, ["ask b by 3", "remove c"]);
    bench.pass(Duration::from_millis(9_999));
    assert_eq!(bench.begun(), [""; 0], "its grace is its own");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.answer_all(), ["kill b"]);
    bench.exit(ID, "b", 0, ExitKind::Signal(9));
    let mut done = bench.answer_all();
    done.sort();
    assert_eq!(done, ["ask a", "remove b"]);
    bench.exit(ID, "a", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove a", "remove allocation"]);
    assert_eq!(bench.phase(ID), Phase::Stopped);
}

#[test]
fn a_stop_passes_over_what_does_not_run() {
    let wanted = intent(ID, &["a", "b", "c"], RestartWhen::Always);
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &wanted)]);
    bench.answer_all();
    bench.exit(ID, "c", 0, ExitKind::Code(1));
    bench.answer_all();
    bench.rows(&[row(2, &stopped(&wanted))]);
    assert_eq!(bench.begun(), ["ask b"]);
    bench.pass(Duration::from_mins(5));
}

#[test]
fn a_stop_in_the_middle_of_init_starts_nothing_more() {
    let wanted = staged(&["fetch", "migrate"], &["main"], RestartWhen::Always);
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &wanted)]);
    bench.answer_all();
    bench.rows(&[row(2, &stopped(&wanted))]);
    assert_eq!(bench.answer_all(), ["ask fetch"]);
    bench.exit(ID, "fetch", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove fetch", "remove allocation"]);
    assert_eq!(bench.phase(ID), Phase::Stopped);
}
