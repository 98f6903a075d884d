//! Regions above and below each other.

use std::time::Duration;

use skerry_types::{Labels, LinkClass, OnDisconnect, OnReturn, SiteName, SiteSpec};

use super::bench::*;
use super::placing::{beside, labelled};
use super::tree::*;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn all_of(count: u32) -> Vec<u32> {
    (0..count).collect()
}

#[test]
fn a_workload_of_the_root_runs_in_its_regions() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 2), ("b<root", 2)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&spec("web", 8));
    tree.settle();
    tree.pass(SECOND * 3);
    assert_eq!(tree.running("web"), all_of(8));
    let view = tree.of("root").workload("web").unwrap();
    assert_eq!((view.placed, view.running, view.pending.len()), (8, 8, 0));
    assert_eq!(view.parts.len(), 2);
    assert_eq!(tree.share("root", "a", "web").unwrap().len(), 4, "regions fill evenly");
    let reply = tree.of("root").call(ApiCall::Delete(key("web")));
    assert!(matches!(reply, Ok(ApiReply::Removed(8))), "those of the regions are told of: {reply:?}");
    tree.settle();
    tree.pass(SECOND * 3);
    assert!(tree.of("root").workload("web").is_none());
    assert!(tree.of("a").workload("web").is_none());
    let left = |(table, key): &&(String, Vec<u8>)| {
        ["split", "tombstone"].contains(&table.as_str()) || table == "down" && key.ends_with(b"/web")
    };
    assert_eq!(tree.masters["root"].disk.keys().find(left), None);
}

#[test]
fn own_nodes_and_regions_share_a_workload() {
    let mut tree = Tree::new(&[("root", 1), ("a<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&spec("web", 8));
    tree.settle();
    tree.pass(SECOND * 3);
    assert_eq!(tree.running("web"), all_of(8));
    assert_eq!(tree.placed_in("root", "web").len(), 4);
}

#[test]
fn what_a_region_cannot_hold_is_handed_back_and_goes_elsewhere() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 2)]);
    // No digest is up yet that shows what a took by itself.
    tree.pass(SECOND * 3);
    tree.of("a").apply(&spec("own", 3));
    tree.of("root").apply(&spec("web", 8));
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.running("web"), all_of(8));
    assert_eq!(tree.placed_in("a", "web").len() + tree.placed_in("b", "web").len(), 8);
    assert!(tree.placed_in("a", "web").len() <= 1);
    assert!(tree.reasons("a").iter().any(|text| text.starts_with("HandedBack")), "{:?}", tree.reasons("a"));
}

#[test]
fn what_fits_nowhere_waits_with_reasons_and_goes_where_room_appears() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&spec("web", 10));
    tree.settle();
    tree.pass(SECOND * 30);
    assert_eq!(tree.running("web").len(), 8);
    let view = tree.of("root").workload("web").unwrap();
    assert_eq!(view.pending.iter().map(|pending| pending.instances.len()).sum::<u32>(), 2);
    assert!(!view.pending[0].reasons.is_empty());
    let quiet = tree.carried;
    tree.pass(Duration::from_mins(10));
    assert_eq!(tree.carried, quiet, "nobody asks again while nothing changes");
    tree.of("b").join("b-n2", "s1");
    tree.of("b").connect("b-n2");
    tree.settle();
    tree.pass(SECOND * 30);
    assert_eq!(tree.running("web"), all_of(10));
    assert!(tree.of("root").workload("web").unwrap().pending.is_empty());
}

#[test]
fn what_must_be_beside_another_goes_where_that_one_is_placed_below() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&beside("web", "cache"));
    tree.settle();
    tree.pass(SECOND * 30);
    assert!(tree.running("web").is_empty());
    tree.of("root").apply(&labelled("cache"));
    tree.settle();
    tree.pass(SECOND * 30);
    assert_eq!(tree.running("web"), all_of(1));
    for region in ["a", "b"] {
        assert_eq!(tree.placed_in(region, "web"), tree.placed_in(region, "cache"), "{region}");
    }
}

