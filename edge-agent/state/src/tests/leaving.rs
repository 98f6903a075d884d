//! From the word to stop to the stop signal: balancers are given time to notice.

use std::time::Duration;

use skerry_types::{AllocationIntent, ExitKind, Lease, Phase, Probe, ProbeCheck, RestartWhen};
use skerry_wire::{Cursor, Revision, ToChild, ToParent};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";
const SECOND: Duration = Duration::from_secs(1);

fn delayed() -> AllocationIntent {
    with(web(), |spec| spec.stop_delay = SECOND * 5)
}

/// A bench with a link and this allocation, which runs.
fn linked(intent: &AllocationIntent) -> Bench {
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, intent)]);
    bench.answer_all();
    bench
}

#[test]
fn it_is_not_ready_and_goes_on_for_the_delay() {
    let mut bench = linked(&delayed());
    assert!(bench.status(ID).ready_since.is_some());
    bench.rows(&[row(2, &stopped(&delayed()))]);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.ready_since), (Phase::Stopping, None), "told at once");
    bench.pass(SECOND * 4);
    assert_eq!(bench.begun(), [""; 0]);
    bench.pass(SECOND);
    assert_eq!(bench.answer_all(), ["ask main"]);
    bench.pass(SECOND * 10);
    assert_eq!(bench.answer_all(), ["kill main"], "the grace counts from the signal");
    bench.exit(ID, "main", 0, ExitKind::Signal(9));
    assert_eq!(bench.answer_all(), ["remove main", "remove allocation"]);
}

#[test]
fn what_has_no_traffic_to_lose_stops_at_once() {
    let probed = with(delayed(), |spec| {
        let check = ProbeCheck::Exec { command: vec!["up".to_owned()] };
        let (interval, timeout, grace) = (SECOND * 10, SECOND, Duration::ZERO);
        spec.containers[0].probes.ready = Some(Probe { check, interval, timeout, failures: 1, grace });
    });
    let mut bench = linked(&probed);
    bench.rows(&[row(2, &stopped(&probed))]);
    assert_eq!(bench.begun(), ["ask main"], "it never was ready");

    let mut bench = linked(&delayed());
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    bench.answer_all();
    bench.rows(&[row(2, &stopped(&delayed()))]);
    assert_eq!(bench.begun(), ["remove allocation"], "it waits for its next start");
}

#[test]
fn an_end_during_the_delay_is_the_end_of_it() {
    let mut bench = linked(&delayed());
    bench.rows(&[row(2, &stopped(&delayed()))]);
    bench.pass(SECOND);
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove main", "remove allocation"]);
    assert_eq!(bench.phase(ID), Phase::Stopped);
}

#[test]
fn a_delay_goes_on_when_the_agent_restarts_and_ends_when_it_is_wanted_again() {
    let mut bench = linked(&delayed());
    bench.rows(&[row(2, &stopped(&delayed()))]);
    bench.pass(SECOND * 3);
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!(bench.begun(), [""; 0]);
    bench.pass(SECOND * 2);
    assert_eq!(bench.begun(), ["ask main"], "as long as it would have taken");

    let mut bench = linked(&delayed());
    bench.rows(&[row(2, &stopped(&delayed()))]);
    bench.pass(SECOND * 3);
    bench.rows(&[row(3, &delayed())]);
    bench.pass(SECOND * 60);
    assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Running), "nothing was done to it");
}

#[test]
fn a_lease_that_ends_waits_for_no_delay() {
    let exclusive = with(intent(ID, &["main"], RestartWhen::Always), |spec| {
        spec.exclusive = Some(Lease::new(SECOND * 30).unwrap());
        spec.stop_delay = SECOND * 60;
    });
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &exclusive)]);
    let round = bench.sent.iter().rev().find_map(|message| match message {
        ToParent::Renew { round } => Some(*round),
        _ => None,
    });
    let cursor = Cursor { epoch: EPOCH, revision: Revision(1), ..Cursor::default() };
    bench.feed(Input::Received(ToChild::Renewed { round: round.unwrap(), cursor }));
    bench.answer_all();
    bench.rows(&[row(2, &stopped(&exclusive))]);
    bench.pass(SECOND * 17);
    assert_eq!(bench.begun(), [""; 0]);
    bench.pass(SECOND);
    assert_eq!(bench.begun(), ["ask main"], "its grace of 10 s ends before its lease of 30 s does");
}
