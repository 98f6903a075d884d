//! What a region takes while nothing happens.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit};
use skerry_ground::region::Node;
use skerry_ground::{Traffic, output, processes, run_command, until};

use crate::Measurement;
use crate::process::{cpu, pss_kib, rss_kib};
use crate::schedules::pause;
use crate::stage::{LIMIT, Stage, rootfs};

const FEW: usize = 10;
const MORE: usize = 40;
/// Time after the last change before anything is read.
const SETTLE: Duration = Duration::from_secs(30);
/// Long enough for seven keep-alives at the default interval of 25 s; the link's bytes are scaled up from it to an hour.
const WINDOW: Duration = Duration::from_mins(3);
/// Where masters take links.
const LINK_PORT: u16 = 7444;
const HOUR: Duration = Duration::from_hours(1);
/// A ping and its acknowledgement, with headers, every 25 s.
const KEEP_ALIVE_BYTES_PER_HOUR: f64 = 129.0 * 3600.0 / 25.0;

/// Memory, processor time and bytes of a region with three nodes, of which one runs containers.
pub(crate) fn measure() -> Result<Vec<Measurement>> {
    let stage = Stage::new(3)?;
    let node = stage.nodes.first().context("there is no node")?;
    let agent = node.pid().context("the agent does not run")?;
    stage.run_hello("few", "serve", FEW, node)?;
    pause(SETTLE)?;
    let window = Window::watch(node, agent)?;
    let (agent_few, keeper_few) = (pss_kib(agent)?, keeper_pss_kib(node)?);
    let master = rss_kib(stage.master.pid().context("the master does not run")?)?;
    stage.run_hello("more", "serve", MORE, node)?;
    pause(SETTLE)?;
    let added = pss_kib(agent)? + keeper_pss_kib(node)? - agent_few - keeper_few;
    let conmon = conmon_kib(&stage).inspect_err(|error| eprintln!("no peer: {error:#}"));
    let per_container = added / f64::from(u16::try_from(MORE)?);
    let added_row = Measurement::new("memory added per container", per_container, "KiB").at_most(64.0);
    let mib = |name: &str, kib: f64| Measurement::new(name, kib / 1024.0, "MiB");
    let floor = KEEP_ALIVE_BYTES_PER_HOUR / 1e3;
    Ok(vec![
        mib(&format!("agent PSS, link up, {FEW} containers"), agent_few).at_most(8.0),
        mib(&format!("keeper PSS with its worker that stands by, {FEW} containers"), keeper_few).at_most(1.5),
        match conmon {
            Ok(conmon) => added_row.with_peer("podman's conmon", conmon),
            Err(_) => added_row,
        },
        Measurement::new("agent CPU of a core", window.cpu_percent(), "%").at_most(0.1),
        mib("master RSS, 3 nodes", master).at_most(48.0),
        Measurement::new("idle link per agent-hour", window.link_kb_per_hour(), "kB")
            .with_peer("keep-alives alone", floor)
            .at_most(20.0),
        Measurement::new("its whole interface, with Ethernet", window.interface_kb_per_hour(), "kB"),
    ])
}

/// PSS of a node's keeper, the worker that stands by for the next create, and the first process that this one has ready.
fn keeper_pss_kib(node: &Node) -> Result<f64> {
    let all = node.keeper_and_workers();
    ensure!(!all.is_empty(), "there is no keeper on {}", node.name());
    all.iter().map(|seen| pss_kib(seen.pid)).sum()
}

/// What an agent did over a while.
struct Window {
    length: Duration,
    cpu: Duration,
    link_bytes: u64,
    interface_bytes: u64,
}

impl Window {
    fn watch(node: &Node, agent: u32) -> Result<Self> {
        let counters = LinkCounters::begin(node)?;
        let (start, cpu_before, before) = (Instant::now(), cpu(agent)?, node.host().traffic()?);
        pause(WINDOW)?;
        let (cpu_after, after) = (cpu(agent)?, node.host().traffic()?);
        let both = |traffic: Traffic| traffic.sent_bytes + traffic.received_bytes;
        Ok(Self {
            length: start.elapsed(),
            cpu: cpu_after.saturating_sub(cpu_before),
            link_bytes: counters.read()?,
            interface_bytes: both(after) - both(before),
        })
    }

    fn cpu_percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.length.as_secs_f64()
    }

    /// IP packets of the link in both directions: what an uplink that is paid by volume charges.
    fn link_kb_per_hour(&self) -> f64 {
        self.kb_per_hour(self.link_bytes)
    }

    /// Everything, with Ethernet headers, address resolution and what the kernel says about itself over IPv6.
    fn interface_kb_per_hour(&self) -> f64 {
        self.kb_per_hour(self.interface_bytes)
    }

    fn kb_per_hour(&self, bytes: u64) -> f64 {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        bytes / 1e3 * HOUR.as_secs_f64() / self.length.as_secs_f64()
    }
}

/// Counts the bytes of a node's link where its packets leave and enter the node.
struct LinkCounters<'a> {
    node: &'a Node,
}

impl<'a> LinkCounters<'a> {
    const TABLE: &'static str = "inet bench";

    fn begin(node: &'a Node) -> Result<Self> {
        let chain = |hook: &str, port: &str| {
            format!(
                "chain {hook} {{ type filter hook {hook} priority 0; udp {port} {LINK_PORT} counter name link; }}"
            )
        };
        let (out, back) = (chain("output", "dport"), chain("input", "sport"));
        node.host()
            .namespace()
            .nft(&format!("table {} {{ counter link {{ }}; {out}; {back}; }}", Self::TABLE))?;
        Ok(Self { node })
    }

    /// Bytes since the beginning, IP headers included.
    fn read(&self) -> Result<u64> {
        let text = self.node.host().namespace().nft(&format!("list counter {} link", Self::TABLE))?;
        let bytes = text.split_once("bytes ").and_then(|(_, rest)| rest.split_whitespace().next());
        bytes.and_then(|word| word.parse().ok()).with_context(|| format!("no counter in {text}"))
    }
}

/// PSS of the helper that podman keeps for one container.
fn conmon_kib(stage: &Stage) -> Result<f64> {
    // podman takes no folder for its state whose path is longer than 50 bytes.
    let folder = stage.run.folder().join("p");
    let rootfs = rootfs(stage.run.folder())?;
    let podman = || {
        let mut command = Command::new("podman");
        command.arg("--root").arg(stage.run.folder().join("podman")).arg("--runroot").arg(&folder);
        // crun, its default, takes no machine that has both versions of cgroups mounted.
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
        command
    };
    let name = format!("{}-peer", stage.run.name());
    let open_files = getrlimit(Resource::Nofile).maximum.unwrap_or(1024);
    let mut run = podman();
    // Raising a hard limit, as it does by default, needs a capability that not every machine gives.
    run.args(["run", "--ulimit", &format!("nofile=1024:{open_files}"), "--ulimit", "nproc=1024:1024"]);
    run.arg("--cgroup-parent").arg(format!("/{}", stage.run.name()));
    run.args(["--detach", "--network", "none", "--log-driver", "k8s-file", "--name", &name]);
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
