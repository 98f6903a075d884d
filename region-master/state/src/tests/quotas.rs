//! Tenants and their limits, in one region and over a tree.

use std::sync::Arc;
use std::time::Duration;

use skerry_types::{MilliCpu, Quota, TenantName, TenantSpec, WorkloadSpec};

use super::bench::*;
use super::tree::*;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

fn cores(count: u64) -> Quota {
    Quota { cpu: Some(MilliCpu(count * 1000)), ..Quota::default() }
}

fn of_tenant(tenant: &str, name: &str, instances: u32) -> WorkloadSpec {
    let mut spec = spec(name, instances);
    spec.key.tenant = TenantName::new(tenant).unwrap();
    spec
}

fn try_apply(bench: &mut Bench, spec: &WorkloadSpec) -> Result<ApiReply, ApiError> {
    bench.call(ApiCall::Apply { spec: Arc::new(spec.clone()), dry_run: false })
}

/// Asks a region of a tree, and waits for the answer.
fn ask(tree: &mut Tree, region: &str, spec: &WorkloadSpec) -> Result<ApiReply, ApiError> {
    let call = tree.of(region).call_id();
    let request = ApiCall::Apply { spec: Arc::new(spec.clone()), dry_run: false };
    tree.of(region).feed(Input::Call(call, request));
    tree.settle();
    for _ in 0..50 {
        if let Some(reply) = tree.of(region).replies.remove(&call) {
            return reply;
        }
        tree.pass(Duration::from_millis(100));
    }
    panic!("no answer");
}

