//! Workloads that may not run without a link for long.

use std::time::Duration;

use skerry_types::{AllocationIntent, ExitKind, Overlap, Phase, ReasonCode, RestartWhen, Schedule, TimeZone};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn bound() -> AllocationIntent {
    with(intent(ID, &["main"], RestartWhen::Always), |spec| spec.stop_after = Some(s(600)))
}

/// Runs, with a link.
fn linked() -> Bench {
    let mut bench = Bench::running(&bound());
    bench.link();
    bench
}

/// Runs without a link for too long, and has stopped.
fn cut_off() -> Bench {
    let mut bench = linked();
    bench.feed(Input::LinkDown);
    bench.pass(s(600));
    bench.answer_all();
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove main", "release"]);
    bench
}

#[test]
fn it_is_stopped_after_that_long_and_not_before() {
    let mut bench = linked();
    bench.pass(Duration::from_hours(5));
    bench.feed(Input::LinkDown);
    bench.pass(Duration::from_millis(599_999));
    assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Running));
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.answer_all(), ["ask main"]);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.reason.unwrap().code), (Phase::Stopping, ReasonCode::Disconnected));
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove main", "release"]);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.ready_since), (Phase::Pending, None));
    assert_eq!(status.reason.unwrap().code, ReasonCode::Disconnected);
    bench.pass(Duration::from_hours(99));
    assert_eq!(bench.begun(), [""; 0]);
}

#[test]
fn others_go_on() {
    let mut bench = Bench::running(&web());
    bench.link();
    bench.feed(Input::LinkDown);
    bench.pass(Duration::from_hours(99));
    assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Running));
}

#[test]
fn a_link_that_comes_back_in_time_sets_it_back() {
    let mut bench = linked();
    for _ in 0..3 {
        bench.feed(Input::LinkDown);
        bench.pass(s(599));
        bench.link();
        bench.pass(s(60));
    }
    assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Running));
}

#[test]
fn a_link_without_a_welcome_is_none() {
    let mut bench = linked();
    bench.feed(Input::LinkDown);
    bench.pass(s(300));
    bench.feed(Input::LinkUp);
    bench.pass(s(100));
    bench.feed(Input::LinkDown);
    bench.pass(s(200));
    assert_eq!(bench.begun(), ["ask main"]);
}

#[test]
fn it_goes_on_when_the_link_is_back_unless_it_is_not_wanted_any_more() {
    let mut bench = cut_off();
    bench.link();
    bench.pass(s(4));
    assert_eq!(bench.begun(), [""; 0], "the parent has its word first");
    bench.pass(s(1));
    assert_eq!(bench.answer_all(), ["pull", "prepare 10.0.0.2", "start main 1"]);
    assert_eq!((bench.phase(ID), bench.status(ID).reason), (Phase::Running, None));

    let mut bench = cut_off();
    bench.link();
    bench.rows(&[row(2, &stopped(&bound()))]);
    assert_eq!(bench.answer_all(), ["remove allocation"]);
    assert_eq!(bench.phase(ID), Phase::Stopped);
    bench.pass(s(60));
    assert_eq!(bench.begun(), [""; 0]);

    let mut bench = cut_off();
    bench.link();
    bench.rows(&[gone(2, ID)]);
    bench.answer_all();
    assert!(!bench.holds(ID));
}

#[test]
fn a_link_that_goes_again_at_once_changes_nothing() {
    let mut bench = cut_off();
    bench.link();
    bench.pass(s(3));
    bench.feed(Input::LinkDown);
    bench.pass(Duration::from_hours(1));
    assert_eq!(bench.begun(), [""; 0]);
}

#[test]
fn a_link_that_comes_back_in_the_middle_of_the_stop_ends_in_running() {
    let mut bench = linked();
    bench.feed(Input::LinkDown);
    bench.pass(s(600));
    assert_eq!(bench.answer_all(), ["ask main"]);
    bench.link();
    bench.pass(s(6));
    assert_eq!(bench.begun(), [""; 0]);
    bench.pass(s(5));
    assert_eq!(bench.answer_all(), ["kill main"]);
    bench.exit(ID, "main", 0, ExitKind::Signal(9));
    bench.answer_all();
    bench.pass(s(5));
    bench.answer_all();
    assert_eq!((bench.phase(ID), bench.status(ID).containers[0].restarts), (Phase::Running, 1));
}

