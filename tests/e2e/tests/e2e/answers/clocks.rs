//! Masters whose wall clocks do not agree.

use anyhow::{Context, Result, ensure};
use skerry_e2e::{Master, Region, SOON, Workload, WrongClocks};
use skerry_ground::until_ok;

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// Clocks that jump while masters run, and masters that start with wrong ones. Regions go by the root's time, and operators by
/// their own: the root's is wrong by less than the day by which certificates begin early.
pub(super) fn disagree(region: &mut Region) -> Result<()> {
    region.step("masters whose clocks are days apart");
    let clocks = WrongClocks::new(&region.folder().join("clocks"))?;
    let timed = Workload::new("timed", &region.image("hello")?, &["sleep"]);
    region.operator.apply(&[&timed])?;
    region.operator.running("timed")?;
    let before = region.containers();
    for (name, ahead_s) in [("north", 0), ("west", 2 * DAY_S), ("far", -2 * DAY_S)] {
        clocks.set(name, ahead_s)?;
        let master = master(region, name)?;
        master.set_environment(&clocks.environment(name));
        master.kill()?;
        master.start()?;
    }
    agree(region).context("two days apart")?;
    ensure!(is_wrong(&region.child("west")?.master)?, "the clock of west is right");
    region.step("they jump while masters run");
    for (name, ahead_s) in [("west", -2 * DAY_S), ("far", 2 * DAY_S), ("north", 20 * HOUR_S)] {
        clocks.set(name, ahead_s)?;
    }
    region.operator.apply(&[&timed.clone().instances(2)])?;
    region.operator.running("timed")?;
    agree(region).context("after a jump")?;
    region.step("and start anew with those");
    for name in ["far", "west", "north"] {
        let master = master(region, name)?;
        master.kill()?;
        master.start()?;
    }
    agree(region).context("after another start")?;
    region.step("clocks that are right again");
    for name in ["far", "west", "north"] {
        clocks.set(name, 0)?;
        let master = master(region, name)?;
        master.kill()?;
        master.start()?;
    }
    agree(region).context("with clocks that are right")?;
    let now = region.containers();
    ensure!(before.iter().all(|one| now.contains(one)), "a container restarted: {before:?}, {now:?}");
    region.operator.delete("timed")
}

fn master<'r>(region: &'r mut Region, name: &str) -> Result<&'r mut Master> {
    if name == "north" { Ok(&mut region.master) } else { Ok(&mut region.child_mut(name)?.master) }
}

/// Every region and node is heard from at the root, just now by its own clock, and what is asked for runs.
fn agree(region: &Region) -> Result<()> {
    until_ok("all are heard from", SOON, || {
        let regions = region.operator.list("regions -A")?;
        ensure!(regions.len() == 3 && regions.iter().all(|one| one["connected"] == true), "{regions:?}");
        let nodes = region.operator.list("nodes -A")?;
        ensure!(nodes.len() == 1 && nodes.iter().all(|one| one["reachable"] == true), "{nodes:?}");
        Ok(())
    })?;
    region.operator.running("timed")
}

/// The test would prove nothing if the clock were right: logs are stamped by the machine's.
fn is_wrong(master: &Master) -> Result<bool> {
    let log = master.log();
    let last = log.lines().last().context("the master logs")?;
    let today = skerry_ground::output(std::process::Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    Ok(!last.contains(today.trim()))
}
