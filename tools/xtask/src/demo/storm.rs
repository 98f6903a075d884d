//! What a region is for, while things break: a cut link, containers and daemons that die.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use skerry_ground::region::{Container, Node};
use skerry_ground::{Cut, Seen, http, run_command, until};

use super::calm::{self, SOON, is_page, page_at_home, page_of};
use super::placed::{Placed, text};
use super::show::Step;
use super::topology::{CUT_OFF, Ground, ROOT, Tree};

/// How long the status may take to be right once a link is whole again.
const HEALED: Duration = Duration::from_secs(5);

pub(super) fn cut(step: &mut Step, ground: &Ground, tree: &Tree) -> Result<()> {
    let node = tree.cut_off()?;
    let before = node.containers();
    node.host().cut(&Cut::Both)?;
    step.note(format!("From here on no packet gets to {} or from it.", node.name()));
    let goal = format!("node/{}", node.name());
    let region = &tree.far()?.operator;
    let wait = ["wait", &goal, "--for", "unreachable", "--timeout", "60s"];
    step.skerry_on(CUT_OFF.0, region, &wait)?;
    until("the word of it at the root", SOON, || {
        Ok(on(tree, node)?.iter().all(|placed| !placed.reachable).then_some(()))
    })?;
    step.skerry(&tree.operator, &["get", "nodes", "-A"])?;
    step.skerry(&tree.operator, &["get", "allocations", "-A"])?;
    let there: Vec<Placed> = on(tree, node)?;
    let as_last_heard = there.iter().all(|placed| !placed.reachable);
    step.check("the master shows what was last heard of there, and says that it is old", as_last_heard)?;
    step.check(
        format!("{} containers on {} run on", before.len(), node.name()),
        node.containers() == before,
    )?;
    let web = web_on(tree, node)?;
    let outside = http::fetch(ground.wan.namespace(), web.address()?, "/");
    step.check("its page cannot be fetched from elsewhere", outside.is_err())?;
    let page = page_at_home(node.host(), &web)?;
    step.check("whoever is at the site still gets it", is_page(&page))
}

/// Kills a container on the cut-off node: the node alone must bring it back. Gives what runs there afterwards.
pub(super) fn kill_container(step: &mut Step, tree: &Tree) -> Result<Container> {
    let node = tree.cut_off()?;
    let web = web_on(tree, node)?;
    let victim = container_of(node, &web).context("the container is not there")?;
    kill(victim.pid)?;
    step.on(node.name(), format!("kill -9 {}    # {}", victim.pid, victim.command));
    let start = Instant::now();
    let again = until("the container's return", SOON, || {
        Ok(container_of(node, &web).filter(|found| found.pid != victim.pid))
    })?;
    let page = page_at_home(node.host(), &web)?;
    let took = start.elapsed().as_secs_f32();
    step.check(
        format!("it came back by itself after {took:.1} s, as process {}", again.pid),
        is_page(&page),
    )?;
    let told = web_on(tree, node)?;
    let unaware = told.restarts() == 0 && told.containers.iter().all(|told| told.pid == victim.pid);
    step.check("the master, which cannot know, claims nothing new", unaware)?;
    Ok(again)
}

/// Kills and restarts the root's master, a region's, and an agent: no container may notice.
pub(super) fn kill_daemons(step: &mut Step, ground: &Ground, tree: &mut Tree) -> Result<()> {
    let before = tree.containers();
    let pages: Vec<Placed> = Placed::of(&tree.operator, "web")?;
    let near = &mut tree.regions[0];
    let first = near.nodes[0].name().to_owned();
    let victims =
        [(ROOT, tree.root.pid()), (near.name, near.master.pid()), (first.as_str(), near.nodes[0].pid())];
    for (host, pid) in victims {
        let pid = pid.with_context(|| format!("the daemon on {host} does not run"))?;
        let what = Seen::of(pid).as_ref().map(program).unwrap_or_default();
        step.on(host, format!("kill -9 {pid}    # {what}"));
    }
    tree.root.kill()?;
    near.master.kill()?;
    near.nodes[0].kill()?;
    let at_first = pages.iter().find(|placed| placed.node == first).context("no page on the first node")?;
    let page = page_of(ground, at_first)?;
    step.check(format!("with all three dead, {} still serves its page", at_first.id), is_page(&page))?;
    near.nodes[0].start(None)?;
    step.on(&first, "skerry-agent &");
    near.master.start()?;
    step.on(near.name, "skerry-master &");
    tree.root.start()?;
    step.on(ROOT, "skerry-master &");
    until("the word of the other nodes at the root", SOON, || {
        let nodes = tree.operator.list("nodes -A")?;
        let is_back = |node: &&Value| {
            text(node, "name") == CUT_OFF.1
                || node.get("reachable").is_some_and(|reachable| reachable == true)
        };
        Ok((nodes.len() == 4 && nodes.iter().filter(is_back).count() == 4).then_some(()))
    })?;
    step.skerry(&tree.operator, &["get", "nodes", "-A"])?;
    let after = tree.containers();
    step.check(
        format!("all {} containers are the same processes, with the same start times", before.len()),
        after == before,
    )
}