fn refused_by(bench: &mut Bench, spec: &WorkloadSpec) -> String {
    match try_apply(bench, spec) {
        Err(ApiError::Quota { tenant, excess }) => format!("{tenant}: {excess}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tenant_must_be_described_and_all_above_it_are_charged() {
    let mut bench = Bench::with_nodes(4);
    let unknown = try_apply(&mut bench, &of_tenant("team", "web", 1)).unwrap_err();
    assert!(
        unknown.to_string().contains("'skerry apply' and a document of kind Tenant, name team"),
        "{unknown}"
    );
    bench.tenant("corp", None, cores(5));
    bench.tenant("team", Some("corp"), cores(4));
    bench.tenant("other", Some("corp"), Quota::default());
    bench.apply(&of_tenant("team", "web", 3));
    assert_eq!(refused_by(&mut bench, &of_tenant("team", "db", 2)), "team: 5 of 4 cpu");
    assert_eq!(refused_by(&mut bench, &of_tenant("other", "db", 3)), "corp: 6 of 5 cpu");
    bench.apply(&of_tenant("other", "db", 2));
    bench.restart();
    bench.connect_all();
    assert_eq!(refused_by(&mut bench, &of_tenant("other", "x", 1)), "corp: 6 of 5 cpu");
    bench.apply(&of_tenant("team", "web", 1));
    bench.apply(&of_tenant("other", "x", 1));
    let ask = ApiCall::Apply { spec: Arc::new(of_tenant("other", "y", 9)), dry_run: true };
    assert!(matches!(bench.call(ask), Err(ApiError::Quota { .. })), "a dry run says so too");
    bench.call(ApiCall::Delete(of_tenant("other", "db", 2).key)).unwrap();
    bench.apply(&of_tenant("other", "y", 2));
}

#[test]
fn a_limit_below_use_is_taken_with_a_warning_and_lets_nothing_more_in() {
    let mut bench = Bench::with_nodes(2);
    bench.tenant("team", None, cores(4));
    bench.apply(&of_tenant("team", "web", 3));
    bench.tenant("team", None, cores(2));
    assert!(bench.events().iter().any(|view| view.event.reason == "QuotaBelowUse"));
    assert_eq!(bench.workload("web").unwrap().running, 3, "nothing is stopped");
    assert_eq!(refused_by(&mut bench, &of_tenant("team", "db", 1)), "team: 4 of 2 cpu");
    bench.apply(&of_tenant("team", "web", 2));
    let Ok(ApiReply::Tenants(page)) = bench.call(ApiCall::Tenants(Filter::default())) else { panic!() };
    let team = page.items.iter().find(|view| view.spec.name.as_str() == "team").unwrap();
    assert_eq!((team.used.cpu, team.held, team.workloads), (MilliCpu(2000), cores(2), 1));
}

#[test]
fn what_is_said_of_tenants_must_hold_together() {
    let mut bench = Bench::new();
    bench.tenant("a", None, Quota::default());
    bench.tenant("b", Some("a"), Quota::default());
    let mut bad = |name: &str, parent: Option<&str>, weight: u32, says: &str| {
        let name = TenantName::new(name).unwrap();
        let parent = parent.map(|parent| TenantName::new(parent).unwrap());
        let (guarantee, limit) = (Quota::default(), Quota::default());
        let spec = TenantSpec { name, parent, weight, guarantee, limit };
        let error = bench.call(ApiCall::ApplyTenant { spec, dry_run: false }).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    bad("a", Some("b"), 1, "above itself");
    bad("c", Some("zzz"), 1, "describe that one first");
    bad("c", None, 0, "1 to 1000");
    let delete = |bench: &mut Bench, name: &str| {
        bench.call(ApiCall::DeleteTenant(TenantName::new(name).unwrap())).map(|_| ())
    };
    assert!(delete(&mut bench, "a").unwrap_err().to_string().contains("'b'"));
    bench.apply(&of_tenant("b", "web", 0));
    assert!(delete(&mut bench, "b").unwrap_err().to_string().contains("still has workloads"));
    bench.call(ApiCall::Delete(of_tenant("b", "web", 0).key)).unwrap();
    delete(&mut bench, "b").unwrap();
    delete(&mut bench, "a").unwrap();
    bench.restart();
    assert!(delete(&mut bench, "a").is_err());
}

/// What all regions admitted of a tenant, in cores.
fn admitted(tree: &Tree, tenant: &str) -> u64 {
    let own = tree.masters.values().flat_map(|bench| {
        let own = bench.state.workloads.values().filter(|workload| workload.record.received().is_none());
        own.filter(|workload| workload.record.spec.key.tenant.as_str() == tenant && !workload.record.deleting)
    });
    own.map(|workload| u64::from(workload.record.spec.instances)).sum()
}

#[test]
fn a_limit_holds_over_the_whole_tree_also_while_regions_are_cut_off() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 4), ("b<root", 4), ("x<a", 4)]);
    tree.of("root").tenant("team", None, cores(12));
    tree.settle();
    tree.pass(SECOND * 20);
    let here = try_apply(tree.of("a"), &of_tenant("team", "here", 1));
    assert!(here.is_ok(), "{here:?}");
    tree.cut("a");
    tree.cut("b");
    for (at, region) in ["root", "a", "b", "x"].into_iter().cycle().take(60).enumerate() {
        // Whatever each admits by itself, together they stay below.
        let _refused_some_day = ask(&mut tree, region, &of_tenant("team", &format!("w{at}"), 1));
        tree.settle();
        tree.pass(SECOND);
        assert!(admitted(&tree, "team") <= 12, "{}", admitted(&tree, "team"));
    }
    assert!(admitted(&tree, "team") >= 6, "each has a part: {}", admitted(&tree, "team"));
    tree.restart("a");
    tree.restart("root");
    tree.heal("a");
    tree.heal("b");
    tree.pass(SECOND * 30);
    for (at, region) in ["b", "x", "root"].into_iter().cycle().take(90).enumerate() {
        let _refused_some_day = ask(&mut tree, region, &of_tenant("team", &format!("v{at}"), 1));
        tree.settle();
        tree.pass(SECOND * 7);
        assert!(admitted(&tree, "team") <= 12);
    }
    assert_eq!(admitted(&tree, "team"), 12, "unused parts flow to who asks");
}

