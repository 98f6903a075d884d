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

/// The master's store is put back to an earlier state. What the backup knows goes on untouched.
fn old_store_of_the_master(region: &mut Region) -> Result<()> {
    region.step("the master's store from a backup");
    let image = region.image("hello")?;
    let operator = region.operator.clone();
    let data = region.master.data_dir();
    region.master.stop(SOON)?;
    let backup = data.with_extension("backup");
    copy(&data, &backup)?;
    region.master.start()?;
    region.node_mut("n1")?.reachable(&operator)?;
    region.operator.apply(&[&Workload::new("after-backup", &image, &["sleep"])])?;
    region.operator.running("after-backup")?;
    let before = region.node("n1")?.containers_of("first");
    region.master.kill()?;
    fs::remove_dir_all(&data)?;
    fs::rename(&backup, &data)?;
    // As operators are told to.
    fs::remove_file(data.join("epoch"))?;
    region.master.start()?;
    region.node_mut("n1")?.reachable(&operator)?;
    region.operator.running("first")?;
    ensure!(region.node("n1")?.containers_of("first") == before, "what the backup knows was started again");
    region.operator.apply(&[&Workload::new("after-backup", &image, &["sleep"])])?;
    region.operator.running("after-backup")?;
    until_ok("one of what was applied again", SOON, || {
        let found = region.node("n1")?.containers_of("after-backup");
        ensure!(found.len() == 1, "{found:?}");
        Ok(())
    })?;
    let shown = region.operator.allocation("after-backup")?;
    ensure!(shown.get("phase").and_then(Value::as_str) == Some("running"), "{shown}");
    Ok(())
}
