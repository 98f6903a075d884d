//! Exclusive allocations: they run only while the node holds a lease, and every start has a greater token.

use std::time::Duration;

use skerry_types::{
    AllocationIntent, ExitKind, FencingToken, Lease, MonoTime, Phase, ReasonCode, RestartWhen,
};
use skerry_wire::{Cursor, Revision, ToChild, ToParent};

use super::bench::{Bench, EPOCH, found, intent, row, stopped, welcome, with};
use crate::*;

const ID: &str = "web-0-1";
const SECOND: Duration = Duration::from_secs(1);
/// A lease of 30 s ends after 29.7 s by a clock that may be slow. A second before, the keeper ends what runs; a grace of 10 s
/// and the margin of 2 s before, the stop begins.
const STOP_AT: Duration = Duration::from_millis(17_700);
/// A third of the time until then.
const RENEW_EVERY: Duration = Duration::from_millis(5_900);
const KILLED_AT: Duration = Duration::from_millis(28_700);
const MOMENT: Duration = Duration::from_millis(1);

fn exclusive() -> AllocationIntent {
    with(intent(ID, &["main"], RestartWhen::Always), |spec| {
        spec.exclusive = Some(Lease::new(SECOND * 30).unwrap());
    })
}

impl Bench {
    /// The last question for leases.
    fn asked(&mut self) -> Option<u64> {
        let mut rounds = self.sent.iter().filter_map(|message| match message {
            ToParent::Renew { round } => Some(*round),
            _ => None,
        });
        let last = rounds.next_back();
        self.sent.retain(|message| !matches!(message, ToParent::Renew { .. }));
        last
    }

    fn grant(&mut self, round: u64, revision: u64) {
        let cursor = Cursor { epoch: EPOCH, revision: Revision(revision), ..Cursor::default() };
        self.feed(Input::Received(ToChild::Renewed { round, cursor }));
    }

    fn renew(&mut self, revision: u64) {
        let round = self.asked().expect("a question for leases");
        self.grant(round, revision);
    }

    /// The link comes back.
    fn again(&mut self) {
        self.feed(Input::LinkUp);
        self.hello();
        self.feed(Input::Received(ToChild::Welcome(welcome(Cursor::default()))));
    }

    fn deadline(&self) -> Option<MonoTime> {
        self.deadlines.values().next().copied()
    }

    /// Lets time pass and answers every operation and every question at once.
    fn live_on(&mut self, time: Duration) {
        for _ in 0..time.as_secs() {
            self.pass(SECOND);
            if let Some(round) = self.asked() {
                self.grant(round, 1);
            }
            self.answer_all();
        }
    }
}

/// A bench on a link with the exclusive allocation, which runs by a lease asked for at this moment.
fn holder() -> (Bench, MonoTime) {
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &exclusive())]);
    bench.renew(1);
    bench.answer_all();
    assert_eq!(bench.phase(ID), Phase::Running);
    let asked = bench.now.mono;
    (bench, asked)
}

#[test]
fn nothing_runs_before_a_lease_is_granted() {
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &exclusive())]);
    let asked = bench.now.mono;
    assert_eq!(bench.answer_all(), ["pull"], "that is all that may be done without it");
    let status = bench.status(ID);
    assert_eq!((status.phase, status.reason.unwrap().code), (Phase::Pending, ReasonCode::NoLease));
    bench.pass(SECOND * 5);
    bench.renew(1);
    bench.answer();
    bench.answer();
    let Some(Operation::Start { fence: Some(fence), .. }) = bench.answer() else { panic!("no start") };
    assert_eq!(fence.token, FencingToken::new(1, 1));
    assert_eq!(fence.deadline, asked + KILLED_AT, "it counts from when it was asked for");
    let status = bench.status(ID);
    assert_eq!((status.phase, status.reason, status.token), (Phase::Running, None, Some(fence.token)));
}

#[test]
fn it_stops_in_time_while_the_node_is_cut_off() {
    let (mut bench, asked) = holder();
    bench.feed(Input::LinkDown);
    bench.pass(STOP_AT.saturating_sub(MOMENT));
    assert_eq!(bench.begun(), Vec::<String>::new());
    bench.pass(MOMENT);
    assert_eq!(bench.begun(), ["ask main"]);
    bench.pass(SECOND * 10);
    assert_eq!(bench.begun(), ["ask main", "kill main"], "the grace is over");
    assert!(bench.now.mono < asked + KILLED_AT, "before the keeper and the lease's end");
    bench.exit(ID, "main", 0, ExitKind::Signal(9));
    bench.answer_all();
    let status = bench.status(ID);
    assert_eq!((status.phase, status.reason.unwrap().code), (Phase::Pending, ReasonCode::NoLease));
    bench.pass(SECOND * 3600);
    assert_eq!(bench.begun(), Vec::<String>::new(), "nothing starts without a lease");
    bench.again();
    bench.renew(1);
    assert_eq!(bench.answer_all(), ["pull", "prepare 10.0.0.2", "start main 1"].map(str::to_owned).to_vec());
    assert_eq!(bench.status(ID).token, Some(FencingToken::new(1, 2)));
}

#[test]
fn a_lease_is_renewed_in_time_and_the_keeper_is_told() {
    let (mut bench, asked) = holder();
    bench.pass(RENEW_EVERY.saturating_sub(MOMENT));
    assert_eq!(bench.asked(), None);
    bench.pass(MOMENT);
    bench.renew(1);
    assert_eq!(bench.deadline(), Some(asked + RENEW_EVERY + KILLED_AT));
    bench.live_on(SECOND * 120);
    assert_eq!((bench.phase(ID), bench.status(ID).containers[0].restarts), (Phase::Running, 0));
}

