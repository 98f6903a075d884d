//! Daemons that are killed, or stand still for a while, at random moments. Set `CHAOS_SEED` to the number that a failed run printed to choose the same work and faults; when exactly
//! they strike is the machine's affair.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use skerry_e2e::{Container, Plan, Region, Still, Workload, in_region};
use skerry_ground::{until, until_ok};

const ROUNDS: usize = 50;
/// Rounds between two looks at whether all agree.
const LOOK_EVERY: usize = 10;
const NODES: [&str; 2] = ["n1", "n2"];
const NAMES: [&str; 6] = ["ant", "bee", "cat", "dog", "eel", "fox"];
/// How long after the beginning of a request the faults strike: from before it is heard to after containers are made or removed.
const STRIKE_MS: u64 = 400;
/// One round in so many, on average, a daemon that is not killed stands still.
const STILL_ONCE_IN: u32 = 5;
/// How long it does: shorter than the three seconds after which a link here counts as lost, and longer.
const STILL_MS: std::ops::Range<u64> = 100..4000;
/// Until all is as it was asked for; a failed try of a node is repeated after up to half a minute.
const AGREED: Duration = Duration::from_mins(1);

#[test]
fn fifty_rounds_of_kills_and_stops_lose_nothing_and_leave_nothing() {
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    let nodes = NODES.map(|name| (name, "oslo"));
    let plan = Plan { nodes: &nodes, images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        region.step(&format!("CHAOS_SEED={seed}"));
        let mut chaos = Chaos::new(seed, region.image("hello")?);
        let strikes = (0..ROUNDS).try_for_each(|round| {
            chaos.round(region, round).with_context(|| format!("in round {round} of CHAOS_SEED={seed}"))
        });
        strikes?;
        chaos.everything_agrees(region).with_context(|| format!("at the end of CHAOS_SEED={seed}"))
    });
}

/// What a workload was last asked to be. The milliseconds tell one version from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    instances: u32,
    milliseconds: u32,
}

