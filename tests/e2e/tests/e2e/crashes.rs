//! Daemons that are killed: no healthy container restarts, no allocation is lost or doubled, and logs and exit codes that came
//! meanwhile are there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skerry_e2e::{Container, Plan, Region, SOON, Workload, in_region};
use skerry_ground::{http, until, until_ok};

/// Where the container that ends on request is reached.
const EXITER_PORT: u16 = 8123;

#[test]
fn killed_daemons_restart_no_healthy_container() {
    let plan = Plan { nodes: &[("n1", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        let image = region.image("hello")?;
        let soon = json!({"policy": "always", "backoff": "500ms", "max_backoff": "500ms"});
        let tick = Workload::new("tick", &image, &["tick", "50"]).instances(2);
        let exiter = Workload::new("exiter", &image, &["serve"]).port(8080, &json!(EXITER_PORT));
        let victim = Workload::new("victim", &image, &["sleep"]).spec("restart", soon.clone());
        region.operator.apply(&[&tick, &exiter.spec("restart", soon), &victim])?;
        for name in ["tick", "exiter", "victim"] {
            region.operator.running(name)?;
        }
        for fault in [
            Fault { name: "the agent is stopped", ends: &[Daemon::Agent], gently: true },
            Fault { name: "the agent is killed", ends: &[Daemon::Agent], gently: false },
            Fault { name: "the master is killed", ends: &[Daemon::Master], gently: false },
            Fault { name: "the keeper is killed", ends: &[Daemon::Keeper], gently: false },
            Fault {
                name: "agent and keeper are killed",
                ends: &[Daemon::Agent, Daemon::Keeper],
                gently: false,
            },
            Fault {
                name: "all three are killed",
                ends: &[Daemon::Master, Daemon::Agent, Daemon::Keeper],
                gently: false,
            },
        ] {
            fault.strike(region).with_context(|| fault.name.to_owned())?;
        }
        Ok(())
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Daemon {
    Agent,
    Keeper,
    Master,
}

/// Which processes go at once.
#[derive(Debug, Clone, Copy)]
struct Fault {
    name: &'static str,
    ends: &'static [Daemon],
    gently: bool,
}

/// What must be the same after a fault.
#[derive(Debug)]
struct Before {
    healthy: Vec<Container>,
    allocations: Vec<String>,
    ended: BTreeMap<String, u64>,
}

impl Fault {
    fn strike(self, region: &mut Region) -> Result<()> {
        region.step(self.name);
        let before = Before::see(region)?;
        self.kill(region)?;
        let code = 40 + u8::try_from(self.name.len())?;
        meanwhile(region, code)?;
        self.restart(region)?;
        before.holds(region)?;
        self.ends_are_known(region, &before, code)
    }

    fn has(self, daemon: Daemon) -> bool {
        self.ends.contains(&daemon)
    }

    fn kill(self, region: &mut Region) -> Result<()> {
        if self.has(Daemon::Master) {
            region.master.kill()?;
        }
        let node = region.node_mut("n1")?;
        if self.has(Daemon::Agent) && self.gently {
            node.stop(SOON)?;
        } else if self.has(Daemon::Agent) {
            node.kill()?;
        }
        if self.has(Daemon::Keeper) { node.kill_keeper() } else { Ok(()) }
    }

    fn restart(self, region: &mut Region) -> Result<()> {
        let operator = region.operator.clone();
        if self.has(Daemon::Agent) {
            region.node_mut("n1")?.start(None)?;
        }
        if self.has(Daemon::Master) {
            region.master.start()?;
        }
        region.node_mut("n1")?.reachable(&operator)
    }

    fn ends_are_known(self, region: &Region, before: &Before, code: u8) -> Result<()> {
        // A keeper that is not there sees no end; one that is there keeps it for an agent that is not.
        let exits: [&[String]; 2] = if self.has(Daemon::Keeper) {
            [
                &[format!("\"Code\":{code}"), "\"Unknown\":true".to_owned()],
                &["\"Signal\":9".to_owned(), "\"Unknown\":true".to_owned()],
            ]
        } else {
            [&[format!("\"Code\":{code}")], &["\"Signal\":9".to_owned()]]
        };
        for (workload, expect) in ["exiter", "victim"].into_iter().zip(exits) {
            until_ok(&format!("the end of {workload} is known"), SOON, || {
                let allocation = region.operator.allocation(workload)?;
                let exit = allocation
                    .pointer("/containers/0/last_exit/kind")
                    .cloned()
                    .unwrap_or_default()
                    .to_string();
                ensure!(
                    expect.iter().any(|expect| exit.contains(expect.as_str())),
                    "{expect:?}: {allocation}"
                );
                ensure!(
                    restarts(&allocation) == before.ended.get(workload).map(|count| count + 1),
                    "{allocation}"
                );
                ensure!(allocation.pointer("/phase") == Some(&json!("running")), "{allocation}");
                Ok(())
            })?;
        }
        if self.has(Daemon::Keeper) {
            // What is in a pipe goes with the last one who has it open, and that was the container.
            return Ok(());
        }
        let log = region.operator.logs("workload/exiter")?;
        ensure!(log.contains(&format!("asked for /exit?{code}")), "what it wrote last is not there: {log}");
        Ok(())
    }
}

impl Before {
    fn see(region: &Region) -> Result<Self> {
        let node = region.node("n1")?;
        for name in ["victim", "exiter"] {
            node.runs(name, 1, SOON)?;
            region.operator.running(name)?;
        }
        let mut ended = BTreeMap::new();
        for name in ["victim", "exiter"] {
            ended.insert(name.to_owned(), restarts(&region.operator.allocation(name)?).context("no count")?);
        }
        Ok(Self { healthy: node.runs("tick", 2, SOON)?, allocations: ids(region)?, ended })
    }

    fn holds(&self, region: &Region) -> Result<()> {
        let node = region.node("n1")?;
        for name in ["victim", "exiter"] {
            node.runs(name, 1, SOON)?;
        }
        ensure!(
            node.containers_of("tick") == self.healthy,
            "healthy containers restarted: {:?}",
            node.containers()
        );
        let now = ids(region)?;
        ensure!(now == self.allocations, "allocations changed from {:?} to {now:?}", self.allocations);
        for one in &self.healthy {
            let log = until("ticks that came after the fault", SOON, || {
                let log = region.operator.logs(&one.allocation)?;
                Ok((log.lines().count() > 1).then_some(log))
            })?;
            no_tick_is_missing(&log)?;
        }
        Ok(())
    }
}

/// One container ends by itself with a code of its own, another by a signal; the others write.
fn meanwhile(region: &Region, code: u8) -> Result<()> {
    let node = region.node("n1")?;
    let victim = node.containers_of("victim");
    let ended = node.containers_of("exiter");
    ensure!(victim.len() == 1 && ended.len() == 1, "{:?}", node.containers());
    let address = SocketAddr::from((node.host().address(), EXITER_PORT));
    http::fetch(region.wan.namespace(), address, &format!("/exit?{code}"))?;
    kill(victim[0].pid)?;
    until("the end of two containers", SOON, || {
        Ok((!victim[0].is_alive() && !ended[0].is_alive()).then_some(()))
    })
}

fn kill(pid: u32) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process id")?;
    kill_process(pid, Signal::KILL).context("killing a container")
}

fn restarts(allocation: &Value) -> Option<u64> {
    allocation.pointer("/containers/0/restarts")?.as_u64()
}

fn ids(region: &Region) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for name in ["tick", "exiter", "victim"] {
        for allocation in region.operator.allocations(name)? {
            ids.push(allocation.pointer("/id").and_then(Value::as_str).unwrap_or_default().to_owned());
        }
    }
    Ok(ids)
}

fn no_tick_is_missing(log: &str) -> Result<()> {
    let ticks: Vec<u64> = log.lines().filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect();
    for pair in ticks.windows(2) {
        ensure!(pair[1] == pair[0] + 1, "between tick {} and {} something is missing", pair[0], pair[1]);
    }
    ensure!(ticks.first() == Some(&1), "the log begins with {:?}", ticks.first());
    Ok(())
}

#[test]
fn a_node_that_loses_power_while_cut_off_starts_everything_again() {
    let plan = Plan { nodes: &[("n1", "oslo"), ("n2", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, power_cycle);
}

fn power_cycle(region: &mut Region) -> Result<()> {
    let image = region.image("hello")?;
    let on = |name: &str, args: &[&str]| Workload::new(name, &image, args).require("node.name=n1");
    let small = json!({"cpu": "10m", "memory": "16Mi"});
    let pair = on("pair", &[]).spec(
        "containers",
        json!([
            {"name": "one", "image": image, "args": ["serve", "8081"], "resources": small},
            {"name": "two", "image": image, "args": ["tick", "1000"], "resources": small},
        ]),
    );
    let web = on("web", &["serve"]).port(8080, &json!(8124)).container("env", json!({"COLOR": "blue"}));
    let ended = on("ended", &["exit", "0"]).spec("restart", json!({"policy": "never"}));
    region.operator.apply(&[&pair, &web, &on("many", &["sleep"]).instances(5), &ended])?;
    for name in ["pair", "web", "many"] {
        region.operator.running(name)?;
    }
    region.operator.wait("workload/ended", "phase=completed", SOON)?;
    region.operator.apply(&[&on("gone", &["sleep"])])?;
    region.operator.running("gone")?;
    region.operator.delete("gone")?;
    let node = region.node("n1")?;
    let before = node.containers();
    ensure!(before.len() == 8, "{before:?}");

    region.step("the power goes while the link is cut, and the registry with it");
    node.host().cut(&skerry_ground::Cut::Both)?;
    region.registry()?.pause()?;
    region.node_mut("n1")?.power_cut()?;
    ensure!(before.iter().all(|one| !one.is_alive()), "a power cut leaves nothing running");
    let node = region.node("n1")?;
    node.power_on()?;
    node.host().cut(&skerry_ground::Cut::Both)?;
    region.node_mut("n1")?.start(None)?;
    let named = |all: &[Container]| -> Vec<(String, String)> {
        all.iter().map(|one| (one.allocation.clone(), one.name.clone())).collect()
    };
    let node = region.node("n1")?;
    let again = until("everything in the intent", SOON, || {
        let now = node.containers();
        Ok((named(&now) == named(&before)).then_some(now))
    })
    .with_context(|| format!("{before:?} was there, and now {:?}", node.containers()))?;
    let own = SocketAddr::from((node.host().address(), 8124));
    let page =
        until_ok("a page on the node itself", SOON, || http::fetch(node.host().namespace(), own, "/env"))?;
    ensure!(page.contains("COLOR=blue"), "{page}");

    region.step("the link heals");
    node.host().heal()?;
    until_ok("the region agrees", Duration::from_secs(5), || {
        for name in ["pair", "web", "many"] {
            for allocation in region.operator.allocations(name)? {
                let told = (allocation.pointer("/phase"), allocation.pointer("/reachable"));
                ensure!(told == (Some(&json!("running")), Some(&json!(true))), "{allocation}");
                let pid = allocation.pointer("/containers/0/pid").and_then(Value::as_u64);
                ensure!(again.iter().any(|one| Some(u64::from(one.pid)) == pid), "{allocation}");
            }
        }
        Ok(())
    })?;
    http::fetch(region.wan.namespace(), own, "/")?;
    ensure!(region.node("n1")?.containers() == again, "healing restarted something");
    region.registry()?.resume()
}
