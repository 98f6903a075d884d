//! Bad lines between a node and its master: slow, late, doubled, and with addresses that change under the link.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use skerry_e2e::{Container, Plan, Region, SOON, Workload, in_region};
use skerry_ground::{Line, Relay, until, until_ok};

/// What is asked for over a line of 64 kbit/s or with 4 s from question to answer.
const LATE: Duration = Duration::from_mins(1);

/// Three of them must be longer than what a handshake takes from question to answer over the late line.
const KEEP_ALIVE: &[&str] = &["--keep-alive", "4s"];

/// How long a link takes at most to notice that its way has changed: the next keep-alive tells the master.
const NOTICED: Duration = Duration::from_secs(10);

#[test]
fn a_bad_line_loses_nothing_and_a_new_address_keeps_the_link() {
    let nodes = &[("n1", "oslo"), ("n2", "oslo")];
    let plan = Plan { nodes, images: &["hello"], agent_flags: KEEP_ALIVE, unjoined: true, ..Plan::default() };
    in_region(&plan, |region| {
        let host = region.bare_host("relay")?;
        let relay = Relay::start(&host, 7444, region.master.links())?;
        let by_relay = relay.address().to_string();
        region.node_mut("n1")?.add_flags(&["--master", &by_relay]);
        for name in ["n1", "n2"] {
            region.join(name, "oslo")?;
        }
        let image = region.image("hello")?;
        let before = runs(region, "first", "n1", SOON)?;
        runs(region, "second", "n2", SOON)?;
        // The image is there from here on: a pull over the slow line is not what this is about.
        let lines = [
            ("a slow line", Line { bits_per_second: Some(64_000), ..Line::default() }),
            ("a late line", Line { delay: Duration::from_secs(2), ..Line::default() }),
            ("a line that doubles", Line { twice_percent: 50, ..Line::default() }),
        ];
        for (number, (name, line)) in lines.into_iter().enumerate() {
            region.step(name);
            relay.become_line(line);
            runs(region, &format!("on-line-{number}"), "n1", LATE)?;
            agent_comes_back(region)?;
        }
        relay.become_line(Line { bits_per_second: Some(64_000), ..Line::default() });
        logs_do_not_hold_up_work(region, &image)?;
        relay.become_line(Line::default());
        ports_are_forgotten(region, &relay)?;
        address_changes(region)?;
        let now = region.node("n1")?.containers_of("first");
        ensure!(now == before, "a healthy container was started again: {before:?}, {now:?}");
        // Over the relay, which must not end before.
        region.clear()?;
        relay.stop()
    });
}

fn on(region: &Region, name: &str, node: &str, args: &[&str]) -> Result<Workload> {
    Ok(Workload::new(name, &region.image("hello")?, args).require(&format!("node.name={node}")))
}

/// Applies a workload that sleeps, and waits until it runs and the master knows.
fn runs(region: &Region, name: &str, node: &str, limit: Duration) -> Result<Vec<Container>> {
    region.operator.apply(&[&on(region, name, node, &["sleep"])?])?;
    let containers = region.node(node)?.runs(name, 1, limit)?;
    region.operator.wait(&format!("workload/{name}"), "running", limit)?;
    Ok(containers)
}

/// The handshake too must pass over the line.
fn agent_comes_back(region: &mut Region) -> Result<()> {
    let before = region.node("n1")?.containers();
    let node = region.node_mut("n1")?;
    node.kill()?;
    let welcomes = node.log().matches("welcomed").count();
    node.start(None)?;
    until("a Welcome over the line", LATE, || {
        Ok((region.node("n1")?.log().matches("welcomed").count() > welcomes).then_some(()))
    })?;
    region.operator.wait("node/n1", "reachable", LATE)?;
    ensure!(region.node("n1")?.containers() == before, "the restart changed what runs");
    Ok(())
}

/// Logs fill the line, and intent overtakes them.
fn logs_do_not_hold_up_work(region: &Region, image: &str) -> Result<()> {
    region.step("logs over the slow line");
    let chatty = Workload::new("chatty", image, &["tick", "1"]).require("node.name=n1");
    region.operator.apply(&[&chatty])?;
    region.operator.wait("workload/chatty", "running", LATE)?;
    let log = region.folder().join("followed.log");
    let follower = region.operator.start(&["logs", "-f", "workload/chatty"], &log)?;
    until("the first of the log", LATE, || Ok((follower.log().len() > 20_000).then_some(())))?;
    runs(region, "overtakes", "n1", LATE)?;
    let seen = follower.log().len();
    until("more of the log", LATE, || Ok((follower.log().len() > seen).then_some(())))
}

/// How many links the master has taken of a node.
fn links(region: &Region, node: &str) -> usize {
    let came = format!("child=node {node}");
    region
        .master
        .log()
        .lines()
        .filter(|line| line.contains("a link comes up") && line.contains(&came))
        .count()
}

fn ports_are_forgotten(region: &Region, relay: &Relay) -> Result<()> {
    region.step("a translator forgets the node's port");
    region.operator.wait("node/n1", "reachable", LATE)?;
    let before = links(region, "n1");
    ensure!(before > 0, "links are not counted");
    relay.forget_ports();
    runs(region, "after-forgetting", "n1", NOTICED)?;
    ensure!(links(region, "n1") == before, "the link did not survive another port");
    Ok(())
}

fn address_changes(region: &Region) -> Result<()> {
    region.step("the node gets another address");
    let before = links(region, "n2");
    ensure!(before > 0, "links are not counted");
    let serves = on(region, "serves", "n2", &["serve"])?.port(8080, &json!(8123));
    region.operator.apply(&[&serves])?;
    region.operator.running("serves")?;
    let address = region.node("n2")?.host().moves_to(200)?;
    runs(region, "after-moving", "n2", NOTICED)?;
    ensure!(links(region, "n2") == before, "the link did not survive another address");
    until_ok("the port at the new address", SOON, || {
        let answer = skerry_ground::http::fetch(region.wan.namespace(), (address, 8123).into(), "/");
        answer.context("asking the node").map(drop)
    })?;
    until_ok("the new address in what the region tells", NOTICED, || {
        let told = region.operator.list("nodes n2")?;
        let told = told.first().and_then(|node| node["address"].as_str()).unwrap_or_default();
        ensure!(told == address.to_string(), "{told} is not {address}");
        Ok(())
    })
}
