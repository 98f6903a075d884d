//! From an apply to the last of many instances.

use anyhow::{Context, Result};
use skerry_ground::{Host, until};

use crate::Measurement;
use crate::peers::Peer;
use crate::stage::{LIMIT, Stage, rootfs};
use crate::start::{first_instruction, now_ms};

const INSTANCES: usize = 50;

/// From before `skerry apply` is started to the first instruction of the last instance, with the image on the node. The peer
/// is crun alone, one container after the other: no scheduler, no store, no network.
pub(crate) fn measure() -> Result<Vec<Measurement>> {
    let stage = Stage::new(1)?;
    let node = stage.nodes.first().context("there is no node")?;
    stage.run_hello("warm", "run", 1, node)?;
    stage.delete("warm")?;
    let manifest = stage.write(&stage.hello("fleet", "run", INSTANCES, node.name()))?;
    let before = now_ms();
    stage.operator.skerry(&["apply", "-f", &manifest.display().to_string()])?;
    let answered = now_ms();
    stage.operator.wait("workload/fleet", "running", LIMIT)?;
    let seen = now_ms();
    let last = last_start(node.host(), INSTANCES)?;
    let crun = crun_ms(node.host(), &stage)?;
    let row = |name: &str, until: f64| Measurement::new(name, (until - before) / 1e3, "s");
    Ok(vec![
        row(&format!("apply to the last of {INSTANCES} running"), last)
            .with_peer("crun in sequence", crun / 1e3)
            .at_most(1.0),
        row("apply answered", answered),
        row(&format!("apply to {INSTANCES} shown as running"), seen),
    ])
}

/// When the last of all instances ran its first instruction.
fn last_start(host: &Host, count: usize) -> Result<f64> {
    let logs = host.disk().join("agent/logs");
    let folders = until("the logs of all instances", LIMIT, || {
        let entries = std::fs::read_dir(&logs).into_iter().flatten().flatten();
        let folders: Vec<_> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("fleet-"))
            .map(|entry| entry.path().join("main"))
            .collect();
        Ok((folders.len() == count).then_some(folders))
    })?;
    let mut last = f64::MIN;
    for folder in folders {
        last = last.max(first_instruction(&folder)?);
    }
    Ok(last)
}

/// Milliseconds that crun takes for as many starts.
fn crun_ms(host: &Host, stage: &Stage) -> Result<f64> {
    let rootfs = rootfs(stage.run.folder())?;
    let mut crun = Peer::new("crun", host, &rootfs)?;
    let mut sum = 0.0;
    for number in 0..INSTANCES {
        sum += crun.first_instruction_ms(number)?;
    }
    Ok(sum)
}
