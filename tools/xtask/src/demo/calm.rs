//! What a region is for, while all goes well: join, apply, see, use.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skerry_ground::{Host, Registry, Run, http, output, until, until_ok};

use super::placed::{Placed, text};
use super::show::Step;
use super::topology::{Ground, ROOT, Tree};

/// Longest for anything that takes a moment; two busy cores are the measure.
pub(super) const SOON: Duration = skerry_ground::region::SOON;

const WORKLOADS: &str = include_str!("workloads.yaml");
const PAGE: &str = "A page from nginx on an edge node.";
const MESSAGE: &str = "high water at 14:05";

pub(super) fn start_root(step: &mut Step, ground: &Ground, registry: &Registry) -> Result<Tree> {
    let (mut tree, said) = Tree::init(ground, registry)?;
    step.on(ROOT, format!("skerry-master init --region {ROOT} --advertise {}", ground.root.address()));
    step.note(said);
    let start = Instant::now();
    tree.root.start()?;
    step.on(ROOT, "skerry-master &");
    let regions = tree.operator.list("regions")?;
    let is_root = regions.first().is_some_and(|region| text(region, "name") == ROOT);
    let took = start.elapsed().as_millis();
    step.check(format!("the master of region {ROOT} answers, {took} ms after its start"), is_root)?;
    Ok(tree)
}

/// Two regions below the root, each with a master of its own.
pub(super) fn add_regions(step: &mut Step, ground: &Ground, tree: &mut Tree) -> Result<()> {
    for (number, name) in Tree::names().into_iter().enumerate() {
        let token = tree.operator.region_token(name)?;
        step.on(ROOT, format!("skerry token create --region {name}"));
        step.note(short(&token));
        let said = tree.add(ground, number, &token)?;
        step.on(name, format!("SKERRY_MASTER_JOIN_TOKEN=... skerry-master init --region {name}"));
        step.note(said);
        tree.regions[number].master.start()?;
        step.on(name, "skerry-master &");
    }
    until("both regions", SOON, || {
        let regions = tree.operator.list("regions -A")?;
        let reachable = regions.iter().filter(|region| region.get("connected").is_some_and(|is| is == true));
        Ok((reachable.count() == 3).then_some(()))
    })?;
    step.skerry(&tree.operator, &["get", "regions", "-A"])?;
    step.check("the root hears from both regions; each has a CA that the root certified", true)
}

fn short(token: &str) -> String {
    format!("{}...  ({} characters)", token.chars().take(40).collect::<String>(), token.len())
}

pub(super) fn join(step: &mut Step, tree: &mut Tree) -> Result<()> {
    for region in &mut tree.regions {
        for (site, numbers) in region.sites() {
            let uses = u32::try_from(numbers.len())?;
            let token = region.operator.token(site, uses)?;
            step.on(region.name, format!("skerry token create --site {site} --uses {uses}"));
            step.note(short(&token));
            for number in numbers {
                let node = &mut region.nodes[number];
                node.start(Some(&token))?;
                step.on(node.name(), "SKERRY_JOIN_TOKEN=... skerry-agent &");
            }
        }
        for node in &mut region.nodes {
            node.reachable(&region.operator)?;
        }
    }
    let reachable = until("the word of four nodes at the root", SOON, || {
        let nodes = tree.operator.list("nodes -A")?;
        let reachable =
            nodes.iter().filter(|node| node.get("reachable").is_some_and(|is| is == true)).count();
        Ok((reachable == 4).then_some(reachable))
    })?;
    step.skerry(&tree.operator, &["get", "nodes", "-A"])?;
    step.check("four nodes joined with keys that never left them, and the root knows of all", reachable == 4)
}

pub(super) fn apply(step: &mut Step, run: &Run, tree: &Tree, registry: &Registry) -> Result<()> {
    let path = run.folder().join("edge.yaml");
    let manifest = WORKLOADS.replace("REGISTRY", &registry.authority());
    fs::write(&path, &manifest).context("writing the manifest")?;
    step.command("cat edge.yaml");
    step.note(&manifest);
    let start = Instant::now();
    step.skerry_as(
        "skerry apply -f edge.yaml",
        &tree.operator,
        &["apply", "-f", &path.display().to_string()],
    )?;
    for workload in ["web", "broker", "hello"] {
        let wait = ["wait", &format!("workload/{workload}"), "--for", "running", "--timeout", "60s"];
        step.skerry(&tree.operator, &wait)?;
    }
    let took = start.elapsed().as_secs_f32();
    step.check(format!("everything runs, {took:.1} s after apply, images pulled from the registry"), true)
}

pub(super) fn placement(step: &mut Step, tree: &Tree) -> Result<()> {
    step.skerry(&tree.operator, &["get", "allocations", "-A"])?;
    step.skerry(&tree.operator, &["get", "sites", "-A"])?;
    step.skerry(&tree.operator, &["explain", "web"])?;
    let mut nodes: Vec<String> =
        Placed::of(&tree.operator, "web")?.into_iter().map(|placed| placed.node).collect();
    nodes.sort();
    nodes.dedup();
    step.check("web is spread: one instance on each node", nodes.len() == 4)?;
    let broker = Placed::of(&tree.operator, "broker")?;
    let in_oslo = broker.iter().all(|placed| placed.node.starts_with("oslo"));
    step.check("the broker is in Oslo, as its manifest requires", broker.len() == 1 && in_oslo)?;
    check_pids(step, tree)
}

/// The kernel must show what the master says, container by container.
pub(super) fn check_pids(step: &mut Step, tree: &Tree) -> Result<()> {
    let mut told: Vec<(String, u32)> = Placed::all(&tree.operator)?
        .into_iter()
        .flat_map(|placed| placed.containers.into_iter().map(move |told| (placed.id.clone(), told.pid)))
        .collect();
    told.sort();
    let seen: Vec<(String, u32)> =
        tree.containers().into_iter().map(|seen| (seen.allocation, seen.pid)).collect();
    let agree = told == seen;
    if !agree {
        step.note(format!("the master says {told:?}"));
        step.note(format!("the kernel shows {seen:?}"));
    }
    step.check(format!("the kernel shows the {} containers that the master tells of", seen.len()), agree)
}

/// Fetches from every instance through its host port.
pub(super) fn fetch(step: &mut Step, ground: &Ground, tree: &Tree) -> Result<()> {
    for placed in Placed::of(&tree.operator, "web")? {
        let page = page_of(ground, &placed)?;
        step.command(format!("curl http://{}/", placed.address()?));
        step.note(page.lines().last().unwrap_or_default());
        step.check(format!("{} on {} serves its page", placed.id, placed.node), page.contains(PAGE))?;
    }
    for placed in Placed::of(&tree.operator, "hello")? {
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
pub(super) fn message(step: &mut Step, tree: &Tree) -> Result<()> {
    let broker = Placed::of(&tree.operator, "broker")?;
    let address = broker.first().context("there is no broker")?.address()?;
    let (from, to) = (tree.cut_off()?.host(), tree.node("oslo1")?.host());
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
