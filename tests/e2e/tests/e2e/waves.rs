//! A fleet that is changed wave by wave, with a member away; and what is said of updates and drains that cannot go on.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Container, Plan, Region, SOON, Workload, in_region};
use skerry_ground::image::built;
use skerry_ground::{Cut, image_dir, until, until_ok};

#[test]
fn a_fleet_goes_in_waves_and_who_was_away_catches_up() {
    let nodes = [("n1", "oslo"), ("n2", "bergen"), ("n3", "oslo")];
    in_region(&Plan { nodes: &nodes, images: &["hello", "nginx"], ..Plan::default() }, |region| {
        region.operator.apply(&[&fleet(region, &["sleep"])?])?;
        region.operator.running("fleet")?;
        planned(region)?;
        bytes_are_known(region)?;
        region.step("a node goes away");
        region.node("n3")?.host().cut(&Cut::Both)?;
        region.operator.wait("node/n3", "unreachable", SOON)?;
        stopped_by_its_first_wave(region)?;
        a_good_one_after_it(region)?;
        back_after_both(region)?;
        no_way_back(region)?;
        nothing_to_promote(region)?;
        a_drain_without_an_end(region)
    });
}

/// One on each node; those of oslo go first, and all others after them.
fn fleet(region: &Region, args: &[&str]) -> Result<Workload> {
    let update = json!({
        "waves": [{"match": "site.name=oslo"}],
        "min_healthy": "1s",
        "abort_percent": 50,
        "deadline": "30s",
    });
    Ok(on_each_node(region, args)?.spec("update", update))
}

fn on_each_node(region: &Region, args: &[&str]) -> Result<Workload> {
    let workload = Workload::new("fleet", &region.image("hello")?, args).spec("type", json!("daemon"));
    let quick = json!({"policy": "always", "backoff": "100ms", "max_backoff": "200ms"});
    Ok(workload.without("instances").spec("restart", quick))
}

fn planned(region: &Region) -> Result<()> {
    region.step("waves are told before anything moves");
    let before = ["n1", "n2", "n3"].map(|node| on(region, node).ok());
    let plan = |workload: &Workload| {
        region.operator.run_with(&["rollout", "plan", "-f", "-"], &workload.to_string())?.ok()
    };
    let next = fleet(region, &["tick", "1000"])?;
    plan(&next)?.says(&[
        "3 members in 2 waves",
        "Wave 1 (site.name=oslo",
        "n1, n3",
        "Wave 2: 1 member on 1 site",
    ])?;
    let nobody = json!({"waves": [{"match": "site.name=moon"}]});
    let said = plan(&next.clone().spec("update", nobody))?;
    said.says(&["workload/fleet: warning: wave 1 selects nothing"])?;
    let after = ["n1", "n2", "n3"].map(|node| on(region, node).ok());
    ensure!(after == before, "a plan changed what runs: {before:?} became {after:?}");
    Ok(())
}

/// Bytes to pull on each site of each wave.
fn bytes_to_pull(region: &Region, workload: &Workload) -> Result<Vec<(String, u64)>> {
    let asked = ["rollout", "plan", "-f", "-", "-o", "json"];
    let said = region.operator.run_with(&asked, &workload.to_string())?.ok()?;
    let plan: Value = serde_json::from_str(&said.out).context("reading the plan")?;
    let waves = plan["waves"].as_array().or_else(|| plan[0]["waves"].as_array());
    let sites = waves.context("no waves")?.iter().filter_map(|wave| wave["sites"].as_array()).flatten();
    let bytes = |site: &Value| {
        ensure!(site["unknown_nodes"].as_array().is_some_and(Vec::is_empty), "not all is known: {site}");
        let name = site["site"].as_str().context("no site")?.to_owned();
        Ok((name, site["bytes_to_pull"].as_u64().context("no bytes")?))
    };
    sites.map(bytes).collect()
}

fn bytes_are_known(region: &Region) -> Result<()> {
    region.step("what an update costs to pull is told before it begins");
    let (oslo, bergen) = ("oslo".to_owned(), "bergen".to_owned());
    let same = fleet(region, &["tick", "1000"])?;
    // Nodes tell what they hold a moment after they pulled it.
    until_ok("nothing to pull of what is there", SOON, || {
        let found = bytes_to_pull(region, &same)?;
        ensure!(found == [(oslo.clone(), 0), (bergen.clone(), 0)], "{found:?}");
        Ok(())
    })?;
    let other = same.container("image", json!(region.image("nginx")?)).container("args", json!([]));
    let whole = built(&image_dir(), "nginx")?.layer_bytes;
    let found = bytes_to_pull(region, &other)?;
    ensure!(found == [(oslo, 2 * whole), (bergen, whole)], "{whole} bytes on each node: {found:?}");
    Ok(())
}

/// The fleet's one container on a node.
fn on(region: &Region, node: &str) -> Result<Container> {
    let found = region.node(node)?.runs("fleet", 1, SOON)?;
    found.into_iter().next().context("one container runs")
}

/// Waits until the rollout is as `right` wants it.
fn rollout(region: &Region, what: &str, right: impl Fn(&Value) -> bool) -> Result<Value> {
    until(what, SOON, || {
        let said = region.operator.run(&["rollout", "status", "fleet", "-o", "json"])?;
        let status: Value = serde_json::from_str(&said.out).context("reading the status")?;
        Ok(right(&status).then_some(status))
    })
    .with_context(|| region.operator.whole_state())
}

