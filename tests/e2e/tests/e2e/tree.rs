//! A root, two regions of two sites, six nodes: placing from above, cuts between regions, and masters that are killed.

mod apart;
mod placing;
mod quota;
mod site;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skerry_e2e::{Below, Container, Operator, Plan, Region, SOON, Workload, in_region};
use skerry_ground::{until, until_ok};

/// How soon the root must agree once a link between regions is whole again.
const AGREES: Duration = Duration::from_secs(10);

/// A region that is back says at once how its instances are, and one of two copies goes.
const RETURNED: Duration = Duration::from_secs(20);

/// The regions, and each one's nodes at two sites.
const TREE: [Below<'static>; 2] = [
    Below { region: "west", parent: None, nodes: &[("w1", "bergen"), ("w2", "bergen"), ("w3", "voss")] },
    Below { region: "east", parent: None, nodes: &[("e1", "oslo"), ("e2", "oslo"), ("e3", "hamar")] },
];

fn in_tree(test: impl FnOnce(&mut Region) -> Result<()>) {
    in_region(&Plan { below: &TREE, images: &["hello"], ..Plan::default() }, test);
}

#[test]
fn what_the_root_asks_for_runs_in_both_regions_whatever_breaks() {
    in_tree(|region| {
        placed_over_both(region)?;
        everything_is_listed(region)?;
        logs_from_below(region)?;
        a_region_on_its_own(region)?;
        apart::the_root_is_gone(region)?;
        apart::each_way_alone(region)?;
        apart::a_third_is_lost(region)?;
        masters_die(region)
    });
}

#[test]
fn a_region_that_is_away_is_replaced_once() {
    in_tree(|region| {
        region.step("a region is cut off for longer than its instances are waited for");
        let hello = Workload::new("hello", &region.image("hello")?, &["sleep"])
            .instances(2)
            .spec("placement", json!({"require": "site.name in (bergen,oslo)", "spread": [{"by": "site"}]}))
            .spec("on_disconnect", json!({"replace_after": "3s", "on_return": "keep_original"}));
        region.operator.apply(&[&hello])?;
        region.operator.running("hello")?;
        let there = region.containers_in("west", "hello")?;
        ensure!(there.len() == 1, "one instance in each region: {:?}", region.containers());
        region.cut_uplink("west")?;
        until("a replacement in the other region", SOON, || {
            Ok((region.containers_in("east", "hello")?.len() == 2).then_some(()))
        })?;
        ensure!(region.containers_in("west", "hello")? == there, "the region that is away was touched");

        region.step("it returns");
        region.heal_uplink("west")?;
        until("the end of the surplus", RETURNED, || {
            Ok((region.containers_in("east", "hello")?.len() == 1).then_some(()))
        })?;
        ensure!(region.containers_in("west", "hello")? == there, "the original stays");
        region.operator.running("hello")?;
        region.operator.delete("hello")?;
        site::a_site_is_away(region)?;
        quota::a_limit_holds(region)?;
        placing::bounds_over_regions(region)?;
        placing::beside_and_apart(region)
    });
}

fn placed_over_both(region: &Region) -> Result<()> {
    region.step("six instances go to four sites of two regions");
    let hello = Workload::new("hello", &region.image("hello")?, &["tick", "1000"])
        .instances(6)
        .spec("placement", json!({"spread": [{"by": "site"}, {"by": "node"}]}));
    region.operator.apply(&[&hello])?;
    region.operator.running("hello")?;
    for child in ["west", "east"] {
        let there = region.containers_in(child, "hello")?;
        // Four sites share six instances, and regions are not what they are spread over.
        ensure!((2..=4).contains(&there.len()), "{child} runs {there:?}");
    }
    region.operator.run(&["explain", "hello"])?.ok()?.says(&["west", "east"])?;
    region.operator.run(&["get", "workloads", "hello"])?.ok()?.says(&["6/6"])?;
    Ok(())
}

fn names(operator: &Operator, what: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> =
        operator.list(what)?.iter().filter_map(|one| Some(name_of(one)?.to_owned())).collect();
    names.sort();
    Ok(names)
}

fn name_of(one: &Value) -> Option<&str> {
    one.pointer("/metadata/name").or_else(|| one.get("name"))?.as_str()
}

