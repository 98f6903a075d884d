//! A region that is cut off from the root, and goes on by itself.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use skerry_ground::{Registry, Run, until};

use super::calm::SOON;
use super::placed::{Placed, text};
use super::show::Step;
use super::topology::{ROOT, Tree};

const BEACON: &str = include_str!("beacon.yaml");

/// How long the root may take to agree once the link between masters is whole again.
const AGREES: Duration = Duration::from_secs(10);

pub(super) fn cut(step: &mut Step, tree: &Tree) -> Result<()> {
    let (region, before) = (tree.far()?, tree.containers());
    region.cut_uplink()?;
    step.note(format!("From here on no packet passes between the masters of {ROOT} and {}.", region.name));
    until("the root's word that it is away", SOON, || {
        let regions = tree.operator.list("regions -A")?;
        let away = |one: &&serde_json::Value| {
            text(one, "name") == region.name
                && one.get("connected").is_some_and(|connected| connected == false)
        };
        Ok(regions.iter().find(away).map(drop))
    })?;
    step.skerry(&tree.operator, &["get", "regions", "-A"])?;
    step.skerry(&tree.operator, &["get", "nodes", "-A"])?;
    step.check(format!("all {} containers run on", before.len()), tree.containers() == before)
}

pub(super) fn apply(step: &mut Step, run: &Run, tree: &Tree, registry: &Registry) -> Result<PathBuf> {
    let region = tree.far()?;
    let path = run.folder().join("beacon.yaml");
    fs::write(&path, BEACON.replace("REGISTRY", &registry.authority())).context("writing the manifest")?;
    step.on(region.name, "cat beacon.yaml");
    step.note(fs::read_to_string(&path).context("reading the manifest")?);
    step.on(region.name, "skerry apply -f beacon.yaml");
    step.note(region.operator.skerry(&["apply", "-f", &path.display().to_string()])?);
    let wait = ["wait", "workload/beacon", "--for", "running", "--timeout", "60s"];
    step.skerry_on(region.name, &region.operator, &wait)?;
    step.skerry_on(region.name, &region.operator, &["get", "allocations", "--workload", "beacon"])?;
    let running: usize = region.nodes.iter().map(|node| node.containers_of("beacon").len()).sum();
    step.check("the region placed and started it without the root", running == 2)?;
    Ok(path)
}

pub(super) fn heal(step: &mut Step, tree: &Tree) -> Result<()> {
    let (region, before) = (tree.far()?, tree.containers());
    region.master.host().heal()?;
    step.note(format!("The link between {ROOT} and {} is whole again.", region.name));
    let start = Instant::now();
    until("the root's word of what the region did", SOON, || {
        let beacon = Placed::of(&tree.operator, "beacon")?;
        let runs = |placed: &Placed| placed.phase == "running" && placed.reachable;
        Ok((beacon.len() == 2 && beacon.iter().all(runs)).then_some(()))
    })?;
    let took = start.elapsed();
    step.skerry(&tree.operator, &["get", "regions", "-A"])?;
    step.skerry(&tree.operator, &["get", "allocations", "-A"])?;
    step.check(
        format!("the root agrees {:.1} s after the link was whole", took.as_secs_f32()),
        took <= AGREES,
    )?;
    step.check("no container noticed that the link came back", tree.containers() == before)
}