fn stopped_by_its_first_wave(region: &Region) -> Result<()> {
    region.step("a bad version ends with its first wave");
    let (second, away) = (on(region, "n2")?, on(region, "n3")?);
    region.operator.apply(&[&fleet(region, &["exit", "1"])?])?;
    let failed = rollout(region, "the end of a bad version", |status| status["state"] == "failed")?;
    // Two of three are in the first wave, and one of them is away: it is not what failed.
    let counts = ["updated", "failed", "deferred"].map(|name| failed[name].as_u64());
    ensure!(counts == [Some(1), Some(1), Some(1)], "{failed}");
    ensure!(failed["message"].to_string().contains("1 of 1 updated instances do not run"), "{failed}");
    ensure!(on(region, "n2")? == second, "the second wave has begun");
    ensure!(on(region, "n3")? == away, "nothing is told to a node that is away");
    Ok(())
}

fn generation_of(region: &Region, node: &str) -> Result<Option<u64>> {
    let found = region.operator.allocations("fleet")?;
    let ready = found.iter().find(|one| one["node"] == node && one["ready"] == true);
    Ok(ready.and_then(|one| one["generation"].as_u64()))
}

fn a_good_one_after_it(region: &Region) -> Result<()> {
    region.step("a good version goes to all that are heard from");
    region.operator.apply(&[&fleet(region, &["tick", "1000"])?])?;
    until("the good version on both", SOON, || {
        let both = [generation_of(region, "n1")?, generation_of(region, "n2")?];
        Ok((both == [Some(3), Some(3)]).then_some(()))
    })
    .with_context(|| region.operator.whole_state())?;
    let status = rollout(region, "two of three", |status| status["healthy"] == 2)?;
    ensure!(status["deferred"] == 1 && status["total"] == 3, "{status}");
    let said = region.operator.run(&["rollout", "status", "fleet"])?.ok()?;
    said.says(&["1 not heard from and deferred"]).map(drop)
}

fn back_after_both(region: &Region) -> Result<()> {
    region.step("who was away goes to the newest version at once");
    let node = region.node("n3")?;
    let before = on(region, "n3")?;
    node.host().heal()?;
    until("the newest version on n3", SOON, || Ok((generation_of(region, "n3")? == Some(3)).then_some(())))
        .with_context(|| region.operator.whole_state())?;
    rollout(region, "the end of the rollout", |status| status["state"] == "done")?;
    ensure!(on(region, "n3")? != before, "it is another container");
    let ended = node.log().matches("a container ended container=fleet-").count();
    ensure!(ended == 1, "{ended} containers ended where only the first version had to");
    Ok(())
}

fn no_way_back(region: &Region) -> Result<()> {
    region.step("nothing to go back to");
    region.operator.apply(&[&Workload::new("first", &region.image("hello")?, &["sleep"])])?;
    let said = region.operator.run(&["rollout", "undo", "first"])?.exits(1)?;
    said.says(&["'first' has no earlier generation that was well", "generation 1"])?;
    let said = region.operator.run(&["rollout", "undo", "first", "--to", "7"])?.exits(1)?;
    said.says(&["generation 7 of 'first' is not kept", "rollout history"])?;
    region.operator.delete("first")
}

fn nothing_to_promote(region: &Region) -> Result<()> {
    region.step("a canary that was overtaken");
    let of = |args: &[&str], update: Value| -> Result<Workload> {
        Ok(Workload::new("web", &region.image("hello")?, args).instances(2).spec("update", update))
    };
    let promote = || region.operator.run(&["rollout", "promote", "web"])?.exits(1);
    region.operator.apply(&[&of(&["sleep"], json!({}))?])?;
    region.operator.running("web")?;
    promote()?.says(&["no rollout of 'web' is under way", "generation 1"])?;
    let waits = json!({"canary": 1, "auto_promote": false, "min_healthy": "1s"});
    region.operator.apply(&[&of(&["sleep", "3600"], waits.clone())?])?;
    until("a canary that waits", SOON, || {
        let said = region.operator.run(&["rollout", "status", "web"])?;
        Ok(said.out.contains("waits for promotion").then_some(()))
    })?;
    // Its own canary comes to nothing, so it never waits.
    region.operator.apply(&[&of(&["exit", "1"], waits)?])?;
    promote()?.says(&["'web'", "generation 3", "does not wait to be promoted"])?;
    region.operator.run(&["rollout", "history", "web"])?.ok()?.says(&["superseded"])?;
    region.operator.delete("web")
}

fn a_drain_without_an_end(region: &Region) -> Result<()> {
    region.step("a drain that cannot end says what holds it up");
    let image = region.image("hello")?;
    let tied = |name: &str| Workload::new(name, &image, &["sleep"]).require("node.name=n1");
    let job = tied("haul").spec("type", json!("job")).spec("restart", json!({"policy": "never"}));
    region.operator.apply(&[&tied("moored"), &job])?;
    region.operator.running("moored")?;
    region.node("n1")?.runs("haul", 1, SOON)?;
    let said = region.operator.run(&["drain", "n1", "--wait", "--timeout", "2s"])?.exits(3)?;
    said.says(&[
        "moored-0-",
        "no room for another copy",
        "node.name=n1",
        "haul-0-",
        "a job's run comes to its end by itself",
    ])?;
    region.operator.run(&["describe", "node", "n1"])?.ok()?.says(&["moored-0-"])?;
    region.operator.run(&["uncordon", "n1"])?.ok()?;
    region.operator.delete("haul")?;
    region.operator.delete("moored")
}
