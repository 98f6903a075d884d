//! Lists of everything below.

use std::time::Duration;

use super::bench::*;
use super::tree::*;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

fn below() -> Filter {
    Filter { below: true, ..Filter::default() }
}

fn nodes(tree: &mut Tree, at: &str, filter: Filter) -> Vec<NodeView> {
    match tree.of(at).call(ApiCall::Nodes(filter)) {
        Ok(ApiReply::Nodes(page)) => page.items,
        other => panic!("{other:?}"),
    }
}

fn regions(tree: &mut Tree, at: &str) -> Vec<RegionView> {
    match tree.of(at).call(ApiCall::Regions(below())) {
        Ok(ApiReply::Regions(page)) => page.items,
        other => panic!("{other:?}"),
    }
}

#[test]
fn any_master_shows_all_below_it_with_when_it_was_heard_from() {
    let mut tree = Tree::new(&[("root", 1), ("mid<root", 1), ("x<mid", 2)]);
    tree.pass(SECOND * 20);
    let names = |views: &[NodeView]| -> Vec<String> {
        views.iter().map(|view| format!("{}/{}", view.region, view.name)).collect()
    };
    let all = nodes(&mut tree, "root", below());
    assert_eq!(names(&all), ["mid/mid-n1", "root/root-n1", "x/x-n1", "x/x-n2"]);
    assert!(all.iter().all(|view| view.reachable && view.last_seen == tree.masters["root"].now.wall));
    assert_eq!(all[2].capacity, facts(4).capacity);
    assert_eq!(names(&nodes(&mut tree, "mid", below())).len(), 3);
    assert_eq!(nodes(&mut tree, "root", Filter::default()).len(), 1);
    let first = nodes(&mut tree, "root", Filter { limit: 2, ..below() });
    assert_eq!(first.len(), 2);
    let rest = nodes(&mut tree, "root", Filter { after: Some("root/root-n1".to_owned()), ..below() });
    assert_eq!(names(&rest), ["x/x-n1", "x/x-n2"]);
    let told = regions(&mut tree, "root");
    let shown: Vec<(&str, usize, u32)> =
        told.iter().map(|view| (view.name.as_str(), view.path.len(), view.total.nodes)).collect();
    assert_eq!(shown, [("mid", 0, 1), ("root", 0, 1), ("x", 1, 2)]);
    let Ok(ApiReply::Sites(sites)) = tree.of("root").call(ApiCall::Sites(below())) else { panic!() };
    assert_eq!(sites.items.len(), 3);
}

#[test]
fn what_is_behind_a_cut_link_is_shown_as_of_then() {
    let mut tree = Tree::new(&[("root", 0), ("mid<root", 1), ("x<mid", 1)]);
    tree.pass(SECOND * 20);
    tree.cut("x");
    tree.pass(SECOND * 10);
    let cut_at = tree.masters["root"].now.wall;
    tree.pass(Duration::from_hours(1));
    let all = nodes(&mut tree, "root", below());
    let x = all.iter().find(|view| view.name.as_str() == "x-n1").unwrap();
    assert!(!x.reachable && x.last_seen < cut_at && x.last_seen.0 + 20_000 > cut_at.0, "{x:?}");
    assert!(all.iter().find(|view| view.name.as_str() == "mid-n1").unwrap().reachable);
    let told = regions(&mut tree, "root");
    assert_eq!(told.iter().map(|view| view.reachable).collect::<Vec<_>>(), [true, true, false]);
    tree.cut("mid");
    tree.pass(Duration::from_hours(1));
    assert!(nodes(&mut tree, "root", below()).iter().all(|view| !view.reachable));
    tree.heal("mid");
    tree.heal("x");
    tree.of("x").cut("x-n1");
    tree.settle();
    tree.pass(SECOND * 20);
    let all = nodes(&mut tree, "root", below());
    assert_eq!(all.iter().filter(|view| view.reachable).count(), 1, "the node itself is away");
    tree.of("mid").call(ApiCall::RemoveRegion(region_name("x"))).unwrap_err();
    tree.cut("x");
    tree.of("mid").call(ApiCall::RemoveRegion(region_name("x"))).unwrap();
    tree.settle();
    tree.pass(SECOND * 20);
    assert_eq!(nodes(&mut tree, "root", below()).len(), 1);
    assert_eq!(regions(&mut tree, "root").len(), 2);
}
