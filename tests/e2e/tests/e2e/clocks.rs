//! Certificates that ran out and clocks that are wrong.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Container, Node, Plan, Region, SOON, Workload, WrongClocks, in_region};
use skerry_ground::{until, until_ok};

const LIFE: Duration = Duration::from_secs(10);
const TWO_DAYS_S: i64 = 2 * 24 * 3600;

/// Until a renewal: from 0.4 to 0.6 of a life, and longer on a busy machine.
const RENEWAL: Duration = Duration::from_secs(20);

#[test]
fn a_node_renews_its_certificate_and_comes_back_after_it_ran_out() {
    let flags = &["--node-certificate-life", "10s"];
    let plan = Plan { nodes: &[("n1", "oslo")], images: &["hello"], master_flags: flags, ..Plan::default() };
    in_region(&plan, |region| {
        let before = sleeper(region, "n1")?;
        renewed_in_time(region)?;
        master_away(region)?;
        agent_restarted_too(region)?;
        shorter_outage(region)?;
        ensure!(region.node("n1")?.containers() == before, "the container was started again");
        Ok(())
    });
}

/// A workload that only sleeps, on this node.
fn sleeper(region: &Region, node: &str) -> Result<Vec<Container>> {
    let name = format!("sleeper-{node}");
    let sleeper =
        Workload::new(&name, &region.image("hello")?, &["sleep"]).require(&format!("node.name={node}"));
    region.operator.apply(&[&sleeper])?;
    region.operator.running(&name)?;
    region.node(node)?.runs(&name, 1, SOON)
}

fn find(region: &Region, node: &str) -> Result<Value> {
    let mut nodes = region.operator.list("nodes")?;
    nodes.retain(|one| one["name"] == node);
    nodes.pop().with_context(|| format!("there is no node {node}"))
}

/// When the node's certificate ends, as the master knows from its link.
fn expiry(region: &Region, node: &str) -> Result<u64> {
    let node = find(region, node)?;
    node["certificate_expires_ms"].as_u64().with_context(|| format!("no expiry: {node}"))
}

fn renewed_in_time(region: &Region) -> Result<()> {
    region.step("a certificate is renewed before it ends");
    let first = expiry(region, "n1")?;
    let next = until("a renewal", RENEWAL, || Ok(Some(expiry(region, "n1")?).filter(|at| *at > first)))?;
    // Not at once and again and again: certificates know whole seconds.
    ensure!(next >= first + 3000, "renewed after {} ms", next - first);
    until_ok("the link", SOON, || is_reachable(region, "n1"))
}

fn is_reachable(region: &Region, node: &str) -> Result<()> {
    let node = find(region, node)?;
    ensure!(node["reachable"] == true, "{node}");
    Ok(())
}

/// Waits until what the node holds has run out, a second and more ago.
fn runs_out(node: &Node, at: u64) -> Result<()> {
    until(&format!("the end of the certificate of {}", node.name()), LIFE * 3, || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        Ok((now > u128::from(at) + 1500).then_some(()))
    })
}

fn back(region: &mut Region) -> Result<()> {
    let operator = region.operator.clone();
    region.master.start()?;
    region.node_mut("n1")?.reachable(&operator)?;
    region.operator.running("sleeper-n1")
}

fn master_away(region: &mut Region) -> Result<()> {
    region.step("the master is away until the certificate has run out");
    region.master.kill()?;
    // The last one may have been issued just before the master went.
    runs_out(region.node("n1")?, now_ms()? + u64::try_from(LIFE.as_millis())?)?;
    back(region)
}

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

fn agent_restarted_too(region: &mut Region) -> Result<()> {
    region.step("the same, and the agent is killed meanwhile");
    region.master.kill()?;
    region.node_mut("n1")?.kill()?;
    runs_out(region.node("n1")?, now_ms()? + u64::try_from(LIFE.as_millis())?)?;
    region.node_mut("n1")?.start(None)?;
    until("the agent is up without a master", SOON, || {
        Ok((region.node("n1")?.log().matches("the agent is up").count() == 2).then_some(()))
    })?;
    ensure!(region.node("n1")?.containers().len() == 1, "{:?}", region.node("n1")?.containers());
    back(region)
}

/// The node was away for less than a life: nothing had run out, and the link is up at once.
fn shorter_outage(region: &mut Region) -> Result<()> {
    region.step("the master restarts");
    region.master.kill()?;
    back(region)
}

