//! What lists show, page by page.

use skerry_types::{Labels, TenantName};

use super::bench::*;
use crate::*;

fn names(bench: &mut Bench, filter: Filter) -> (Vec<String>, Option<String>) {
    match bench.call(ApiCall::Workloads(filter)) {
        Ok(ApiReply::Workloads(page)) => {
            (page.items.iter().map(|view| view.spec.key.to_string()).collect(), page.next)
        }
        other => panic!("{other:?}"),
    }
}

fn three() -> Bench {
    let mut bench = Bench::with_nodes(1);
    for (name, tenant) in [("a", "default"), ("b", "default"), ("c", "other")] {
        let mut spec = small(spec(name, 2));
        spec.key.tenant = TenantName::new(tenant).unwrap();
        bench.tenant(tenant, None, skerry_types::Quota::default());
        spec.labels = Labels::from([("tier".to_owned(), name.to_owned())]);
        bench.apply(&spec);
    }
    bench
}

#[test]
fn pages_follow_each_other_without_gap_or_repeat() {
    let mut bench = three();
    let page = |limit, after: &Option<String>| Filter { limit, after: after.clone(), ..Filter::default() };
    let (first, next) = names(&mut bench, page(2, &None));
    assert_eq!(first, ["a", "b"]);
    let (second, end) = names(&mut bench, page(2, &next));
    assert_eq!((second, end), (vec!["other/c".to_owned()], None));
    let (all, end) = names(&mut bench, page(3, &None));
    assert_eq!((all.len(), end), (3, None), "a page that is just full has no next");

    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let Ok(ApiReply::Allocations(got)) = bench.call(ApiCall::Allocations(page(1, &after))) else {
            panic!()
        };
        seen.extend(got.items.iter().map(|view| view.intent.id.clone()));
        after = got.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, bench.state.allocations.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn filters_narrow_each_list() {
    let mut bench = three();
    let mut check = |filter: Filter, want: &[&str]| assert_eq!(names(&mut bench, filter).0, want);
    let other = Some(TenantName::new("other").unwrap());
    check(Filter { tenant: other.clone(), ..Filter::default() }, &["other/c"]);
    check(Filter { name: Some("b".to_owned()), ..Filter::default() }, &["b"]);
    check(Filter { name: Some("zz".to_owned()), ..Filter::default() }, &[]);
    check(Filter { selector: "tier=a".parse().unwrap(), ..Filter::default() }, &["a"]);
    let mut count = |filter: Filter| match bench.call(ApiCall::Allocations(filter)) {
        Ok(ApiReply::Allocations(page)) => page.items.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(Filter::default()), 6);
    assert_eq!(count(Filter { workload: Some("a".to_owned()), ..Filter::default() }), 2);
    assert_eq!(count(Filter { tenant: other, ..Filter::default() }), 2);
    assert_eq!(count(Filter { selector: "tier=b".parse().unwrap(), ..Filter::default() }), 2);
}

#[test]
fn a_page_token_of_another_list_is_an_error() {
    let mut bench = three();
    let bad = |after: &str| Filter { after: Some(after.to_owned()), ..Filter::default() };
    for (call, token) in [
        (ApiCall::Workloads(bad("no-slash")), "no-slash"),
        (ApiCall::Allocations(bad("No Id")), "No Id"),
        (ApiCall::Nodes(bad("-")), "-"),
        (ApiCall::Sites(bad("/")), "/"),
        (ApiCall::Events(bad("x")), "x"),
    ] {
        let error = bench.call(call).expect_err("a bad token");
        assert!(error.to_string().contains(&format!("'{token}'")), "{error}");
    }
}

#[test]
fn nodes_sites_and_the_region_add_up() {
    let mut bench = three();
    bench.join("n2", "s2");
    bench.apply(&spec("big", 3));
    let Ok(ApiReply::Nodes(nodes)) = bench.call(ApiCall::Nodes(Filter::default())) else { panic!() };
    assert_eq!(nodes.items.len(), 2);
    assert_eq!((nodes.items[0].allocations, nodes.items[0].reserved.cpu.0), (9, 3000));
    assert!(nodes.items[0].reachable && !nodes.items[1].reachable);
    let Ok(ApiReply::Sites(sites)) = bench.call(ApiCall::Sites(Filter::default())) else { panic!() };
    let total: Vec<_> = sites.items.iter().map(|site| (site.total.nodes, site.total.running)).collect();
    assert_eq!(total, [(1, 9), (1, 0)]);
    let Ok(ApiReply::Regions(regions)) = bench.call(ApiCall::Regions(Filter::default())) else { panic!() };
    let region = &regions.items[0];
    assert_eq!((region.sites, region.workloads, region.total.nodes, region.total.reachable), (2, 4, 2, 1));
}

#[test]
fn events_are_bounded_and_oldest_go_first() {
    let mut bench = Bench::with_nodes(1);
    for at in 0..2_200 {
        bench.apply(&small(spec("web", 1 - at % 2)));
    }
    assert_eq!(bench.state.events.len(), 4096);
    let on_disk = bench.disk.keys().filter(|(table, _)| table == "event").count();
    assert_eq!(on_disk, 4096);
    let before = bench.state.events.clone();
    bench.restart();
    assert!(before.keys().eq(bench.state.events.keys()));
}

#[test]
fn every_change_is_announced_and_nothing_else() {
    let mut bench = Bench::with_nodes(1);
    let change = bench.state.change();
    bench.apply(&spec("web", 1));
    let after = bench.state.change();
    assert!(after > change);
    bench.apply(&spec("web", 1));
    bench.workload("web");
    assert_eq!(bench.state.change(), after);
}
