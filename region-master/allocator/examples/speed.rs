//! How fast instances are placed: `cargo run --release -p skerry-allocator --example speed`.
//!
//! Processor time; of each single decision the least of three rounds that decide the same, so that what else runs on the machine does
//! not count as the allocator's worst case.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use skerry_allocator::{Cluster, Demand, NodeView};
use skerry_types::{
    Affinity, AllocationId, AllocationLimit, Attributes, Bytes, Capabilities, ContainerName, ContainerSpec,
    HostPort, InstanceIndex, InstanceSpec, Labels, Limits, MilliCpu, NodeName, Placement, PortName, PortSpec,
    Preference, Protocol, Resources, RestartPolicy, RestartWhen, SiteName, Spread, SpreadBy, TenantName,
    WorkloadKey, WorkloadName,
};

/// A moment by the processor time of this thread, which others on the machine do not take part in.
struct Instant(Duration);

impl Instant {
    fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        Self(Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default()))
    }

    fn elapsed(&self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    println!(
        "{:>6} nodes  {:<74} {:>12} {:>9} {:>9} {:>9}",
        "", "demand", "placements/s", "mean us", "p50 us", "p99 us"
    );
    for nodes in [1000, 10_000, 100_000] {
        for (what, placement) in demands()? {
            batches(nodes, what, &placement)?;
            singles(nodes, what, &placement)?;
        }
        others(nodes)?;
    }
    Ok(())
}

fn demands() -> Outcome<Vec<(&'static str, Placement)>> {
    let spread = |by| vec![Spread { by, max_skew: None }];
    let selecting = Placement {
        require: "node.tier in (edge,metro), node.memory_mb>=2048".parse()?,
        prefer: vec![Preference { matches: "site.country=no".parse()?, weight: 50 }],
        ..Placement::default()
    };
    let beside = |matches: &str, by, weight| -> Outcome<Vec<Affinity>> {
        Ok(vec![Affinity { matches: matches.parse()?, by, weight }])
    };
    let social = Placement {
        affinity: beside("app=db", SpreadBy::Site, Some(50))?,
        anti_affinity: beside("app=db", SpreadBy::Node, None)?,
        ..Placement::default()
    };
    let bounded = vec![Spread { by: SpreadBy::Site, max_skew: Some(2) }];
    Ok(vec![
        ("anywhere", Placement::default()),
        ("require and prefer", selecting.clone()),
        ("spread over sites", Placement { spread: spread(SpreadBy::Site), ..Placement::default() }),
        ("spread over nodes", Placement { spread: spread(SpreadBy::Node), ..Placement::default() }),
        ("affinity by site, apart by node", social),
        ("require, prefer, max_skew over sites", Placement { spread: bounded, ..selecting }),
    ])
}

/// Ten nodes to a site.
fn cluster(nodes: usize) -> Outcome<Cluster> {
    let mut cluster = Cluster::default();
    for index in 0..nodes {
        cluster.set_node(node(index)?);
    }
    Ok(cluster)
}

fn node(index: usize) -> Outcome<NodeView> {
    let attributes = [
        ("node.tier", ["edge", "metro", "core"][index % 3]),
        ("node.memory_mb", "65536"),
        ("site.country", ["no", "se"][index / 10 % 2]),
    ];
    Ok(NodeView {
        name: NodeName::new(format!("n{index:06}"))?,
        site: SiteName::new(format!("s{:04}", index / 10))?,
        attributes: attributes
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<Attributes>(),
        taints: Vec::new(),
        capacity: Resources {
            cpu: MilliCpu(64_000),
            memory: Bytes(64 << 30),
            disk: Bytes(1 << 40),
            ..Resources::default()
        },
        gpus: 0,
        limit: AllocationLimit::MAX,
        port_range: (20_000, 32_000),
        reachable: true,
        schedulable: true,
        point: None,
        micros_per_mb: 0,
    })
}

fn spec() -> Outcome<InstanceSpec> {
    let resources = Resources {
        cpu: MilliCpu(250),
        memory: Bytes(64 << 20),
        disk: Bytes(200 << 20),
        ..Resources::default()
    };
    let port = PortSpec {
        name: PortName::new("http")?,
        container: 80,
        protocol: Protocol::Tcp,
        host: HostPort::Auto,
    };
    let container = ContainerSpec {
        name: ContainerName::new("web")?,
        image: "registry.example/web:1".to_owned(),
        digest: None,
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        resources,
        limits: Limits { cpu: None, memory: resources.memory, pids: 100 },
        ports: vec![port],
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: skerry_types::Probes::default(),
        stop_signal: None,
    };
    Ok(InstanceSpec {
        containers: vec![container],
        restart: RestartPolicy {
            when: RestartWhen::Always,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_mins(5),
        },
        stop_grace: Duration::from_secs(10),
        stop_delay: Duration::ZERO,
        init: Vec::new(),
        schedule: None,
        deadline: None,
        stop_after: None,
        exclusive: None,
    })
}

fn key(number: u32) -> Outcome<WorkloadKey> {
    Ok(WorkloadKey { tenant: TenantName::default(), name: WorkloadName::new(format!("w{number}"))? })
}

fn id(key: &WorkloadKey, serial: u64) -> AllocationId {
    AllocationId::compose(&key.name, InstanceIndex(0), serial)
}

/// Twenty workloads of as many instances as there are nodes.
fn batches(nodes: usize, what: &str, placement: &Placement) -> Outcome<()> {
    let (mut cluster, spec) = (cluster(nodes)?, spec()?);
    let count = u32::try_from(nodes)?;
    let start = Instant::now();
    let mut placed = 0;
    for round in 0..20 {
        let key = key(round)?;
        let labels = Labels::new();
        let demand =
            Demand { key: &key, labels: &labels, priority: 50, spec: &spec, placement, existing: &[] };
        let answers = cluster.place(&demand, count, &mut |nth| id(&key, nth.into()));
        placed += answers.iter().filter(|answer| answer.is_ok()).count();
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{nodes:>6} nodes  {what:<74} {:>12.0}   in batches of {count}",
        f64::from(u32::try_from(placed)?) / seconds
    );
    Ok(())
}

