//! Links between regions that break: the root is gone for all, one way is cut alone, a third of all packets is lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skerry_e2e::{Operator, Region, SOON, Workload};
use skerry_ground::{Cut, until, until_ok};

use super::{AGREES, end};

/// What takes some round trips over a link that loses a third of all packets each way.
const LOSSY: Duration = Duration::from_mins(1);
/// A container that ends is started again after this; most wait a second.
const CHILDREN: [&str; 2] = ["west", "east"];

/// Both regions lose their parent: each schedules, heals and takes applies, and tells of it when the link is back.
pub(super) fn the_root_is_gone(region: &Region) -> Result<()> {
    region.step("the root is cut off from everybody");
    let mut calm = region.containers();
    let on_its_host = region.master.operator();
    region.master.host().cut(&Cut::Both)?;
    until("the root hears of nobody", SOON, || {
        let regions = on_its_host.list("regions -A")?;
        Ok(below(&regions).all(|one| one["connected"] == false).then_some(()))
    })?;
    for child in CHILDREN {
        region.step(&format!("{child} goes on by itself"));
        let victim = on_its_own(region, child)?;
        calm.retain(|one| one.allocation != victim);
    }
    region.step("meanwhile the root is asked for more, of which nobody can hear");
    on_its_host.run(&["scale", "hello", "--instances", "8"])?.ok()?;
    let shared = |region: &Region| {
        CHILDREN
            .iter()
            .try_fold(0, |sum, child| anyhow::Ok(sum + region.containers_in(child, "hello")?.len()))
    };
    ensure!(shared(region)? == 6, "somebody heard of it: {:?}", region.containers());

    region.step("the root is back");
    region.master.host().heal()?;
    until_ok("the root agrees", AGREES, || {
        connected(&region.operator)?;
        for child in CHILDREN {
            let own = region.operator.allocations(&format!("own-{child}"))?;
            ensure!(own.len() == 3 && own.iter().all(|one| one["phase"] == "running"), "{own:?}");
        }
        let mine = region.operator.allocations("hello")?;
        let restarts = mine.iter().filter_map(|one| one.pointer("/containers/0/restarts")?.as_u64());
        let restarts: u64 = restarts.sum();
        ensure!(restarts == 2, "each region restarted one: {mine:?}");
        Ok(())
    })?;
    until("what was asked for meanwhile", SOON, || Ok((shared(region)? == 8).then_some(())))?;
    region.operator.running("hello")?;
    region.operator.run(&["scale", "hello", "--instances", "6"])?.ok()?;
    until("six again", SOON, || Ok((shared(region)? == 6).then_some(())))?;
    for child in CHILDREN {
        region.child(child)?.operator.delete(&format!("own-{child}"))?;
    }
    let now = region.containers();
    ensure!(calm.iter().all(|one| now.contains(one)), "a healthy container restarted: {calm:?}, {now:?}");
    Ok(())
}

/// An apply, an update of it and two deaths while nobody is above. Gives the allocation of the share that lost a container.
fn on_its_own(region: &Region, child: &str) -> Result<String> {
    let operator = &region.child(child)?.operator;
    let name = format!("own-{child}");
    let own = Workload::new(&name, &region.image("hello")?, &["sleep"]).instances(2);
    operator.apply(&[&own])?;
    operator.running(&name)?;
    operator.apply(&[&own.instances(3)])?;
    operator.running(&name)?;
    ensure!(region.containers_in(child, &name)?.len() == 3, "{:?}", region.containers());
    let mut lost = String::new();
    for workload in [name.as_str(), "hello"] {
        let before = region.containers_in(child, workload)?;
        let victim = before.first().context("a container")?;
        end(victim)?;
        until("its return", SOON, || {
            let now = region.containers_in(child, workload)?;
            let healed = now.len() == before.len() && !now.contains(victim);
            Ok(healed.then_some(()))
        })?;
        lost.clone_from(&victim.allocation);
    }
    // Until it has run for a moment it counts as restarting.
    operator.running(&name)?;
    operator.running("hello")?;
    Ok(lost)
}

fn below(regions: &[Value]) -> impl Iterator<Item = &Value> {
    regions.iter().filter(|one| one["name"] != "north")
}

fn connected(operator: &Operator) -> Result<()> {
    let regions = operator.list("regions -A")?;
    ensure!(regions.iter().all(|one| one["connected"] == true), "{regions:?}");
    let nodes = operator.list("nodes -A")?;
    ensure!(nodes.iter().all(|one| one["reachable"] == true), "{nodes:?}");
    Ok(())
}

/// The master of a region can be heard and cannot hear, and the other way round.
pub(super) fn each_way_alone(region: &Region) -> Result<()> {
    let before = region.containers();
    let host = region.child("west")?.master.host();
    for cut in [Cut::FromHost, Cut::ToHost] {
        region.step(&format!("the master of west: {cut:?}"));
        host.cut(&cut)?;
        region.is_away("west")?;
        host.heal()?;
        until_ok("all agree", AGREES, || connected(&region.operator))?;
        ensure!(region.containers() == before, "a container restarted");
    }
    Ok(())
}

/// The links of a master up to the root and down to its nodes lose a third of all packets.
pub(super) fn a_third_is_lost(region: &Region) -> Result<()> {
    region.step("the master of west loses a third of all packets");
    let before = region.containers();
    let host = region.child("west")?.master.host();
    host.cut(&Cut::Loss(30))?;
    let lossy = Workload::new("lossy", &region.image("hello")?, &["sleep"])
        .instances(2)
        .require("site.name in (bergen,voss)");
    region.operator.apply(&[&lossy])?;
    region.operator.wait("workload/lossy", "running", LOSSY)?;
    let victim = region.containers_in("west", "lossy")?.pop().context("an instance in west")?;
    end(&victim)?;
    until_ok("the root hears of the restart", LOSSY, || {
        let mine = region.operator.allocations("lossy")?;
        let told = mine.iter().any(|one| one.pointer("/containers/0/restarts") == Some(&1.into()));
        ensure!(told && mine.len() == 2, "{mine:?}");
        Ok(())
    })?;
    region.operator.skerry(&["delete", "workload", "lossy", "--wait", "--timeout", "60s"])?;
    host.heal()?;
    until_ok("all agree", AGREES, || connected(&region.operator))?;
    ensure!(region.containers() == before, "losses restarted something");
    Ok(())
}