#[test]
fn a_node_that_takes_allocations_again_is_news_to_the_regions_above() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 2)]);
    tree.pass(SECOND * 3);
    let cordon = |tree: &mut Tree, node: &str, on| {
        tree.of("a").life(LifeCall::Cordon { node: node_name(node), on }).unwrap();
        tree.settle();
        tree.pass(SECOND * 30);
    };
    cordon(&mut tree, "a-n1", true);
    cordon(&mut tree, "a-n2", true);
    tree.of("root").apply(&spec("web", 8));
    tree.settle();
    tree.pass(Duration::from_mins(10));
    let view = tree.of("root").workload("web").unwrap();
    assert!((view.placed, view.pending.len()) == (0, 1) && !view.pending[0].reasons.is_empty(), "{view:?}");
    cordon(&mut tree, "a-n2", false);
    assert_eq!(tree.running("web").len(), 4);
    cordon(&mut tree, "a-n1", false);
    assert_eq!(tree.running("web"), all_of(8));
}

#[test]
fn a_reason_that_is_gone_when_it_is_heard_is_not_repeated() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1)]);
    tree.pass(SECOND * 3);
    let cordon = |tree: &mut Tree, on| {
        tree.of("a").life(LifeCall::Cordon { node: node_name("a-n1"), on }).unwrap();
    };
    let stale = |tree: &mut Tree| {
        let view = tree.of("root").workload("web").unwrap();
        let reasons = view.pending.iter().flat_map(|pending| &pending.reasons);
        reasons.map(ToString::to_string).any(|words| words.contains("cordoned"))
    };
    cordon(&mut tree, true);
    tree.of("root").apply(&spec("web", 5));
    tree.settle();
    tree.pass(Duration::from_mins(10));
    assert!(stale(&mut tree), "it is so");
    // The site's digest is here before the root has heard what was handed back.
    let split = tree.masters["root"].state.splits[&key("web")].clone();
    cordon(&mut tree, false);
    tree.settle();
    tree.pass(SECOND * 30);
    assert_eq!(tree.running("web").len(), 4);
    let state = &mut tree.of("root").state;
    state.splits.get_mut(&key("web")).unwrap().back = split.back;
    state.dirty.insert(key("web"));
    state.handle(state.now, Input::Timeout);
    assert!(!stale(&mut tree));
    tree.pass(Duration::from_mins(2));
    let view = tree.of("root").workload("web").unwrap();
    let words: Vec<String> = view.pending[0].reasons.iter().map(ToString::to_string).collect();
    assert!(words.iter().any(|words| words.contains("handed it back")), "asked anew: {words:?}");
}

#[test]
fn what_was_handed_back_during_a_cut_is_given_again_when_the_reason_has_gone_too() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&spec("web", 2));
    tree.settle();
    tree.pass(SECOND * 30);
    assert_eq!(tree.running("web"), all_of(2));
    tree.cut("a");
    let node = node_name("a-n1");
    let what = DrainWhat::Node(node.clone());
    tree.of("a").life(LifeCall::Drain { what, deadline: None, force: true }).unwrap();
    tree.pass(Duration::from_mins(10));
    assert_eq!(tree.running("web"), all_of(0));
    tree.of("a").life(LifeCall::Cordon { node, on: false }).unwrap();
    tree.pass(Duration::from_mins(10));
    // What it handed back, and that it has room, come in one message.
    tree.heal("a");
    tree.pass(Duration::from_mins(2));
    assert_eq!(tree.running("web"), all_of(2));
}

#[test]
fn a_region_that_handed_back_is_asked_again_when_the_one_that_took_it_cannot_hold_it() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1)]);
    tree.pass(SECOND * 3);
    // The root has not heard that the room is taken.
    tree.of("a").apply(&spec("own", 4));
    tree.of("root").apply(&spec("web", 4));
    tree.settle();
    tree.pass(SECOND * 30);
    assert_eq!(tree.share("root", "b", "web").unwrap().len(), 4, "a handed back what it was given");
    tree.of("a").call(ApiCall::Delete(key("own"))).unwrap();
    tree.pass(SECOND * 30);
    let what = DrainWhat::Node(node_name("b-n1"));
    tree.of("b").life(LifeCall::Drain { what, deadline: None, force: true }).unwrap();
    tree.pass(SECOND * 30);
    assert_eq!(tree.running("web"), all_of(4));
    assert_eq!(tree.share("root", "a", "web").unwrap().len(), 4);
}

