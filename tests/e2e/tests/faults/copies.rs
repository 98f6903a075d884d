//! What should be there once and is there twice, or comes back from the past: a node's disk, the master's store.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skerry_e2e::{Plan, Region, SOON, Workload, in_region};
use skerry_ground::{run_command, until, until_ok};

#[test]
fn copies_of_a_disk_do_no_harm() {
    let plan = Plan {
        nodes: &[("n1", "oslo")],
        images: &["hello"],
        // So that a copied certificate is not renewed away while the test runs.
        master_flags: &["--node-certificate-life", "1h"],
        ..Plan::default()
    };
    in_region(&plan, |region| {
        let image = region.image("hello")?;
        region.operator.apply(&[&Workload::new("first", &image, &["sleep"])])?;
        region.operator.running("first")?;
        second_machine(region)?;
        old_disk_of_a_node(region)?;
        old_store_of_the_master(region)
    });
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    run_command(Command::new("cp").arg("-a").arg(from.join(".")).arg(to))
}

/// A second machine with the disk of the first: the first keeps its link, the second is refused, operators are told.
fn second_machine(region: &mut Region) -> Result<()> {
    region.step("a second machine with the key of the first");
    let before = region.node("n1")?.containers();
    region.add_node("copy", &[])?;
    let (from, to) = (region.node("n1")?.data_dir(), region.node("copy")?.data_dir());
    copy(&from.join("identity"), &to.join("identity"))?;
    fs::copy(from.join("masters"), to.join("masters")).context("copying the masters' addresses")?;
    let copy = region.node_mut("copy")?;
    copy.call_itself("n1");
    copy.start(None)?;
    until_ok("the second is refused", SOON, || {
        let log = region.node("copy")?.log();
        ensure!(log.contains("second machine with its key"), "{}", log.lines().last().unwrap_or_default());
        Ok(())
    })?;
    until_ok("operators are told", SOON, || {
        region.operator.run(&["events", "n1"])?.ok()?.says(&["IdentityTaken", "198.18.0.5"])
    })?;
    region.operator.wait("node/n1", "reachable", SOON)?;
    ensure!(region.node("n1")?.containers() == before, "the first was disturbed");
    ensure!(region.node("copy")?.containers().is_empty(), "the second got work");
    region.step("the first goes, the second may have its place");
    region.node_mut("n1")?.kill()?;
    until("the second is taken", SOON, || Ok(region.node("copy")?.log().contains("welcomed").then_some(())))?;
    region.node_mut("copy")?.stop(SOON)?;
    region.nodes.remove("copy").context("the copy is there")?.host().power_cut()?;
    let operator = region.operator.clone();
    let first = region.node_mut("n1")?;
    first.start(None)?;
    first.reachable(&operator)?;
    region.operator.running("first")?;
    ensure!(region.node("n1")?.containers() == before, "the first restarted something");
    Ok(())
}

/// The node's disk is put back to an earlier state: it learns anew what happened since.
fn old_disk_of_a_node(region: &mut Region) -> Result<()> {
    region.step("a node's disk from yesterday");
    let data = region.node("n1")?.data_dir();
    let image = region.image("hello")?;
    region.operator.apply(&[&Workload::new("gone", &image, &["sleep"])])?;
    region.operator.running("gone")?;
    let operator = region.operator.clone();
    region.node_mut("n1")?.stop(SOON)?;
    let ledger = data.join("ledger");
    let old = data.with_extension("old");
    copy(&ledger, &old)?;
    let node = region.node_mut("n1")?;
    node.start(None)?;
    node.reachable(&operator)?;
    region.operator.delete("gone")?;
    region.operator.apply(&[&Workload::new("since", &image, &["sleep"])])?;
    region.operator.running("since")?;
    let before = region.node("n1")?.containers();
    region.node_mut("n1")?.kill()?;
    fs::remove_dir_all(&ledger)?;
    fs::rename(&old, &ledger)?;
    let node = region.node_mut("n1")?;
    node.start(None)?;
    node.reachable(&operator)?;
    until_ok("the node holds what is asked for now", SOON, || {
        let node = region.node("n1")?;
        ensure!(node.containers_of("gone").is_empty(), "what was deleted came back");
        ensure!(node.containers_of("since").len() == 1, "what came since is not there");
        Ok(())
    })?;
    let first = |all: &[skerry_e2e::Container]| {
        all.iter().filter(|one| one.allocation.starts_with("first-")).cloned().collect::<Vec<_>>()
    };
    ensure!(first(&before) == first(&region.node("n1")?.containers()), "what is in both was started again");
    region.operator.running("since")?;
    region.operator.delete("since")
}

/// Workloads that came after the backup was made.
const SINCE: [&str; 4] = ["applied-again", "applied-otherwise", "deleted-then", "ended-alone"];

