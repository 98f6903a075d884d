//! What is said to those who ask a tree of regions for something that cannot be.

mod clocks;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use skerry_e2e::{Below, Master, Operator, Plan, Region, SOON, Said, Workload, in_region};
use skerry_ground::{Host, until_ok};

const WEST: Below<'static> = Below { region: "west", parent: None, nodes: &[("w1", "bergen")] };
const FAR: Below<'static> = Below { region: "far", parent: Some("west"), nodes: &[] };

/// What the master of a region with a node and a region below it sends in two seconds in which nothing happens, generously.
const QUIET_BYTES: u64 = 8192;

#[test]
fn a_tree_says_why_not() {
    let plan = Plan { below: &[WEST, FAR], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        strangers(region)?;
        a_key_that_the_child_owns(region)?;
        tenants(region)?;
        manifests(region)?;
        clocks::disagree(region)?;
        a_ring_of_parents(region)
    });
}

/// `skerry-master init` below the root, with this token.
fn init(host: &Host, name: &str, token: &str) -> Result<Said> {
    let master = Master::new(host, name, &[]);
    let mut command = master.init_command()?;
    let ended = command.env("SKERRY_MASTER_JOIN_TOKEN", token).output().context("starting init")?;
    Ok(Said::of(format!("skerry-master init --region {name}"), &ended))
}

fn refused(host: &Host, name: &str, token: &str, parts: &[&str]) -> Result<()> {
    let said = init(host, name, token)?;
    ensure!(said.code != 0, "it was let in: {said:?}");
    said.says(parts).map(drop)
}

fn strangers(region: &mut Region) -> Result<()> {
    region.step("regions that may not join");
    let host = region.bare_host("stranger")?;
    let of_nodes = region.operator.token("oslo", 1)?;
    refused(&host, "east", &of_nodes, &["the join token is for nodes"])?;
    let of_south = region.operator.region_token("south")?;
    refused(&host, "east", &of_south, &["the join token is for another region", "'south'"])?;
    let of_west = region.operator.region_token("west")?;
    refused(&host, "west", &of_west, &["region of this name already"])?;
    let node = region.node("w1")?.host().clone();
    ensure!(node.name() == "w1", "the node is where it was");

    region.step("a region cannot be above itself");
    // The root's own name, by a token that any region below made.
    let west = &region.child("west")?.operator;
    let of_north = west.region_token("north")?;
    refused(&host, "north", &of_north, &["region of this name already"])
}

fn a_key_that_the_child_owns(region: &Region) -> Result<()> {
    region.step("a share whose name the child has given already");
    let west = &region.child("west")?.operator;
    let mine = Workload::new("mine", &region.image("hello")?, &["sleep"]);
    west.apply(&[&mine])?;
    west.running("mine")?;
    let before = region.node("w1")?.runs("mine", 1, SOON)?;
    region.operator.apply(&[&mine])?;
    until_ok("the reason", SOON, || {
        let said = region.operator.run(&["describe", "workload", "mine"])?.ok()?;
        said.says(&["west"]).map(drop)
    })?;
    let link = region.child("west")?.master.host();
    let quiet = link.traffic()?.sent_bytes;
    let waited = region.operator.run(&["wait", "workload/mine", "--for", "running", "--timeout", "2s"])?;
    waited.exits(3)?.says(&["west"])?;
    let spoken = link.traffic()?.sent_bytes - quiet;
    // The parent asks again only when something changes: two seconds of keep-alives up and down, and no more.
    ensure!(spoken < QUIET_BYTES, "the region sent {spoken} bytes about a share that it refuses");
    ensure!(region.node("w1")?.containers() == before, "what the region owns is as it was");

    region.step("a share is its owner's");
    let shared = Workload::new("shared", &region.image("hello")?, &["sleep"]);
    region.operator.apply(&[&shared])?;
    region.operator.running("shared")?;
    let said = west.apply_refused(&shared.clone().instances(2).to_string())?;
    said.says(&["north"])?;
    west.run(&["delete", "workload", "shared"])?.exits(1)?.says(&["north"])?;
    region.operator.delete("shared")?;
    region.operator.delete("mine")
}

