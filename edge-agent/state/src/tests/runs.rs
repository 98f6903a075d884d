//! What runs to an end: once, within its deadline, with its results.

use std::time::Duration;

use skerry_types::{AllocationIntent, ContainerStatus, ExitKind, Phase, ReasonCode, RestartWhen};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn job(when: RestartWhen) -> AllocationIntent {
    intent(ID, &["main"], when)
}

fn within(when: RestartWhen, deadline: u64) -> AllocationIntent {
    with(job(when), |spec| spec.deadline = Some(s(deadline)))
}

#[test]
fn a_job_ends_once_and_gives_its_network_back() {
    let mut bench = Bench::running(&job(RestartWhen::OnFailure));
    bench.exit(ID, "main", 0, ExitKind::Code(2));
    bench.answer_all();
    bench.pass(s(2));
    assert_eq!(bench.answer_all(), ["start main 1"]);
    bench.exit(ID, "main", 1, ExitKind::Code(0));
    assert_eq!(bench.phase(ID), Phase::Completed, "at once");
    assert_eq!(bench.answer_all(), ["remove main", "release"]);
    let before = bench.status(ID);
    assert_eq!((before.phase, before.ready_since), (Phase::Completed, None));
    assert_eq!(before.containers[0].log_tail, "last words");
    for _ in 0..2 {
        bench.restart();
        bench.feed(Input::Inventory(Vec::new()));
        bench.pass(Duration::from_hours(30));
        assert_eq!(bench.begun(), [""; 0]);
        let after = bench.status(ID);
        assert_eq!(
            (after.phase, after.containers, after.reason),
            (before.phase, before.containers.clone(), before.reason.clone())
        );
    }
    bench.reboot(s(9));
    assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Completed));
}

#[test]
fn what_must_run_once_starts_only_when_the_ledger_knows() {
    let mut bench = Bench::holding(&[job(RestartWhen::Never)]);
    bench.feed(Input::Inventory(Vec::new()));
    bench.answer();
    bench.full = true;
    bench.answer();
    assert_eq!(bench.begun(), [""; 0]);
    bench.full = false;
    bench.feed(Input::Timeout);
    assert_eq!(bench.begun(), ["start main 0"]);
}

#[test]
fn what_must_run_once_is_not_repeated_by_a_reboot() {
    let check = |when: RestartWhen, phase: Phase, done: &[&str]| {
        let mut bench = Bench::running(&job(when));
        bench.reboot(s(30));
        assert_eq!(bench.answer_all(), done, "{when:?}");
        let status = bench.status(ID);
        assert_eq!(status.phase, phase, "{when:?}");
        if phase == Phase::Failed {
            assert_eq!(status.containers[0].last_exit.unwrap().kind, ExitKind::Unknown);
        }
    };
    check(RestartWhen::Never, Phase::Failed, &["remove main", "release"]);
    check(RestartWhen::OnFailure, Phase::Running, &["pull", "prepare 10.0.0.2", "start main 1"]);
    check(RestartWhen::Always, Phase::Running, &["pull", "prepare 10.0.0.2", "start main 1"]);
}

#[test]
fn a_start_that_came_to_nothing_is_tried_again_even_when_it_never_restarts() {
    let mut bench = Bench::holding(&[job(RestartWhen::Never)]);
    bench.feed(Input::Inventory(Vec::new()));
    bench.answer();
    bench.answer();
    bench.fail(ReasonCode::CreateFailed, true);
    assert_eq!(bench.answer_all(), ["remove main"]);
    bench.reboot(s(5));
    assert_eq!(bench.answer_all(), ["pull", "prepare 10.0.0.2", "start main 1"]);
    assert_eq!(bench.phase(ID), Phase::Running);
}

