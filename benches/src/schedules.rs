//! What schedules that wait cost an agent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use skerry_ground::region::Node;
use skerry_ground::{check_interrupt, until};

use crate::Measurement;
use crate::process::{cpu, pss_kib};
use crate::stage::{LIMIT, Stage};

/// [`skerry_types::AllocationLimit::MAX`], for whom counts by `usize`.
const SCHEDULES: usize = 1000;
/// Time after the last change before anything is read.
const SETTLE: Duration = Duration::from_secs(20);
/// Four of the looks at the clock that schedules make an agent take.
const WINDOW: Duration = Duration::from_mins(2);

/// Processor time and memory of an agent without workloads, and with as many schedules as a node holds, none of which is due.
pub(crate) fn measure() -> Result<Vec<Measurement>> {
    let stage = Stage::new(1)?;
    let node = stage.nodes.first().context("there is no node")?;
    let (idle, _) = watch(node)?;
    let mut manifest = stage.hello("yearly", "exit", SCHEDULES, node.name());
    // Due once in a leap year.
    manifest["spec"]["schedule"] = json!({"cron": "0 3 29 2 *", "timezone": "UTC"});
    manifest["spec"]["type"] = json!("cron");
    manifest["spec"]["containers"][0]["resources"] = json!({"cpu": "1m", "memory": "4Mi", "disk": "1Mi"});
    manifest["spec"]["containers"][0]["limits"] = json!({"memory": "4Mi"});
    let path = stage.write(&manifest)?;
    stage.operator.skerry(&["apply", "-f", &path.display().to_string()])?;
    until("all schedules on their node", LIMIT, || {
        let found = stage.operator.allocations("yearly")?;
        let ready = found.iter().filter(|one| one.get("ready").is_some_and(|ready| ready == true));
        Ok((ready.count() == SCHEDULES).then_some(()))
    })?;
    let (waiting, memory) = watch(node)?;
    Ok(vec![
        Measurement::new(format!("agent CPU of a core, {SCHEDULES} schedules"), waiting, "%")
            .with_peer("without workloads", idle)
            .at_most(0.1),
        Measurement::new(format!("agent PSS, {SCHEDULES} schedules"), memory / 1024.0, "MiB"),
    ])
}

/// Hundredths of a processor that the agent takes, and its memory in KiB.
fn watch(node: &Node) -> Result<(f64, f64)> {
    let agent = node.pid().context("the agent does not run")?;
    pause(SETTLE)?;
    let (start, before) = (Instant::now(), cpu(agent)?);
    pause(WINDOW)?;
    let used = cpu(agent)?.saturating_sub(before);
    Ok((100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64(), pss_kib(agent)?))
}

/// Lets time pass: here nothing is waited for, the passing of time is what is measured.
pub(crate) fn pause(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    while Instant::now() < end {
        check_interrupt()?;
        std::thread::sleep(Duration::from_millis(200).min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}
