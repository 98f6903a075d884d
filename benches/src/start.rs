//! From the agent's decision to a container's first instruction.
//!
//! The decision is taken here, and carried out by the library that the agent carries its decisions out with: image on disk,
//! network namespace with an address on the node's bridge, the release keeper. The container itself tells when its first
//! instruction ran, by the monotonic clock.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use rustix::time::{ClockId, clock_gettime};
use skerry_ground::{Host, Run, Wan, binary, small_disk, until};
use skerry_runtime::image::{Digest, Image, ImageConfig};
use skerry_runtime::{ContainerStart, Runtime, RuntimeConfig, RuntimeEvent, SandboxSpec};
use skerry_types::{
    AllocationId, Bytes, Capabilities, ContainerName, ContainerSpec, Limits, MilliCpu, Resources,
};

use crate::Measurement;
use crate::peers::Peer;
use crate::stage::{LIMIT, rootfs};

/// Starts of each, in turn, so that a noisy moment hits all alike.
const SAMPLES: usize = 40;

/// Time for the kernel to finish the removal of one container before the next one starts, and for the runtime to make a network
/// ahead: the kernel takes a network namespace down under a lock that the making of one takes too, and a node does not start right
/// after each removal.
const SETTLE: Duration = Duration::from_millis(200);

/// Room for what lies in memory, in MiB: bundles, sockets, small files.
const MEMORY_MIB: u32 = 64;

/// Half, and nine tenths, of all starts of Skerry, runc and crun.
pub(crate) fn measure() -> Result<Vec<Measurement>> {
    let run = Run::start("bench")?;
    let mut wan = Wan::new(&run)?;
    let host = wan.host("n1")?;
    // As `/run` is on a node: all run directories are there, also those of runc and crun.
    small_disk(&host.memory(), MEMORY_MIB)?;
    let rootfs = rootfs(run.folder())?;
    let inside = host.namespace();
    let times = inside.within(|| {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        executor.block_on(sample(&host, &rootfs))
    })??;
    let Times { ours, network, runc, crun } = times;
    let row = |name: &str, share: usize, peer: &str, theirs: &[f64]| {
        Measurement::new(name, quantile(&ours, share), "ms").with_peer(peer, quantile(theirs, share))
    };
    run.take_down()?;
    Ok(vec![
        row("decision to first instruction, p50", 50, "runc, no veth", &runc).at_most(10.0).below_peer(),
        row("decision to first instruction, p50", 50, "crun, no veth", &crun),
        Measurement::new("network namespace alone, p50", quantile(&network, 50), "ms"),
        row("decision to first instruction, p90", 90, "runc, no veth", &runc),
    ])
}

/// Milliseconds.
struct Times {
    ours: Vec<f64>,
    /// The network with its address alone, in a sandbox of its own.
    network: Vec<f64>,
    runc: Vec<f64>,
    crun: Vec<f64>,
}

async fn sample(host: &Host, rootfs: &Path) -> Result<Times> {
    let image = Arc::new(Image {
        digest: Digest::of(b"hello"),
        reference: "registry.example/hello:1".to_owned(),
        config: ImageConfig { entrypoint: vec!["/hello".to_owned()], ..ImageConfig::default() },
        layers: vec![rootfs.to_owned()],
        size: 0,
    });
    let config = RuntimeConfig {
        data_dir: host.disk().join("data"),
        run_dir: host.memory().join("run"),
        keeper_binary: binary("skerry-keeper")?,
        cgroup_parent: format!("/{}", host.cgroup()),
        bridge: "skerry0".to_owned(),
        pool: "10.210.0.0/22".parse().map_err(|error| anyhow!("the pool: {error}"))?,
        log_max_bytes: 1 << 20,
        log_max_files: 2,
        create_deadline: Duration::from_secs(20),
    };
    let logs = config.data_dir.join("logs");
    let (runtime, mut events) = Runtime::open(config).await?;
    runtime.reconcile(BTreeMap::new()).await?;
    let first = events.next().await;
    if !matches!(first, Some(RuntimeEvent::Inventory(_))) {
        bail!("the runtime began with {first:?}");
    }
    let (mut ours, mut network, mut runc, mut crun) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut runc_peer = Peer::new("runc", host, rootfs)?;
    let mut crun_peer = Peer::new("crun", host, rootfs)?;
    for number in 0..SAMPLES {
        skerry_ground::check_interrupt()?;
        ours.push(one(&runtime, &image, &logs, number).await?);
        tokio::time::sleep(SETTLE).await;
        network.push(sandbox_alone(&runtime, number).await?);
        tokio::time::sleep(SETTLE).await;
        runc.push(runc_peer.first_instruction_ms(number)?);
        tokio::time::sleep(SETTLE).await;
        crun.push(crun_peer.first_instruction_ms(number)?);
        tokio::time::sleep(SETTLE).await;
    }
    runtime.close().await;
    Ok(Times { ours, network, runc, crun })
}