pub(super) fn heal(step: &mut Step, ground: &Ground, tree: &Tree, again: &Container) -> Result<()> {
    let node = tree.cut_off()?;
    let before = tree.containers();
    node.host().heal()?;
    step.note(format!("The link of {} is whole again.", node.name()));
    let start = Instant::now();
    let told = until("the word of the restart", SOON, || {
        let told = web_on(tree, node)?;
        Ok(Some(told).filter(|told| told.reachable && told.containers.iter().any(|one| one.pid == again.pid)))
    })?;
    let took = start.elapsed();
    step.skerry(&tree.operator, &["get", "nodes", "-A"])?;
    step.skerry(&tree.operator, &["get", "allocations", "-A"])?;
    step.check(
        format!("the master knew {:.1} s after the link was whole", took.as_secs_f32()),
        took <= HEALED,
    )?;
    step.check("it counts the restart that it could not see", told.restarts() == 1)?;
    step.check("nothing else was started again", others_untouched(tree, &told)?)?;
    step.check("no container noticed that the link came back", tree.containers() == before)?;
    calm::check_pids(step, tree)?;
    for placed in Placed::of(&tree.operator, "web")? {
        let page = page_of(ground, &placed)?;
        step.check(format!("{} on {} serves its page", placed.id, placed.node), is_page(&page))?;
    }
    Ok(())
}

pub(super) fn look_back(step: &mut Step, tree: &Tree) -> Result<()> {
    let web = web_on(tree, tree.cut_off()?)?;
    let region = &tree.far()?.operator;
    let told = step.skerry_on(CUT_OFF.0, region, &["describe", "allocation", &web.id])?;
    step.check("its description tells how it ended", told.contains("SIGKILL"))?;
    let log = step.skerry(&tree.operator, &["logs", &web.id, "--region", CUT_OFF.0, "--tail", "3"])?;
    step.check("its log is fetched from the node, by way of both masters", log.contains("GET / HTTP"))?;
    step.skerry_on(CUT_OFF.0, region, &["events", &web.id])?;
    Ok(())
}

/// The instance of web on a node, as the master tells it.
fn web_on(tree: &Tree, node: &Node) -> Result<Placed> {
    let mut there = on(tree, node)?.into_iter().filter(|placed| placed.workload == "web");
    there.next().with_context(|| format!("no instance of web on {}", node.name()))
}

fn on(tree: &Tree, node: &Node) -> Result<Vec<Placed>> {
    let all = Placed::all(&tree.operator)?;
    Ok(all.into_iter().filter(|placed| placed.node == node.name()).collect())
}

fn container_of(node: &Node, placed: &Placed) -> Option<Container> {
    node.containers().into_iter().find(|container| container.allocation == placed.id)
}

fn others_untouched(tree: &Tree, restarted: &Placed) -> Result<bool> {
    let all = Placed::all(&tree.operator)?;
    Ok(all
        .iter()
        .filter(|placed| placed.id != restarted.id)
        .all(|placed| placed.restarts() == 0 && placed.phase == "running" && placed.reachable))
}

fn kill(pid: u32) -> Result<()> {
    run_command(std::process::Command::new("kill").args(["-KILL", &pid.to_string()]))
}

fn program(seen: &Seen) -> String {
    let path = seen.command.split(' ').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}
