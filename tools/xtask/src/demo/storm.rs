//! What a region is for, while things break: a cut link, containers and daemons that die.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use skerry_ground::region::{Container, Node};
use skerry_ground::{Cut, Seen, http, run_command, until};

use super::calm::{self, SOON, is_page, page_at_home, page_of};
use super::placed::Placed;
use super::show::Step;
use super::topology::{Ground, Region};

/// How long the status may take to be right once a link is whole again.
const HEALED: Duration = Duration::from_secs(5);

pub(super) fn cut(step: &mut Step, ground: &Ground, region: &Region) -> Result<()> {
    let node = region.cut_off();
    let before = node.containers();
    node.host().cut(&Cut::Both)?;
    step.note(format!("From here on no packet gets to {} or from it.", node.name()));
    let goal = format!("node/{}", node.name());
    step.skerry(&region.operator, &["wait", &goal, "--for", "unreachable", "--timeout", "60s"])?;
    step.skerry(&region.operator, &["get", "nodes"])?;
    step.skerry(&region.operator, &["get", "allocations"])?;
    let there: Vec<Placed> = on(region, node)?;
    let as_last_heard = there.iter().all(|placed| !placed.reachable);
    step.check("the master shows what was last heard of there, and says that it is old", as_last_heard)?;
    step.check(
        format!("{} containers on {} run on", before.len(), node.name()),
        node.containers() == before,
    )?;
    let web = web_on(region, node)?;
    let outside = http::fetch(ground.wan.namespace(), web.address()?, "/");
    step.check("its page cannot be fetched from elsewhere", outside.is_err())?;
    let page = page_at_home(node.host(), &web)?;
    step.check("whoever is at the site still gets it", is_page(&page))
}

/// Kills a container on the cut-off node: the node alone must bring it back. Gives what runs there afterwards.
pub(super) fn kill_container(step: &mut Step, region: &Region) -> Result<Container> {
    let node = region.cut_off();
    let web = web_on(region, node)?;
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
    let told = web_on(region, node)?;
    let unaware = told.restarts() == 0 && told.containers.iter().all(|told| told.pid == victim.pid);
    step.check("the master, which cannot know, claims nothing new", unaware)?;
    Ok(again)
}

/// Kills and restarts the master and an agent: no container may notice.
pub(super) fn kill_daemons(step: &mut Step, ground: &Ground, region: &mut Region) -> Result<()> {
    let before = region.containers();
    let pages: Vec<Placed> = Placed::of(&region.operator, "web")?;
    let first = region.nodes[0].name().to_owned();
    for (host, pid) in [("master", region.master.pid()), (first.as_str(), region.nodes[0].pid())] {
        let pid = pid.with_context(|| format!("the daemon on {host} does not run"))?;
        step.on(
            host,
            format!("kill -9 {pid}    # {}", Seen::of(pid).as_ref().map(program).unwrap_or_default()),
        );
    }
    region.master.kill()?;
    region.nodes[0].kill()?;
    let at_first = pages.iter().find(|placed| placed.node == first).context("no page on the first node")?;
    let page = page_of(ground, at_first)?;
    step.check(format!("with both dead, {} still serves its page", at_first.id), is_page(&page))?;
    region.nodes[0].start(None)?;
    step.on(&first, "skerry-agent &");
    region.master.start()?;
    step.on("master", "skerry-master &");
    let reachable: Vec<&Node> =
        region.nodes.iter().filter(|node| node.name() != region.cut_off().name()).collect();
    for node in reachable {
        region.operator.wait(&format!("node/{}", node.name()), "reachable", SOON)?;
    }
    step.skerry(&region.operator, &["get", "nodes"])?;
    let after = region.containers();
    step.check(
        format!("all {} containers are the same processes, with the same start times", before.len()),
        after == before,
    )
}

pub(super) fn heal(step: &mut Step, ground: &Ground, region: &Region, again: &Container) -> Result<()> {
    let node = region.cut_off();
    let before = region.containers();
    node.host().heal()?;
    step.note(format!("The link of {} is whole again.", node.name()));
    let start = Instant::now();
    let told = until("the word of the restart", SOON, || {
        let told = web_on(region, node)?;
        Ok(Some(told).filter(|told| told.reachable && told.containers.iter().any(|one| one.pid == again.pid)))
    })?;
    let took = start.elapsed();
    step.skerry(&region.operator, &["get", "nodes"])?;
    step.skerry(&region.operator, &["get", "allocations"])?;
    step.check(
        format!("the master knew {:.1} s after the link was whole", took.as_secs_f32()),
        took <= HEALED,
    )?;
    step.check("it counts the restart that it could not see", told.restarts() == 1)?;
    step.check("nothing else was started again", others_untouched(region, &told)?)?;
    step.check("no container noticed that the link came back", region.containers() == before)?;
    calm::check_pids(step, region)?;
    for placed in Placed::of(&region.operator, "web")? {
        let page = page_of(ground, &placed)?;
        step.check(format!("{} on {} serves its page", placed.id, placed.node), is_page(&page))?;
    }
    Ok(())
}

pub(super) fn look_back(step: &mut Step, region: &Region) -> Result<()> {
    let web = web_on(region, region.cut_off())?;
    let told = step.skerry(&region.operator, &["describe", "allocation", &web.id])?;
    step.check("its description tells how it ended", told.contains("SIGKILL"))?;
    let log = step.skerry(&region.operator, &["logs", &web.id, "--tail", "3"])?;
    step.check("its log is fetched from the node", log.contains("GET / HTTP"))?;
    step.skerry(&region.operator, &["events", &web.id])?;
    Ok(())
}

/// The instance of web on a node, as the master tells it.
fn web_on(region: &Region, node: &Node) -> Result<Placed> {
    let mut there = on(region, node)?.into_iter().filter(|placed| placed.workload == "web");
    there.next().with_context(|| format!("no instance of web on {}", node.name()))
}

fn on(region: &Region, node: &Node) -> Result<Vec<Placed>> {
    let all = Placed::all(&region.operator)?;
    Ok(all.into_iter().filter(|placed| placed.node == node.name()).collect())
}

fn container_of(node: &Node, placed: &Placed) -> Option<Container> {
    node.containers().into_iter().find(|container| container.allocation == placed.id)
}

fn others_untouched(region: &Region, restarted: &Placed) -> Result<bool> {
    let all = Placed::all(&region.operator)?;
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