#[test]
fn restarts_of_the_agent_neither_stop_it_nor_give_it_more_time() {
    let mut bench = linked();
    bench.pass(Duration::from_hours(2));
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!(bench.answer_all(), ["prepare 10.0.0.2"], "the ledger knows of the link");
    bench.pass(s(10));
    bench.link();
    bench.pass(s(600));
    assert_eq!(bench.begun(), [""; 0]);

    bench.feed(Input::LinkDown);
    for _ in 0..5 {
        bench.pass(s(100));
        bench.restart();
        bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
        bench.answer_all();
    }
    bench.pass(s(99));
    assert_eq!(bench.begun(), [""; 0]);
    bench.pass(s(1));
    assert_eq!(bench.begun(), ["ask main"]);
}

#[test]
fn what_was_cut_off_stays_so_across_restarts() {
    let mut bench = cut_off();
    bench.restart();
    bench.feed(Input::Inventory(Vec::new()));
    bench.pass(s(300));
    assert_eq!(bench.begun(), [""; 0]);
    bench.link();
    bench.pass(s(5));
    assert_eq!(bench.begun(), ["pull"]);
}

#[test]
fn a_boot_without_a_link_counts_what_it_was_off() {
    let mut bench = linked();
    bench.feed(Input::LinkDown);
    bench.reboot(s(200));
    assert_eq!(bench.answer_all(), ["pull", "prepare 10.0.0.2", "start main 1"]);
    bench.pass(s(399));
    assert_eq!(bench.begun(), [""; 0]);
    bench.pass(s(1));
    assert_eq!(bench.begun(), ["ask main"]);

    let mut bench = linked();
    bench.reboot(s(3600));
    let done = bench.answer_all();
    assert_eq!(
        done,
        ["release", "pull"],
        "it was off for too long: it waits for the parent's word, with its images"
    );
    assert_eq!(bench.status(ID).reason.unwrap().code, ReasonCode::Disconnected);
}

#[test]
fn a_clock_that_does_not_know_the_time_after_a_boot_stops_rather_than_runs() {
    let mut bench = linked();
    bench.set_wall(skerry_types::WallTime(0));
    bench.reboot(s(1));
    assert_eq!(bench.answer_all(), ["release", "pull"]);
    bench.link();
    bench.pass(s(5));
    assert_eq!(bench.begun(), ["pull"]);
}

#[test]
fn a_clock_that_jumps_while_the_agent_runs_does_not_count() {
    let mut bench = linked();
    bench.feed(Input::LinkDown);
    bench.set_wall(skerry_types::WallTime(bench.now.wall.0 + 9_000_000));
    bench.pass(s(599));
    assert_eq!(bench.begun(), [""; 0]);
    bench.set_wall(skerry_types::WallTime(5));
    bench.pass(s(1));
    assert_eq!(bench.begun(), ["ask main"]);
}

#[test]
fn the_ledger_learns_of_a_link_only_as_often_as_it_must() {
    let count = |wanted: &AllocationIntent| {
        let mut bench = Bench::running(wanted);
        bench.link();
        let mut writes = 0;
        for _ in 0..24 * 60 {
            let before = bench.disk.clone();
            bench.pass(s(60));
            writes += usize::from(before != bench.disk);
        }
        writes
    };
    assert_eq!(count(&web()), 0);
    assert_eq!(count(&bound()), 24 * 60 * 60 / 150, "four times in 10 minutes");
    let day = with(bound(), |spec| spec.stop_after = Some(Duration::from_hours(24)));
    assert_eq!(count(&day), 24 * 4);
}

#[test]
fn due_times_while_cut_off_are_made_up_for_by_one() {
    let wanted = with(bound(), |spec| {
        let timezone = TimeZone::Named("UTC".to_owned());
        let cron = "0 * * * *".to_owned();
        spec.schedule = Some(Schedule { cron, timezone, overlap: Overlap::Forbid, starting_deadline: None });
    });
    let mut bench = Bench::holding(&[wanted]);
    bench.feed(Input::Inventory(Vec::new()));
    bench.link();
    assert_eq!(bench.answer_all(), ["pull"]);
    bench.feed(Input::LinkDown);
    bench.pass(Duration::from_hours(5));
    assert_eq!(bench.begun(), [""; 0]);
    bench.link();
    bench.pass(s(5));
    assert_eq!(bench.answer_all(), ["pull", "prepare", "start main 0"]);
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove main", "release"]);
}