fn everything_is_listed(region: &Region) -> Result<()> {
    region.step("the root lists all below it");
    let all = [
        ("regions -A", ["east", "north", "west"].as_slice()),
        ("sites -A", &["bergen", "hamar", "oslo", "voss"]),
        ("nodes -A", &["e1", "e2", "e3", "w1", "w2", "w3"]),
    ];
    for (what, expect) in all {
        let found = until(&format!("all of {what}"), SOON, || {
            let found = names(&region.operator, what)?;
            Ok((found == expect).then_some(found))
        });
        found.with_context(|| format!("{what}: {:?}", names(&region.operator, what)))?;
    }
    let west = &region.child("west")?.operator;
    ensure!(names(west, "nodes -A")? == ["w1", "w2", "w3"], "west lists its own alone");
    Ok(())
}

fn logs_from_below(region: &Region) -> Result<()> {
    region.step("a log from two levels down");
    for allocation in region.operator.allocations("hello")? {
        let id = allocation["id"].as_str().context("an id")?;
        let home = allocation["region"].as_str().context("a region")?;
        until_ok("its log", SOON, || {
            let log = region.operator.skerry(&["logs", id, "--region", home])?;
            ensure!(log.contains("tick 1\n"), "{log}");
            Ok(())
        })?;
    }
    Ok(())
}

fn a_region_on_its_own(region: &Region) -> Result<()> {
    region.step("a region that is cut off takes applies and heals");
    let child = region.child("west")?;
    let before = region.containers();
    region.cut_uplink("west")?;
    region.is_away("west")?;
    let nodes = region.operator.run(&["get", "nodes", "-A"])?.ok()?;
    ensure!(nodes.out.contains("unreachable"), "what is old says so: {}", nodes.out);

    let own = Workload::new("own", &region.image("hello")?, &["sleep"]).instances(2);
    child.operator.apply(&[&own])?;
    child.operator.running("own")?;
    let victim = region.containers_in("west", "own")?.pop().context("an instance of its own")?;
    end(&victim)?;
    until("its return", SOON, || {
        let found = region.containers_in("west", "own")?;
        Ok((found.len() == 2 && !found.contains(&victim)).then_some(()))
    })?;

    region.heal_uplink("west")?;
    let start = Instant::now();
    until_ok("the root agrees", AGREES, || {
        let regions = region.operator.list("regions -A")?;
        ensure!(regions.iter().all(|one| one["connected"] == true), "{regions:?}");
        let own = region.operator.allocations("own")?;
        ensure!(own.len() == 2 && own.iter().all(|one| one["phase"] == "running"), "{own:?}");
        Ok(())
    })?;
    region.step(&format!("the root agrees after {:.1} s", start.elapsed().as_secs_f32()));
    let unchanged = region.containers().into_iter().filter(|one| before.contains(one)).count();
    ensure!(unchanged == before.len(), "a healthy container restarted");
    child.operator.delete("own")
}

fn end(container: &Container) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(container.pid)?).context("a process id")?;
    kill_process(pid, Signal::KILL).context("killing a container")
}

fn masters_die(region: &mut Region) -> Result<()> {
    let before = region.containers();
    for name in ["west", "east"] {
        region.step(&format!("the master of {name} is killed"));
        let child = region.child_mut(name)?;
        child.master.kill()?;
        child.master.start()?;
        settled(region)?;
        ensure!(region.containers() == before, "a container restarted");
    }
    region.step("the master of the root is killed");
    region.master.kill()?;
    region.master.start()?;
    settled(region)?;
    ensure!(region.containers() == before, "a container restarted");
    region.step("all three are killed");
    region.master.kill()?;
    for child in region.below.values_mut() {
        child.master.kill()?;
    }
    region.master.start()?;
    for child in region.below.values_mut() {
        child.master.start()?;
    }
    settled(region)?;
    ensure!(region.containers() == before, "a container restarted");
    Ok(())
}

/// Everything is heard from, and as it was asked for.
fn settled(region: &Region) -> Result<()> {
    until_ok("all are reachable", SOON, || {
        for (what, field) in [("regions -A", "connected"), ("nodes -A", "reachable")] {
            let all = region.operator.list(what)?;
            ensure!(all.iter().all(|one| one[field] == true), "{all:?}");
        }
        let mine = region.operator.allocations("hello")?;
        ensure!(mine.len() == 6 && mine.iter().all(|one| one["reachable"] == true), "{mine:?}");
        Ok(())
    })?;
    region.operator.running("hello")
}
