//! What is said of instances that fit nowhere: each reason, with its numbers.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Plan, Region, SOON, Workload, in_region};
use skerry_ground::until_ok;

#[test]
fn what_fits_nowhere_is_told_with_every_reason() {
    let flags = ["--port-range", "20000-20001", "--label", "tier=edge"];
    let plan = Plan {
        nodes: &[("n1", "oslo"), ("n2", "bergen")],
        images: &["hello"],
        agent_flags: &flags,
        ..Plan::default()
    };
    in_region(&plan, |region| {
        let image = region.image("hello")?;
        let hello = |name: &str| Workload::new(name, &image, &["sleep"]);
        let sized = |name: &str, cpu: &str, memory: &str, disk: &str| {
            hello(name).container("resources", json!({"cpu": cpu, "memory": memory, "disk": disk}))
        };
        region.step("reasons with numbers");
        check(region, &sized("cpu", "1000", "16Mi", "1Mi"), &["2 nodes", "needs 1000 cpu", "at most 1"])?;
        check(region, &sized("memory", "10m", "8Ti", "1Mi"), &["2 nodes", "needs 8Ti memory", "at most"])?;
        check(region, &sized("disk", "10m", "16Mi", "16Ti"), &["2 nodes", "disk, at most"])?;
        check(region, &hello("far").require("tier=core"), &["2 nodes", "does not match 'tier=core'"])?;
        check(region, &hello("small").require("node.memory_mb>=99999999"), &["2 nodes", "node.memory_mb"])?;
        let mixed = sized("mixed", "1000", "16Mi", "1Mi").require("site.name=oslo");
        check(region, &mixed, &["1 node does not match 'site.name=oslo'", "1 node needs 1000 cpu"])?;
        a_bound_that_cannot_be_kept(region, &hello("even"), &hello("full"))?;
        beside_and_apart(region, &hello("cache"), &hello("web"))?;
        host_ports(region, &hello("fixed"), &hello("auto"))?;
        a_taint(region, &hello("strict"))
    });
}

/// Applies what cannot all be placed, and looks at what each view says.
fn check(region: &Region, workload: &Workload, parts: &[&str]) -> Result<()> {
    let (operator, name) = (&region.operator, workload.name());
    operator.apply(&[workload])?;
    operator.run(&["describe", "workload", name])?.ok()?.says(parts)?;
    let subject = format!("workload/{name}");
    let waited = operator.run(&["wait", &subject, "--for", "running", "--timeout", "100ms"])?;
    waited.exits(3)?.says(&["not placed"])?;
    let found = operator.list(&format!("workloads {name}"))?;
    let pending = found.first().and_then(|one| one.pointer("/status/pending/0/reasons")?.as_array());
    ensure!(pending.is_some_and(|reasons| !reasons.is_empty()), "{found:?}");
    Ok(())
}

/// Two sites that may differ by one, of which one is full: the other takes one instance and no second.
fn a_bound_that_cannot_be_kept(region: &Region, even: &Workload, full: &Workload) -> Result<()> {
    region.step("a max_skew that a full site makes impossible");
    // Each node has two ports.
    let full = full.clone().instances(2).require("node.name=n2").port(8080, &json!("auto"));
    region.operator.apply(&[&full])?;
    region.operator.running("full")?;
    let even = even.clone().instances(2).port(8080, &json!("auto"));
    let even = even.spec("placement", json!({"spread": [{"by": "site", "max_skew": 1}]}));
    check(region, &even, &["1 node needs 1 host ports", "1 node would break max_skew 1 over site"])?;
    region.node("n1")?.runs("even", 1, SOON)?;
    let said = region.operator.run(&["explain", "even"])?.ok()?;
    said.says(&["1 placed, 1 without a place", "with max_skew 2 over site instead of 1: 1 node fits"])?;
    ensure!(region.containers().len() == 3, "{:?}", region.containers());
    // Once there is room it is placed by itself.
    region.operator.delete("full")?;
    region.operator.running("even")?;
    ensure!(region.node("n2")?.containers_of("even").len() == 1, "{:?}", region.containers());
    region.operator.delete("even")
}

fn beside_and_apart(region: &Region, cache: &Workload, web: &Workload) -> Result<()> {
    region.step("beside another workload, and apart from it");
    let cache = cache.clone().label("app", "cache").require("node.name=n2");
    let wish = |kind: &str, by: &str| json!({kind: [{"match": "app=cache", "by": by}]});
    let beside = web.clone().spec("placement", wish("affinity", "node"));
    check(region, &beside, &["2 nodes", "app=cache"])?;
    let said = region.operator.run(&["explain", "web"])?.ok()?;
    said.says(&["1 without a place", "without the affinity 'app=cache' by node: 2 nodes fit"])?;
    // It is placed as soon as there is something to be beside of.
    region.operator.apply(&[&cache])?;
    region.operator.running("web")?;
    ensure!(region.node("n2")?.containers_of("web").len() == 1, "{:?}", region.containers());
    region.operator.delete("web")?;
    let apart = web.clone().spec("placement", wish("anti_affinity", "site"));
    region.operator.apply(&[&apart])?;
    region.operator.running("web")?;
    ensure!(region.node("n1")?.containers_of("web").len() == 1, "{:?}", region.containers());
    region.operator.delete("web")?;
    region.operator.delete("cache")
}

fn host_ports(region: &Region, fixed: &Workload, auto: &Workload) -> Result<()> {
    region.step("host ports that run out");
    let fixed = fixed.clone().instances(3).port(8080, &json!(8200));
    check(region, &fixed, &["2 nodes", "host port 8200/tcp is taken"])?;
    // Two ports on each of two nodes.
    let auto = auto.clone().instances(5).port(8080, &json!("auto"));
    check(region, &auto, &["2 nodes", "needs 1 host ports, fewer are free"])?;
    let placed = region.operator.allocations("auto")?;
    let mut ports: Vec<String> =
        placed.iter().map(|one| format!("{} {}", one["node"], one["ports"][0]["host"])).collect();
    ports.sort();
    ports.dedup();
    ensure!(ports.len() == 4, "four places, each its own: {placed:?}");
    region.step("a place that is given back is taken at once");
    region.operator.delete("fixed")?;
    region.operator.apply(&[&auto.instances(4)])?;
    region.operator.running("auto")
}

fn a_taint(region: &mut Region, strict: &Workload) -> Result<()> {
    region.step("a node that keeps workloads away");
    let operator = region.operator.clone();
    let node = region.node_mut("n1")?;
    let before = node.containers();
    node.stop(SOON)?;
    node.add_flags(&["--taint", "maintenance"]);
    node.start(None)?;
    node.reachable(&operator)?;
    until_ok("the taint is known", SOON, || {
        let nodes = region.operator.list("nodes n1")?;
        let taints = nodes.first().and_then(|node| node.pointer("/taints/0").and_then(Value::as_str));
        ensure!(taints == Some("maintenance"), "{nodes:?}");
        Ok(())
    })?;
    let strict = strict.clone().require("site.name=oslo");
    check(
        region,
        &strict,
        &["1 node has the taint 'maintenance'", "1 node does not match 'site.name=oslo'"],
    )?;
    ensure!(region.node("n1")?.containers() == before, "a taint stops nothing that runs");
    let tolerant =
        strict.spec("placement", json!({"require": "site.name=oslo", "tolerate": ["maintenance"]}));
    region.operator.apply(&[&tolerant])?;
    region.operator.running("strict")
}
