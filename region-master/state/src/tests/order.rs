//! Who gets room when there is not enough for all, and who says why.

use std::sync::Arc;

use skerry_types::{
    Explanation, Labels, LinkClass, MilliCpu, Point, Quota, SiteName, SiteSpec, Target, TenantName,
    TenantSpec, WorkloadSpec,
};

use super::bench::*;
use super::tree::*;
use crate::*;

fn with_priority(mut spec: WorkloadSpec, priority: u8) -> WorkloadSpec {
    spec.priority = priority;
    spec
}

fn running(bench: &mut Bench, name: &str) -> u32 {
    bench.workload(name).unwrap().running
}

fn told(bench: &mut Bench, reason: &str) -> Vec<String> {
    let events = bench.events().into_iter().filter(|view| view.event.reason == reason);
    events.map(|view| view.event.message).collect()
}

#[test]
fn a_higher_priority_takes_the_room_of_a_lower_one_and_says_so() {
    let mut bench = Bench::with_nodes(1);
    bench.apply(&with_priority(spec("low", 2), 10));
    bench.apply(&with_priority(spec("mid", 2), 50));
    bench.apply(&with_priority(spec("high", 3), 90));
    assert_eq!(
        (running(&mut bench, "low"), running(&mut bench, "mid"), running(&mut bench, "high")),
        (0, 1, 3)
    );
    let preempted = told(&mut bench, "Preempted");
    assert_eq!(preempted.len(), 3, "{preempted:?}");
    assert!(
        preempted[0].contains("of priority 10 leaves node n1 to make room for instance"),
        "{preempted:?}"
    );
    assert!(!bench.workload("low").unwrap().pending.is_empty());
    let before = bench.placed();
    bench.apply(&with_priority(spec("same", 1), 50));
    assert_eq!(bench.placed(), before, "never inside the same priority");
    bench.call(ApiCall::Delete(key("high"))).unwrap();
    assert_eq!(running(&mut bench, "same"), 1);
    assert_eq!(running(&mut bench, "mid"), 2, "the higher of those that waited comes first");
    assert_eq!(running(&mut bench, "low"), 1);
}

#[test]
fn a_guarantee_is_not_taken_by_preemption() {
    let mut bench = Bench::with_nodes(1);
    let quota = Quota { cpu: Some(MilliCpu(3000)), ..Quota::default() };
    let name = TenantName::new("safe").unwrap();
    let limit = Quota::default();
    let safe = TenantSpec { name: name.clone(), parent: None, weight: 100, guarantee: quota, limit };
    bench.call(ApiCall::ApplyTenant { spec: safe, dry_run: false }).unwrap();
    let mut low = with_priority(spec("low", 4), 10);
    low.key.tenant = name;
    bench.apply(&low);
    bench.apply(&with_priority(spec("high", 3), 90));
    assert_eq!((running(&mut bench, "low"), running(&mut bench, "high")), (3, 1));
}

#[test]
fn tenants_get_room_by_their_weights() {
    let mut bench = Bench::new();
    for (tenant, weight) in [("heavy", 300), ("light", 100)] {
        let name = TenantName::new(tenant).unwrap();
        let (guarantee, limit) = (Quota::default(), Quota::default());
        let spec = TenantSpec { name, parent: None, weight, guarantee, limit };
        bench.call(ApiCall::ApplyTenant { spec, dry_run: false }).unwrap();
    }
    for tenant in ["light", "heavy"] {
        let mut spec = spec(tenant, 100);
        spec.key.tenant = TenantName::new(tenant).unwrap();
        bench.apply(&spec);
    }
    for at in 1..=16 {
        bench.join(&format!("n{at}"), "s1");
        bench.connect(&format!("n{at}"));
    }
    let count = |tenant: &str| {
        let records = bench.state.allocations.values();
        records.filter(|record| record.intent.workload.tenant.as_str() == tenant).count()
    };
    assert_eq!(count("heavy") + count("light"), 64);
    assert!((44..=52).contains(&count("heavy")), "three parts of four: {}", count("heavy"));
}

fn explain(bench: &mut Bench, what: ExplainWhat) -> Explanation {
    match bench.call(ApiCall::Explain(what)) {
        Ok(ApiReply::Explanation(explanation)) => explanation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_explanation_says_where_and_why_and_what_would_help() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 10));
    let before = bench.placed();
    let found = explain(&mut bench, ExplainWhat::Workload(key("web")));
    let placed: u32 = found.placed.iter().map(|placed| placed.instances.len()).sum();
    assert_eq!((placed, found.refused[0].instances.len()), (8, 2));
    assert!(found.placed.iter().all(|placed| placed.present));
    assert!(!found.refused[0].reasons.is_empty() && !found.refused[0].remedies.is_empty());
    let big = Arc::new(small(spec("other", 3)));
    let found = explain(&mut bench, ExplainWhat::Spec(big));
    assert!(found.placed.iter().all(|placed| !placed.present));
    assert_eq!(bench.placed(), before, "nothing is placed by asking");
    assert!(bench.workload("other").is_none());
    bench.tenant("team", None, Quota { cpu: Some(MilliCpu(1000)), ..Quota::default() });
    let mut over = spec("over", 2);
    over.key.tenant = TenantName::new("team").unwrap();
    let found = explain(&mut bench, ExplainWhat::Spec(Arc::new(over)));
    assert!(found.refused[0].reasons[0].to_string().contains("tenant team would use 2 of 1 cpu"));
}

