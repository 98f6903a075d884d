//! From a wish to stop until nothing is left.

use std::time::Duration;

use skerry_types::{ExitKind, Phase, ReasonCode, RestartWhen};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";

/// A bench with a link and this allocation, whose first `answers` operations are answered.
fn upto(answers: usize) -> Bench {
    let mut bench = Bench::new();
    bench.link();
    bench.rows(&[row(1, &web())]);
    (0..answers).for_each(|_| drop(bench.answer().expect("an operation")));
    bench
}

#[test]
fn a_container_is_asked_then_killed_then_removed() {
    let mut bench = upto(3);
    bench.rows(&[row(2, &stopped(&web()))]);
    assert_eq!(bench.answer_all(), ["ask main"]);
    assert_eq!(bench.phase(ID), Phase::Stopping);
    bench.pass(Duration::from_millis(9_999));
    assert_eq!(bench.begun(), [""; 0]);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.answer_all(), ["kill main"]);
    bench.pass(Duration::from_secs(31));
    assert_eq!(bench.answer_all(), ["kill main"], "a kill that came to nothing is repeated");
    bench.exit(ID, "main", 0, ExitKind::Signal(9));
    assert_eq!(bench.answer_all(), ["remove main", "remove allocation"]);
    assert_eq!(bench.phase(ID), Phase::Stopped);
    bench.rows(&[gone(3, ID)]);
    assert!(!bench.holds(ID));
    let left: Vec<_> = bench.disk.keys().filter(|(table, _)| table == "intent" || table == "life").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_container_that_ends_within_its_grace_is_not_killed() {
    let mut bench = upto(3);
    bench.rows(&[row(2, &stopped(&web()))]);
    bench.answer_all();
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    assert_eq!(bench.answer_all(), ["remove main", "remove allocation"]);
    bench.pass(Duration::from_mins(1));
    assert_eq!(bench.begun(), [""; 0]);
}

#[test]
fn a_stop_waits_for_what_is_under_way() {
    let check = |answers: usize, under_way: &str, cancelled: bool, rest: &[&str]| {
        let mut bench = upto(answers);
        assert_eq!(bench.begun(), [under_way]);
        bench.rows(&[row(2, &stopped(&web()))]);
        bench.pass(Duration::from_mins(1));
        assert_eq!(bench.cancelled.len(), usize::from(cancelled), "{under_way}");
        assert_eq!(bench.begun(), [under_way], "nothing beside it");
        bench.answer();
        if bench.begun() == ["ask main"] {
            bench.answer();
            bench.exit(ID, "main", 0, ExitKind::Code(0));
        }
        assert_eq!(bench.answer_all(), rest, "{under_way}");
        assert_eq!(bench.phase(ID), Phase::Stopped);
    };
    check(0, "pull", true, &["remove allocation"]);
    check(1, "prepare", false, &["remove allocation"]);
    check(2, "start main 0", false, &["remove main", "remove allocation"]);
}

#[test]
fn a_stop_goes_on_when_what_was_under_way_fails() {
    let check = |answers: usize, rest: &[&str]| {
        let mut bench = upto(answers);
        bench.rows(&[row(2, &stopped(&web()))]);
        bench.fail(ReasonCode::RegistryUnreachable, true);
        assert_eq!(bench.answer_all(), rest, "after {answers}");
        assert_eq!(bench.phase(ID), Phase::Stopped);
    };
    check(0, &["remove allocation"]);
    check(1, &["remove allocation"]);
    check(2, &["remove main", "remove allocation"]);
}

/// Times that nobody acts upon must not be due again and again: `pass` checks that none is.
#[test]
fn no_time_stays_due_while_a_stop_waits() {
    let mut bench = upto(2);
    bench.fail(ReasonCode::CreateFailed, true);
    bench.answer_all();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.begun(), ["pull"], "the container waits for its image");
    bench.rows(&[row(2, &stopped(&web()))]);
    bench.pass(Duration::from_mins(1));
    bench.answer_all();

    let mut bench = Bench::running(&web());
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    bench.link();
    bench.fail(ReasonCode::Network, true);
    bench.rows(&[row(2, &stopped(&web()))]);
    assert_eq!(bench.begun(), ["ask main"]);
    bench.pass(Duration::from_mins(1));
}

