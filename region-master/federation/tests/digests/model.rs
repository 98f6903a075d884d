//! Short ways to make nodes, sites, regions and demands.

use std::sync::Arc;
use std::time::Duration;

use skerry_federation::level1::RegionView;
use skerry_federation::{SketchInput, sketch};
use skerry_types::{
    Attributes, Bandwidth, Bytes, Capabilities, ContainerName, ContainerSpec, InstanceIndex, InstanceSet,
    InstanceSpec, Labels, Limits, LinkClass, MilliCpu, MilliGpu, Placement, Probes, RegionName, Resources,
    RestartPolicy, RestartWhen, SiteDigest, SiteName, SiteSpec, Taint, WallTime,
};

/// Cores in thousandths, memory and disk in MiB, bandwidth in Mbit/s, graphics processors in thousandths.
pub(crate) fn amounts(cpu: u64, memory: u64, disk: u64, bandwidth: u64, gpu: u64) -> Resources {
    Resources {
        cpu: MilliCpu(cpu),
        memory: Bytes(memory << 20),
        disk: Bytes(disk << 20),
        bandwidth: Bandwidth(bandwidth * 1_000_000),
        gpu: MilliGpu(gpu),
    }
}

pub(crate) fn cores(cpu: u64) -> Resources {
    amounts(cpu, 0, 0, 0, 0)
}

pub(crate) fn instance(resources: Resources) -> InstanceSpec {
    let container = ContainerSpec {
        name: ContainerName::new("c").unwrap(),
        image: "registry.example/c:1".to_owned(),
        digest: None,
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        resources,
        limits: Limits { cpu: None, memory: resources.memory, pids: 10 },
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
            max_backoff: Duration::from_secs(9),
        },
        stop_grace: Duration::from_secs(1),
        stop_delay: Duration::ZERO,
        schedule: None,
        deadline: None,
        stop_after: None,
        exclusive: None,
    }
}

/// A node with attributes, taints and what is free.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) attributes: Attributes,
    pub(crate) taints: Vec<Taint>,
    pub(crate) free: Resources,
    pub(crate) slots: u32,
}

pub(crate) fn node(pairs: &[(&str, &str)], free: Resources) -> Node {
    let attributes = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Node { attributes, taints: Vec::new(), free, slots: 1000 }
}

pub(crate) fn inputs(nodes: &[Node]) -> impl Iterator<Item = SketchInput<'_>> {
    nodes.iter().map(|node| SketchInput {
        attributes: &node.attributes,
        taints: &node.taints,
        free: node.free,
        slots: node.slots,
    })
}

/// A site of a region; what its nodes have free is all that it has.
pub(crate) fn site(region: &str, name: &str, labels: &[(&str, &str)], nodes: &[Node]) -> SiteDigest {
    let count = u32::try_from(nodes.len()).unwrap();
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    SiteDigest {
        region: RegionName::new(region).unwrap(),
        spec: SiteSpec {
            name: SiteName::new(name).unwrap(),
            labels: labels.collect::<Labels>(),
            timezone: None,
            point: None,
            link: LinkClass::default(),
        },
        nodes: count,
        reachable: count,
        allocations: 0,
        running: 0,
        capacity: nodes.iter().fold(Resources::ZERO, |sum, node| sum + node.free),
        reserved: Resources::ZERO,
        last_seen: WallTime(0),
        sketch: sketch(inputs(nodes)),
    }
}

pub(crate) fn region(name: &str, sites: Vec<SiteDigest>) -> RegionView {
    let sites = Arc::new(sites.into_iter().map(Arc::new).collect());
    RegionView { sites, ..RegionView::new(RegionName::new(name).unwrap()) }
}

/// A region of one site of the same name, with nodes of so many cores in thousandths.
pub(crate) fn plain(name: &str, nodes: &[u64]) -> RegionView {
    let nodes: Vec<Node> = nodes.iter().map(|cpu| node(&[], cores(*cpu))).collect();
    region(name, vec![site(name, name, &[], &nodes)])
}

pub(crate) fn placement(require: &str) -> Placement {
    Placement { require: require.parse().unwrap(), ..Placement::default() }
}

pub(crate) fn set(numbers: &[u32]) -> InstanceSet {
    numbers.iter().copied().map(InstanceIndex).collect()
}

/// Changes a region's sites as another digest would.
pub(crate) fn alter(region: &mut RegionView, change: impl Fn(&mut SiteDigest)) {
    let digests = region.sites.digests().iter().map(|digest| {
        let mut digest = (**digest).clone();
        change(&mut digest);
        Arc::new(digest)
    });
    region.sites = Arc::new(digests.collect());
}
