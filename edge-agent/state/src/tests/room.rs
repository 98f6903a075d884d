//! A master that takes for gone what is still here: what its room was given to waits.

use std::time::Duration;

use skerry_types::{
    AllocationIntent, ExitKind, MilliCpu, NodeFacts, Phase, PortBinding, PortName, Protocol, ReasonCode,
    Resources, RestartWhen,
};
use skerry_wire::{Revision, Row, RowsFrame, ToChild};

use super::bench::*;
use crate::*;

const OLD: &str = "old-0-1";
const NEW: &str = "new-0-2";

fn sized(id: &str, cpu: u64, port: Option<u16>) -> AllocationIntent {
    let need = Resources { cpu: MilliCpu(cpu), ..Resources::default() };
    let intent = with(intent(id, &["main"], RestartWhen::Always), |spec| spec.containers[0].resources = need);
    let name = PortName::new("http").unwrap();
    let bind = |host| PortBinding { name: name.clone(), protocol: Protocol::Tcp, container: 80, host };
    AllocationIntent { ports: port.map(bind).into_iter().collect(), ..intent }
}

fn one_processor() -> Input {
    let capacity = Resources { cpu: MilliCpu(1000), ..Resources::default() };
    Input::Facts(NodeFacts { capacity, ..NodeFacts::default() })
}

/// `old` runs on a node of one processor, and the master says in one word that it has no row and that `new` has one.
fn replaced(old: &AllocationIntent, new: &AllocationIntent) -> Bench {
    let mut bench = Bench::running(old);
    bench.feed(one_processor());
    bench.feed(Input::LinkUp);
    bench.hello();
    bench.feed(Input::Received(ToChild::Welcome(welcome(skerry_wire::Cursor::default()))));
    let rows: Vec<Row> = vec![row(9, new)];
    let frame = RowsFrame::Snapshot {
        epoch: EPOCH,
        incarnation: INCARNATION,
        first: true,
        rows,
        end: Some(Revision(9)),
    };
    bench.feed(Input::Received(ToChild::Rows(frame)));
    bench
}

#[test]
fn what_does_not_fit_beside_what_leaves_waits_until_it_has_left() {
    let check = |(old, new): (AllocationIntent, AllocationIntent), waits: bool| {
        let mut bench = replaced(&old, &new);
        let rest: &[&str] = if waits { &[] } else { &["prepare", "start main 0"] };
        let begun = bench.live(Duration::from_secs(5), |_| true);
        let expect: Vec<&str> = ["ask main", "pull"].into_iter().chain(rest.iter().copied()).collect();
        let mut begun: Vec<String> = begun.into_iter().filter(|word| word != "pull").collect();
        begun.insert(1, "pull".to_owned());
        assert_eq!(begun, expect);
        bench.exit(OLD, "main", 0, ExitKind::Code(0));
        bench.live(Duration::from_secs(5), |_| true);
        assert!(!bench.holds(OLD));
        assert_eq!(bench.phase(NEW), Phase::Running);
    };
    check((sized(OLD, 600, None), sized(NEW, 600, None)), true);
    check((sized(OLD, 600, None), sized(NEW, 400, None)), false);
    check((sized(OLD, 100, Some(8080)), sized(NEW, 100, Some(8080))), true);
    check((sized(OLD, 100, Some(8080)), sized(NEW, 100, Some(8081))), false);
}

#[test]
fn what_runs_already_does_not_wait() {
    let (old, new) = (sized(OLD, 600, None), sized(NEW, 600, None));
    let mut bench = replaced(&old, &new);
    bench.live(Duration::from_secs(5), |_| true);
    bench.restart();
    bench.feed(Input::Inventory(vec![found(OLD, "main", 0), found(NEW, "main", 0)]));
    assert!(bench.answer_all().contains(&"prepare".to_owned()), "it is taken over as it is");
    assert_eq!(bench.phase(NEW), Phase::Running);
}