#[test]
fn a_digest_that_is_too_large_is_left_out_and_told_once() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1)]);
    tree.pass(SECOND * 3);
    let labels = Labels::from([("note".to_owned(), "x".repeat(skerry_wire::Row::VALUE_MAX))]);
    let (name, timezone, point, link) = (SiteName::new("s1").unwrap(), None, None, LinkClass::default());
    let site = SiteSpec { name, labels, timezone, point, link };
    tree.of("a").call(ApiCall::ApplySite { spec: site, dry_run: false }).unwrap();
    for count in 1..=3 {
        tree.of("root").apply(&spec("web", count));
        tree.settle();
        tree.pass(SECOND * 30);
        assert_eq!(tree.running("web"), all_of(count), "what was said before goes on to count");
    }
    let told: Vec<String> =
        tree.reasons("a").into_iter().filter(|text| text.starts_with("DigestTooLarge")).collect();
    let rows: std::collections::BTreeSet<&String> = told.iter().collect();
    assert!(!told.is_empty() && rows.len() == told.len(), "{told:?}");
    assert!(tree.is_up("a"));
}

#[test]
fn a_tree_of_three_levels_deals_out_level_by_level() {
    let mut tree = Tree::new(&[("root", 0), ("mid<root", 1), ("x<mid", 1), ("y<mid", 1), ("b<root", 1)]);
    tree.pass(SECOND * 10);
    tree.of("root").apply(&spec("web", 16));
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.running("web"), all_of(16));
    assert_eq!(tree.share("root", "mid", "web").unwrap().len(), 12);
    assert_eq!(tree.share("mid", "x", "web").unwrap().len(), 4);
    let view = tree.of("mid").workload("web").unwrap();
    assert_eq!((view.owner.as_str(), view.placed), ("root", 12));
    tree.of("root").apply(&changed(&spec("web", 16), "v2"));
    tree.settle();
    tree.pass(SECOND * 60);
    assert_eq!(tree.running("web"), all_of(16));
    let current: u32 = tree.masters["root"]
        .state
        .regions
        .values()
        .flat_map(|region| region.statuses.values())
        .map(|status| status.current.len())
        .sum();
    assert_eq!(current, 16, "all of them run the new spec");
    tree.of("root").apply(&changed(&spec("web", 3), "v2"));
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.running("web"), all_of(3));
}

#[test]
fn a_child_never_changes_a_share_and_says_whose_it_is() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&spec("web", 1));
    tree.settle();
    let owned = ApiError::OwnedElsewhere { key: key("web"), owner: region_name("root") };
    let call = ApiCall::Apply { spec: std::sync::Arc::new(spec("web", 2)), dry_run: false };
    assert_eq!(tree.of("a").call(call).unwrap_err(), owned);
    assert_eq!(tree.of("a").call(ApiCall::Delete(key("web"))).unwrap_err(), owned);
    assert_eq!(tree.running("web"), all_of(1));
}

#[test]
fn a_share_of_a_name_that_is_taken_is_refused_visibly_and_without_spinning() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("a").apply(&spec("web", 1));
    tree.settle();
    tree.of("root").apply(&spec("web", 2));
    tree.settle();
    tree.pass(SECOND * 10);
    let view = tree.of("root").workload("web").unwrap();
    let text: Vec<String> = view.pending.iter().flat_map(|p| &p.reasons).map(ToString::to_string).collect();
    assert!(text.iter().any(|text| text.contains("of its own")), "{text:?}");
    assert_eq!(tree.running("web"), vec![0], "what the child owns goes on");
    let quiet = tree.carried;
    tree.pass(Duration::from_mins(30));
    assert_eq!(tree.carried, quiet);
    tree.of("a").call(ApiCall::Delete(key("web"))).unwrap();
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.running("web"), all_of(2));
    assert_eq!(tree.of("a").workload("web").unwrap().owner, region_name("root"));
}

#[test]
fn a_cut_child_goes_on_and_reports_when_the_link_returns() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 2)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&spec("web", 4));
    tree.settle();
    tree.pass(SECOND * 3);
    tree.cut("a");
    tree.of("a").apply(&spec("own", 1));
    // A node goes for good: the child heals the share by itself.
    tree.of("a").cut("a-n1");
    tree.of("a").nodes.remove(&node_name("a-n1"));
    tree.of("a").call(ApiCall::RemoveNode(node_name("a-n1"))).unwrap();
    tree.pass(Duration::from_hours(1));
    assert_eq!(tree.running("own"), all_of(1));
    assert_eq!(tree.running("web").len(), 3, "as many as fit beside its own");
    let view = tree.of("root").workload("web").unwrap();
    assert_eq!((view.placed, view.unreachable), (4, 4), "as last heard");
    tree.of("root").apply(&spec("late", 1));
    tree.heal("a");
    tree.pass(SECOND * 10);
    let view = tree.of("root").workload("web").unwrap();
    assert_eq!((view.running, view.unreachable), (3, 0));
    assert_eq!(view.pending[0].instances.len(), 1);
}

