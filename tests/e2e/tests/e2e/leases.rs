//! What is exclusive: a node that is cut off stops it before another one starts it, even when its agent is dead. Looked at from
//! outside, by the kernel's list of processes.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use skerry_e2e::{Container, Node, Plan, Region, SOON, Workload, in_region};
use skerry_ground::{Cut, until};

/// A node that is cut off right after it renewed runs for so long at most.
const LEASE: Duration = Duration::from_secs(10);
/// Until a replacement runs: the master's wait, which is a little longer, and a start on a busy machine.
const REPLACED: Duration = Duration::from_secs(40);

#[test]
fn an_exclusive_instance_never_runs_twice() {
    let plan = Plan { nodes: &[("n1", "oslo"), ("n2", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        let db = Workload::new("db", &region.image("hello")?, &["sleep"])
            .spec("exclusive", json!(true))
            .spec("lease", json!("10s"))
            .spec("stop_grace", json!("1s"))
            .spec("on_disconnect", json!({"replace_after": "2s"}));
        region.operator.apply(&[&db])?;
        region.operator.running("db")?;
        let mut token = 0;
        what_it_is_given(region, &mut token)?;
        a_crash_gets_a_greater_token(region, &mut token)?;
        a_cut_node_stops_first(region, &mut token)?;
        the_keeper_ends_what_a_dead_agent_left(region, &mut token)?;
        a_drain_stops_before_it_starts(region, &mut token)
    });
}

/// The node that holds it, and the one that does not.
fn holder(region: &Region) -> Result<(String, String, Container)> {
    until("one holder", SOON, || {
        let found: Vec<(String, Container)> = ["n1", "n2"]
            .iter()
            .filter_map(|name| Some((name, region.node(name).ok()?)))
            .flat_map(|(name, node)| {
                node.containers_of("db").into_iter().map(|one| ((*name).to_owned(), one))
            })
            .collect();
        ensure!(found.len() <= 1, "two at once: {found:?}");
        Ok(found.into_iter().next().map(|(name, one)| {
            let other = if name == "n1" { "n2" } else { "n1" };
            (name, other.to_owned(), one)
        }))
    })
}

/// The token in a container's environment, which has to be a greater one than that before. Its file says the same.
fn token_of(container: &Container, last: &mut u64) -> Result<u64> {
    let environment = fs::read_to_string(format!("/proc/{}/environ", container.pid))?;
    let given = environment.split('\0').find_map(|one| one.strip_prefix("SKERRY_FENCING_TOKEN="));
    let token: u64 = given.with_context(|| format!("no token in {environment:?}"))?.parse()?;
    let file = fs::read_to_string(format!("/proc/{}/root/run/skerry/fencing-token", container.pid))?;
    ensure!(file.trim() == token.to_string(), "the file says {file:?} and the environment {token}");
    ensure!(token > *last, "token {token} after {last}");
    *last = token;
    Ok(token)
}

fn what_it_is_given(region: &Region, token: &mut u64) -> Result<()> {
    region.step("it has a token, and describe shows it with its holder");
    let (name, _, container) = holder(region)?;
    let token = token_of(&container, token)?;
    let options = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid))?;
    let mount = options.lines().find(|line| line.contains(" /run/skerry/fencing-token "));
    ensure!(mount.is_some_and(|line| line.contains(" ro,")), "the file is not read-only: {mount:?}");
    let said = region.operator.run(&["describe", "allocation", &container.allocation])?.ok()?;
    said.says(&["Lease", &format!("node {name} renewed it"), "Fencing token", &token.to_string()]).map(drop)
}

fn a_crash_gets_a_greater_token(region: &Region, token: &mut u64) -> Result<()> {
    region.step("a start after a crash has a greater token");
    let (name, _, container) = holder(region)?;
    kill_process(Pid::from_raw(i32::try_from(container.pid)?).context("a process id")?, Signal::KILL)?;
    let node = region.node(&name)?;
    let again = until("the next start", SOON, || {
        Ok(node.containers_of("db").into_iter().find(|one| *one != container))
    })?;
    token_of(&again, token).map(drop)
}

/// Waits until the other node has it, and fails if two ever run. Gives when the old one was seen to be gone.
fn replaced(old: &Container, other: &Node) -> Result<(Container, Duration)> {
    let cut = Instant::now();
    let mut gone_after = None;
    let fresh = until("the replacement", REPLACED, || {
        // In this order: one that is alive now was alive when the other was looked at.
        let fresh = other.containers_of("db").into_iter().next();
        let alive = old.is_alive();
        ensure!(!(alive && fresh.is_some()), "two at once: {old:?} and {fresh:?}");
        if !alive {
            gone_after.get_or_insert_with(|| cut.elapsed());
        }
        Ok(fresh)
    })?;
    let gone_after = gone_after.context("the old one was never seen to be gone")?;
    ensure!(gone_after <= LEASE, "it ran on for {gone_after:?}");
    Ok((fresh, gone_after))
}

fn a_cut_node_stops_first(region: &Region, token: &mut u64) -> Result<()> {
    region.step("a node is cut off");
    let (name, other, old) = holder(region)?;
    region.node(&name)?.host().cut(&Cut::Both)?;
    let (fresh, gone_after) = replaced(&old, region.node(&other)?)?;
    region.step(&format!(
        "it was gone {:.1} s after the cut, before the other started",
        gone_after.as_secs_f32()
    ));
    token_of(&fresh, token)?;
    heals(region, &name, &fresh)
}

/// The link comes back, and the replacement stays the only one.
fn heals(region: &Region, name: &str, fresh: &Container) -> Result<()> {
    region.node(name)?.host().heal()?;
    region.operator.wait(&format!("node/{name}"), "reachable", SOON)?;
    until("one allocation", SOON, || {
        let (_, _, only) = holder(region)?;
        ensure!(only == *fresh, "the replacement did not stay: {only:?}");
        Ok((region.operator.allocations("db")?.len() == 1).then_some(()))
    })
    .with_context(|| region.operator.whole_state())
}

fn the_keeper_ends_what_a_dead_agent_left(region: &mut Region, token: &mut u64) -> Result<()> {
    region.step("a node is cut off and its agent killed");
    let (name, other, old) = holder(region)?;
    region.node(&name)?.host().cut(&Cut::Both)?;
    region.node_mut(&name)?.kill()?;
    let (fresh, gone_after) = replaced(&old, region.node(&other)?)?;
    region.step(&format!("its keeper ended it {:.1} s after the cut", gone_after.as_secs_f32()));
    token_of(&fresh, token)?;
    region.node(&name)?.host().heal()?;
    region.node_mut(&name)?.start(None)?;
    heals(region, &name, &fresh)
}

fn a_drain_stops_before_it_starts(region: &Region, token: &mut u64) -> Result<()> {
    region.step("its node is drained");
    let (name, other, old) = holder(region)?;
    region.operator.run(&["drain", &name])?.ok()?;
    let node = region.node(&other)?;
    let fresh = until("the move", SOON, || {
        let fresh = node.containers_of("db").into_iter().next();
        ensure!(!(old.is_alive() && fresh.is_some()), "two at once: {old:?} and {fresh:?}");
        Ok(fresh)
    })
    .with_context(|| region.operator.whole_state())?;
    token_of(&fresh, token)?;
    region.operator.run(&["uncordon", &name])?.ok().map(drop)
}