#[test]
fn a_clock_two_days_off_changes_nothing() {
    // An hour: by either clock the certificate is far from valid.
    let flags = &["--node-certificate-life", "1h"];
    let nodes = [("ahead", "oslo"), ("behind", "oslo")];
    let plan =
        Plan { nodes: &nodes, images: &["hello"], master_flags: flags, unjoined: true, ..Plan::default() };
    in_region(&plan, |region| {
        let clocks = WrongClocks::new(region.folder())?;
        for (name, ahead_s) in [("ahead", TWO_DAYS_S), ("behind", -TWO_DAYS_S)] {
            clocks.set(name, ahead_s)?;
            joins(region, name, &clocks)?;
            works(region, name)?;
        }
        region.step("the clocks jump to the other side while the agents run");
        for (name, ahead_s) in [("ahead", -TWO_DAYS_S), ("behind", TWO_DAYS_S)] {
            jumps(region, name, || clocks.set(name, ahead_s))?;
        }
        region.step("the agents start with those clocks");
        for name in ["ahead", "behind"] {
            starts_again(region, name)?;
        }
        both_restart(region)?;
        few_renewals(region)
    });
}

fn joins(region: &mut Region, name: &str, clocks: &WrongClocks) -> Result<()> {
    region.step(&format!("{name} joins"));
    region.node_mut(name)?.set_environment(&clocks.environment(name));
    region.join(name, "oslo")?;
    // The test would prove nothing if the clock were right.
    let logged = region.node(name)?.log();
    let today = &logged.lines().last().context("the agent logs")?[..10];
    let wall = region.master.log();
    ensure!(
        !wall.lines().last().context("the master logs")?.starts_with(today),
        "the clock is right: {today}"
    );
    Ok(())
}

fn works(region: &Region, name: &str) -> Result<()> {
    let container = sleeper(region, name)?;
    let ticker = format!("ticker-{name}");
    let ends = Workload::new(&ticker, &region.image("hello")?, &["exit", "7"])
        .require(&format!("node.name={name}"))
        .spec("restart", json!({"policy": "always", "backoff": "200ms", "max_backoff": "400ms"}));
    region.operator.apply(&[&ends])?;
    until("restarts", SOON, || {
        let seen = region.operator.allocation(&ticker)?;
        let restarts = seen.pointer("/containers/0/restarts").and_then(Value::as_u64).unwrap_or_default();
        Ok((restarts >= 3).then_some(()))
    })?;
    let logs = region.operator.logs(&format!("workload/{ticker}"))?;
    ensure!(logs.contains("hello exit"), "{logs}");
    region.operator.delete(&ticker)?;
    ensure!(region.node(name)?.containers() == container, "{:?}", region.node(name)?.containers());
    Ok(())
}

/// The clock jumps under a running agent: its link holds, waits of restarts go by the other clock.
fn jumps(region: &Region, name: &str, jump: impl FnOnce() -> Result<()>) -> Result<()> {
    let welcomes = |region: &Region| anyhow::Ok(region.node(name)?.log().matches("welcomed").count());
    let before = (region.node(name)?.containers(), welcomes(region)?);
    jump()?;
    works(region, name)?;
    is_reachable(region, name)?;
    let after = (region.node(name)?.containers(), welcomes(region)?);
    ensure!(after == before, "{name}: {before:?} before the jump and {after:?} after it");
    Ok(())
}

/// Restarts the agent.
fn starts_again(region: &mut Region, name: &str) -> Result<()> {
    let operator = region.operator.clone();
    let node = region.node_mut(name)?;
    let before = node.containers();
    node.kill()?;
    node.start(None)?;
    unreachable_first(region, name)?;
    region.node_mut(name)?.reachable(&operator)?;
    region.operator.running(&format!("sleeper-{name}"))?;
    ensure!(region.node(name)?.containers() == before, "a container was started again");
    Ok(())
}

/// The region may still hold the link of the process before for the living one: what counts is the new one's.
fn unreachable_first(region: &Region, name: &str) -> Result<()> {
    until("a Welcome after the restart", SOON, || {
        let log = region.node(name)?.log();
        let (_, last) = log.rsplit_once("the agent is up").unwrap_or_default();
        Ok(last.contains("welcomed").then_some(()))
    })
}

fn both_restart(region: &mut Region) -> Result<()> {
    region.step("the master restarts, with both clocks wrong");
    let operator = region.operator.clone();
    region.master.kill()?;
    let began = Instant::now();
    region.master.start()?;
    for name in ["ahead", "behind"] {
        region.node_mut(name)?.reachable(&operator)?;
        region.operator.running(&format!("sleeper-{name}"))?;
    }
    ensure!(began.elapsed() < SOON, "{:?}", began.elapsed());
    Ok(())
}

/// A clock that is off may cost one renewal at each start of an agent, and no loop of them.
fn few_renewals(region: &Region) -> Result<()> {
    for node in region.nodes.values() {
        let renewals = node.log().matches("the certificate is renewed").count();
        ensure!(renewals <= 2, "{} renewed {renewals} times", node.name());
    }
    Ok(())
}
