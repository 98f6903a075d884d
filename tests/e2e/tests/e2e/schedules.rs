//! Schedules on a node: kept while it is cut off, and what becomes of a run that is due while the last one goes on. A minute is
//! the shortest time between two runs, so the node's clock is moved instead of waiting for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use skerry_e2e::{Container, Plan, Region, SOON, Workload, WrongClocks, in_region};
use skerry_ground::{Cut, until};

/// Until the next full minute, by the node's clock, and a little: longer when the machine was so slow that one was missed.
const A_MINUTE: Duration = Duration::from_secs(75);

#[test]
fn schedules_are_kept_without_a_link_and_runs_do_not_overlap() {
    let plan = Plan { nodes: &[("n1", "oslo")], images: &["hello"], unjoined: true, ..Plan::default() };
    in_region(&plan, |region| {
        let clocks = WrongClocks::new(region.folder())?;
        region.node_mut("n1")?.set_environment(&clocks.environment("n1"));
        // Long enough for the node to join and be cut off before the minute is full.
        let ahead = set_clock(&clocks, 0, 15)?;
        region.join("n1", "oslo")?;
        for (name, args, overlap) in [
            ("tide", ["exit", "0"], "forbid"),
            ("keeps", ["sleep", "3600"], "forbid"),
            ("yields", ["sleep", "3600"], "replace"),
        ] {
            region.operator.apply(&[&cron(region, name, &args, overlap)?])?;
        }
        rests(region, &["tide", "keeps", "yields"])?;
        fires_while_cut_off(region)?;
        next_minute(region, &clocks, ahead)
    });
}

fn cron(region: &Region, name: &str, args: &[&str], overlap: &str) -> Result<Workload> {
    Ok(Workload::new(name, &region.image("hello")?, args)
        .spec("type", json!("cron"))
        .spec("schedule", json!({"cron": "* * * * *", "timezone": "UTC", "overlap": overlap}))
        .spec("restart", json!({"policy": "never"})))
}

/// Sets the node's clock on from `ahead` seconds to where a minute is full in so many. Gives by how much it is ahead.
fn set_clock(clocks: &WrongClocks, ahead: u64, seconds: u64) -> Result<u64> {
    let second = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + ahead;
    let ahead = ahead + (120 - seconds - second % 60) % 60;
    clocks.set("n1", i64::try_from(ahead)?)?;
    Ok(ahead)
}

fn rests(region: &Region, names: &[&str]) -> Result<()> {
    until("the schedules on their node", SOON, || {
        for name in names {
            let found = region.operator.allocations(name)?;
            if !found.iter().any(|one| one["ready"] == true) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

/// How many runs of `tide` have ended.
fn tides(region: &Region) -> Result<usize> {
    Ok(region.node("n1")?.log().matches("a container ended container=tide-").count())
}

fn the_run(region: &Region, name: &str) -> Result<Container> {
    let found = region.node("n1")?.runs(name, 1, SOON)?;
    found.into_iter().next().context("one container runs")
}

fn fires_while_cut_off(region: &mut Region) -> Result<()> {
    region.step("a schedule fires while its node is cut off from master and registry, and not again after");
    // Its image was never run here: that it was placed has to be enough.
    region.registry()?.pause()?;
    let node = region.node("n1")?;
    node.host().cut(&Cut::Between("master".to_owned()))?;
    let before = tides(region)?;
    until("a run at the full minute", A_MINUTE, || Ok((tides(region)? > before).then_some(())))?;
    node.host().heal()?;
    region.registry()?.resume()?;
    region.operator.wait("node/n1", "reachable", SOON)?;
    // What ran meanwhile is told over the link that is back.
    until("the word of the run", SOON, || {
        let tide = region.operator.allocation("tide")?;
        Ok((tide["phase"] == "completed").then_some(()))
    })?;
    let runs = tides(region)? - before;
    ensure!(runs == 1, "{runs} runs for one due time");
    Ok(())
}

fn next_minute(region: &mut Region, clocks: &WrongClocks, ahead: u64) -> Result<()> {
    region.step("the next run is due while the last one goes on");
    let (keeps, yields, runs) = (the_run(region, "keeps")?, the_run(region, "yields")?, tides(region)?);
    set_clock(clocks, ahead, 8)?;
    let operator = region.operator.clone();
    let node = region.node_mut("n1")?;
    node.kill()?;
    node.start(None)?;
    node.reachable(&operator)?;
    let next = until("another run in its place", A_MINUTE, || {
        Ok(region.node("n1")?.containers_of("yields").into_iter().find(|one| *one != yields))
    })?;
    ensure!(next.allocation == yields.allocation, "a run is not an allocation of its own: {next:?}");
    ensure!(!region.node("n1")?.containers().contains(&yields), "the older run was ended");
    until("the word of what was left out", SOON, || {
        let said = region.operator.run(&["get", "events"])?.ok()?;
        Ok(said.out.lines().any(|line| line.contains("RunSkipped") && line.contains("keeps")).then_some(()))
    })
    .with_context(|| region.operator.whole_state())?;
    ensure!(the_run(region, "keeps")? == keeps, "the run that went on was touched");
    until("a run in the next minute", SOON, || Ok((tides(region)? == runs + 1).then_some(())))
}
