//! What a region is for, while all goes well: join, apply, see, use.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skerry_ground::{Host, Registry, Run, http, output, until_ok};

use super::placed::{Placed, text};
use super::show::Step;
use super::topology::{Ground, Region};

/// Longest for anything that takes a moment; two busy cores are the measure.
pub(super) const SOON: Duration = Duration::from_secs(30);

const WORKLOADS: &str = include_str!("workloads.yaml");
const PAGE: &str = "A page from nginx on an edge node.";
const MESSAGE: &str = "high water at 14:05";

pub(super) fn start_master(step: &mut Step, ground: &Ground, registry: &Registry) -> Result<Region> {
    let (mut region, said) = Region::init(ground, registry)?;
    step.command(format!("skerry-master init --region north --advertise {}", ground.master.address()));
    step.note(said);
    let start = Instant::now();
    region.master.start()?;
    step.command("skerry-master &");
    let regions = region.operator.list("regions")?;
    let is_north = regions.first().is_some_and(|region| text(region, "name") == "north");
    let took = start.elapsed().as_millis();
    step.check(format!("the master of region north answers, {took} ms after its start"), is_north)?;
    Ok(region)
}

pub(super) fn join(step: &mut Step, region: &mut Region) -> Result<()> {
    for (site, numbers) in Region::sites() {
        let uses = u32::try_from(numbers.len())?;
        let token = region.operator.token(site, uses)?;
        step.command(format!("skerry token create --site {site} --uses {uses}"));
        step.note(format!("{}...  ({} characters)", token.chars().take(40).collect::<String>(), token.len()));
        for number in numbers {
            let node = &mut region.nodes[number];
            node.start(Some(&token))?;
            step.on(node.name(), "SKERRY_JOIN_TOKEN=... skerry-agent &");
        }
    }
    for node in &mut region.nodes {
        let joined = region.operator.wait(&format!("node/{}", node.name()), "reachable", SOON);
        joined.or_else(|error| node.check().and(Err(error)))?;
    }
    step.skerry(&region.operator, &["get", "nodes", "-o", "wide"])?;
    let nodes = region.operator.list("nodes")?;
    let reachable = nodes.iter().filter(|node| node.get("reachable").is_some_and(|is| is == true)).count();
    step.check("three nodes joined with keys that never left them, and are heard from", reachable == 3)
}

/// Applies the manifest; gives the file.
pub(super) fn apply(step: &mut Step, run: &Run, region: &Region, registry: &Registry) -> Result<PathBuf> {
    let path = run.folder().join("edge.yaml");
    let manifest = WORKLOADS.replace("REGISTRY", &registry.authority());
    fs::write(&path, &manifest).context("writing the manifest")?;
    step.command("cat edge.yaml");
    step.note(&manifest);
    let start = Instant::now();
    step.skerry_as(
        "skerry apply -f edge.yaml",
        &region.operator,
        &["apply", "-f", &path.display().to_string()],
    )?;
    for workload in ["web", "broker", "hello"] {
        let wait = ["wait", &format!("workload/{workload}"), "--for", "running", "--timeout", "60s"];
        step.skerry(&region.operator, &wait)?;
    }
    let took = start.elapsed().as_secs_f32();
    step.check(format!("everything runs, {took:.1} s after apply, images pulled from the registry"), true)?;
    Ok(path)
}

pub(super) fn placement(step: &mut Step, region: &Region) -> Result<()> {
    step.skerry(&region.operator, &["get", "allocations"])?;
    step.skerry(&region.operator, &["get", "sites"])?;
    let mut nodes: Vec<String> =
        Placed::of(&region.operator, "web")?.into_iter().map(|placed| placed.node).collect();
    nodes.sort();
    nodes.dedup();
    step.check("web is spread: one instance on each node", nodes.len() == 3)?;
    let broker = Placed::of(&region.operator, "broker")?;
    let in_oslo = broker.iter().all(|placed| placed.node.starts_with("oslo"));
    step.check("the broker is in Oslo, as its manifest requires", broker.len() == 1 && in_oslo)?;
    check_pids(step, region)
}