#[test]
fn the_witness_of_an_end_stays_until_the_ledger_has_it() {
    for when in [RestartWhen::Never, RestartWhen::OnFailure] {
        let mut bench = Bench::running(&job(when));
        bench.full = true;
        bench.exit(ID, "main", 0, ExitKind::Code(0));
        assert_eq!(bench.begun(), [""; 0], "{when:?}");
        bench.restart();
        bench.full = false;
        bench.feed(Input::Inventory(vec![found_dead(ID, "main", 0, ExitKind::Code(0))]));
        assert_eq!(bench.answer_all(), ["remove main", "release"], "{when:?}");
        assert_eq!(bench.phase(ID), Phase::Completed, "{when:?}: and it does not run again");
    }
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let mut bench = Bench::running(&within(RestartWhen::OnFailure, 60));
    bench.pass(Duration::from_millis(59_999));
    assert_eq!(bench.begun(), [""; 0]);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.answer_all(), ["ask main"]);
    assert_eq!(bench.phase(ID), Phase::Stopping);
    bench.pass(s(10));
    assert_eq!(bench.answer_all(), ["kill main"]);
    bench.exit(ID, "main", 0, ExitKind::Signal(9));
    assert_eq!(bench.answer_all(), ["remove main", "release"]);
    let check = |bench: &mut Bench| {
        let status = bench.status(ID);
        let reason = status.reason.unwrap();
        assert_eq!((status.phase, reason.code), (Phase::Failed, ReasonCode::DeadlineExceeded));
        assert_eq!(reason.message, "the run takes longer than its deadline of 1m");
        assert_eq!(status.containers[0].last_exit.unwrap().kind, ExitKind::Signal(9));
    };
    check(&mut bench);
    bench.restart();
    bench.feed(Input::Inventory(Vec::new()));
    bench.pass(Duration::from_hours(1));
    assert_eq!(bench.begun(), [""; 0]);
    check(&mut bench);
}

#[test]
fn an_end_in_good_time_passes_even_when_it_is_asked_for() {
    let mut bench = Bench::running(&within(RestartWhen::OnFailure, 60));
    bench.pass(s(59));
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer_all();
    bench.pass(s(60));
    assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Completed));
}

#[test]
fn a_deadline_shorter_than_a_wait_ends_the_wait() {
    let wanted = with(within(RestartWhen::OnFailure, 20), |spec| {
        spec.restart.backoff = s(30);
        spec.restart.max_backoff = s(600);
    });
    let mut bench = Bench::running(&wanted);
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    assert_eq!(bench.answer_all(), ["remove main"]);
    bench.pass(s(25));
    assert_eq!(bench.answer_all(), ["release"]);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.reason.unwrap().code), (Phase::Failed, ReasonCode::DeadlineExceeded));
}

#[test]
fn a_deadline_survives_the_agent_and_counts_while_it_is_away() {
    let mut bench = Bench::running(&within(RestartWhen::OnFailure, 60));
    bench.pass(s(20));
    bench.pass(s(30));
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!(bench.answer_all(), ["prepare 10.0.0.2"]);
    bench.pass(s(9));
    assert_eq!(bench.begun(), [""; 0]);
    bench.pass(s(1));
    assert_eq!(bench.begun(), ["ask main"]);

    let mut bench = Bench::running(&within(RestartWhen::OnFailure, 60));
    bench.set_wall(skerry_types::WallTime(bench.now.wall.0 + 600_000));
    bench.pass(s(59));
    assert_eq!(bench.begun(), [""; 0], "the clock on the wall does not count while the agent runs");
}

#[test]
fn results_are_bounded() {
    let mut bench = Bench::running(&job(RestartWhen::Never));
    let exit = skerry_types::Exit {
        kind: ExitKind::Code(1),
        out_of_memory: true,
        at: bench.now.wall,
        ran_for: s(1),
    };
    let log_tail = "å".repeat(4000) + "end";
    bench.feed(Input::Exited { container: reference(ID, "main"), attempt: 0, exit, log_tail });
    let status = bench.status(ID);
    let tail = &status.containers[0].log_tail;
    assert!(tail.len() <= ContainerStatus::LOG_TAIL_MAX && tail.ends_with("åend"), "{}", tail.len());
    let reason = status.reason.unwrap();
    assert_eq!(reason.code, ReasonCode::OutOfMemory);
    assert!(reason.message.contains("out of memory"), "{}", reason.message);
}

#[test]
fn a_network_that_cannot_be_given_back_is_tried_again() {
    let mut bench = Bench::running(&job(RestartWhen::Never));
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer();
    for _ in 0..3 {
        bench.fail(ReasonCode::Network, true);
        assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Completed));
        bench.pass(s(31));
        assert_eq!(bench.begun(), ["release"]);
    }
    bench.restart();
    bench.feed(Input::Inventory(Vec::new()));
    assert_eq!(bench.answer_all(), ["release"], "also after a restart");
}

#[test]
fn a_job_that_is_over_can_be_stopped_and_begun_anew() {
    let wanted = within(RestartWhen::Never, 60);
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &wanted)]);
    bench.answer_all();
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    bench.answer_all();
    assert_eq!(bench.phase(ID), Phase::Failed);
    bench.rows(&[row(2, &stopped(&wanted))]);
    assert_eq!(bench.answer_all(), ["remove allocation"]);
    assert_eq!(bench.phase(ID), Phase::Stopped);
    bench.rows(&[row(3, &wanted)]);
    assert_eq!(bench.answer_all(), ["pull", "prepare 10.0.0.2", "start main 1"]);
    bench.pass(s(59));
    assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Running));
}