#[test]
fn two_answers_in_a_row_may_be_lost() {
    let (mut bench, asked) = holder();
    bench.pass(RENEW_EVERY * 2);
    let lost = bench.asked();
    assert_eq!((lost, bench.begun()), (Some(3), Vec::new()));
    bench.pass(RENEW_EVERY.saturating_sub(MOMENT * 5));
    bench.grant(3, 1);
    assert_eq!(
        bench.deadline(),
        Some(asked + RENEW_EVERY * 2 + KILLED_AT),
        "late, but for a question of this link"
    );
    bench.pass(SECOND * 5);
    assert_eq!(bench.begun(), Vec::<String>::new());
}

#[test]
fn a_stop_that_began_goes_on_to_its_end_when_the_answer_comes() {
    let (mut bench, _) = holder();
    bench.pass(STOP_AT);
    assert_eq!(bench.begun(), ["ask main"]);
    bench.renew(1);
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    let done = bench.live(SECOND * 2, |_| true);
    assert_eq!(done.last().map(String::as_str), Some("start main 1"));
    assert_eq!(bench.phase(ID), Phase::Running);
    assert_eq!(bench.status(ID).reason, None);
}

#[test]
fn an_answer_of_the_last_link_says_nothing() {
    let (mut bench, _) = holder();
    bench.pass(RENEW_EVERY);
    let round = bench.asked().unwrap();
    bench.feed(Input::LinkDown);
    bench.again();
    let before = bench.deadline();
    bench.grant(round, 1);
    assert_eq!(bench.deadline(), before);
    bench.renew(1);
    assert!(bench.deadline() > before);
}

#[test]
fn an_answer_waits_for_the_rows_that_it_speaks_of() {
    let (mut bench, asked) = holder();
    bench.pass(SECOND * 10);
    bench.renew(5);
    assert_eq!(bench.deadline(), Some(asked + KILLED_AT), "the rows up to 5 are not here");
    bench.rows(&[row(5, &exclusive())]);
    assert_eq!(bench.deadline(), Some(asked + RENEW_EVERY + KILLED_AT));
    // What the parent gave up meanwhile gets no other lease.
    let (mut bench, asked) = holder();
    bench.feed(Input::LinkDown);
    bench.pass(SECOND * 60);
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer_all();
    bench.again();
    bench.renew(2);
    assert_eq!(bench.begun(), Vec::<String>::new());
    bench.rows(&[row(2, &stopped(&exclusive()))]);
    assert_eq!(bench.answer_all(), ["remove allocation"]);
    assert_eq!(bench.phase(ID), Phase::Stopped);
    assert_eq!(bench.deadline(), Some(asked + KILLED_AT));
}

#[test]
fn an_agent_that_starts_again_finds_the_lease_at_the_keeper() {
    let (mut bench, asked) = holder();
    bench.pass(SECOND * 5);
    bench.restart();
    let mut running = found(ID, "main", 0);
    running.deadline = Some(asked + KILLED_AT);
    bench.feed(Input::Inventory(vec![running]));
    bench.answer_all();
    assert_eq!(bench.phase(ID), Phase::Running);
    bench.pass(STOP_AT.saturating_sub(SECOND * 5 + MOMENT));
    assert_eq!(bench.begun(), Vec::<String>::new());
    bench.pass(MOMENT);
    assert_eq!(bench.begun(), ["ask main"]);
}

#[test]
fn what_loses_its_lease_amid_a_wait_does_not_wake_for_that_wait() {
    let (mut bench, asked) = holder();
    bench.restart();
    let mut running = found(ID, "main", 0);
    running.deadline = Some(asked + KILLED_AT);
    bench.feed(Input::Inventory(vec![running]));
    while bench.begun() != ["ask main"] {
        if !bench.begun().is_empty() {
            bench.fail(ReasonCode::CreateFailed, true);
        }
        bench.pass(SECOND / 10);
    }
    for _ in 0..1000 {
        bench.feed(Input::Timeout);
        let due = bench.state.poll_timeout().expect("the kill");
        assert!(due > bench.now.mono, "{due:?} stays due");
        bench.pass(SECOND / 10);
    }
}

#[test]
fn what_runs_without_a_deadline_is_stopped() {
    let (mut bench, _) = holder();
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!(bench.begun(), ["ask main"]);
}

#[test]
fn after_a_reboot_it_waits_for_the_master() {
    let (mut bench, _) = holder();
    bench.reboot(SECOND * 3);
    bench.answer_all();
    assert_eq!(bench.begun(), Vec::<String>::new());
    bench.link();
    bench.renew(1);
    assert_eq!(bench.answer_all().last().map(String::as_str), Some("start main 1"));
    assert_eq!(bench.status(ID).token, Some(FencingToken::new(1, 2)));
}

#[test]
fn a_start_waits_until_its_token_is_on_disk() {
    let (mut bench, _) = holder();
    bench.full = true;
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    bench.answer_all();
    bench.live(SECOND * 3, |_| true);
    assert_eq!(bench.begun(), Vec::<String>::new());
    bench.full = false;
    bench.feed(Input::Usage(skerry_types::NodeUsage::default()));
    assert_eq!(bench.live(SECOND, |_| true), ["start main 1"]);
    assert_eq!(bench.status(ID).token, Some(FencingToken::new(1, 2)));
}

#[test]
fn what_it_has_no_lease_for_does_not_start_again() {
    let (mut bench, _) = holder();
    bench.feed(Input::LinkDown);
    bench.pass(STOP_AT.saturating_sub(SECOND / 2));
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    bench.answer_all();
    // Its wait of a second ends after the stop would have begun.
    bench.pass(SECOND * 60);
    assert!(bench.answer_all().iter().all(|done| !done.starts_with("start")));
}
