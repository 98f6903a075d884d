//! New versions in a region, while requests keep coming.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use skerry_ground::region::Load;
use skerry_ground::until;

use super::calm::SOON;
use super::placed::Placed;
use super::show::Step;
use super::topology::{Ground, Region, Tree};

const WORKLOAD: &str = "beacon";

/// Requests that must have been answered before something is changed, and after it.
const SOME: u64 = 20;

/// Until a version has been rolled out or has been found to be bad.
const ROLLED: Duration = Duration::from_mins(2);

pub(super) fn rolling(step: &mut Step, ground: &Ground, tree: &Tree, manifest: &Path) -> Result<()> {
    let region = tree.far()?;
    step.note("Two instances, one more at a time than asked for, and never one fewer that is ready.");
    let load = begin(step, ground, region)?;
    edit(step, region, manifest, "env: {COLOR: blue}", "env: {COLOR: green}")?;
    let done = until("two ready instances of the new version", ROLLED, || {
        let found = Placed::of(&region.operator, WORKLOAD)?;
        Ok((found.len() == 2 && found.iter().all(|one| one.ready && one.generation == 2)).then_some(found))
    });
    if done.is_err() {
        status(step, region)?;
    }
    done?;
    status(step, region)?;
    step.skerry_on(region.name, &region.operator, &["get", "allocations", "--workload", WORKLOAD])?;
    end(step, load)
}

pub(super) fn bad(step: &mut Step, ground: &Ground, tree: &Tree, manifest: &Path) -> Result<()> {
    let region = tree.far()?;
    let before: Vec<String> = ids(&Placed::of(&region.operator, WORKLOAD)?);
    let load = begin(step, ground, region)?;
    edit(step, region, manifest, "args: [serve]", "args: [exit, \"1\"]")?;
    until("a try of the bad version", SOON, || {
        Ok(Placed::of(&region.operator, WORKLOAD)?.iter().any(|one| one.generation == 3).then_some(()))
    })?;
    let back = until("the way back", ROLLED, || {
        let found = Placed::of(&region.operator, WORKLOAD)?;
        Ok((found.len() == 2 && found.iter().all(|one| one.ready && one.generation != 3)).then_some(found))
    });
    status(step, region)?;
    step.skerry_on(region.name, &region.operator, &["rollout", "history", WORKLOAD])?;
    let found = back?;
    step.check(
        "the bad version is gone by itself, and the instances before it were never touched",
        ids(&found) == before,
    )?;
    end(step, load)
}

fn ids(found: &[Placed]) -> Vec<String> {
    let mut ids: Vec<String> = found.iter().map(|one| format!("{} on {}", one.id, one.node)).collect();
    ids.sort();
    ids
}

/// Exit code 1 tells that the last one failed.
fn status(step: &mut Step, region: &Region) -> Result<()> {
    step.on(region.name, format!("skerry rollout status {WORKLOAD}"));
    step.note(region.operator.run(&["rollout", "status", WORKLOAD])?.out);
    Ok(())
}

fn begin(step: &mut Step, ground: &Ground, region: &Region) -> Result<Load> {
    let load = Load::start(ground.wan.namespace(), &region.operator, WORKLOAD, "/")?;
    served(&load, SOME)?;
    step.note("Requests keep coming, to the instances that are listed as ready.");
    Ok(load)
}

fn served(load: &Load, count: u64) -> Result<()> {
    until("answered requests", SOON, || Ok((load.served() >= count).then_some(())))
}

fn edit(step: &mut Step, region: &Region, manifest: &Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(manifest).context("reading the manifest")?;
    fs::write(manifest, text.replace(from, to)).context("writing the manifest")?;
    step.note(format!("In beacon.yaml, {from} becomes {to}"));
    let path = manifest.display().to_string();
    step.on(region.name, "skerry apply -f beacon.yaml");
    step.note(region.operator.skerry(&["apply", "-f", &path])?);
    Ok(())
}

fn end(step: &mut Step, load: Load) -> Result<()> {
    served(&load, load.served() + SOME)?;
    let (served, again) = load.end()?;
    let second = if again == 0 { String::new() } else { format!(", {again} of them by a second instance") };
    step.check(format!("{served} requests were answered{second}, and none failed"), served > 0)
}
