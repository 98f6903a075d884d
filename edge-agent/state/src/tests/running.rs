//! From intent to a running container, and back after it ends.

use std::time::Duration;

use skerry_types::{ContainerState, ExitKind, Phase, ReasonCode, RestartWhen};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";

#[test]
fn a_node_that_boots_without_a_link_runs_its_intent() {
    let mut bench = Bench::holding(&[web()]);
    assert_eq!(bench.begun(), [""; 0], "nothing before the inventory");
    bench.feed(Input::Inventory(Vec::new()));
    assert_eq!(bench.answer_all(), ["pull", "prepare", "start main 0"]);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.address), (Phase::Running, Some(ADDRESS)));
    assert!(!bench.state.is_connected());
}

#[test]
fn containers_of_one_allocation_start_in_order_and_run_when_all_do() {
    let mut bench = Bench::holding(&[intent(ID, &["a", "b", "c"], RestartWhen::Always)]);
    bench.feed(Input::Inventory(Vec::new()));
    bench.answer();
    bench.answer();
    for name in ["a", "b", "c"] {
        assert_eq!(bench.begun(), [format!("start {name} 0")]);
        assert_eq!(bench.phase(ID), Phase::Starting);
        bench.answer();
    }
    assert_eq!(bench.phase(ID), Phase::Running);
    bench.exit(ID, "b", 0, ExitKind::Code(1));
    assert_eq!(bench.answer_all(), ["remove b"]);
    let states: Vec<bool> = bench
        .status(ID)
        .containers
        .iter()
        .map(|container| matches!(container.state, ContainerState::Running { .. }))
        .collect();
    assert_eq!(states, [true, false, true], "the others go on");
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_all(), ["start b 1"]);
    assert_eq!(bench.phase(ID), Phase::Running);
}

#[test]
fn a_running_container_is_adopted() {
    let mut bench = Bench::running(&web());
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!(
        bench.answer_all(),
        ["prepare 10.0.0.2"],
        "its network is found again, nothing is pulled or started"
    );
    assert_eq!(bench.phase(ID), Phase::Running);
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    bench.answer_all();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_all(), ["start main 1"]);
}

#[test]
fn an_adopted_container_keeps_running_when_its_network_cannot_be_made() {
    let mut bench = Bench::running(&web());
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    bench.fail(ReasonCode::Network, true);
    assert_eq!(bench.phase(ID), Phase::Running);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_all(), ["prepare 10.0.0.2"]);
}

#[test]
fn an_end_while_nobody_looked_is_told_and_the_next_start_has_its_number() {
    let mut bench = Bench::running(&web());
    bench.restart();
    bench.feed(Input::Inventory(vec![found_dead(ID, "main", 0, ExitKind::Code(3))]));
    assert_eq!(bench.answer_all(), ["remove main", "pull", "prepare 10.0.0.2"]);
    let container = bench.status(ID).containers[0].clone();
    assert_eq!(container.last_exit.map(|exit| exit.kind), Some(ExitKind::Code(3)));
    assert_eq!(container.log_tail, "bye");
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_all(), ["start main 1"]);
}

#[test]
fn a_start_that_the_ledger_missed_is_adopted_under_its_number() {
    let mut bench = Bench::holding(&[web()]);
    bench.feed(Input::Inventory(vec![found(ID, "main", 4)]));
    bench.answer_all();
    assert_eq!(bench.status(ID).containers[0].restarts, 4);
    bench.exit(ID, "main", 4, ExitKind::Code(1));
    bench.answer_all();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_all(), ["start main 5"]);
}

#[test]
fn an_end_of_an_earlier_start_says_nothing() {
    let mut bench = Bench::running(&web());
    bench.exit(ID, "main", 7, ExitKind::Code(1));
    bench.exit(ID, "other", 0, ExitKind::Code(1));
    bench.exit("db-0-9", "main", 0, ExitKind::Code(1));
    assert_eq!((bench.begun().len(), bench.phase(ID)), (0, Phase::Running));
}

#[test]
fn an_end_that_overtakes_the_answer_to_its_start_is_not_lost() {
    let mut bench = Bench::holding(&[web()]);
    bench.feed(Input::Inventory(Vec::new()));
    bench.answer();
    bench.answer();
    assert_eq!(bench.begun(), ["start main 0"]);
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    bench.answer();
    assert_eq!(bench.phase(ID), Phase::Backoff);
    assert_eq!(bench.answer_all(), ["remove main"]);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_all(), ["start main 1"]);
    assert_eq!(bench.phase(ID), Phase::Running);
}