/// One missing instance of a workload at a time.
fn singles(nodes: usize, what: &str, placement: &Placement) -> Outcome<()> {
    let spec = spec()?;
    let (key, labels) = (key(0)?, Labels::new());
    let times = in_rounds(nodes, |cluster, times| {
        let mut existing: Vec<NodeName> = Vec::new();
        for serial in 0..1000 {
            let demand = Demand {
                key: &key,
                labels: &labels,
                priority: 50,
                spec: &spec,
                placement,
                existing: &existing,
            };
            let start = Instant::now();
            let answers = cluster.place(&demand, 1, &mut |_| id(&key, serial));
            times.push(start.elapsed());
            existing.extend(answers.into_iter().flatten().map(|placed| placed.node));
            existing.truncate(20);
        }
    })?;
    report(nodes, what, times);
    Ok(())
}

/// The least time of each decision over some rounds, each of which begins with a cluster that holds one other workload.
fn in_rounds(
    nodes: usize,
    mut decide: impl FnMut(&mut Cluster, &mut Vec<Duration>),
) -> Outcome<Vec<Duration>> {
    let mut least: Vec<Duration> = Vec::new();
    for _ in 0..3 {
        let (mut cluster, mut times, other) = (cluster(nodes)?, Vec::new(), key(1_000_000)?);
        let demand = Demand {
            key: &other,
            labels: &[("app".to_owned(), "db".to_owned())].into(),
            priority: 50,
            spec: &spec()?,
            placement: &Placement::default(),
            existing: &[],
        };
        cluster_fill(&mut cluster, &demand, 50);
        decide(&mut cluster, &mut times);
        least = if least.is_empty() {
            times
        } else {
            least.into_iter().zip(times).map(|(a, b)| a.min(b)).collect()
        };
    }
    Ok(least)
}

fn report(nodes: usize, what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let count = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let mean = (times.iter().sum::<Duration>() / count).as_secs_f64();
    let micros = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e6;
    println!(
        "{nodes:>6} nodes  {what:<74} {:>12.0} {:>9.1} {:>9.1} {:>9.1}",
        1.0 / mean,
        mean * 1e6,
        micros(50),
        micros(99)
    );
}

/// Decisions that find nothing kept of earlier ones, none that fits, and victims.
fn others(nodes: usize) -> Outcome<()> {
    let (key, labels) = (key(0)?, Labels::new());
    let timed = |what: &str, spec: &InstanceSpec, placements: &[Placement]| -> Outcome<()> {
        let times = in_rounds(nodes, |cluster, times| {
            for (serial, placement) in (0..).zip(placements) {
                let demand =
                    Demand { key: &key, labels: &labels, priority: 50, spec, placement, existing: &[] };
                let start = Instant::now();
                cluster.place(&demand, 1, &mut |_| id(&key, serial));
                times.push(start.elapsed());
            }
        })?;
        report(nodes, what, times);
        Ok(())
    };
    let mut spec = spec()?;
    for (what, placement) in demands()? {
        // A term that all nodes meet, and that nobody asked for before.
        let first_of_its_kind = (0..200).map(|serial| -> Outcome<Placement> {
            let require = format!("node.x!=v{serial}, {}", placement.require);
            Ok(Placement { require: require.trim_end_matches(", ").parse()?, ..placement.clone() })
        });
        let placements = first_of_its_kind.collect::<Outcome<Vec<Placement>>>()?;
        timed(&format!("first of its kind: {what}"), &spec, &placements)?;
    }
    for (what, placement) in demands()? {
        let times = in_rounds(nodes, |cluster, times| {
            for serial in 0..30 {
                // Another label of one node, so that nothing that was kept is true any more.
                let mut changed = node(0).expect("a number makes a name");
                changed.attributes.insert("node.serial".to_owned(), serial.to_string());
                cluster.set_node(changed);
                let demand = Demand {
                    key: &key,
                    labels: &labels,
                    priority: 50,
                    spec: &spec,
                    placement: &placement,
                    existing: &[],
                };
                let start = Instant::now();
                cluster.place(&demand, 1, &mut |_| id(&key, serial));
                times.push(start.elapsed());
            }
        })?;
        report(nodes, &format!("first after a node's label changed: {what}"), times);
    }
    spec.containers[0].resources.cpu = MilliCpu(65_000);
    timed("fits nowhere", &spec, &vec![Placement::default(); 200])?;
    let mut cluster = cluster(nodes)?;
    spec.containers[0].resources.cpu = MilliCpu(40_000);
    let count = u32::try_from(nodes)?;
    let placement = Placement::default();
    let demand = Demand {
        key: &key,
        labels: &labels,
        priority: 10,
        spec: &spec,
        placement: &placement,
        existing: &[],
    };
    cluster_fill(&mut cluster, &demand, count);
    let mut times = Vec::new();
    for _ in 0..20 {
        let demand = Demand { priority: 90, ..demand };
        let start = Instant::now();
        let found = cluster.preempt(&demand, &|_| true);
        times.push(start.elapsed());
        assert!(found.is_some(), "every node holds one of lower priority");
    }
    report(nodes, "victims, one on every node", times);
    Ok(())
}

fn cluster_fill(cluster: &mut Cluster, demand: &Demand<'_>, count: u32) {
    cluster.place(demand, count, &mut |nth| id(demand.key, 1_000_000 + u64::from(nth)));
}