/// The master's store is put back to an earlier state. What the backup knows goes on untouched, and so does what it does not
/// know, until somebody says what is to become of it: whether the operator says that it is a backup or forgets to.
fn old_store_of_the_master(region: &mut Region) -> Result<()> {
    region.step("the master's store from a backup, and nobody says so");
    let image = region.image("hello")?;
    let operator = region.operator.clone();
    let data = region.master.data_dir();
    region.master.stop(SOON)?;
    let backup = data.with_extension("backup");
    copy(&data, &backup)?;
    region.master.start()?;
    region.node_mut("n1")?.reachable(&operator)?;
    for name in SINCE {
        operator.apply(&[&Workload::new(name, &image, &["sleep"])])?;
        operator.running(name)?;
    }
    let before = region.node("n1")?.containers();
    put_back(region, &backup)?;
    region.master.start()?;
    until_ok("the master notices", SOON, || {
        let said = region.master.log();
        ensure!(said.contains("node n1 holds what this store never gave out"), "it says nothing of it");
        Ok(())
    })?;
    orphans_go_on(region, &before)?;
    operator.run(&["describe", "node", "n1"])?.ok()?.says(&["Orphans", "4 allocations"])?;
    operator.run(&["events", "applied-again"])?.ok()?.says(&["Orphaned"])?;
    operator.run(&["events"])?.ok()?.says(&[
        "StoreRestored",
        "begins another life",
        "apply their manifests",
    ])?;
    region.step("the same backup again, and the operator says so");
    put_back(region, &backup)?;
    let said = region.master.restored()?;
    ensure!(said.contains("begins another life"), "{said}");
    region.master.start()?;
    orphans_go_on(region, &before)?;
    region.step("orphans outlive an agent and a master");
    region.master.kill()?;
    region.node_mut("n1")?.kill()?;
    region.master.start()?;
    region.node_mut("n1")?.start(None)?;
    orphans_go_on(region, &before)?;
    ends_of_orphans(region, &before)
}

/// Ends the master as a power cut would, and puts its folder back to what it was.
fn put_back(region: &mut Region, backup: &Path) -> Result<()> {
    let data = region.master.data_dir();
    region.master.kill()?;
    fs::remove_dir_all(&data)?;
    copy(backup, &data)
}

fn orphans_go_on(region: &mut Region, before: &[skerry_e2e::Container]) -> Result<()> {
    let operator = region.operator.clone();
    region.node_mut("n1")?.reachable(&operator)?;
    operator.running("first")?;
    for name in SINCE {
        until_ok("it is shown as orphaned", SOON, || is_orphaned(region, name))?;
    }
    ensure!(region.node("n1")?.containers() == before, "something was stopped or started again");
    Ok(())
}

fn is_orphaned(region: &Region, name: &str) -> Result<()> {
    let shown = region.operator.allocation(name)?;
    let is = |field: &str, wanted: &str| shown.get(field).and_then(Value::as_str) == Some(wanted);
    ensure!(is("phase", "running") && is("desired", "keep") && is("reason", "Orphaned"), "{shown}");
    Ok(())
}

fn is_gone(region: &Region, name: &str) -> Result<()> {
    let found = region.node("n1")?.containers_of(name);
    let shown = region.operator.allocations(name)?;
    ensure!(found.is_empty() && shown.is_empty(), "{found:?} {shown:?}");
    Ok(())
}

/// What is applied again is adopted, of what is applied otherwise one is left, what is deleted ends, as a workload or as one allocation,
/// which is placed anew where it is wanted.
fn ends_of_orphans(region: &mut Region, before: &[skerry_e2e::Container]) -> Result<()> {
    region.step("orphans are applied again, applied otherwise, deleted");
    let image = region.image("hello")?;
    let operator = region.operator.clone();
    let was = |name: &str| {
        let prefix = format!("{name}-");
        before.iter().filter(|one| one.allocation.starts_with(&prefix)).cloned().collect::<Vec<_>>()
    };
    operator.apply(&[&Workload::new("applied-again", &image, &["sleep"])])?;
    operator.running("applied-again")?;
    let shown = operator.allocation("applied-again")?;
    ensure!(shown.get("desired").and_then(Value::as_str) == Some("run"), "{shown}");
    operator.apply(&[&Workload::new("applied-otherwise", &image, &["sleep", "3600"])])?;
    until_ok("the orphan makes room for what is asked for", SOON, || {
        let found = region.node("n1")?.containers_of("applied-otherwise");
        ensure!(found.len() == 1 && found != was("applied-otherwise"), "{found:?}");
        Ok(())
    })?;
    operator.running("applied-otherwise")?;
    operator.skerry(&["delete", "workload", "deleted-then"])?;
    until_ok("a deleted orphan is gone", SOON, || is_gone(region, "deleted-then"))?;
    let id = |name: &str| -> Result<String> {
        let shown = operator.allocation(name)?;
        let id = shown.get("id").and_then(Value::as_str).context("an allocation has an id")?;
        Ok(id.to_owned())
    };
    operator.skerry(&["delete", "allocation", &id("ended-alone")?])?;
    until_ok("an orphan that was deleted by its id is gone", SOON, || is_gone(region, "ended-alone"))?;
    let now = region.node("n1")?.containers_of("applied-again");
    ensure!(now == was("applied-again"), "what was adopted was started again: {now:?}");
    let first = region.node("n1")?.containers_of("first");
    ensure!(first.len() == 1, "what the backup knows runs once: {first:?}");
    operator.skerry(&["delete", "allocation", &id("first")?])?;
    until_ok("an instance whose allocation was deleted gets another", SOON, || {
        let found = region.node("n1")?.containers_of("first");
        ensure!(found.len() == 1 && found != first, "{found:?}");
        Ok(())
    })?;
    operator.running("first")
}
