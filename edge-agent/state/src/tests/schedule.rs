//! Runs at their due times: each once, whatever the link, the agent, the machine and the clock do.

use std::time::Duration;

use skerry_types::{
    AllocationIntent, ExitKind, Overlap, Phase, ReasonCode, RestartWhen, Schedule, TimeZone, WallTime,
};
use skerry_wire::ToParent;

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";
/// The bench begins at 2023-11-14 22:13:20 UTC; the next whole hour is 23:00.
const ELEVEN: WallTime = WallTime(1_700_002_800_000);
const HOUR: Duration = Duration::from_hours(1);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(hours: u64) -> WallTime {
    WallTime(ELEVEN.0 + hours * 3_600_000)
}

/// Every whole hour.
fn hourly(overlap: Overlap, starting_deadline: Option<Duration>) -> AllocationIntent {
    cron("0 * * * *", overlap, starting_deadline)
}

fn cron(cron: &str, overlap: Overlap, starting_deadline: Option<Duration>) -> AllocationIntent {
    with(intent(ID, &["main"], RestartWhen::OnFailure), |spec| {
        let timezone = TimeZone::Named("UTC".to_owned());
        spec.schedule = Some(Schedule { cron: cron.to_owned(), timezone, overlap, starting_deadline });
    })
}

fn waiting(wanted: &AllocationIntent) -> Bench {
    let mut bench = Bench::holding(std::slice::from_ref(wanted));
    bench.feed(Input::Inventory(Vec::new()));
    assert_eq!(bench.answer_all(), ["pull"], "what it will run is fetched, and then it waits");
    bench
}

/// Lets time pass until this, by the clock on the wall.
fn until(bench: &mut Bench, wall: WallTime) {
    bench.pass(wall.since(bench.now.wall));
}

const FIRST_RUN: [&str; 3] = ["pull", "prepare", "start main 0"];

#[test]
fn it_waits_runs_at_its_time_and_waits_again() {
    let mut bench = waiting(&hourly(Overlap::Forbid, None));
    let status = bench.status(ID);
    assert_eq!((status.phase, status.last_due), (Phase::Pending, None));
    assert!(status.ready_since.is_some(), "ready to run");
    until(&mut bench, WallTime(ELEVEN.0 - 1));
    assert_eq!(bench.begun(), [""; 0]);
    until(&mut bench, ELEVEN);
    assert_eq!(bench.answer_all(), FIRST_RUN);
    let running = bench.status(ID);
    assert_eq!((running.phase, running.last_due), (Phase::Running, Some(ELEVEN)));
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove main", "release"]);
    let rested = bench.status(ID);
    assert_eq!(
        (rested.phase, rested.last_due, rested.ready_since),
        (Phase::Completed, Some(ELEVEN), status.ready_since)
    );
    until(&mut bench, at(1));
    assert_eq!(bench.answer_all(), ["pull", "prepare 10.0.0.2", "start main 1"]);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.last_due), (Phase::Running, Some(at(1))));
    assert_eq!(status.containers[0].restarts, 0, "a run is no restart");
}

#[test]
fn a_run_is_tried_again_as_the_policy_says_and_its_result_is_kept() {
    let mut bench = waiting(&hourly(Overlap::Forbid, None));
    until(&mut bench, ELEVEN);
    bench.answer_all();
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    bench.answer_all();
    bench.pass(s(2));
    assert_eq!(bench.answer_all(), ["start main 1"]);
    assert_eq!(bench.status(ID).containers[0].restarts, 1);
    bench.exit(ID, "main", 1, ExitKind::Code(0));
    bench.answer_all();
    assert_eq!(bench.phase(ID), Phase::Completed);

    let never = with(hourly(Overlap::Forbid, None), |spec| spec.restart.when = RestartWhen::Never);
    let mut bench = waiting(&never);
    until(&mut bench, ELEVEN);
    bench.answer_all();
    bench.exit(ID, "main", 0, ExitKind::Code(7));
    bench.answer_all();
    let status = bench.status(ID);
    assert_eq!((status.phase, status.reason.unwrap().code), (Phase::Failed, ReasonCode::Exited));
    until(&mut bench, at(1));
    bench.answer_all();
    assert_eq!((bench.phase(ID), bench.status(ID).reason), (Phase::Running, None), "the next begins afresh");
}