pub(super) fn replaced_after(seconds: u64, on_return: OnReturn) -> skerry_types::WorkloadSpec {
    let replace_after = Some(Duration::from_secs(seconds));
    let mut spec = spec("web", 4);
    spec.on_disconnect = OnDisconnect { replace_after, on_return, stop_after: None };
    spec
}

#[test]
fn a_lost_region_is_replaced_once_and_its_return_settled_by_the_policy() {
    let check = |on_return: OnReturn, stays: &str| {
        let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1), ("c<root", 1)]);
        tree.pass(SECOND * 3);
        tree.of("root").apply(&replaced_after(60, on_return));
        tree.settle();
        tree.pass(SECOND * 3);
        let first: Vec<(&str, usize)> =
            ["a", "b", "c"].map(|name| (name, tree.placed_in(name, "web").len())).to_vec();
        let lost = first.iter().find(|(_, count)| *count > 0).unwrap().0;
        let (lost, had) = (lost.to_owned(), tree.placed_in(lost, "web"));
        tree.cut(&lost);
        tree.pass(SECOND * 59);
        assert_eq!(tree.running("web").len(), 4);
        tree.pass(SECOND * 10);
        assert_eq!(tree.running("web").len(), 4 + had.len(), "one replacement each, the old go on");
        let other =
            ["a", "b", "c"].into_iter().find(|name| *name != lost && !tree.placed_in(name, "web").is_empty());
        // A region with replacements is lost too: nothing is replaced a second time.
        let other = other.unwrap().to_owned();
        tree.restart("root");
        tree.cut(&other);
        tree.pass(Duration::from_mins(10));
        for instance in 0..4 {
            assert!(tree.running("web").iter().filter(|other| **other == instance).count() <= 2);
        }
        tree.heal(&other);
        tree.heal(&lost);
        tree.pass(Duration::from_mins(2));
        assert_eq!(tree.running("web"), all_of(4), "{on_return:?}");
        let there = had.iter().filter(|instance| tree.placed_in(&lost, "web").contains(instance)).count();
        assert_eq!(there > 0, stays == "original", "{on_return:?}: {there} of {had:?}");
        assert!(tree.masters["root"].state.splits[&key("web")].replaced.is_empty());
    };
    check(OnReturn::KeepOriginal, "original");
    check(OnReturn::KeepNew, "new");
    check(OnReturn::KeepHealthiest, "original");
}

#[test]
fn a_region_that_is_back_says_at_once_that_its_instances_run() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1), ("c<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&replaced_after(5, OnReturn::KeepOriginal));
    tree.settle();
    tree.pass(SECOND * 10);
    let lost = ["a", "b", "c"].into_iter().find(|name| !tree.placed_in(name, "web").is_empty()).unwrap();
    let had = tree.placed_in(lost, "web");
    tree.cut(lost);
    tree.pass(Duration::from_mins(1));
    assert_eq!(tree.running("web").len(), 4 + had.len());
    tree.heal(lost);
    tree.pass(SECOND * 3);
    assert_eq!(tree.running("web"), all_of(4), "nobody waits for what is known");
    assert_eq!(tree.placed_in(lost, "web"), had);
}

#[test]
fn without_a_policy_a_lost_region_is_waited_for() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("b<root", 1)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&spec("web", 4));
    tree.settle();
    tree.cut("a");
    tree.pass(Duration::from_hours(100));
    assert_eq!(tree.running("web"), all_of(4));
    tree.of("root").call(ApiCall::RemoveRegion(region_name("a"))).unwrap();
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(tree.placed_in("b", "web").len(), 4, "an operator who removes it says that it is gone");
}