#[test]
fn waits_grow_with_failures_and_are_forgotten_after_a_stable_run() {
    let mut bench = Bench::running(&web());
    let mut check = |attempt: u32, ran_s: u64, least_s: u64| {
        // At the cap, waits are spread below it.
        let (least_s, most_ms) = if least_s == 60 { (45, 60_000) } else { (least_s, least_s * 1250) };
        let ran = Duration::from_secs(ran_s);
        bench.exit_after(ID, "main", attempt, ExitKind::Code(1), ran);
        assert_eq!(bench.answer_all(), ["remove main"]);
        assert_eq!(bench.phase(ID), Phase::Backoff);
        bench.pass(Duration::from_millis(least_s * 1000 - 1));
        assert_eq!(bench.begun(), [""; 0], "attempt {attempt} came too early");
        bench.pass(Duration::from_millis(most_ms - least_s * 1000 + 2));
        assert_eq!(bench.answer_all(), [format!("start main {}", attempt + 1)]);
    };
    check(0, 1, 1);
    check(1, 1, 2);
    check(2, 1, 4);
    check(3, 59, 8);
    check(4, 60, 1);
    check(5, 1, 2);
    for attempt in 6..10 {
        check(attempt, 1, (4 << (attempt - 6)).min(60));
    }
    check(10, 1, 60);
    check(11, 1, 60);
}

#[test]
fn failures_in_a_row_survive_a_restart_of_the_agent() {
    let mut bench = Bench::running(&web());
    for attempt in 0..3 {
        bench.exit(ID, "main", attempt, ExitKind::Code(1));
        bench.answer_all();
        bench.pass(Duration::from_secs(10));
        bench.answer_all();
    }
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 3)]));
    bench.answer_all();
    bench.exit(ID, "main", 3, ExitKind::Code(1));
    bench.answer_all();
    bench.pass(Duration::from_secs(7));
    assert_eq!(bench.begun(), [""; 0], "the fourth wait is 8 s at least");
    assert_eq!(bench.status(ID).containers[0].restarts, 3);
}

#[test]
fn restart_policies_hold_for_each_kind_of_end() {
    let check = |when: RestartWhen, kind: ExitKind, after: Phase| {
        let mut bench = Bench::running(&intent(ID, &["main"], when));
        bench.exit(ID, "main", 0, kind);
        let rests = matches!(after, Phase::Completed | Phase::Failed);
        let done = if rests { &["remove main", "release"][..] } else { &["remove main"] };
        assert_eq!(bench.answer_all(), done, "{when:?} {kind:?}");
        assert_eq!(bench.phase(ID), after, "{when:?} {kind:?}");
        bench.restart();
        bench.feed(Input::Inventory(Vec::new()));
        let done = bench.answer_all();
        assert_eq!(done.is_empty(), rests, "{done:?}");
        let again = if rests { after } else { Phase::Running };
        assert_eq!(bench.phase(ID), again, "{when:?} {kind:?}: after a boot");
    };
    check(RestartWhen::Always, ExitKind::Code(0), Phase::Backoff);
    check(RestartWhen::Always, ExitKind::Code(1), Phase::Backoff);
    check(RestartWhen::Always, ExitKind::Unknown, Phase::Backoff);
    check(RestartWhen::OnFailure, ExitKind::Code(0), Phase::Completed);
    check(RestartWhen::OnFailure, ExitKind::Code(1), Phase::Backoff);
    check(RestartWhen::OnFailure, ExitKind::Signal(9), Phase::Backoff);
    check(RestartWhen::OnFailure, ExitKind::Unknown, Phase::Backoff);
    check(RestartWhen::Never, ExitKind::Code(0), Phase::Completed);
    check(RestartWhen::Never, ExitKind::Code(1), Phase::Failed);
    check(RestartWhen::Never, ExitKind::Unknown, Phase::Failed);
}

#[test]
fn what_comes_before_the_containers_is_tried_again() {
    let check = |answers: usize, transient: bool, word: &str, least_s: u64, most_s: u64| {
        let mut bench = Bench::holding(&[web()]);
        bench.feed(Input::Inventory(Vec::new()));
        (0..answers).for_each(|_| drop(bench.answer()));
        bench.fail(ReasonCode::RegistryUnreachable, transient);
        let status = bench.status(ID);
        assert_eq!(status.phase, Phase::Backoff);
        assert_eq!(status.reason.map(|reason| reason.code), Some(ReasonCode::RegistryUnreachable));
        bench.pass(Duration::from_millis(least_s * 1000 - 1));
        assert_eq!(bench.begun(), [""; 0]);
        bench.pass(Duration::from_secs(most_s - least_s) + Duration::from_millis(1));
        assert_eq!(bench.begun(), ["pull"], "{word} begins with the image, which may be gone");
        bench.answer_all();
        assert_eq!(bench.phase(ID), Phase::Running);
        assert_eq!(bench.status(ID).reason, None);
    };
    check(0, true, "a pull", 1, 2);
    check(0, false, "a pull", 5, 7);
    check(1, true, "a network", 1, 2);
    check(1, false, "a network", 5, 7);
}