#[test]
fn what_does_not_run_yet_waits_for_strangers_while_they_are_removed() {
    let runs = sized(OLD, 100, None);
    let new = sized(NEW, 100, Some(8080));
    let begun_beside = |failures: usize| {
        let mut bench = Bench::running(&runs);
        bench.restart();
        bench.feed(Input::Inventory(vec![found(OLD, "main", 0), found("lost-0-9", "main", 0)]));
        bench.link();
        bench.feed(one_processor());
        bench.rows(&[row(9, &new)]);
        for _ in 0..failures {
            let at = bench.begun().iter().position(|word| word == "discard lost-0-9").unwrap();
            bench.begun.swap(0, at);
            bench.fail(ReasonCode::Keeper, true);
            bench.pass(Duration::from_secs(31));
        }
        let (discard, rest) = bench.begun.drain(..).partition(|(_, begun)| word(begun) == "discard lost-0-9");
        bench.begun = rest;
        let begun = bench.live(Duration::from_secs(5), |_| true);
        assert_eq!(bench.phase(OLD), Phase::Running);
        let waited = !begun.contains(&"prepare".to_owned());
        bench.begun = discard;
        bench.live(Duration::from_secs(5), |_| true);
        assert_eq!(bench.phase(NEW), Phase::Running);
        waited
    };
    assert!(begun_beside(0));
    assert!(begun_beside(3));
    assert!(!begun_beside(4), "one that cannot be removed does not keep the node empty");
}

#[test]
fn what_a_restored_master_gives_again_waits_for_what_has_its_room_since() {
    let check = |(runs, again): (AllocationIntent, AllocationIntent), waits: bool| {
        let mut bench = Bench::running(&runs);
        bench.link();
        bench.feed(one_processor());
        bench.rows(&[row(2, &runs)]);
        // Its store went back: it knows nothing of what runs, and what it knows was deleted since.
        let (another, incarnation) = (skerry_wire::Epoch(8), INCARNATION);
        bench.feed(Input::LinkDown);
        bench.feed(Input::LinkUp);
        let hello = bench.hello();
        let cursor = skerry_wire::Cursor { epoch: hello.epoch, ..skerry_wire::Cursor::default() };
        let welcome = skerry_wire::Welcome { epoch: another, ..welcome(cursor) };
        bench.feed(Input::Received(ToChild::Welcome(welcome)));
        let (rows, end) = (vec![row(9, &again)], Some(Revision(9)));
        let frame = RowsFrame::Snapshot { epoch: another, incarnation, first: true, rows, end };
        bench.feed(Input::Received(ToChild::Rows(frame)));
        bench.live(Duration::from_secs(5), |_| true);
        assert_eq!((bench.phase(OLD), bench.holds(NEW)), (Phase::Running, true));
        let status = bench.status(NEW);
        let expect = if waits { (Phase::Pending, Some(ReasonCode::NoRoom)) } else { (Phase::Running, None) };
        assert_eq!((status.phase, status.reason.map(|reason| reason.code)), expect);
        // What ends and starts again keeps its room.
        bench.exit(OLD, "main", 0, ExitKind::Code(1));
        bench.live(Duration::from_secs(30), |_| true);
        assert_eq!((bench.phase(OLD), bench.phase(NEW)), (Phase::Running, expect.0));
        bench.restart();
        bench.feed(Input::Inventory(vec![found(OLD, "main", 1)]));
        bench.live(Duration::from_secs(30), |_| true);
        assert_eq!(bench.phase(OLD), Phase::Running);
    };
    check((sized(OLD, 600, None), sized(NEW, 600, None)), true);
    check((sized(OLD, 600, None), sized(NEW, 400, None)), false);
    check((sized(OLD, 100, Some(8080)), sized(NEW, 100, Some(8080))), true);
    check((sized(OLD, 100, Some(8080)), sized(NEW, 100, Some(8081))), false);
}