#[test]
fn an_explanation_names_regions_below() {
    let mut tree = Tree::new(&[("root", 1), ("a<root", 1)]);
    tree.pass(std::time::Duration::from_secs(5));
    tree.of("root").apply(&spec("web", 6));
    tree.settle();
    tree.pass(std::time::Duration::from_secs(5));
    let found = explain(tree.of("root"), ExplainWhat::Workload(key("web")));
    let target = |target: &Target| found.placed.iter().any(|placed| placed.target == *target);
    assert!(target(&Target::Region(region_name("a"))), "{found:?}");
    assert!(found.placed.iter().any(|placed| matches!(placed.target, Target::Node { .. })), "{found:?}");
    let all: u32 = found.placed.iter().map(|placed| placed.instances.len()).sum();
    assert_eq!(all, 6);
}

#[test]
fn rebalancing_proposes_and_moves_nothing() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 4));
    bench.apply(&spec("db", 2));
    bench.call(ApiCall::Delete(key("web"))).unwrap();
    bench.apply(&spec("x", 1));
    let before = bench.placed();
    let Ok(ApiReply::Moves { moves, why_none }) = bench.call(ApiCall::Rebalance) else { panic!() };
    assert_eq!(bench.placed(), before);
    assert!(!moves.is_empty() && why_none.is_empty(), "{before:?}");
    assert!(moves.iter().all(|proposed| proposed.from != proposed.to));
}

#[test]
fn a_plan_without_moves_says_why() {
    let check = |bench: &mut Bench, expect: &[&str]| {
        let Ok(ApiReply::Moves { moves, why_none }) = bench.call(ApiCall::Rebalance) else { panic!() };
        assert!(moves.is_empty());
        assert_eq!(why_none, expect);
    };
    check(&mut Bench::new(), &["region north has no nodes"]);
    let mut bench = Bench::with_nodes(3);
    check(&mut bench, &["no node holds anything"]);
    bench.apply(&spec("web", 1));
    let at = bench.state.allocations.of(&key("web")).next().unwrap().record.node.clone();
    check(&mut bench, &[&format!("only node {at} holds anything: there is no other to empty it onto")]);
    let mut apart = spec("web", 3);
    apart.placement.spread =
        vec![skerry_types::Spread { by: skerry_types::SpreadBy::Node, max_skew: Some(1) }];
    bench.apply(&apart);
    let mut job = spec("haul", 1);
    job.kind = skerry_types::WorkloadKind::Job(skerry_types::JobPolicy {
        parallelism: 1,
        retries: 0,
        deadline: None,
    });
    bench.apply(&job);
    let haul = bench.state.allocations.of(&key("haul")).next().unwrap().record.node.clone();
    let rest: Vec<String> =
        ["n1", "n2", "n3"].into_iter().filter(|name| *name != haul.as_str()).map(ToOwned::to_owned).collect();
    check(
        &mut bench,
        &[
            &format!(
                "no other node that holds something has room, within the rules, for all that is on {}",
                rest.join(", ")
            ),
            &format!("a job, a cron workload, a daemon or something that stops keeps {haul}"),
        ],
    );
}

#[test]
fn what_is_said_of_a_site_is_seen_by_placement_and_by_instances() {
    let mut bench = Bench::new();
    let site = SiteSpec {
        name: SiteName::new("s2").unwrap(),
        labels: Labels::from([("tier".to_owned(), "edge".to_owned())]),
        timezone: Some("Europe/Oslo".to_owned()),
        point: Some(Point { latitude: 1, longitude: 2 }),
        link: LinkClass { metered: true, micros_per_mb: 5 },
    };
    let how = |reply: Result<ApiReply, ApiError>| match reply {
        Ok(ApiReply::Described(how)) => how,
        other => panic!("{other:?}"),
    };
    let apply = |dry_run| ApiCall::ApplySite { spec: site.clone(), dry_run };
    assert_eq!(how(bench.call(apply(true))), AppliedHow::Created);
    assert_eq!(how(bench.call(apply(false))), AppliedHow::Created);
    assert_eq!(how(bench.call(apply(false))), AppliedHow::Unchanged);
    bench.join("n1", "s1");
    bench.connect("n1");
    bench.join("n2", "s2");
    let link = bench.link_id();
    let identity = NodeIdentity { site: SiteName::new("s2").unwrap(), ..bench.identity("n2") };
    bench.feed(Input::LinkUp(link, ChildIdentity::Node(identity)));
    let hello = bench.node("n2").hello(link);
    bench.feed(Input::Received(link, hello));
    bench.exchange();
    let mut spec = spec("web", 2);
    spec.placement.require = "site.tier=edge".parse().unwrap();
    bench.apply(&spec);
    assert_eq!(bench.placed(), ["0@n2/1", "1@n2/1"]);
    let zone = |bench: &Bench| bench.state.allocations.values().next().unwrap().intent.timezone.clone();
    assert_eq!(zone(&bench).as_deref(), Some("Europe/Oslo"));
    bench.restart();
    let Ok(ApiReply::Sites(page)) = bench.call(ApiCall::Sites(Filter::default())) else { panic!() };
    assert_eq!(page.items.iter().find(|view| view.name.as_str() == "s2").unwrap().spec, site);
    bench.call(ApiCall::DeleteSite(site.name.clone())).unwrap();
    assert!(bench.call(ApiCall::DeleteSite(site.name)).is_err());
}