#[test]
fn always_means_on_failure_for_a_run() {
    let wanted = with(hourly(Overlap::Forbid, None), |spec| spec.restart.when = RestartWhen::Always);
    let mut bench = waiting(&wanted);
    until(&mut bench, ELEVEN);
    bench.answer_all();
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer_all();
    assert_eq!(bench.phase(ID), Phase::Completed);
}

#[test]
fn a_due_time_is_on_disk_before_anything_is_done_for_it() {
    let mut bench = waiting(&hourly(Overlap::Forbid, None));
    bench.full = true;
    until(&mut bench, ELEVEN);
    bench.pass(s(5));
    assert_eq!(bench.begun(), [""; 0]);
    bench.restart();
    bench.full = false;
    bench.feed(Input::Inventory(Vec::new()));
    assert_eq!(bench.answer_all(), FIRST_RUN, "nothing was begun, so nothing is repeated");
    assert_eq!(bench.status(ID).last_due, Some(ELEVEN));
}

/// At each step of a run the agent ends and comes back; what the keeper then has goes with the step.
#[test]
fn a_run_goes_on_across_restarts_of_the_agent_and_is_never_begun_twice() {
    let check = |answers: usize, exit: bool, found: Vec<FoundContainer>, rest: &[&str], phase: Phase| {
        let mut bench = waiting(&hourly(Overlap::Forbid, None));
        until(&mut bench, ELEVEN);
        (0..answers).for_each(|_| drop(bench.answer().expect("an operation")));
        if exit {
            bench.exit(ID, "main", 0, ExitKind::Code(0));
            bench.answer_all();
        }
        bench.restart();
        bench.feed(Input::Inventory(found));
        assert_eq!(bench.answer_all(), rest, "after {answers} answers");
        assert_eq!((bench.phase(ID), bench.status(ID).last_due), (phase, Some(ELEVEN)), "after {answers}");
        bench.pass(s(1800));
        assert_eq!(bench.begun(), [""; 0], "after {answers}");
    };
    let again = ["pull", "prepare", "start main 0"];
    check(0, false, Vec::new(), &again, Phase::Running);
    check(2, false, vec![found(ID, "main", 0)], &["prepare 10.0.0.2"], Phase::Running);
    check(3, false, vec![found(ID, "main", 0)], &["prepare 10.0.0.2"], Phase::Running);
    let dead = vec![found_dead(ID, "main", 0, ExitKind::Code(0))];
    check(3, false, dead, &["remove main", "release"], Phase::Completed);
    check(3, true, Vec::new(), &[], Phase::Completed);
}

#[test]
fn a_link_changes_nothing_and_hears_of_it_afterwards() {
    let mut bench = waiting(&hourly(Overlap::Forbid, None));
    bench.link();
    bench.told();
    bench.feed(Input::LinkDown);
    until(&mut bench, ELEVEN);
    assert_eq!(bench.answer_all(), FIRST_RUN);
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer_all();
    bench.link();
    bench.rows(&[row(2, &hourly(Overlap::Forbid, None))]);
    let due = bench.told().into_iter().find_map(|(_, row)| match row {
        Some(skerry_wire::ObservedRow::Status(status)) => status.last_due,
        _ => None,
    });
    assert_eq!(due, Some(ELEVEN));
    bench.pass(s(1800));
    assert_eq!(bench.begun(), [""; 0], "not repeated");
}

