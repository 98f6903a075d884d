//! What is said to the master and heard from it.

use std::time::Duration;

use skerry_types::{NodeFacts, Phase};
use skerry_wire::{Cursor, ObservedRow, Refused, Revision, RowKey, RowsFrame, TableId, ToChild, ToParent};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";

fn cursor(revision: u64) -> Cursor {
    Cursor { epoch: EPOCH, incarnation: INCARNATION, revision: Revision(revision) }
}

#[test]
fn the_hello_waits_for_the_keeper_and_the_facts_but_not_for_ever() {
    let mut bench = Bench::new();
    bench.feed(Input::LinkUp);
    bench.feed(Input::Inventory(Vec::new()));
    assert!(bench.sent.is_empty());
    bench.feed(Input::Facts(NodeFacts::default()));
    assert_eq!(bench.hello().cursor, Cursor::default());

    let mut bench = Bench::new();
    bench.feed(Input::LinkUp);
    bench.pass(Duration::from_millis(9_999));
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(1));
    bench.hello();
}

#[test]
fn rows_are_answered_in_order_with_the_cursor() {
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(3, &web())]);
    assert_eq!(bench.acks(), [cursor(3)]);
    bench.rows(&[row(4, &stopped(&web()))]);
    bench.rows(&[gone(5, ID)]);
    assert_eq!(bench.acks(), [cursor(3), cursor(4), cursor(5)]);
    bench.feed(Input::LinkDown);
    bench.feed(Input::LinkUp);
    assert_eq!(bench.hello().cursor, cursor(5));
}

#[test]
fn a_snapshot_drops_what_it_does_not_name() {
    let other = intent("db-0-2", &["main"], skerry_types::RestartWhen::Always);
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &web()), row(2, &other)]);
    bench.answer_all();
    let snapshot = |first, rows, end| {
        Input::Received(ToChild::Rows(RowsFrame::Snapshot {
            epoch: EPOCH,
            incarnation: INCARNATION,
            first,
            rows,
            end,
        }))
    };
    bench.feed(snapshot(true, vec![row(2, &other)], None));
    assert_eq!(bench.phase(ID), Phase::Running, "not before its end");
    bench.feed(snapshot(false, Vec::new(), Some(Revision(9))));
    assert_eq!(bench.answer_all(), ["ask main"]);
    assert_eq!((bench.phase(ID), bench.phase("db-0-2")), (Phase::Stopping, Phase::Running));
    bench.restart();
    assert!(!bench.holds(ID));
}

#[test]
fn a_row_that_is_none_is_left_out_and_told() {
    let mut bench = Bench::new();
    bench.link();
    let mut misnamed = row(1, &web());
    misnamed.key.key = "db-0-1".into();
    let mut garbage = row(2, &web());
    garbage.value = Some(vec![0xff; 9]);
    let mut unknown = row(3, &web());
    unknown.key = RowKey::new(TableId(900), ID);
    bench.rows(&[misnamed, garbage, unknown]);
    assert_eq!(bench.state.lifecycles().count(), 0);
    let events: Vec<String> = bench
        .told()
        .into_iter()
        .filter_map(|(_, row)| match row {
            Some(ObservedRow::Event(event)) if event.reason == "BadIntent" => Some(event.message),
            _ => None,
        })
        .collect();
    assert_eq!(events.len(), 2, "{events:?}");
}

#[test]
fn messages_out_of_turn_close_the_link_and_change_nothing() {
    let ack = || ToChild::Ack(Cursor::default());
    let rows = || {
        ToChild::Rows(RowsFrame::Delta { epoch: EPOCH, incarnation: INCARNATION, rows: vec![row(1, &web())] })
    };
    let refused = || {
        let code = skerry_wire::RefusalCode::Removed;
        ToChild::Refused(Refused { code, message: "removed".to_owned() })
    };
    let check = |case: &str, messages: Vec<ToChild>| {
        let mut bench = Bench::new();
        bench.feed(Input::Inventory(Vec::new()));
        bench.feed(Input::Facts(NodeFacts::default()));
        bench.feed(Input::LinkUp);
        bench.hello();
        for message in messages {
            bench.feed(Input::Received(message));
        }
        assert_eq!(bench.closed.len(), 1, "{case}");
        assert_eq!(bench.state.lifecycles().count(), 0, "{case}");
        bench.sent.clear();
        bench.feed(Input::Received(ToChild::Welcome(welcome(Cursor::default()))));
        bench.feed(Input::Received(rows()));
        assert_eq!(bench.sent, [], "{case}: what comes after is not heard");
        assert_eq!(bench.closed.len(), 1, "{case}: closed once");
    };
    check("refused", vec![refused()]);
    check("rows before the welcome", vec![rows()]);
    check("an answer before the welcome", vec![ack()]);
    let hi = || ToChild::Welcome(welcome(Cursor::default()));
    check("two welcomes", vec![hi(), hi()]);
    check("a delta of another epoch", vec![hi(), rows()]);
    check("refused late", vec![hi(), refused()]);
}

#[test]
fn without_a_link_nothing_is_heard() {
    let mut bench = Bench::new();
    bench.feed(Input::Received(ToChild::Welcome(welcome(Cursor::default()))));
    assert!(!bench.state.is_connected());
    assert!(bench.closed.is_empty() && bench.sent.is_empty());
}

#[test]
fn a_link_neither_starts_nor_stops_anything() {
    let mut bench = Bench::running(&web());
    for _ in 0..5 {
        bench.link();
        bench.feed(Input::LinkDown);
        bench.pass(Duration::from_secs(30));
    }
    assert_eq!(bench.begun(), [""; 0]);
    assert_eq!(bench.phase(ID), Phase::Running);
}

#[test]
fn a_change_is_told_once_and_silence_follows() {
    let mut bench = Bench::running(&web());
    bench.link();
    let told = bench.told();
    assert!(told.iter().any(|(key, _)| key.table == TableId::STATUS));
    bench.feed(Input::Facts(NodeFacts::default()));
    bench.pass(Duration::from_hours(1));
    assert_eq!(bench.sent, []);
}

#[test]
fn the_status_goes_up_even_when_it_changed_while_the_link_was_down() {
    let mut bench = Bench::running(&web());
    bench.link();
    bench.told();
    bench.feed(Input::LinkDown);
    bench.exit(ID, "main", 0, skerry_types::ExitKind::Code(1));
    bench.answer_all();
    bench.link();
    let told = bench.told();
    let status = told.iter().find_map(|(_, row)| match row {
        Some(ObservedRow::Status(status)) => Some(status.phase),
        _ => None,
    });
    assert_eq!(status, Some(Phase::Backoff));
}

#[test]
fn at_most_four_frames_wait_for_an_answer() {
    let many: Vec<_> = (0..250)
        .map(|at| intent(&format!("web-{at}-1"), &["main"], skerry_types::RestartWhen::Always))
        .collect();
    let mut bench = Bench::holding(&many);
    bench.feed(Input::Inventory(Vec::new()));
    bench.link();
    for at in 0..50 {
        bench.exit(&format!("web-{at}-1"), "main", 0, skerry_types::ExitKind::Code(1));
        bench.feed(Input::Usage(usage(at)));
    }
    let frames = bench.sent.iter().filter(|message| matches!(message, ToParent::Rows(_))).count();
    assert!(frames <= 4, "{frames}");
}

fn usage(at: u64) -> skerry_types::NodeUsage {
    let memory = skerry_types::Bytes(at + 1);
    skerry_types::NodeUsage { used: skerry_types::Resources { memory, ..Default::default() } }
}