#[test]
fn a_circle_of_parents_is_refused_told_once_and_opened_by_another_parent() {
    let mut tree = Tree::new(&[("top", 0), ("b<top", 1)]);
    tree.masters.insert("a".to_owned(), Bench::of(config("a", true)));
    tree.join("a", "b");
    tree.pass(SECOND * 10);
    let taken = Err(EnrollRefusal::RegionNameTaken { region: region_name("b") });
    assert_eq!(tree.enroll("a", "b", TokenScope::Region(None)), taken, "a knows that b is above");
    // b joined a before, and dials it in place of the top.
    let mut tree = Tree::new(&[("top", 0), ("b<top", 1)]);
    tree.masters.insert("a".to_owned(), Bench::of(config("a", true)));
    let scope = TokenScope::Region(None);
    tree.enroll("a", "b", scope).unwrap();
    tree.join("a", "b");
    tree.pass(SECOND * 10);
    tree.cut("b");
    tree.adopt("b", "a");
    tree.heal("b");
    tree.pass(Duration::from_hours(1));
    let told = |tree: &mut Tree, name: &str| {
        let refused = tree.reasons(name).into_iter().filter(|text| text.starts_with("ParentRefused"));
        refused.collect::<Vec<String>>()
    };
    let all: Vec<String> = ["a", "b"].iter().flat_map(|name| told(&mut tree, name)).collect();
    assert_eq!(all, ["ParentRefused: refused: region b is above region a: dial another parent than a"]);
    let connected = |tree: &Tree, name: &str| tree.masters[name].state.is_parent_connected();
    assert!(!(connected(&tree, "a") && connected(&tree, "b")), "never both");
    tree.of("b").apply(&spec("web", 1));
    assert_eq!(tree.running("web"), all_of(1), "both go on by themselves");
    tree.cut("b");
    tree.adopt("b", "top");
    tree.heal("b");
    tree.pass(Duration::from_mins(1));
    assert!(connected(&tree, "a") && connected(&tree, "b"));
    assert_eq!(tree.masters["a"].state.above(), ["top", "b", "a"].map(region_name));
}

#[test]
fn names_and_tokens_are_checked() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 0), ("x<a", 0)]);
    tree.pass(SECOND * 10);
    let taken = |name: &str| Err(EnrollRefusal::RegionNameTaken { region: region_name(name) });
    assert_eq!(tree.enroll("root", "root", TokenScope::Region(None)), taken("root"));
    assert_eq!(tree.enroll("root", "x", TokenScope::Region(None)), taken("x"), "further down counts");
    let other = EnrollRefusal::OtherRegion { wanted: region_name("c"), region: region_name("d") };
    assert_eq!(tree.enroll("root", "c", TokenScope::Region(Some(region_name("d")))), Err(other));
    let site = skerry_types::SiteName::new("s1").unwrap();
    let nodes = EnrollRefusal::NotForRegions { site: site.clone() };
    assert_eq!(tree.enroll("root", "c", TokenScope::Site(site)), Err(nodes));
    let again = Ok(Enrolled::Region { region: region_name("a") });
    assert_eq!(tree.enroll("root", "a", TokenScope::Region(None)), again, "the same key may ask again");
}

#[test]
fn an_idle_tree_is_silent() {
    let mut tree = Tree::new(&[("root", 0), ("mid<root", 1), ("x<mid", 1)]);
    tree.pass(SECOND * 10);
    tree.of("root").apply(&spec("web", 4));
    tree.settle();
    tree.pass(SECOND * 10);
    let (carried, disk) = (tree.carried, tree.masters["root"].disk.clone());
    tree.pass(Duration::from_hours(24));
    assert_eq!(tree.carried, carried);
    assert!(tree.masters["root"].disk == disk);
    let timers = tree.masters.values().filter_map(|bench| bench.state.poll_timeout());
    assert_eq!(timers.count(), 0);
}

#[test]
fn a_circle_that_closes_at_once_is_found_by_the_way_from_the_root() {
    // Both joined the other, and neither knows of anyone above.
    let mut tree = Tree::new(&[]);
    for name in ["a", "b"] {
        tree.masters.insert(name.to_owned(), Bench::of(config(name, true)));
    }
    tree.enroll("a", "b", TokenScope::Region(None)).unwrap();
    tree.enroll("b", "a", TokenScope::Region(None)).unwrap();
    tree.adopt("a", "b");
    tree.adopt("b", "a");
    tree.dial("a");
    tree.dial("b");
    tree.settle();
    tree.pass(Duration::from_hours(1));
    let connected = |name: &str| tree.masters[name].state.is_parent_connected();
    assert!(!(connected("a") && connected("b")));
    let told: Vec<String> = ["a", "b"].iter().flat_map(|name| tree.reasons(name)).collect();
    let refused: Vec<&String> = told.iter().filter(|text| text.starts_with("ParentRefused")).collect();
    assert!((1..=4).contains(&refused.len()), "{refused:?}");
    assert!(refused[0].contains("dial another parent"), "{refused:?}");
}