#[test]
fn of_missed_runs_the_newest_is_made_up_for_if_it_is_not_too_late() {
    let check = |deadline: Option<u64>, off_s: u64, runs: Option<u64>| {
        let mut bench = waiting(&hourly(Overlap::Forbid, deadline.map(s)));
        until(&mut bench, ELEVEN);
        bench.answer_all();
        bench.exit(ID, "main", 0, ExitKind::Code(0));
        bench.answer_all();
        bench.reboot(s(off_s));
        let done = bench.answer_all();
        let expect: &[&str] =
            if runs.is_some() { &["pull", "prepare 10.0.0.2", "start main 1"] } else { &["pull"] };
        assert_eq!(done, expect, "deadline {deadline:?}, off for {off_s} s");
        assert_eq!(bench.status(ID).last_due, Some(at(runs.unwrap_or(0))));
        if runs.is_some() {
            bench.exit(ID, "main", 1, ExitKind::Code(0));
            bench.answer_all();
        }
        bench.pass(s(60));
        assert_eq!(bench.begun(), [""; 0], "one at most");
    };
    check(None, 1800, None);
    check(None, 3600, Some(1));
    check(None, 3 * 3600 + 600, Some(3));
    check(None, 90 * 24 * 3600 + 600, Some(90 * 24));
    check(Some(600), 3 * 3600 + 600, Some(3));
    check(Some(599), 3 * 3600 + 600, None);
}

#[test]
fn a_missed_run_is_told() {
    let mut bench = waiting(&hourly(Overlap::Forbid, Some(s(60))));
    bench.reboot(s(2 * 3600));
    bench.link();
    assert!(bench.events().contains(&"RunMissed".to_owned()));
}

#[test]
fn nothing_is_due_from_before_it_came_here() {
    let mut bench = waiting(&cron("0 0 1 1 *", Overlap::Forbid, None));
    bench.restart();
    bench.feed(Input::Inventory(Vec::new()));
    bench.pass(s(60));
    assert_eq!(bench.begun(), [""; 0]);
}

#[test]
fn overlap_forbid_leaves_the_due_run_out() {
    let mut bench = waiting(&hourly(Overlap::Forbid, None));
    bench.link();
    until(&mut bench, ELEVEN);
    bench.answer_all();
    bench.told();
    until(&mut bench, WallTime(at(2).0 + 60_000));
    assert_eq!((bench.begun().len(), bench.status(ID).last_due), (0, Some(ELEVEN)));
    assert_eq!(bench.events(), ["RunSkipped", "RunSkipped"]);
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove main", "release"]);
    until(&mut bench, at(3));
    assert_eq!(bench.answer_all().last().unwrap(), "start main 1");
}

#[test]
fn overlap_replace_ends_the_older_run() {
    let mut bench = waiting(&hourly(Overlap::Replace, None));
    until(&mut bench, ELEVEN);
    bench.answer_all();
    until(&mut bench, at(1));
    assert_eq!(bench.answer_all(), ["ask main"]);
    bench.pass(s(10));
    assert_eq!(bench.answer_all(), ["kill main"]);
    bench.exit(ID, "main", 0, ExitKind::Signal(9));
    assert_eq!(bench.answer_all(), ["remove main", "release", "pull", "prepare 10.0.0.2", "start main 1"]);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.last_due), (Phase::Running, Some(at(1))));
}

#[test]
fn overlap_replace_goes_on_when_the_agent_restarts_in_between() {
    let mut bench = waiting(&hourly(Overlap::Replace, None));
    until(&mut bench, ELEVEN);
    bench.answer_all();
    until(&mut bench, at(1));
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!(bench.answer_all(), ["ask main"]);
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer_all();
    assert_eq!((bench.phase(ID), bench.status(ID).last_due), (Phase::Running, Some(at(1))));
}

