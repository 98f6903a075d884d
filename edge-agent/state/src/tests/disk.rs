//! What a slow or full disk holds back, and what it does not.

use std::time::Duration;

use skerry_types::{ExitKind, Phase};
use skerry_wire::{Cursor, Revision, ToChild, ToParent};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";

#[test]
fn an_answer_and_what_it_answers_wait_for_the_disk() {
    let mut bench = Bench::new();
    bench.link();
    bench.full = true;
    bench.rows(&[row(1, &web())]);
    assert_eq!((bench.acks().len(), bench.begun().len()), (0, 0));
    bench.feed(Input::Inventory(Vec::new()));
    bench.pass(Duration::from_mins(1));
    assert_eq!(bench.begun(), [""; 0], "no other input begins it either");
    bench.full = false;
    bench.feed(Input::Timeout);
    assert_eq!((bench.acks().len(), bench.begun()), (1, vec!["pull".to_owned()]));
}

#[test]
fn a_full_disk_does_not_stop_local_restarts_nor_their_report() {
    let mut bench = Bench::running(&web());
    bench.link();
    bench.told();
    bench.full = true;
    for attempt in 0..5 {
        bench.exit(ID, "main", attempt, ExitKind::Code(1));
        assert_eq!(bench.answer_all(), ["remove main"]);
        bench.pass(Duration::from_secs(30));
        assert_eq!(bench.answer_all(), [format!("start main {}", attempt + 1)]);
    }
    assert_eq!(bench.phase(ID), Phase::Running);
    assert!(bench.told().iter().any(|(key, _)| *key.key == *ID), "the status goes up");
}

#[test]
fn a_stop_on_a_slow_disk_still_gives_its_grace() {
    let mut bench = Bench::running(&web());
    bench.link();
    bench.full = true;
    bench.rows(&[row(2, &stopped(&web()))]);
    bench.pass(Duration::from_mins(1));
    assert_eq!(bench.begun(), [""; 0]);
    bench.full = false;
    bench.feed(Input::Timeout);
    assert_eq!(bench.begun(), ["ask main"]);
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.begun(), ["ask main"]);
}

#[test]
fn a_crash_forgets_what_was_not_acknowledged() {
    let mut bench = Bench::new();
    bench.link();
    bench.full = true;
    bench.rows(&[row(1, &web())]);
    bench.restart();
    bench.full = false;
    bench.feed(Input::Inventory(Vec::new()));
    assert!(!bench.holds(ID));
    assert_eq!(bench.link().cursor, Cursor::default(), "it asks for it again");
}

#[test]
fn a_link_comes_up_on_a_full_disk_and_says_what_is_on_it() {
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &web())]);
    bench.full = true;
    bench.rows(&[row(2, &stopped(&web()))]);
    bench.feed(Input::LinkDown);
    bench.feed(Input::LinkUp);
    assert_eq!(bench.hello().cursor.revision, Revision(1));
}

#[test]
fn what_was_due_on_one_link_is_not_said_on_the_next() {
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &web())]);
    bench.full = true;
    bench.rows(&[row(2, &stopped(&web()))]);
    bench.feed(Input::LinkDown);
    bench.feed(Input::LinkUp);
    bench.full = false;
    bench.sent.clear();
    bench.feed(Input::Timeout);
    assert_eq!(bench.sent, [], "an answer before the welcome would be out of turn");
    bench.feed(Input::Received(ToChild::Welcome(welcome(Cursor::default()))));
    bench.rows(&[row(2, &stopped(&web()))]);
    assert_eq!(bench.acks().len(), 1);
}

#[test]
fn rows_that_come_twice_change_nothing() {
    let mut bench = Bench::running(&web());
    bench.link();
    for _ in 0..3 {
        bench.rows(&[row(1, &web())]);
    }
    assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Running));
}

#[test]
fn a_row_that_is_gone_before_it_came_into_force_never_does() {
    let mut bench = Bench::new();
    bench.link();
    bench.full = true;
    bench.rows(&[row(1, &web())]);
    let delta = skerry_wire::RowsFrame::Delta {
        epoch: EPOCH,
        incarnation: skerry_wire::Incarnation(1),
        rows: vec![gone(2, ID)],
    };
    bench.feed(Input::Received(ToChild::Rows(delta)));
    bench.full = false;
    bench.feed(Input::Timeout);
    let begun = bench.answer_all();
    assert!(begun.iter().all(|word| word == "pull" || word == "remove allocation"), "{begun:?}");
    assert!(!bench.holds(ID));
    assert!(bench.disk.keys().all(|(table, _)| table != "intent"));
}

#[test]
fn everything_that_was_written_loads_as_it_was() {
    let mut bench = Bench::running(&web());
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    bench.answer_all();
    let before = bench.status(ID).containers;
    bench.restart();
    let after = bench.status(ID).containers;
    assert_eq!(before[0].restarts, after[0].restarts);
    assert_eq!(before[0].last_exit, after[0].last_exit);
    assert_eq!(before[0].log_tail, after[0].log_tail);
    assert!(bench.sent.iter().all(|message| !matches!(message, ToParent::Rows(_))));
}

#[test]
fn a_ledger_that_cannot_be_read_says_where() {
    let config = AgentConfig {
        node: skerry_types::NodeName::new("n1").unwrap(),
        software: String::new(),
        epoch: skerry_wire::Epoch(1),
        boot: String::new(),
    };
    let check = |table: &str, says: &str| {
        let row = (table.to_owned(), b"web-0-1".to_vec(), vec![0xff; 3]);
        let error = AgentState::load(config.clone(), skerry_types::Now::default(), [row]).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    };
    check("intent", "row 'web-0-1' of table 'intent'");
    check("life", "row 'web-0-1' of table 'life'");
    check("event", "row 'web-0-1' of table 'event'");
    check("rumour", "table 'rumour'");
}
