//! The way of a workload when nothing is wrong: two sites, three nodes, a web server and a small service.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Plan, Region, SOON, Workload, in_region};
use skerry_ground::{http, until, until_ok};

#[test]
fn workloads_run_spread_and_reachable_and_leave_no_trace() {
    let nodes = [("n1", "oslo"), ("n2", "oslo"), ("n3", "bergen")];
    let plan = Plan { nodes: &nodes, images: &["hello", "nginx"], ..Plan::default() };
    in_region(&plan, |region| {
        spread(region)?;
        web(region)?;
        siblings(region)?;
        logs(region)?;
        update(region)?;
        lists(region)?;
        delete(region)
    });
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Where the first port of an allocation is reached.
fn address(allocation: &Value) -> Result<SocketAddr> {
    let ip =
        text(allocation, "/node_address").parse().with_context(|| format!("no address: {allocation}"))?;
    let port = allocation.pointer("/ports/0/host").and_then(Value::as_u64).context("no port")?;
    Ok(SocketAddr::new(ip, u16::try_from(port)?))
}

fn spread(region: &Region) -> Result<()> {
    region.step("three instances go to three nodes");
    let hello = Workload::new("hello", &region.image("hello")?, &["serve"])
        .instances(3)
        .port(8080, &json!("auto"))
        .spec("placement", json!({"spread": [{"by": "site"}, {"by": "node"}]}));
    region.operator.apply(&[&hello])?;
    region.operator.running("hello")?;
    let allocations = region.operator.allocations("hello")?;
    ensure!(allocations.len() == 3, "{allocations:?}");
    for node in region.nodes.values() {
        node.runs("hello", 1, SOON)?;
    }
    for allocation in &allocations {
        let page = http::fetch(region.wan.namespace(), address(allocation)?, "/")?;
        ensure!(page.starts_with("hello from "), "{page}");
    }
    Ok(())
}

fn web(region: &Region) -> Result<()> {
    region.step("a web server on a fixed port of a chosen node");
    let nginx = Workload::new("web", &region.image("nginx")?, &[])
        .port(8080, &json!(8088))
        .container("resources", json!({"cpu": "50m", "memory": "64Mi"}))
        .require("node.name=n3");
    region.operator.apply(&[&nginx])?;
    region.operator.running("web")?;
    let allocation = region.operator.allocation("web")?;
    ensure!(text(&allocation, "/node") == "n3", "{allocation}");
    let address = address(&allocation)?;
    ensure!(address.port() == 8088, "{allocation}");
    let (other, own) = (region.node("n1")?.host(), region.node("n3")?.host());
    for from in [region.wan.namespace(), other.namespace(), own.namespace()] {
        let page = until_ok("the page", SOON, || http::fetch(from, address, "/"))?;
        ensure!(page.contains("<html") || page.contains("<!DOCTYPE") || page.contains("nginx"), "{page}");
    }
    Ok(())
}

fn siblings(region: &Region) -> Result<()> {
    region.step("two containers of an allocation share its network");
    let image = region.image("hello")?;
    let small = json!({"cpu": "10m", "memory": "16Mi"});
    let pair = Workload::new("pair", &image, &["serve", "8080"]).spec(
        "containers",
        json!([
            {"name": "one", "image": image, "args": ["serve", "8081"], "resources": small},
            {"name": "two", "image": image, "args": ["serve", "8082"], "resources": small},
        ]),
    );
    region.operator.apply(&[&pair.require("node.name=n1")])?;
    region.operator.running("pair")?;
    let found = region.node("n1")?.runs("pair", 2, SOON)?;
    let network = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net"));
    ensure!(network(found[0].pid)? == network(found[1].pid)?, "{found:?}");
    region.operator.delete("pair")
}

fn logs(region: &Region) -> Result<()> {
    region.step("logs, as they are and as they come");
    let tick = Workload::new("tick", &region.image("hello")?, &["tick", "100"]).require("node.name=n2");
    region.operator.apply(&[&tick])?;
    region.operator.running("tick")?;
    let id = text(&region.operator.allocation("tick")?, "/id");
    let shown = until("three ticks", SOON, || {
        let shown = region.operator.logs(&id)?;
        Ok(shown.contains("tick 3\n").then_some(shown))
    })?;
    ensure!(shown.starts_with("hello tick\ntick 1\ntick 2\n"), "{shown}");
    let last = region.operator.run(&["logs", "workload/tick", "--tail", "1"])?.ok()?;
    ensure!(last.out.lines().count() == 1, "{last:?}");
    let file = region.folder().join("follow.log");
    let mut follower = region.operator.start(&["logs", "-f", &id, "--tail", "1"], &file)?;
    until("more ticks", SOON, || Ok((follower.log().lines().count() > 5).then_some(())))?;
    follower.kill()?;
    region.operator.delete("tick")?;
    let gone = region.operator.run(&["logs", &id])?;
    ensure!(gone.code == 1, "{gone:?}");
    Ok(())
}

fn update(region: &Region) -> Result<()> {
    region.step("a change replaces the instances, the same manifest does not");
    let image = region.image("hello")?;
    let first = Workload::new("change", &image, &["sleep"]).require("node.name=n1");
    region.operator.apply(&[&first])?.says(&["created (generation 1)"])?;
    region.operator.running("change")?;
    let before = region.node("n1")?.runs("change", 1, SOON)?;
    region.operator.apply(&[&first])?.says(&["unchanged (generation 1)"])?;
    let second = Workload::new("change", &image, &["tick", "5000"]).require("node.name=n1");
    region.operator.apply(&[&second])?.says(&["changed (generation 2)"])?;
    region.operator.running("change")?;
    until("the second generation alone", SOON, || {
        let now = region.nodes["n1"].containers_of("change");
        Ok((now.len() == 1 && now[0].command.contains("tick") && now != before).then_some(()))
    })?;
    region.operator.delete("change")
}

fn lists(region: &Region) -> Result<()> {
    region.step("what the lists say");
    let said = region.operator.run(&["get", "nodes"])?.ok()?;
    said.says(&["n1", "n2", "n3", "oslo", "bergen", "reachable"])?;
    region.operator.run(&["get", "sites"])?.ok()?.says(&["oslo", "bergen"])?;
    region.operator.run(&["get", "regions"])?.ok()?.says(&["north"])?;
    region.operator.run(&["describe", "workload", "hello"])?.ok()?.says(&["hello", "n1", "n2", "n3"])?;
    region.operator.run(&["describe", "node", "n3"])?.ok()?.says(&["bergen", "reachable"])?;
    let events = region.operator.run(&["events"])?.ok()?;
    ensure!(events.out.lines().count() > 3, "{events:?}");
    let waited =
        region.operator.run(&["wait", "workload/hello", "--for", "deleted", "--timeout", "200ms"])?;
    waited.exits(3).map(drop)
}

fn delete(region: &Region) -> Result<()> {
    region.step("a deleted workload leaves nothing, at once");
    region.operator.run(&["delete", "workload", "hello"])?.ok()?;
    region.operator.wait("workload/hello", "deleted", Duration::from_secs(10))?;
    region.operator.delete("web")?;
    for node in region.nodes.values() {
        node.is_clean()?;
        ensure!(node.containers().is_empty(), "{:?}", node.containers());
    }
    Ok(())
}
