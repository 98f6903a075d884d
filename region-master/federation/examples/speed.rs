//! How fast level 1 is: `cargo run --release -p skerry-federation --example speed`.
//!
//! 1,000 regions of 10 sites of 10 nodes, one workload of 10,000 instances, on one core, as at a root master.

#![expect(clippy::unwrap_used, reason = "an example that cannot go on has failed")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use skerry_federation::level1::{Beside, Demand, Plan, RegionView, plan};
use skerry_federation::{Alike, SiteTable, SketchInput, sketch};
use skerry_types::{
    Affinity, Attributes, Bytes, Capabilities, ContainerName, ContainerSpec, InstanceSet, InstanceSpec,
    Labels, Limits, LinkClass, MilliCpu, Near, Place, Placement, Preference, Probes, RegionName, Resources,
    RestartPolicy, RestartWhen, SiteDigest, SiteName, SiteSpec, Spread, SpreadBy, WallTime,
};

const REGIONS: u64 = 1_000;
const SITES: u64 = 10;
const NODES: u64 = 10;
const INSTANCES: u32 = 10_000;
const TIMES: u32 = 51;

fn amounts(cpu: u64, memory_mb: u64) -> Resources {
    Resources { cpu: MilliCpu(cpu), memory: Bytes(memory_mb << 20), ..Resources::ZERO }
}

/// Numbers that look random and are the same each time (Marsaglia 2003, xorshift64).
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn site(region: u64, at: u64, noise: &mut Noise) -> SiteDigest {
    let kinds = [("amd64", 16_000u64), ("arm64", 8000)];
    let nodes: Vec<(Attributes, Resources)> = (0..NODES)
        .map(|node| {
            let (arch, cpu) = kinds[usize::from(node % 4 == 0)];
            let pairs = [
                ("node.arch", arch.to_owned()),
                ("node.os", "Debian GNU/Linux 12".to_owned()),
                ("node.cores", (cpu / 1000).to_string()),
                ("node.memory_mb", (cpu * 4).to_string()),
            ];
            let attributes = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            (attributes, amounts(noise.below(cpu), noise.below(cpu * 4)))
        })
        .collect();
    let inputs = nodes.iter().map(|(attributes, free)| SketchInput {
        attributes,
        taints: &[],
        free: *free,
        slots: 200,
    });
    let labels = [("tier", ["edge", "metro", "core"][usize::try_from(at % 3).unwrap()])];
    SiteDigest {
        region: RegionName::new(format!("r{region}")).unwrap(),
        spec: SiteSpec {
            name: SiteName::new(format!("s{region}-{at}")).unwrap(),
            labels: labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect::<Labels>(),
            timezone: None,
            point: format!(
                "{}.5,{}.25",
                noise.below(120).cast_signed() - 60,
                noise.below(300).cast_signed() - 150
            )
            .parse()
            .ok(),
            link: LinkClass { metered: at == 9, micros_per_mb: 0 },
        },
        nodes: u32::try_from(NODES).unwrap(),
        reachable: u32::try_from(NODES).unwrap(),
        allocations: 50,
        running: 50,
        capacity: amounts(NODES * 14_000, NODES * 56_000),
        reserved: amounts(NODES * 7000, NODES * 28_000),
        last_seen: WallTime(0),
        sketch: sketch(inputs),
    }
}

fn regions() -> Vec<RegionView> {
    let (mut noise, mut alike) = (Noise(0x5EED), Alike::default());
    let region = |at: u64| {
        let sites = (0..SITES).map(|site_at| Arc::new(site(at, site_at, &mut noise))).collect();
        let sites = Arc::new(SiteTable::new(sites, &mut alike));
        // What an affinity asks for is in two regions of three, what an anti-affinity shuns in one of ten.
        let count = |there: bool| vec![u32::from(there)];
        let beside =
            Beside { affinity: count(!at.is_multiple_of(3)), anti_affinity: count(at.is_multiple_of(10)) };
        RegionView { sites, beside, ..RegionView::new(RegionName::new(format!("r{at}")).unwrap()) }
    };
    (0..REGIONS).map(region).collect()
}

fn instance() -> InstanceSpec {
    let container = ContainerSpec {
        name: ContainerName::new("c").unwrap(),
        image: "registry.example/c:1".to_owned(),
        digest: None,
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        resources: amounts(500, 512),
        limits: Limits { cpu: None, memory: Bytes(512 << 20), pids: 100 },
        ports: Vec::new(),
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: Probes::default(),
        stop_signal: None,
    };
    InstanceSpec {
        init: Vec::new(),
        containers: vec![container],
        restart: RestartPolicy {
            when: RestartWhen::Always,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_mins(1),
        },
        stop_grace: Duration::from_secs(10),
        stop_delay: Duration::ZERO,
        schedule: None,
        deadline: None,
        stop_after: None,
        exclusive: None,
    }
}