async fn one(runtime: &Runtime, image: &Arc<Image>, logs: &Path, number: usize) -> Result<f64> {
    let name = format!("start-{number}-1");
    let allocation = AllocationId::new(&name)?;
    let sandbox = SandboxSpec { allocation: allocation.clone(), ports: Vec::new(), address: None };
    let spec = hello()?;
    let decided = now_ms();
    let start =
        ContainerStart { spec: &spec, attempt: 0, image: Arc::clone(image), devices: &[], fence: None };
    runtime.start(&sandbox, start).await.map_err(|error| anyhow!("{}", error.reason().message))?;
    let first = first_instruction(&logs.join(&name).join("main"))?;
    runtime.discard(&allocation, Duration::ZERO).await?;
    Ok(first - decided)
}

async fn sandbox_alone(runtime: &Runtime, number: usize) -> Result<f64> {
    let allocation = AllocationId::new(format!("network-{number}-1"))?;
    let sandbox = SandboxSpec { allocation: allocation.clone(), ports: Vec::new(), address: None };
    let before = now_ms();
    runtime.prepare(&sandbox).await.map_err(|error| anyhow!("{error}"))?;
    let took = now_ms() - before;
    runtime.discard(&allocation, Duration::ZERO).await?;
    Ok(took)
}

fn hello() -> Result<ContainerSpec> {
    Ok(ContainerSpec {
        name: ContainerName::new("main")?,
        image: "registry.example/hello:1".to_owned(),
        digest: None,
        command: Vec::new(),
        args: vec!["run".to_owned()],
        env: Vec::new(),
        resources: Resources {
            cpu: MilliCpu(100),
            memory: Bytes(32 << 20),
            disk: Bytes(0),
            ..Resources::default()
        },
        limits: Limits { cpu: None, memory: Bytes(32 << 20), pids: 50 },
        ports: Vec::new(),
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: skerry_types::Probes::default(),
        stop_signal: None,
    })
}

/// Waits until a container's log folder tells when its first instruction ran; milliseconds of the monotonic clock.
pub(crate) fn first_instruction(folder: &Path) -> Result<f64> {
    until(&format!("the first line in {}", folder.display()), LIMIT, || {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        Ok(texts.find_map(|text| parse_first_instruction(&text)))
    })
}

/// The clock in a line of `hello run`, in milliseconds.
pub(crate) fn parse_first_instruction(text: &str) -> Option<f64> {
    let (_, rest) = text.split_once("first instruction ")?;
    // Without the line's end the number may be half written.
    let nanoseconds: u64 = rest.split_once('\n')?.0.trim().parse().ok()?;
    Some(Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3)
}

/// The monotonic clock in milliseconds.
pub(crate) fn now_ms() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default().as_secs_f64() * 1e3
}

/// The value below which `percent` of all lie.
pub(crate) fn quantile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_instruction_is_read_when_it_is_whole() {
        assert_eq!(parse_first_instruction("T stdout F first instruction 2500000\n"), Some(2.5));
        assert_eq!(parse_first_instruction("T stdout F first instruction 25"), None);
        assert_eq!(parse_first_instruction("T stdout F hello\n"), None);
    }

    #[test]
    fn quantiles() {
        let values = [3.0, 1.0, 2.0, 5.0, 4.0];
        let found = [0, 50, 90, 100].map(|percent| format!("{}", quantile(&values, percent)));
        assert_eq!(found, ["1", "3", "4", "5"]);
    }
}