/// The kernel must show what the master says, container by container.
pub(super) fn check_pids(step: &mut Step, region: &Region) -> Result<()> {
    let mut told: Vec<(String, u32)> = Placed::all(&region.operator)?
        .into_iter()
        .flat_map(|placed| placed.containers.into_iter().map(move |told| (placed.id.clone(), told.pid)))
        .collect();
    told.sort();
    let seen: Vec<(String, u32)> =
        region.containers().into_iter().map(|seen| (seen.allocation, seen.pid)).collect();
    let agree = told == seen;
    if !agree {
        step.note(format!("the master says {told:?}"));
        step.note(format!("the kernel shows {seen:?}"));
    }
    step.check(format!("the kernel shows the {} containers that the master tells of", seen.len()), agree)
}

/// Fetches from every instance through its host port.
pub(super) fn fetch(step: &mut Step, ground: &Ground, region: &Region) -> Result<()> {
    for placed in Placed::of(&region.operator, "web")? {
        let page = page_of(ground, &placed)?;
        step.command(format!("curl http://{}/", placed.address()?));
        step.note(page.lines().last().unwrap_or_default());
        step.check(format!("{} on {} serves its page", placed.id, placed.node), page.contains(PAGE))?;
    }
    for placed in Placed::of(&region.operator, "hello")? {
        let address = placed.address()?;
        let answer = http::fetch(ground.wan.namespace(), address, "/")?;
        step.check(
            format!("{} on {} answers {:?} at {address}", placed.id, placed.node, answer.trim()),
            answer.trim() == format!("hello from {}", placed.id),
        )?;
    }
    Ok(())
}

/// The page of an instance, seen from the wan. A service that has just been started may need a moment.
pub(super) fn page_of(ground: &Ground, placed: &Placed) -> Result<String> {
    let address = placed.address()?;
    until_ok(&format!("the page of {}", placed.id), SOON, || {
        http::fetch(ground.wan.namespace(), address, "/")
    })
}

/// The page of an instance, seen from the node it runs on.
pub(super) fn page_at_home(host: &Host, placed: &Placed) -> Result<String> {
    let address = placed.address()?;
    until_ok(&format!("the page of {} on its own node", placed.id), SOON, || {
        http::fetch(host.namespace(), address, "/")
    })
}

/// Whether it is the page that nginx has.
pub(super) fn is_page(page: &str) -> bool {
    page.contains(PAGE)
}

/// Sends a message from a device at one node to a device at another, through the broker.
pub(super) fn message(step: &mut Step, ground: &Ground, region: &Region) -> Result<()> {
    let broker = Placed::of(&region.operator, "broker")?;
    let address = broker.first().context("there is no broker")?.address()?;
    let (from, to) = (&ground.nodes[2], &ground.nodes[0]);
    let place = [String::from("-h"), address.ip().to_string(), "-p".to_owned(), address.port().to_string()];
    let mut listener = to.command("mosquitto_sub");
    listener.args(&place).args(["-t", "fjord/tide", "-C", "1", "-W", "10"]);
    let listener = listener.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let listener = listener.context("starting mosquitto_sub")?;
    step.on(to.name(), format!("mosquitto_sub -h {} -t fjord/tide &", address.ip()));
    // Retained, so that it also reaches a listener that subscribes a moment later.
    let mut sender = from.command("mosquitto_pub");
    output(sender.args(&place).args(["-r", "-t", "fjord/tide", "-m", MESSAGE]))?;
    step.on(from.name(), format!("mosquitto_pub -h {} -t fjord/tide -m '{MESSAGE}'", address.ip()));
    let heard = listener.wait_with_output().context("waiting for mosquitto_sub")?;
    let said = String::from_utf8_lossy(&heard.stdout);
    step.note(said.trim());
    ensure!(heard.status.success(), "mosquitto_sub: {}", String::from_utf8_lossy(&heard.stderr).trim());
    step.check(format!("{} received it through the broker", to.name()), said.trim() == MESSAGE)
}
