//! Events: kept until the master has them, each under a number of its own.

use std::time::Duration;

use skerry_types::ExitKind;
use skerry_wire::{ObservedRow, RowKey, TableId};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";

fn crash(bench: &mut Bench, times: u32) {
    let from = bench.status(ID).containers[0].restarts;
    for attempt in from..from + times {
        bench.exit(ID, "main", attempt, ExitKind::Code(1));
        bench.answer_all();
        bench.pass(Duration::from_secs(90));
        bench.answer_all();
    }
}

fn numbers(told: &[(RowKey, Option<ObservedRow>)]) -> Vec<u64> {
    told.iter()
        .filter(|(key, _)| key.table == TableId::EVENT)
        .map(|(key, _)| key.key.parse().expect("a number"))
        .collect()
}

fn on_disk(bench: &Bench) -> usize {
    bench.disk.keys().filter(|(table, _)| table == "event").count()
}

#[test]
fn events_go_up_in_the_order_of_their_numbers_in_a_snapshot_too() {
    let mut bench = Bench::running(&web());
    crash(&mut bench, 20);
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 20)]));
    bench.link();
    let numbers = numbers(&bench.told());
    assert!(numbers.len() > 30, "{numbers:?}");
    assert!(numbers.is_sorted(), "the master takes none that is older than one it has: {numbers:?}");
}

#[test]
fn waiting_events_are_bounded_in_memory_and_on_disk() {
    let mut bench = Bench::running(&web());
    crash(&mut bench, 200);
    assert!(on_disk(&bench) <= 257, "{}", on_disk(&bench));
    bench.link();
    let numbers = numbers(&bench.told());
    assert_eq!(numbers.len(), 256);
    assert!(*numbers.last().unwrap() > 400, "the newest are kept");
}

#[test]
fn acknowledged_events_leave_and_their_numbers_are_not_given_again() {
    let mut bench = Bench::running(&web());
    crash(&mut bench, 3);
    bench.link();
    let seen = *numbers(&bench.told()).last().unwrap();
    assert_eq!(on_disk(&bench), 1, "the newest stays for its number");
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 3)]));
    bench.link();
    let again = numbers(&bench.told());
    assert_eq!(again[0], seen);
    assert!(again[1..].iter().all(|number| *number > seen), "{again:?}");
}

#[test]
fn a_number_that_was_told_is_on_disk() {
    let mut bench = Bench::running(&web());
    bench.link();
    bench.told();
    bench.full = true;
    crash(&mut bench, 3);
    assert_eq!(numbers(&bench.told()), [0; 0], "an event that a crash would forget is not told");
    bench.full = false;
    bench.feed(Input::Timeout);
    assert!(!numbers(&bench.told()).is_empty());
}
