//! What will run later has its images before: also when the registry is out of reach by then.

use std::time::Duration;

use skerry_types::{
    AllocationIntent, ContainerSpec, ImageDigest, Overlap, Phase, ReasonCode, RestartWhen, Schedule,
    TimeZone, WallTime,
};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";
/// The bench begins at 2023-11-14 22:13:20 UTC; the next whole hour is 23:00.
const ELEVEN: WallTime = WallTime(1_700_002_800_000);
const HOUR: Duration = Duration::from_hours(1);

fn hourly() -> AllocationIntent {
    with(intent(ID, &["main"], RestartWhen::OnFailure), |spec| {
        let timezone = TimeZone::Named("UTC".to_owned());
        let cron = "0 * * * *".to_owned();
        spec.schedule = Some(Schedule { cron, timezone, overlap: Overlap::Forbid, starting_deadline: None });
    })
}

fn placed(intent: &AllocationIntent) -> Bench {
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, intent)]);
    bench
}

fn until(bench: &mut Bench, wall: WallTime) {
    bench.pass(wall.since(bench.now.wall));
}

#[test]
fn images_are_fetched_at_placement_and_kept() {
    let digest = ImageDigest::new(format!("sha256:{}", "a".repeat(64))).unwrap();
    let wanted = with(hourly(), |spec| {
        let main = ContainerSpec { digest: Some(digest.clone()), ..spec.containers[0].clone() };
        spec.containers = vec![main];
    });
    let mut bench = placed(&wanted);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.ready_since), (Phase::Pulling, None), "it could not run yet");
    assert_eq!(bench.answer_all(), ["pull"]);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.ready_since.is_some()), (Phase::Pending, true));
    bench.feed(Input::LinkDown);
    assert!(bench.state.images_in_use().contains(&digest), "no room is made at its cost");
    until(&mut bench, ELEVEN);
    assert_eq!(bench.answer_all(), ["pull", "prepare", "start main 0"], "the pull finds them here");
    assert!(bench.state.images_in_use().contains(&digest));
}

#[test]
fn they_are_fetched_once_in_each_boot() {
    let mut bench = placed(&hourly());
    bench.answer_all();
    bench.restart();
    bench.feed(Input::Inventory(Vec::new()));
    assert_eq!(bench.begun(), [""; 0], "the agent's restart took no image away");
    assert!(bench.status(ID).ready_since.is_some());
    bench.reboot(Duration::from_mins(1));
    assert_eq!(bench.begun(), ["pull"], "a cache may lie in memory");
}

#[test]
fn a_fetch_that_fails_is_told_and_tried_again() {
    let mut bench = placed(&hourly());
    bench.fail(ReasonCode::RegistryUnreachable, true);
    let status = bench.status(ID);
    assert_eq!(status.phase, Phase::Backoff);
    assert_eq!((status.reason.unwrap().code, status.ready_since), (ReasonCode::RegistryUnreachable, None));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_all(), ["pull"]);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.reason), (Phase::Pending, None));
    assert!(status.ready_since.is_some());
    bench.pass(Duration::from_mins(5));
    assert_eq!(bench.begun(), [""; 0]);
}

#[test]
fn a_run_that_falls_due_waits_for_no_next_try() {
    let mut bench = placed(&hourly());
    for _ in 0..20 {
        bench.fail(ReasonCode::ImageNotFound, false);
        bench.pass(Duration::from_mins(20).min(ELEVEN.since(bench.now.wall)));
        if bench.now.wall >= ELEVEN {
            break;
        }
    }
    assert_eq!(bench.begun(), ["pull"], "for the run");
    assert_eq!(bench.answer_all(), ["pull", "prepare", "start main 0"]);
    assert_eq!(bench.status(ID).reason, None);
}

#[test]
fn a_run_that_falls_due_while_its_images_come_goes_on_with_them() {
    let mut bench = placed(&hourly());
    until(&mut bench, ELEVEN);
    assert_eq!((bench.begun(), bench.cancelled.len()), (vec!["pull".to_owned()], 0));
    let mut full = placed(&hourly());
    full.full = true;
    until(&mut full, ELEVEN);
    full.answer();
    assert_eq!(full.begun(), [""; 0], "the due time is on disk before anything is done for it");
    assert_eq!(bench.answer_all(), ["pull", "prepare", "start main 0"]);
    assert_eq!(bench.status(ID).last_due, Some(ELEVEN));
}

#[test]
fn what_is_over_fetches_nothing() {
    let mut bench = Bench::running(&intent(ID, &["main"], RestartWhen::Never));
    bench.exit(ID, "main", 0, skerry_types::ExitKind::Code(0));
    bench.answer_all();
    bench.reboot(HOUR);
    assert_eq!(bench.begun(), [""; 0]);
}