#[test]
fn an_apply_waits_for_parts_of_the_limit_that_others_do_not_use() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 4), ("b<root", 4), ("x<a", 4)]);
    tree.of("root").tenant("team", None, cores(12));
    tree.settle();
    tree.pass(SECOND * 20);
    // Each has a part of three cores or so.
    ask(&mut tree, "root", &of_tenant("team", "big", 9)).unwrap();
    assert_eq!(admitted(&tree, "team"), 9);
    ask(&mut tree, "x", &of_tenant("team", "rest", 3)).unwrap();
    assert_eq!(admitted(&tree, "team"), 12, "from two levels further up");
    tree.pass(SECOND * 5);
    let before = tree.masters["root"].now.mono;
    let refused = ask(&mut tree, "root", &of_tenant("team", "more", 1)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "tenant 'team' would use 13 of 12 cpu: remove something of it, or raise its limit"
    );
    assert_eq!(tree.masters["root"].now.mono, before, "what the whole limit forbids is refused at once");
    tree.of("x").call(ApiCall::Delete(of_tenant("team", "rest", 3).key)).unwrap();
    tree.settle();
    tree.pass(SECOND * 10);
    tree.cut("a");
    let refused = ask(&mut tree, "root", &of_tenant("team", "more", 3));
    assert!(refused.is_ok() || admitted(&tree, "team") == 9, "what is cut off keeps its part: {refused:?}");
    let late = ask(&mut tree, "a", &of_tenant("team", "own", 3));
    assert!(admitted(&tree, "team") <= 12, "{late:?}");
}

#[test]
fn what_waits_is_overtaken_by_what_is_said_later() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 4)]);
    tree.of("root").tenant("team", None, cores(12));
    tree.settle();
    tree.pass(SECOND * 20);
    let call = tree.of("root").call_id();
    let request = |count| ApiCall::Apply { spec: Arc::new(of_tenant("team", "web", count)), dry_run: false };
    tree.of("root").feed(Input::Call(call, request(12)));
    assert!(!tree.of("root").replies.contains_key(&call));
    tree.of("root").call(request(1)).unwrap();
    assert!(matches!(tree.of("root").replies.remove(&call), Some(Err(ApiError::Quota { .. }))));
    tree.settle();
    tree.pass(SECOND * 10);
    assert_eq!(admitted(&tree, "team"), 1);
}

#[test]
fn tenants_are_described_at_the_top_and_known_below() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 1), ("x<a", 1)]);
    tree.pass(SECOND * 5);
    let unknown = try_apply(tree.of("x"), &of_tenant("team", "web", 1)).unwrap_err();
    assert!(unknown.to_string().contains("'root'"), "{unknown}");
    tree.of("root").tenant("team", None, Quota::default());
    tree.settle();
    tree.pass(SECOND * 5);
    try_apply(tree.of("x"), &of_tenant("team", "web", 1)).unwrap();
    let spec = tree.masters["root"].state.tenant_spec(&TenantName::new("team").unwrap()).unwrap();
    let elsewhere = tree.of("x").call(ApiCall::ApplyTenant { spec, dry_run: false }).unwrap_err();
    assert_eq!(elsewhere, ApiError::TenantsElsewhere { root: region_name("root") });
    tree.settle();
    tree.pass(SECOND * 10);
    let used = tree.of("root").call(ApiCall::DeleteTenant(TenantName::new("team").unwrap()));
    assert!(used.unwrap_err().to_string().contains("still has workloads"));
    tree.of("x").call(ApiCall::Delete(of_tenant("team", "web", 1).key)).unwrap();
    tree.settle();
    tree.pass(SECOND * 10);
    tree.of("root").call(ApiCall::DeleteTenant(TenantName::new("team").unwrap())).unwrap();
    tree.settle();
    tree.pass(SECOND * 10);
    assert!(matches!(
        try_apply(tree.of("x"), &of_tenant("team", "web", 1)),
        Err(ApiError::TenantUnknown { .. })
    ));
}

#[test]
fn going_back_is_admitted_like_an_apply() {
    let mut bench = Bench::with_nodes(2);
    bench.tenant("team", None, cores(4));
    let big = of_tenant("team", "web", 3);
    let mut less = changed(&big, "less");
    Arc::make_mut(&mut less.instance).containers[0].resources.cpu = MilliCpu(100);
    bench.apply(&big);
    bench.apply(&less);
    bench.wait(SECOND * 60);
    bench.apply(&of_tenant("team", "db", 3));
    let undo = bench.life(LifeCall::Undo(big.key.clone(), None));
    assert!(matches!(&undo, Err(ApiError::Quota { excess, .. }) if excess == "6 of 4 cpu"), "{undo:?}");
    bench.call(ApiCall::Delete(of_tenant("team", "db", 3).key)).unwrap();
    bench.wait(SECOND * 60);
    bench.life(LifeCall::Undo(big.key.clone(), None)).unwrap();
    let mut more = big.clone();
    more.instances = 9;
    assert_eq!(refused_by(&mut bench, &more), "team: 9 of 4 cpu", "what came back is charged");
}