#[test]
fn overlap_allow_queues_one() {
    let mut bench = waiting(&hourly(Overlap::Allow, None));
    until(&mut bench, ELEVEN);
    bench.answer_all();
    until(&mut bench, WallTime(at(3).0 + 60_000));
    assert_eq!((bench.begun().len(), bench.status(ID).last_due), (0, Some(ELEVEN)));
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer_all();
    assert_eq!((bench.phase(ID), bench.status(ID).last_due), (Phase::Running, Some(at(3))), "the newest");
    bench.exit(ID, "main", 1, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove main", "release"], "and only that");
}

#[test]
fn a_run_has_its_deadline() {
    let wanted = with(hourly(Overlap::Forbid, None), |spec| spec.deadline = Some(s(600)));
    let mut bench = waiting(&wanted);
    for run in 0..2 {
        until(&mut bench, at(run));
        bench.answer_all();
        bench.pass(s(600));
        assert_eq!(bench.answer_all(), ["ask main"], "run {run}");
        bench.exit(ID, "main", u32::try_from(run).unwrap(), ExitKind::Code(0));
        bench.answer_all();
        let status = bench.status(ID);
        assert_eq!(
            (status.phase, status.reason.unwrap().code),
            (Phase::Failed, ReasonCode::DeadlineExceeded)
        );
    }
}

#[test]
fn a_clock_that_is_set_forwards_is_noticed_within_half_a_minute() {
    let mut bench = waiting(&hourly(Overlap::Forbid, None));
    bench.set_wall(WallTime(at(5).0 + 1000));
    bench.pass(s(30));
    assert_eq!(bench.answer_all(), FIRST_RUN);
    assert_eq!(bench.status(ID).last_due, Some(at(5)), "one for all that were jumped over");
}

#[test]
fn a_clock_that_is_set_back_repeats_nothing() {
    let mut bench = waiting(&hourly(Overlap::Forbid, None));
    for run in 0..=2 {
        until(&mut bench, at(run));
        bench.answer_all();
        bench.exit(ID, "main", u32::try_from(run).unwrap(), ExitKind::Code(0));
        bench.answer_all();
    }
    assert_eq!(bench.status(ID).last_due, Some(at(2)));
    bench.set_wall(WallTime(ELEVEN.0 - 60_000));
    until(&mut bench, WallTime(at(3).0 - 1));
    assert_eq!(bench.begun(), [""; 0], "until the newest due time has come again, and another");
    until(&mut bench, at(3));
    assert_eq!(bench.answer_all().last().unwrap(), "start main 3");
    assert_eq!(bench.status(ID).last_due, Some(at(3)));
}

#[test]
fn a_clock_that_was_years_ahead_does_not_end_a_schedule() {
    let mut bench = waiting(&hourly(Overlap::Forbid, None));
    let right = bench.now.wall;
    let ahead = WallTime(at(10 * 365 * 24).0 + 1000);
    bench.set_wall(ahead);
    bench.pass(s(30));
    bench.answer_all();
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer_all();
    bench.set_wall(right);
    bench.pass(s(30));
    assert_eq!(bench.begun(), [""; 0]);
    until(&mut bench, ELEVEN);
    assert_eq!(bench.answer_all().last().unwrap(), "start main 1");
    assert_eq!(bench.status(ID).last_due, Some(ELEVEN));
    bench.exit(ID, "main", 1, ExitKind::Code(0));
    bench.answer_all();
    bench.set_wall(ahead);
    bench.pass(s(45));
    assert_eq!(bench.begun(), [""; 0], "what was run for under the wrong clock is not run for again");
}

#[test]
fn a_clock_that_drifts_runs_late_by_little() {
    let mut bench = waiting(&hourly(Overlap::Forbid, None));
    let mut slow = bench.now;
    // The wall clock loses a tenth of a second in each minute.
    while bench.begun.is_empty() && bench.now.wall < at(1) {
        bench.pass(s(60));
        slow.wall = WallTime(slow.wall.0 + 59_900);
        bench.set_wall(slow.wall);
    }
    assert_eq!(bench.begun(), ["pull"]);
    assert!(bench.now.wall.since(ELEVEN) < s(61), "{}", bench.now.wall);
}

#[test]
fn the_site_has_its_time() {
    let site = with(hourly(Overlap::Forbid, None), |spec| {
        let schedule = spec.schedule.as_mut().unwrap();
        schedule.cron = "0 3 * * *".to_owned();
        schedule.timezone = TimeZone::Site;
    });
    let check = |zone: Option<&str>, hour: u64| {
        let wanted = AllocationIntent { timezone: zone.map(str::to_owned), ..site.clone() };
        let mut bench = waiting(&wanted);
        until(&mut bench, WallTime(at(hour).0 - 1));
        assert_eq!(bench.begun(), [""; 0], "{zone:?}");
        until(&mut bench, at(hour));
        assert_eq!(bench.begun(), ["pull"], "{zone:?}");
    };
    check(None, 4);
    check(Some("Europe/Oslo"), 3);
    check(Some("America/New_York"), 9);
}

#[test]
fn another_zone_of_the_site_counts_at_once() {
    let site = with(hourly(Overlap::Forbid, None), |spec| {
        let schedule = spec.schedule.as_mut().unwrap();
        schedule.cron = "0 3 * * *".to_owned();
        schedule.timezone = TimeZone::Site;
    });
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &site)]);
    let moved = AllocationIntent { timezone: Some("Europe/Oslo".to_owned()), ..site };
    bench.rows(&[row(2, &moved)]);
    until(&mut bench, at(3));
    assert_eq!(bench.begun(), ["pull"]);
}

