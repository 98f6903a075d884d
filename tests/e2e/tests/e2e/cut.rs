//! Links that are cut: nothing stops, local restarts go on, and the region's status is right within five seconds of healing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skerry_e2e::{Container, Plan, Region, SOON, Workload, in_region};
use skerry_ground::{Cut, until, until_ok};

/// How soon after healing the status must be right.
const RIGHT_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_cut_link_stops_nothing_and_heals_within_five_seconds() {
    let plan = Plan { nodes: &[("n1", "oslo"), ("n2", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        let image = region.image("hello")?;
        let on = |name: &str, args: &[&str]| Workload::new(name, &image, args).require("node.name=n1");
        region.operator.apply(&[
            &on("tick", &["tick", "100"]),
            &on("victim", &["sleep"]),
            &on("doomed", &["sleep"]),
        ])?;
        for name in ["tick", "victim", "doomed"] {
            region.operator.running(name)?;
        }
        long_cut(region, &on("late", &["sleep"]))?;
        each_kind_of_cut(region)?;
        flapping(region)
    });
}

fn only(mut found: Vec<Container>) -> Result<Container> {
    ensure!(found.len() == 1, "one container expected: {found:?}");
    found.pop().context("the list has an entry")
}

fn end(container: &Container) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(container.pid)?).context("a process id")?;
    kill_process(pid, Signal::KILL).context("killing a container")
}

/// Waits until the region knows that n1 is not heard from.
fn noticed(region: &Region) -> Result<()> {
    region.operator.wait("node/n1", "unreachable", SOON)
}

/// Heals, and fails unless `right` holds within the promised time.
fn heal(region: &Region, what: &str, right: impl Fn(&Region) -> Result<()>) -> Result<()> {
    region.node("n1")?.host().heal()?;
    let start = Instant::now();
    until_ok(what, RIGHT_WITHIN, || right(region))?;
    region.step(&format!("right again {:.1} s after healing", start.elapsed().as_secs_f32()));
    Ok(())
}

fn reachable(region: &Region) -> Result<()> {
    let node = region.operator.list("nodes n1")?;
    let reachable = node.first().and_then(|node| node.get("reachable")?.as_bool());
    ensure!(reachable == Some(true), "{node:?}");
    Ok(())
}

fn restarts(allocation: &Value) -> Option<u64> {
    allocation.pointer("/containers/0/restarts")?.as_u64()
}

fn long_cut(region: &Region, late: &Workload) -> Result<()> {
    region.step("a cut during which much happens");
    let node = region.node("n1")?;
    let tick = node.runs("tick", 1, SOON)?;
    let victim = only(node.containers_of("victim"))?;
    node.host().cut(&Cut::Both)?;
    noticed(region)?;
    let shown = region.operator.run(&["get", "allocations"])?.ok()?;
    ensure!(shown.out.contains("was running"), "a stale state must say so: {}", shown.out);
    let logs = region.operator.run(&["logs", "workload/tick"])?.exits(1)?;
    logs.says(&["n1", "not connected"])?;

    end(&victim)?;
    let again = until("the victim's restart", SOON, || {
        Ok(node.containers_of("victim").into_iter().find(|one| *one != victim))
    })?;
    region.operator.run(&["delete", "workload", "doomed"])?.ok()?;
    region.operator.apply(&[late])?;
    ensure!(node.containers_of("doomed").len() == 1, "nothing is told to a node that is cut off");

    heal(region, "what happened meanwhile is known", |region| {
        reachable(region)?;
        let victim = region.operator.allocation("victim")?;
        ensure!(restarts(&victim) == Some(1), "{victim}");
        let signal = victim.pointer("/containers/0/last_exit/kind").cloned().unwrap_or_default();
        ensure!(signal.to_string().contains('9'), "how it ended is told: {victim}");
        ensure!(region.node("n1")?.containers_of("late").len() == 1, "what was asked meanwhile runs");
        ensure!(region.node("n1")?.containers_of("doomed").is_empty(), "what was deleted meanwhile is gone");
        Ok(())
    })?;
    ensure!(node.containers_of("tick") == tick, "a healthy container restarted: {tick:?}");
    ensure!(only(node.containers_of("victim"))? == again, "the victim restarted once, not twice");
    no_tick_is_missing(&region.operator.logs("workload/tick")?)
}

/// The counted lines follow each other without a gap, from the first on.
fn no_tick_is_missing(log: &str) -> Result<()> {
    let ticks = log.lines().filter_map(|line| line.strip_prefix("tick ")?.parse::<u64>().ok());
    for (found, expect) in ticks.zip(1..) {
        ensure!(found == expect, "tick {expect} is missing before {found}");
    }
    Ok(())
}

fn each_kind_of_cut(region: &Region) -> Result<()> {
    let node = region.node("n1")?;
    let before = node.containers();
    for cut in [Cut::FromHost, Cut::ToHost, Cut::Unplugged, Cut::Between("master".to_owned())] {
        region.step(&format!("{cut:?}"));
        node.host().cut(&cut)?;
        noticed(region)?;
        heal(region, &format!("reachable after {cut:?}"), reachable)?;
        ensure!(node.containers() == before, "{cut:?} changed what runs: {before:?}");
    }
    Ok(())
}

fn flapping(region: &Region) -> Result<()> {
    region.step("thirty short cuts");
    let node = region.node("n1")?;
    let before = node.containers();
    for _ in 0..30 {
        node.host().cut(&Cut::Both)?;
        // Long enough for some packets to be lost.
        std::thread::sleep(Duration::from_millis(50));
        node.host().heal()?;
    }
    heal(region, "reachable after flapping", reachable)?;
    ensure!(node.containers() == before, "flapping changed what runs: {before:?}");

    region.step("a link that loses a third of all packets");
    node.host().cut(&Cut::Loss(35))?;
    let slow = Workload::new("slow", &region.image("hello")?, &["sleep"]).require("node.name=n1");
    region.operator.apply(&[&slow])?;
    node.runs("slow", 1, SOON)?;
    heal(region, "reachable after losses", reachable)?;
    ensure!(node.containers().len() == before.len() + 1, "losses stopped something");
    Ok(())
}
