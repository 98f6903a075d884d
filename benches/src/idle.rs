//! What a region takes while nothing happens.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use skerry_ground::region::Node;
use skerry_ground::{Traffic, check_interrupt, output, processes, run_command, until};

use crate::Measurement;
use crate::process::{cpu, pss_kib, rss_kib};
use crate::stage::{LIMIT, Stage, rootfs};

const FEW: usize = 10;
const MORE: usize = 40;
/// Time after the last change before anything is read.
const SETTLE: Duration = Duration::from_secs(30);
/// Long enough for seven keep-alives at the default interval of 25 s; the link's bytes are scaled up from it to an hour.
const WINDOW: Duration = Duration::from_mins(3);
const HOUR: Duration = Duration::from_hours(1);
/// A ping and its acknowledgement, with headers, every 25 s.
const KEEP_ALIVE_BYTES_PER_HOUR: f64 = 129.0 * 3600.0 / 25.0;

/// Memory, processor time and bytes of a region with three nodes, of which one runs containers.
pub(crate) fn measure() -> Result<Vec<Measurement>> {
    let stage = Stage::new(3)?;
    let node = stage.nodes.first().context("there is no node")?;
    let agent = node.pid().context("the agent does not run")?;
    let keeper = node.keeper().context("there is no keeper")?.pid;
    stage.run_hello("few", "serve", FEW, node)?;
    pause(SETTLE)?;
    let window = Window::watch(node, agent)?;
    let (agent_few, keeper_few) = (pss_kib(agent)?, pss_kib(keeper)?);
    let master = rss_kib(stage.master.pid().context("the master does not run")?)?;
    stage.run_hello("more", "serve", MORE, node)?;
    pause(SETTLE)?;
    let added = pss_kib(agent)? + pss_kib(keeper)? - agent_few - keeper_few;
    let conmon = conmon_kib(&stage).inspect_err(|error| eprintln!("no peer: {error:#}"));
    let per_container = added / f64::from(u16::try_from(MORE)?);
    let added_row = Measurement::new("memory added per container", per_container, "KiB").at_most(64.0);
    let mib = |name: &str, kib: f64| Measurement::new(name, kib / 1024.0, "MiB");
    let bytes = window.bytes_per_hour() / 1e3;
    let floor = KEEP_ALIVE_BYTES_PER_HOUR / 1e3;
    Ok(vec![
        mib(&format!("agent PSS, link up, {FEW} containers"), agent_few).at_most(8.0),
        mib(&format!("keeper PSS, {FEW} containers"), keeper_few).at_most(1.5),
        match conmon {
            Ok(conmon) => added_row.with_peer("podman's conmon", conmon),
            Err(_) => added_row,
        },
        Measurement::new("agent CPU of a core", window.cpu_percent(), "%").at_most(0.1),
        mib("master RSS, 3 nodes", master).at_most(48.0),
        Measurement::new("idle link per agent-hour", bytes, "kB")
            .with_peer("keep-alives alone", floor)
            .at_most(20.0),
    ])
}

/// What an agent did over a while.
struct Window {
    length: Duration,
    cpu: Duration,
    before: Traffic,
    after: Traffic,
}

impl Window {
    fn watch(node: &Node, agent: u32) -> Result<Self> {
        let (start, cpu_before, before) = (Instant::now(), cpu(agent)?, node.host().traffic()?);
        pause(WINDOW)?;
        let (cpu_after, after) = (cpu(agent)?, node.host().traffic()?);
        Ok(Self { length: start.elapsed(), cpu: cpu_after.saturating_sub(cpu_before), before, after })
    }

    fn cpu_percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.length.as_secs_f64()
    }

    /// Both directions, Ethernet headers and address resolution included.
    fn bytes_per_hour(&self) -> f64 {
        let both = |traffic: Traffic| traffic.sent_bytes + traffic.received_bytes;
        let bytes = u32::try_from(both(self.after) - both(self.before)).unwrap_or(u32::MAX);
        f64::from(bytes) * HOUR.as_secs_f64() / self.length.as_secs_f64()
    }
}

/// Lets time pass: here nothing is waited for, the passing of time is what is measured.
fn pause(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    while Instant::now() < end {
        check_interrupt()?;
        std::thread::sleep(Duration::from_millis(200).min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// PSS of the helper that podman keeps for one container.
fn conmon_kib(stage: &Stage) -> Result<f64> {
    // podman takes no folder for its state whose path is longer than 50 bytes.
    let folder = stage.run.folder().join("p");
    let rootfs = rootfs(stage.run.folder())?;
    let podman = || {
        let mut command = Command::new("podman");
        command.arg("--root").arg(stage.run.folder().join("podman")).arg("--runroot").arg(&folder);
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
        command
    };
    let name = format!("{}-peer", stage.run.name());
    let mut run = podman();
    run.args(["run", "--detach", "--network", "none", "--log-driver", "k8s-file", "--name", &name]);
    let id = output(run.arg("--rootfs").arg(&rootfs).args(["/hello", "sleep"]))?.trim().to_owned();
    let measured = until("podman's conmon", LIMIT, || {
        let found = processes()
            .into_values()
            .find(|seen| seen.command.contains("conmon") && seen.command.contains(&id));
        Ok(found.map(|seen| seen.pid))
    })
    .and_then(pss_kib);
    let removed = run_command(podman().args(["rm", "--force", "--time", "0", &name]));
    removed.and(measured)
}