#[test]
fn what_cannot_be_removed_is_tried_again() {
    let mut bench = upto(3);
    bench.rows(&[row(2, &stopped(&web()))]);
    bench.answer_all();
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer();
    for _ in 0..3 {
        bench.fail(ReasonCode::Network, true);
        assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Stopping));
        bench.pass(Duration::from_secs(40));
        assert_eq!(bench.begun(), ["remove allocation"]);
    }
    bench.answer_all();
    assert_eq!(bench.phase(ID), Phase::Stopped);
}

#[test]
fn a_row_that_is_gone_means_stop_and_forget() {
    let mut bench = upto(3);
    bench.told();
    bench.rows(&[gone(2, ID)]);
    assert_eq!(bench.answer_all(), ["ask main"]);
    assert_eq!(bench.phase(ID), Phase::Stopping);
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer_all();
    assert!(!bench.holds(ID));
    let told = bench.told();
    assert!(told.iter().any(|(key, value)| *key.key == *ID && value.is_none()), "{told:?}");
}

#[test]
fn a_boot_in_the_middle_of_a_stop_goes_on_with_it() {
    let check = |found: Vec<FoundContainer>, rest: &[&str]| {
        let mut bench = upto(3);
        bench.rows(&[row(2, &stopped(&web()))]);
        bench.restart();
        bench.feed(Input::Inventory(found));
        let mut done = bench.answer_all();
        if done == ["ask main"] {
            bench.exit(ID, "main", 0, ExitKind::Code(0));
            done.extend(bench.answer_all());
        }
        assert_eq!(done, rest);
        assert_eq!(bench.phase(ID), Phase::Stopped);
    };
    check(vec![found(ID, "main", 0)], &["ask main", "remove main", "remove allocation"]);
    check(vec![found_dead(ID, "main", 0, ExitKind::Signal(15))], &["remove main", "remove allocation"]);
    check(Vec::new(), &["remove main", "remove allocation"]);
}

#[test]
fn a_boot_after_the_row_is_gone_discards_what_is_left() {
    let mut bench = upto(3);
    bench.rows(&[gone(2, ID)]);
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!(bench.begun(), ["discard web-0-1"]);
}

#[test]
fn a_stop_that_is_taken_back_ends_in_running() {
    let revive = |bench: &mut Bench| bench.rows(&[row(3, &web())]);
    let check = |case: &str, when: RestartWhen, before: fn(&mut Bench), rest: &[&str]| {
        let mut bench = Bench::new();
        bench.link();
        let wanted = intent(ID, &["main"], when);
        bench.rows(&[row(1, &wanted)]);
        bench.answer_all();
        bench.rows(&[row(2, &stopped(&wanted))]);
        before(&mut bench);
        revive(&mut bench);
        let mut done = bench.answer_all();
        bench.pass(Duration::from_secs(11));
        if bench.begun() == ["kill main"] {
            bench.answer_all();
            bench.exit(ID, "main", 0, ExitKind::Signal(9));
        }
        done.extend(bench.answer_all());
        bench.pass(Duration::from_secs(11));
        done.extend(bench.answer_all());
        assert_eq!(done, rest, "{case} {when:?}");
        assert_eq!(bench.phase(ID), Phase::Running, "{case} {when:?}");
        bench.pass(Duration::from_mins(10));
    };
    for when in [RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never] {
        check("asked", when, |_| {}, &["ask main", "remove main", "start main 1"]);
        check(
            "ended",
            when,
            |bench| {
                bench.answer_all();
                bench.exit(ID, "main", 0, ExitKind::Code(0));
            },
            &["remove main", "start main 1"],
        );
        check(
            "removed",
            when,
            |bench| {
                bench.answer_all();
                bench.exit(ID, "main", 0, ExitKind::Code(0));
                bench.answer();
            },
            &["remove allocation", "pull", "prepare 10.0.0.2", "start main 1"],
        );
        check(
            "gone",
            when,
            |bench| {
                bench.answer_all();
                bench.exit(ID, "main", 0, ExitKind::Code(0));
                bench.answer_all();
            },
            &["pull", "prepare 10.0.0.2", "start main 1"],
        );
    }
}