#[test]
fn a_start_that_fails_is_removed_and_the_next_looks_at_image_and_network_anew() {
    let mut bench = Bench::holding(&[web()]);
    bench.feed(Input::Inventory(Vec::new()));
    bench.answer();
    bench.answer();
    bench.fail(ReasonCode::CreateFailed, true);
    let status = bench.status(ID);
    assert_eq!((status.phase, status.reason.unwrap().code), (Phase::Backoff, ReasonCode::CreateFailed));
    assert_eq!(bench.answer_all(), ["remove main"]);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_all(), ["pull", "prepare 10.0.0.2", "start main 1"]);
    assert_eq!((bench.phase(ID), bench.status(ID).reason), (Phase::Running, None));
}

#[test]
fn a_start_that_fails_beside_a_running_one_leaves_that_alone() {
    let mut bench = Bench::holding(&[intent(ID, &["a", "b"], RestartWhen::Always)]);
    bench.feed(Input::Inventory(Vec::new()));
    (0..3).for_each(|_| drop(bench.answer()));
    bench.fail(ReasonCode::CreateFailed, true);
    bench.answer_all();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.answer_all(), ["start b 1"]);
}

#[test]
fn what_an_ended_container_leaves_is_removed_at_last() {
    let mut bench = Bench::running(&web());
    bench.exit(ID, "main", 0, ExitKind::Code(1));
    for _ in 0..3 {
        bench.fail(ReasonCode::Keeper, true);
        assert_eq!(bench.begun(), [""; 0]);
        bench.pass(Duration::from_millis(1001));
        assert_eq!(bench.begun(), ["remove main"]);
    }
    bench.answer_all();
    bench.pass(Duration::from_secs(2));
    bench.answer_all();
    assert_eq!(bench.phase(ID), Phase::Running);
}

#[test]
fn the_keeper_comes_back_with_what_it_saw_and_what_it_did_not() {
    let check = |found: Vec<FoundContainer>, last: Option<ExitKind>, begun: &[&str]| {
        let mut bench = Bench::running(&web());
        bench.feed(Input::Inventory(found));
        assert_eq!(bench.begun(), begun);
        let container = bench.status(ID).containers.remove(0);
        assert_eq!(container.last_exit.map(|exit| exit.kind), last);
    };
    check(vec![found(ID, "main", 0)], None, &[]);
    check(vec![found_dead(ID, "main", 0, ExitKind::Code(9))], Some(ExitKind::Code(9)), &["remove main"]);
    check(Vec::new(), Some(ExitKind::Unknown), &["remove main"]);
}

#[test]
fn an_end_in_a_listing_that_overtakes_the_answer_to_its_start_is_not_lost() {
    let mut bench = Bench::holding(&[web()]);
    bench.feed(Input::Inventory(Vec::new()));
    bench.answer();
    bench.answer();
    assert_eq!(bench.begun(), ["start main 0"]);
    bench.feed(Input::Inventory(vec![found_dead(ID, "main", 0, ExitKind::Unknown)]));
    bench.answer();
    assert_eq!(bench.phase(ID), Phase::Backoff);
    assert_eq!(bench.answer_all(), ["remove main"]);
}

#[test]
fn a_stranger_is_discarded_until_it_is_gone() {
    let mut bench = Bench::new();
    bench.feed(Input::Inventory(vec![found("old-0-1", "main", 0), found("old-0-1", "side", 0)]));
    assert_eq!(bench.begun(), ["discard old-0-1"]);
    bench.fail(ReasonCode::Keeper, true);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.begun(), ["discard old-0-1"]);
    bench.feed(Input::Inventory(vec![found("old-0-1", "main", 0)]));
    assert_eq!(bench.begun(), ["discard old-0-1"], "one at a time");
    bench.answer_all();
    bench.pass(Duration::from_hours(1));
    assert_eq!(bench.begun(), [""; 0]);
}

#[test]
fn an_allocation_that_is_being_discarded_is_made_anew_afterwards() {
    let mut bench = Bench::new();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    bench.link();
    bench.rows(&[row(1, &web())]);
    assert_eq!(bench.begun(), ["discard web-0-1"]);
    bench.feed(Input::Inventory(vec![found(ID, "main", 0)]));
    assert_eq!(bench.begun(), ["discard web-0-1"]);
    assert_eq!(bench.answer_all(), ["discard web-0-1", "pull", "prepare", "start main 0"]);
}