fn tenant(name: &str, limit_cpu: &str) -> String {
    json!({
        "apiVersion": "skerry/v1",
        "kind": "Tenant",
        "metadata": {"name": name},
        "spec": {"limit": {"cpu": limit_cpu}},
    })
    .to_string()
}

fn of_tenant(mut manifest: serde_json::Value, tenant: &str) -> String {
    manifest["metadata"]["tenant"] = json!(tenant);
    manifest.to_string()
}

fn tenants(region: &Region) -> Result<()> {
    region.step("a tenant that nobody made, and one whose limit is reached");
    let sized = |name: &str, count: u32| -> Result<serde_json::Value> {
        let workload = Workload::new(name, &region.image("hello")?, &["sleep"]).instances(count);
        Ok(serde_json::from_str(&workload.to_string())?)
    };
    region.operator.apply_refused(&of_tenant(sized("lost", 1)?, "nobody"))?.says(&["nobody"])?;
    region.operator.apply(&[&tenant("fish", "100m")])?;
    region.operator.apply(&[&of_tenant(sized("small", 2)?, "fish")])?;
    let running = |operator: &Operator| {
        let wait = ["wait", "workload/small", "-n", "fish", "--for", "running", "--timeout", "30s"];
        operator.run(&wait)?.ok().map(drop)
    };
    running(&region.operator)?;
    region.operator.apply_refused(&of_tenant(sized("more", 9)?, "fish"))?.says(&["fish", "cpu"])?;
    region.step("a limit below what is used");
    region.operator.apply(&[&tenant("fish", "10m")])?;
    region.operator.run(&["get", "events"])?.ok()?.says(&["QuotaBelowUse", "nothing more is admitted"])?;
    region.operator.apply_refused(&of_tenant(sized("more", 1)?, "fish"))?.says(&["fish", "cpu"])?;
    region.step("the limit holds in a region below too");
    let west = &region.child("west")?.operator;
    until_ok("a refusal in the region", SOON, || {
        west.apply_refused(&of_tenant(sized("below", 9)?, "fish"))?.says(&["fish", "cpu"]).map(drop)
    })?;
    region.operator.run(&["delete", "workload", "small", "-n", "fish", "--wait"])?.ok()?;
    region.operator.run(&["delete", "tenant", "fish"])?.ok().map(drop)
}

fn manifests(region: &Region) -> Result<()> {
    region.step("selectors and spreads that cannot be");
    let hello = Workload::new("hello", &region.image("hello")?, &["sleep"]);
    let wrong = hello.clone().require("site.name in (oslo");
    region.operator.apply_refused(&wrong.to_string())?.says(&["placement.require", "line 1", "')'"])?;
    let uneven = hello
        .instances(3)
        .spec("placement", json!({"require": "site.name=bergen", "spread": [{"by": "node", "max_skew": 0}]}));
    region.operator.apply_refused(&uneven.to_string())?.says(&["max_skew"])?;
    Ok(())
}

fn a_ring_of_parents(region: &mut Region) -> Result<()> {
    region.step("a region that dials the one below it");
    let far = region.child("far")?.master.links().to_string();
    let west = region.child_mut("west")?;
    west.master.kill()?;
    west.master.flag("--parent", &far);
    west.master.start()?;
    let operator = west.operator.clone();
    // A region is certified by the one above it, so a ring is refused before a word is said on it.
    until_ok("a word of the ring", SOON, || {
        let log = region.child("west")?.master.log();
        ensure!(log.contains("who answers is not the region above; check --parent"), "{log}");
        Ok(())
    })?;
    region.step("it goes on by itself, and returns to its parent");
    let mine = Workload::new("mine", &region.image("hello")?, &["sleep"]);
    operator.apply(&[&mine])?;
    operator.running("mine")?;
    operator.delete("mine")?;
    let west = region.child_mut("west")?;
    west.master.kill()?;
    west.master.unflag();
    west.master.start()?;
    until_ok("the regions are connected", SOON, || {
        let regions = region.operator.list("regions -A")?;
        ensure!(regions.len() == 3 && regions.iter().all(|one| one["connected"] == true), "{regions:?}");
        Ok(())
    })
}