fn spread(by: SpreadBy, max_skew: Option<u32>) -> Spread {
    Spread { by, max_skew }
}

fn by(attribute: &str) -> SpreadBy {
    SpreadBy::Attribute(attribute.to_owned())
}

fn placements() -> Vec<(&'static str, Placement)> {
    let require = Placement {
        require: "node.arch=amd64, site.tier in (edge,metro)".parse().unwrap(),
        ..Placement::default()
    };
    let prefer = vec![Preference { matches: "site.tier=edge".parse().unwrap(), weight: 50 }];
    let near = vec![Near { to: Place::Point("59.91,10.75".parse().unwrap()), weight: 20 }];
    let spread = |spreads: Vec<Spread>| Placement { spread: spreads, ..Placement::default() };
    let beside = |matches: &str, by, weight| vec![Affinity { matches: matches.parse().unwrap(), by, weight }];
    let social = Placement {
        affinity: beside("app=db", by("region.name"), Some(50)),
        anti_affinity: beside("app=batch", by("region.name"), None),
        ..Placement::default()
    };
    vec![
        ("nothing asked for", Placement::default()),
        ("require, two terms", require.clone()),
        ("prefer and near", Placement { prefer: prefer.clone(), near: near.clone(), ..Placement::default() }),
        ("beside and apart, by region", social.clone()),
        (
            "the same, spread by site",
            Placement { spread: vec![self::spread(SpreadBy::Site, None)], ..social.clone() },
        ),
        ("spread by site", spread(vec![self::spread(SpreadBy::Site, None)])),
        ("spread by region", spread(vec![self::spread(by("region.name"), None)])),
        ("spread by region, max_skew 1", spread(vec![self::spread(by("region.name"), Some(1))])),
        ("spread by tier", spread(vec![self::spread(by("site.tier"), None)])),
        (
            "spread by region and site",
            spread(vec![self::spread(by("region.name"), None), self::spread(SpreadBy::Site, None)]),
        ),
        (
            "all of it",
            Placement {
                prefer,
                near,
                spread: vec![self::spread(by("region.name"), None), self::spread(SpreadBy::Site, None)],
                affinity: social.affinity,
                anti_affinity: social.anti_affinity,
                ..require
            },
        ),
    ]
}

fn main() {
    let regions = regions();
    let bytes: usize = regions
        .iter()
        .flat_map(|region| region.sites.digests())
        .map(|site| postcard::to_stdvec(&site.sketch).unwrap().len())
        .sum();
    let sites = REGIONS * SITES;
    println!(
        "{REGIONS} regions, {sites} sites, {} bytes a sketch, {INSTANCES} instances",
        bytes as u64 / sites
    );
    let (spec, wanted) = (instance(), InstanceSet::first(INSTANCES));
    for (name, placement) in placements() {
        let demand = Demand { instance: &spec, placement: &placement, wanted: &wanted, round: 0 };
        let (times, found) = measure(|| plan(&demand, &regions));
        report(name, &times, &found);
    }
    let placed = plan(
        &Demand { instance: &spec, placement: &Placement::default(), wanted: &wanted, round: 0 },
        &regions,
    );
    let mut settled = regions;
    for region in &mut settled {
        region.existing = placed
            .parts
            .get(&region.name)
            .map(skerry_federation::level1::Part::instances)
            .unwrap_or_default();
    }
    let placement = Placement::default();
    let demand = Demand { instance: &spec, placement: &placement, wanted: &wanted, round: 0 };
    let (times, found) = measure(|| plan(&demand, &settled));
    report("all placed already", &times, &found);
}

/// Time that this thread had a processor for, so that a busy machine does not count; `None` where the kernel does not say. It is
/// counted in ticks, so only many runs together mean something.
fn on_cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

struct Measured {
    /// Of all runs.
    cpu: Option<Duration>,
    /// By the clock on the wall, sorted.
    times: Vec<Duration>,
}

fn measure(run: impl Fn() -> Plan) -> (Measured, Plan) {
    let mut times = Vec::new();
    let mut last = run();
    let before = on_cpu();
    for _ in 0..TIMES {
        let start = Instant::now();
        last = run();
        times.push(start.elapsed());
    }
    times.sort();
    (
        Measured {
            cpu: on_cpu().zip(before).map(|(after, before)| after.saturating_sub(before) / TIMES),
            times,
        },
        last,
    )
}

fn report(name: &str, Measured { cpu, times }: &Measured, found: &Plan) {
    let placed: u32 = found.parts.values().map(|part| part.instances().len()).sum();
    let (least, median) = (times[0], times[times.len() / 2]);
    let regions = found.parts.len();
    println!(
        "{name:28} on the processor {cpu:>9.2?}, least {least:>7.2?}, median {median:>7.2?}; {placed} placed in {regions} regions",
        cpu = cpu.unwrap_or_default()
    );
}
