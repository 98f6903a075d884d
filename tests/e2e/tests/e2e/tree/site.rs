//! A whole site that is cut off: its instances run on, each is replaced once, and one copy stays when it returns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use skerry_e2e::{Container, Region, SOON, Workload};
use skerry_ground::{Cut, until, until_ok};

use super::{AGREES, RETURNED, end};

const NAME: &str = "sited";
const REPLACE_AFTER: Duration = Duration::from_secs(3);
const GONE: &str = "bergen";

pub(super) fn a_site_is_away(region: &Region) -> Result<()> {
    region.step("two instances at each of four sites");
    let sited = Workload::new(NAME, &region.image("hello")?, &["sleep"])
        .instances(8)
        .spec("placement", json!({"spread": [{"by": "site", "max_skew": 1}]}))
        .spec(
            "on_disconnect",
            json!({"replace_after": format!("{}s", REPLACE_AFTER.as_secs()), "on_return": "keep_original"}),
        );
    region.operator.apply(&[&sited])?;
    region.operator.running(NAME)?;
    for site in ["bergen", "voss", "oslo", "hamar"] {
        let there = region.containers_at(site, NAME);
        ensure!(there.len() == 2, "{site} runs {there:?}");
    }
    let before = containers(region);
    let cut_off = region.containers_at(GONE, NAME);

    region.step("all nodes of one site are cut off");
    for node in region.nodes_at(GONE) {
        node.host().cut(&Cut::Both)?;
    }
    until("one replacement of each instance", SOON, || {
        let now = containers(region);
        once_each(&now, &cut_off)?;
        Ok((now.len() == before.len() + cut_off.len()).then_some(()))
    })?;
    region.step("one that was cut off ends there, and starts there again");
    let victim = cut_off.first().context("an instance that is cut off")?;
    end(victim)?;
    let again = until("its return", SOON, || {
        let there = region.containers_at(GONE, NAME);
        once_each(&containers(region), &cut_off)?;
        Ok((there.len() == 2 && !there.contains(victim)).then_some(there))
    })?;
    let shown = region.operator.list("nodes -A")?;
    let reachable = shown.iter().filter(|one| one["reachable"] == true).count();
    ensure!(reachable == 4, "the root knows which nodes are away: {shown:?}");
    let mine = region.operator.allocations(NAME)?;
    let live = mine.iter().filter(|one| one["phase"] == "running" && one["reachable"] == true).count();
    ensure!((live, mine.len()) == (8, 10), "eight are heard from, two are not: {mine:?}");
    // The length of the fault: whoever would replace a second time would do so.
    let longer = Instant::now() + REPLACE_AFTER + Duration::from_secs(1);
    while Instant::now() < longer {
        once_each(&containers(region), &cut_off)?;
        std::thread::sleep(Duration::from_millis(100));
    }

    region.step("the site returns");
    for node in region.nodes_at(GONE) {
        node.host().heal()?;
    }
    until_ok("all nodes are heard from", AGREES, || {
        let nodes = region.operator.list("nodes -A")?;
        ensure!(nodes.iter().all(|one| one["reachable"] == true), "{nodes:?}");
        Ok(())
    })?;
    until("the end of the surplus", RETURNED, || {
        Ok((containers(region).len() == before.len()).then_some(()))
    })?;
    ensure!(region.containers_at(GONE, NAME) == again, "the originals stay: {again:?}");
    let now = containers(region);
    let elsewhere = before.iter().filter(|one| !cut_off.contains(one));
    ensure!(elsewhere.clone().all(|one| now.contains(one)), "a healthy container restarted: {now:?}");
    region.operator.running(NAME)?;
    region.operator.delete(NAME)
}

fn containers(region: &Region) -> Vec<Container> {
    let mut found = region.containers();
    found.retain(|one| one.allocation.starts_with(NAME));
    found
}

/// The number of an instance: allocations are called `WORKLOAD-INSTANCE-NUMBER`.
fn instance(container: &Container) -> &str {
    container.allocation.rsplit('-').nth(1).unwrap_or_default()
}

/// No instance has more than one copy, but for those that are cut off, which may have two.
fn once_each(now: &[Container], cut_off: &[Container]) -> Result<()> {
    let away: BTreeSet<&str> = cut_off.iter().map(instance).collect();
    let mut copies: BTreeMap<&str, u32> = BTreeMap::new();
    for one in now {
        *copies.entry(instance(one)).or_default() += 1;
    }
    let bad = copies.iter().find(|(instance, count)| **count > if away.contains(*instance) { 2 } else { 1 });
    ensure!(bad.is_none(), "too many copies of {bad:?}: {now:?}");
    Ok(())
}
