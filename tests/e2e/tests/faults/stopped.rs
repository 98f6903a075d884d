//! Daemons that are stopped by the scheduler or a debugger for longer than a link waits, alone and together, and go on.
//! Set `STOPPED_SEED` to the number that a failed run printed to choose the same daemons and times.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use skerry_e2e::{Container, Plan, Region, SOON, Still, Workload, in_region};
use skerry_ground::{until, until_ok};

const ROUNDS: usize = 6;
/// Longer than the three seconds after which a link here counts as lost, and shorter.
const STOPPED_MS: std::ops::Range<u64> = 200..6000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Daemon {
    Master,
    Agent,
    Keeper,
}

const ALL: [Daemon; 3] = [Daemon::Master, Daemon::Agent, Daemon::Keeper];

impl Daemon {
    fn pid(self, region: &Region) -> Result<u32> {
        let node = region.node("n1")?;
        let pid = match self {
            Self::Master => region.master.pid(),
            Self::Agent => node.pid(),
            Self::Keeper => node.keeper().map(|keeper| keeper.pid),
        };
        pid.with_context(|| format!("there is no {self:?}"))
    }
}

#[test]
fn daemons_that_stood_still_go_on_and_nothing_healthy_restarts() {
    let plan = Plan { nodes: &[("n1", "oslo")], images: &["hello"], ..Plan::default() };
    let seed = std::env::var("STOPPED_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    in_region(&plan, |region| {
        region.step(&format!("STOPPED_SEED={seed}"));
        let image = region.image("hello")?;
        let tick = Workload::new("tick", &image, &["tick", "50"]).instances(2);
        let victim = Workload::new("victim", &image, &["sleep"]);
        region.operator.apply(&[&tick, &victim])?;
        for name in ["tick", "victim"] {
            region.operator.running(name)?;
        }
        let healthy = region.node("n1")?.runs("tick", 2, SOON)?;
        let mut random = StdRng::seed_from_u64(seed);
        for round in 0..ROUNDS {
            // Each alone, then some of them together.
            let count = if round < ALL.len() { 1 } else { random.random_range(2..=ALL.len()) };
            let from = if count == 1 { &ALL[round..=round] } else { &ALL[..] };
            let daemons: Vec<Daemon> = from.choose_multiple(&mut random, count).copied().collect();
            let time = Duration::from_millis(random.random_range(STOPPED_MS));
            region.step(&format!("{daemons:?} stand still for {time:?}"));
            stand_still(region, &daemons, time)
                .and_then(|()| all_is_well(region, &healthy))
                .with_context(|| format!("after {daemons:?} stood still, STOPPED_SEED={seed}"))?;
        }
        Ok(())
    });
}

/// One container dies meanwhile.
fn stand_still(region: &Region, daemons: &[Daemon], time: Duration) -> Result<()> {
    let pids: Vec<u32> = daemons.iter().map(|daemon| daemon.pid(region)).collect::<Result<_>>()?;
    let still = Still::stand(pids)?;
    let victim = region.node("n1")?.runs("victim", 1, SOON)?.remove(0);
    let pid = i32::try_from(victim.pid).ok().and_then(Pid::from_raw).context("a process id")?;
    kill_process(pid, Signal::KILL).context("killing a container")?;
    // The time of the fault, not a wait for something.
    std::thread::sleep(time);
    drop(still);
    until("the victim's restart", SOON, || {
        let now = region.node("n1")?.containers_of("victim");
        Ok((now.len() == 1 && now[0] != victim).then_some(()))
    })
}

fn all_is_well(region: &Region, healthy: &[Container]) -> Result<()> {
    region.operator.wait("node/n1", "reachable", SOON)?;
    for name in ["tick", "victim"] {
        region.operator.running(name)?;
    }
    let now = region.node("n1")?.containers_of("tick");
    ensure!(now == healthy, "healthy containers restarted: {healthy:?}, {now:?}");
    for one in healthy {
        let before = region.operator.logs(&one.allocation)?;
        until_ok("a log that goes on without a gap", SOON, || {
            let log = region.operator.logs(&one.allocation)?;
            ensure!(log.lines().count() > before.lines().count(), "no line came");
            let ticks: Vec<u64> =
                log.lines().filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect();
            let gap = ticks.windows(2).find(|pair| pair[1] != pair[0] + 1);
            ensure!(gap.is_none(), "ticks are missing between {gap:?}");
            Ok(())
        })?;
    }
    Ok(())
}
