//! Numbers that are taken back from a region that is cut off, and wanted again.

use std::time::Duration;

use skerry_types::{OnDisconnect, OnReturn};

use super::bench::*;
use super::tree::*;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

fn all_of(count: u32) -> Vec<u32> {
    (0..count).collect()
}

/// Root above two regions that have four instances each, and the one that has the highest numbers.
fn prepared(policy: OnDisconnect, told: bool) -> (Tree, &'static str) {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 2), ("b<root", 2)]);
    tree.pass(SECOND * 3);
    apply(&mut tree, 8, policy);
    if told {
        tree.pass(SECOND * 3);
    }
    let last = ["a", "b"].into_iter().find(|name| tree.placed_in(name, "web").contains(&7)).unwrap();
    assert_eq!(tree.placed_in(last, "web").len(), 4);
    (tree, last)
}

fn apply(tree: &mut Tree, count: u32, policy: OnDisconnect) {
    let mut spec = spec("web", count);
    spec.on_disconnect = policy;
    tree.of("root").apply(&spec);
    tree.settle();
}

fn waiting() -> OnDisconnect {
    OnDisconnect { replace_after: None, on_return: OnReturn::KeepOriginal, stop_after: None }
}

#[test]
fn what_a_cut_off_region_may_still_run_goes_to_nobody_else() {
    for (told, fewer, restarted) in
        [(true, 4, false), (true, 6, false), (false, 4, true), (true, 4, true), (false, 2, false)]
    {
        let case = format!("told {told}, down to {fewer}, restarted {restarted}");
        let (mut tree, last) = prepared(waiting(), told);
        tree.cut(last);
        apply(&mut tree, fewer, waiting());
        tree.pass(SECOND * 10);
        if restarted {
            tree.restart("root");
        }
        apply(&mut tree, 8, waiting());
        tree.pass(Duration::from_mins(10));
        assert_eq!(tree.running("web"), all_of(8), "{case}");
        tree.heal(last);
        tree.pass(Duration::from_mins(1));
        assert_eq!(tree.running("web"), all_of(8), "{case}");
        assert!(tree.masters["root"].state.splits[&key("web")].leaving.is_empty(), "{case}");
    }
}

#[test]
fn what_was_given_up_goes_anywhere() {
    let (mut tree, last) = prepared(waiting(), true);
    tree.cut(last);
    apply(&mut tree, 4, waiting());
    tree.heal(last);
    tree.pass(SECOND * 30);
    assert_eq!(tree.running("web"), all_of(4));
    assert!(tree.masters["root"].state.splits[&key("web")].leaving.is_empty(), "it said that it has none");
    tree.cut(last);
    apply(&mut tree, 8, waiting());
    tree.pass(SECOND * 10);
    assert_eq!(tree.running("web"), all_of(8), "the other region has room");
}

#[test]
fn what_comes_back_to_a_region_that_is_away_is_replaced_once_by_its_policy() {
    let replace_after = Some(Duration::from_mins(1));
    let policy = OnDisconnect { replace_after, ..waiting() };
    let (mut tree, last) = prepared(policy, true);
    tree.cut(last);
    apply(&mut tree, 4, policy);
    apply(&mut tree, 8, policy);
    assert_eq!(tree.running("web"), all_of(8), "it is waited for");
    tree.pass(Duration::from_mins(2));
    let twice: Vec<u32> = all_of(4).into_iter().chain((4..8).flat_map(|at| [at, at])).collect();
    assert_eq!(tree.running("web"), twice);
    apply(&mut tree, 4, policy);
    tree.pass(SECOND * 10);
    apply(&mut tree, 8, policy);
    tree.pass(Duration::from_mins(5));
    assert_eq!(tree.running("web"), twice, "and not a second time");
    tree.heal(last);
    tree.pass(Duration::from_mins(3));
    assert_eq!(tree.running("web"), all_of(8));
}

#[test]
fn a_workload_is_gone_when_a_cut_off_region_has_heard_it() {
    let (mut tree, last) = prepared(waiting(), false);
    tree.cut(last);
    let call = tree.of("root").call_id();
    tree.of("root").feed(Input::Call(call, ApiCall::Delete(key("web"))));
    tree.settle();
    tree.pass(Duration::from_hours(1));
    tree.restart("root");
    let again = ApiCall::Apply { spec: std::sync::Arc::new(spec("web", 8)), dry_run: false };
    let refused = tree.of("root").call(again.clone()).unwrap_err();
    assert_eq!(refused, ApiError::Deleting { key: key("web") });
    tree.heal(last);
    tree.pass(SECOND * 30);
    assert!(tree.running("web").is_empty() && tree.of("root").workload("web").is_none());
    tree.of("root").call(again).unwrap();
    tree.pass(SECOND * 30);
    assert_eq!(tree.running("web"), all_of(8));
}

#[test]
fn a_region_in_between_says_what_is_cut_off_below_it() {
    let mut tree = Tree::new(&[("root", 0), ("mid<root", 0), ("x<mid", 2), ("b<root", 2)]);
    tree.pass(SECOND * 10);
    apply(&mut tree, 8, waiting());
    tree.pass(SECOND * 10);
    let in_x = tree.placed_in("x", "web");
    assert!(!in_x.is_empty() && in_x.len() < 8);
    tree.cut("x");
    apply(&mut tree, 0, waiting());
    tree.pass(Duration::from_mins(1));
    apply(&mut tree, 8, waiting());
    tree.pass(Duration::from_mins(1));
    assert_eq!(tree.running("web"), all_of(8));
    assert_eq!(tree.placed_in("x", "web"), in_x);
}
