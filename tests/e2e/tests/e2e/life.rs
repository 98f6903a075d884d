//! The life of a workload: updates under load, drains, jobs.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Load, Plan, Region, SOON, Workload, in_region};
use skerry_ground::until;

/// Requests that must have been answered before something is changed, and after it.
const SOME: u64 = 20;

#[test]
fn updates_and_drains_fail_no_request() {
    let nodes = [("n1", "oslo"), ("n2", "oslo"), ("n3", "bergen")];
    in_region(&Plan { nodes: &nodes, images: &["nginx", "hello"], ..Plan::default() }, |region| {
        let web = web(region)?;
        region.operator.apply(&[&web])?;
        region.operator.running("web")?;
        rolling(region, &web)?;
        a_bad_version(region)?;
        a_canary_waits(region)?;
        a_site_is_drained(region)
    });
}

fn web(region: &Region) -> Result<Workload> {
    Ok(Workload::new("web", &region.image("nginx")?, &[])
        .instances(3)
        .port(8080, &json!("auto"))
        .container("resources", json!({"cpu": "50m", "memory": "32Mi"}))
        .container("ready", json!({"http": {"port": "http", "path": "/"}, "interval": "1s"}))
        .container("env", json!({"COLOR": "blue"}))
        .spec("update", update()))
}

fn update() -> Value {
    json!({
        "max_surge": 1,
        "max_unavailable": 0,
        "min_healthy": "1s",
        "auto_revert": true,
        "deadline": "30s",
    })
}

/// Waits until all instances are ready and of a version that `right` accepts.
fn settled(region: &Region, right: impl Fn(u64) -> bool) -> Result<Vec<Value>> {
    until("all instances ready", SOON, || {
        let found = region.operator.allocations("web")?;
        let well = |one: &Value| one["ready"] == true && one["generation"].as_u64().is_some_and(&right);
        Ok((found.len() == 3 && found.iter().all(well)).then_some(found))
    })
    .with_context(|| region.operator.whole_state())
}

fn begin(region: &Region) -> Result<Load> {
    settled(region, |_| true)?;
    let load = Load::start(region.wan.namespace(), &region.operator, "web", "/")?;
    more(&load)?;
    Ok(load)
}

fn more(load: &Load) -> Result<()> {
    let goal = load.served() + SOME;
    until("answered requests", SOON, || Ok((load.served() >= goal).then_some(())))
}

fn end(region: &Region, load: Load) -> Result<()> {
    more(&load)?;
    let (served, again) = load.end()?;
    region.step(&format!("{served} requests were answered, {again} of them by a second instance"));
    Ok(())
}

fn rolling(region: &Region, web: &Workload) -> Result<()> {
    region.step("a rolling update under load");
    let load = begin(region)?;
    region.operator.apply(&[&web.clone().container("env", json!({"COLOR": "green"}))])?;
    settled(region, |generation| generation == 2)?;
    end(region, load)
}

fn a_bad_version(region: &Region) -> Result<()> {
    region.step("a bad version goes back by itself");
    let before = settled(region, |_| true)?;
    let load = begin(region)?;
    let bad = web(region)?.container("args", json!(["-g", "no such directive;"]));
    region.operator.apply(&[&bad])?;
    until("the way back", SOON, || {
        let said = region.operator.run(&["rollout", "history", "web", "-o", "json"])?.ok()?;
        Ok(said.out.contains("failed").then_some(()))
    })
    .with_context(|| region.operator.whole_state())?;
    let after = settled(region, |generation| generation != 3)?;
    let ids = |all: &[Value]| -> Vec<Value> { all.iter().map(|one| one["id"].clone()).collect() };
    ensure!(ids(&before) == ids(&after), "instances of the good version were touched: {after:?}");
    end(region, load)
}

fn a_canary_waits(region: &Region) -> Result<()> {
    region.step("a canary waits for promotion");
    let mut policy = update();
    policy["canary"] = json!(1);
    policy["auto_promote"] = json!(false);
    let load = begin(region)?;
    let next = web(region)?.container("env", json!({"COLOR": "white"})).spec("update", policy);
    region.operator.apply(&[&next])?;
    let is_new = |one: &Value| one["ready"] == true && one["generation"].as_u64().is_some_and(|g| g >= 5);
    let new = || -> Result<usize> {
        Ok(region.operator.allocations("web")?.iter().filter(|one| is_new(one)).count())
    };
    until("the canary", SOON, || Ok((new()? == 1).then_some(())))?;
    until("a canary that was well for long enough", SOON, || {
        let said = region.operator.run(&["rollout", "status", "web"])?;
        Ok(said.out.contains("promote").then_some(()))
    })?;
    more(&load)?;
    ensure!(new()? == 1, "the rest did not wait");
    region.operator.run(&["rollout", "promote", "web"])?.ok()?;
    settled(region, |generation| generation >= 5)?;
    end(region, load)
}

fn a_site_is_drained(region: &Region) -> Result<()> {
    region.step("a site is drained under load");
    let load = begin(region)?;
    region.operator.run(&["drain", "--site", "oslo", "--wait", "--timeout", "60s"])?.ok()?;
    let found = settled(region, |_| true)?;
    ensure!(found.iter().all(|one| one["node"] == "n3"), "{found:?}");
    end(region, load)?;
    region.operator.run(&["uncordon", "n1", "n2"])?.ok().map(drop)
}

#[test]
fn jobs_run_to_their_end() {
    let plan = Plan { nodes: &[("n1", "oslo"), ("n2", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        region.step("a job runs to completion");
        let job = Workload::new("index", &region.image("hello")?, &["exit", "0"])
            .instances(4)
            .spec("type", json!("job"))
            .spec("job", json!({"parallelism": 2}))
            .spec("restart", json!({"policy": "never"}));
        region.operator.apply(&[&job])?;
        region.operator.wait("workload/index", "completed", SOON)
    });
}