#[test]
fn a_schedule_that_cannot_be_kept_is_told() {
    for bad in ["0 0 30 2 *", "x"] {
        let mut bench = Bench::holding(&[cron(bad, Overlap::Forbid, None)]);
        bench.feed(Input::Inventory(Vec::new()));
        let status = bench.status(ID);
        assert_eq!((status.phase, status.ready_since), (Phase::Failed, None));
        let reason = status.reason.unwrap();
        assert!(reason.message.starts_with("its schedule cannot be kept: "), "{}", reason.message);
        bench.pass(HOUR);
        assert_eq!(bench.begun(), [""; 0]);
    }
}

#[test]
fn a_stop_ends_a_run_and_what_waits() {
    let mut bench = Bench::new();
    bench.link();
    let wanted = hourly(Overlap::Forbid, None);
    bench.rows(&[row(1, &wanted)]);
    bench.rows(&[row(2, &stopped(&wanted))]);
    assert_eq!((bench.cancelled.len(), bench.phase(ID)), (1, Phase::Stopping));
    assert_eq!(bench.answer_all(), ["pull", "remove allocation"]);
    assert_eq!(bench.phase(ID), Phase::Stopped);
    until(&mut bench, at(1));
    assert_eq!(bench.begun(), [""; 0]);
    bench.rows(&[gone(3, ID)]);
    assert!(!bench.holds(ID));
    assert!(bench.disk.keys().all(|(table, _)| table != "life"));
    assert_eq!(bench.state.poll_timeout(), None, "and nothing wakes the node any more");
}

#[test]
fn a_thousand_that_wait_wake_the_node_for_nothing_but_the_clock() {
    let nightly = cron("0 3 * * *", Overlap::Forbid, None);
    let many: Vec<AllocationIntent> = (0..1000)
        .map(|at| AllocationIntent {
            id: reference(&format!("web-{at}-1"), "main").allocation,
            ..nightly.clone()
        })
        .collect();
    let mut bench = Bench::holding(&many);
    bench.feed(Input::Inventory(Vec::new()));
    assert_eq!(bench.answer_all().len(), 1000);
    bench.link();
    bench.told();
    let mut wakes = 0;
    let end = bench.now.mono + HOUR;
    while let Some(at) = bench.state.poll_timeout().filter(|at| *at <= end) {
        bench.pass(at.since(bench.now.mono));
        wakes += 1;
    }
    assert_eq!(wakes, 120, "twice a minute, all together");
    assert!(bench.sent.iter().all(|message| !matches!(message, ToParent::Rows(_))));
    assert_eq!(bench.begun(), [""; 0]);
}