impl Version {
    fn command(&self) -> String {
        format!("tick {}", self.milliseconds)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Master,
    Agent(&'static str),
    Keeper(&'static str),
}

impl Victim {
    fn all() -> Vec<Self> {
        let of_nodes = NODES.iter().flat_map(|node| [Self::Agent(node), Self::Keeper(node)]);
        std::iter::once(Self::Master).chain(of_nodes).collect()
    }

    /// Its process; a keeper that was killed in the round before may not be back yet.
    fn pid(self, region: &Region) -> Option<u32> {
        match self {
            Self::Master => region.master.pid(),
            Self::Agent(node) => region.node(node).ok()?.pid(),
            Self::Keeper(node) => region.node(node).ok()?.keeper().map(|seen| seen.pid),
        }
    }
}

struct Chaos {
    random: StdRng,
    image: String,
    /// What is acknowledged.
    wanted: BTreeMap<&'static str, Version>,
    /// What ran at the last look, of workloads that nobody has touched since.
    healthy: BTreeMap<&'static str, Vec<Container>>,
    versions: u32,
}

impl Chaos {
    fn new(seed: u64, image: String) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { random, image, wanted: BTreeMap::new(), healthy: BTreeMap::new(), versions: 0 }
    }

    fn round(&mut self, region: &mut Region, round: usize) -> Result<()> {
        let name = *NAMES.choose(&mut self.random).context("a name")?;
        let (before, after) = (self.wanted.get(name).cloned(), self.next_version(name));
        let victims = self.victims();
        let still = self.still(&victims);
        let wait = Duration::from_millis(self.random.random_range(0..STRIKE_MS));
        region.step(&format!(
            "round {round}: {name} becomes {after:?}, then {victims:?} after {wait:?}; still: {still:?}"
        ));
        self.healthy.remove(name);
        let (arguments, input) = self.request(name, after.as_ref());
        let operator = region.operator.clone();
        let caller = std::thread::spawn(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            operator.run_with(&arguments, &input)
        });
        // The moment of the fault, not a wait for something.
        std::thread::sleep(wait);
        let pids = still.iter().filter_map(|(daemon, _)| daemon.pid(region));
        let stands = Still::stand(pids)?;
        for victim in &victims {
            strike(region, *victim)?;
        }
        if let Some((_, time)) = still {
            std::thread::sleep(time);
        }
        drop(stands);
        let said = caller.join().ok().context("the caller panicked")??;
        let acknowledged = said.code == 0;
        // A name is free again only when nothing is left of what had it, and its node may be down.
        let is_early = before.is_none() && said.err.contains("is being deleted");
        ensure!(
            acknowledged || is_early || victims.contains(&Victim::Master),
            "refused though the master lives: {said:?}"
        );
        revive(region, &victims)?;
        match settled(region, name, &Change { before, after, acknowledged })? {
            Some(version) => self.wanted.insert(name, version),
            None => self.wanted.remove(name),
        };
        self.intent_is_there(region)?;
        if round % LOOK_EVERY == LOOK_EVERY - 1 { self.everything_agrees(region) } else { Ok(()) }
    }

    /// Made, changed or, once in three times, deleted.
    fn next_version(&mut self, name: &str) -> Option<Version> {
        if self.wanted.contains_key(name) && self.random.random_ratio(1, 3) {
            return None;
        }
        self.versions += 1;
        Some(Version { instances: self.random.random_range(1..=3), milliseconds: 10_000 + self.versions })
    }

    /// One to all of them.
    fn victims(&mut self) -> Vec<Victim> {
        let all = Victim::all();
        let count = self.random.random_range(1..=all.len());
        all.choose_multiple(&mut self.random, count).copied().collect()
    }

    /// Now and then one that is not killed, and for how long it stands still.
    fn still(&mut self, victims: &[Victim]) -> Option<(Victim, Duration)> {
        let chosen = self.random.random_ratio(1, STILL_ONCE_IN);
        let time = Duration::from_millis(self.random.random_range(STILL_MS));
        let alive: Vec<Victim> = Victim::all().into_iter().filter(|one| !victims.contains(one)).collect();
        alive.choose(&mut self.random).filter(|_| chosen).map(|one| (*one, time))
    }

    fn request(&self, name: &str, version: Option<&Version>) -> (Vec<String>, String) {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let Some(version) = version else {
            return (words(&format!("delete workload {name}")), String::new());
        };
        let command = version.command();
        let arguments: Vec<&str> = command.split(' ').collect();
        let workload = Workload::new(name, &self.image, &arguments)
            .instances(version.instances)
            .port(8080, &json!("auto"))
            .spec("restart", json!({"policy": "always", "backoff": "200ms", "max_backoff": "1s"}));
        (words("apply -f -"), workload.to_string())
    }

    fn intent_is_there(&self, region: &Region) -> Result<()> {
        let held = held(region)?;
        let wanted: BTreeMap<String, Version> =
            self.wanted.iter().map(|(name, version)| ((*name).to_owned(), version.clone())).collect();
        ensure!(held == wanted, "the region holds {held:?}, and was asked for {wanted:?}");
        Ok(())
    }

    /// Every node runs what it should and nothing else, and what nobody touched was not started again.
    fn everything_agrees(&mut self, region: &Region) -> Result<()> {
        let mut last = Vec::new();
        until("nodes that run what was asked for", AGREED, || {
            last = NODES.iter().flat_map(|node| region.nodes[*node].containers()).collect();
            Ok(self.is_all(&last).then_some(()))
        })
        .with_context(|| format!("wanted {:?}, there are {last:?}", self.wanted))?;
        for (name, version) in &self.wanted {
            region.operator.wait(&format!("workload/{name}"), "running", AGREED)?;
            // What was replaced has ended by then, and is cleared away a moment later.
            until_ok("no allocation too many", AGREED, || {
                let seen = region.operator.allocations(name)?;
                ensure!(seen.len() == usize::try_from(version.instances)?, "{name}: {seen:?}");
                Ok(())
            })?;
        }
        for (name, before) in &self.healthy {
            let now = of(name, &last);
            ensure!(now == *before, "{name} was not touched, ran as {before:?} and runs as {now:?}");
        }
        self.healthy = self.wanted.keys().map(|name| (*name, of(name, &last))).collect();
        Ok(())
    }

    fn is_all(&self, containers: &[Container]) -> bool {
        let expected: u32 = self.wanted.values().map(|version| version.instances).sum();
        let right = |(name, version): (&&str, &Version)| {
            let mine = of(name, containers);
            mine.len() == version.instances as usize
                && mine.iter().all(|one| one.command.ends_with(&version.command()))
        };
        containers.len() == expected as usize && self.wanted.iter().all(right)
    }
}

fn of(workload: &str, containers: &[Container]) -> Vec<Container> {
    let mut mine: Vec<Container> = containers
        .iter()
        .filter(|one| one.allocation.starts_with(&format!("{workload}-")))
        .cloned()
        .collect();
    mine.sort();
    mine
}

/// What was asked for.
#[derive(Debug)]
struct Change {
    before: Option<Version>,
    after: Option<Version>,
    acknowledged: bool,
}

/// What the region holds of the workload. If nobody was told, it may be the old or the new, whole.
fn settled(region: &Region, name: &str, change: &Change) -> Result<Option<Version>> {
    let held = held(region)?.remove(name);
    let right = held == change.after || (!change.acknowledged && held == change.before);
    ensure!(right, "{name} is {held:?} after {change:?}");
    Ok(held)
}

/// What the master says that was asked for; without what is being deleted.
fn held(region: &Region) -> Result<BTreeMap<String, Version>> {
    let mut held = BTreeMap::new();
    for one in region.operator.list("workloads")? {
        if one.pointer("/status/deleting").and_then(Value::as_bool) == Some(true) {
            continue;
        }
        let text = |pointer: &str| one.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let name = text("/metadata/name").with_context(|| format!("no name: {one}"))?;
        let milliseconds = text("/spec/containers/0/args/1").with_context(|| format!("no args: {one}"))?;
        let instances = one.pointer("/spec/instances").and_then(Value::as_u64).context("no instances")?;
        let version = Version { instances: u32::try_from(instances)?, milliseconds: milliseconds.parse()? };
        held.insert(name, version);
    }
    Ok(held)
}

fn strike(region: &mut Region, victim: Victim) -> Result<()> {
    match victim {
        Victim::Master => region.master.kill(),
        Victim::Agent(node) => region.node_mut(node)?.kill(),
        // One that was just killed may not be back yet.
        Victim::Keeper(node) if region.node(node)?.keeper().is_some() => region.node(node)?.kill_keeper(),
        Victim::Keeper(_) => Ok(()),
    }
}

/// Starts again what is started by others than an agent.
fn revive(region: &mut Region, victims: &[Victim]) -> Result<()> {
    for victim in victims {
        if let Victim::Agent(node) = victim {
            region.node_mut(node)?.start(None)?;
        }
    }
    if victims.contains(&Victim::Master) {
        region.master.start()?;
    }
    Ok(())
}
