//! The rules of placement written down plainly, one node at a time.

mod checks;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skerry_allocator::{Booking, Cluster, Demand, NEAR_KM, NodeView, SPREAD_POINTS};
use skerry_types::{
    Affinity, AllocationId, Attributes, Bytes, Capabilities, ContainerName, ContainerSpec, GpuBinding,
    HostPort, InstanceIndex, InstanceSpec, Labels, Limits, MilliCpu, MilliGpu, NodeName, Place, Placement,
    Point, PortBinding, PortName, PortSpec, Protocol, Resources, RestartPolicy, RestartWhen, Rule, SiteName,
    Spread, SpreadBy, TenantName, WorkloadKey, WorkloadName,
};

/// A workload.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) key: WorkloadKey,
    pub(crate) labels: Labels,
    pub(crate) priority: u8,
    pub(crate) spec: InstanceSpec,
    pub(crate) placement: Placement,
}

impl Work {
    /// A workload of the default tenant that asks for nothing more.
    pub(crate) fn new(name: &str, spec: InstanceSpec, placement: Placement) -> Self {
        let key = WorkloadKey { tenant: TenantName::default(), name: WorkloadName::new(name).unwrap() };
        Self { key, labels: Labels::new(), priority: 50, spec, placement }
    }

    pub(crate) fn demand<'a>(&'a self, existing: &'a [NodeName]) -> Demand<'a> {
        Demand {
            key: &self.key,
            labels: &self.labels,
            priority: self.priority,
            spec: &self.spec,
            placement: &self.placement,
            existing,
        }
    }

    pub(crate) fn id(&self, serial: u64) -> AllocationId {
        AllocationId::compose(&self.key.name, InstanceIndex(0), serial)
    }

    pub(crate) fn booking<'a>(
        &'a self,
        id: &'a AllocationId,
        ports: &'a [PortBinding],
        gpus: &'a [GpuBinding],
    ) -> Booking<'a> {
        Booking {
            id,
            key: &self.key,
            labels: &self.labels,
            priority: self.priority,
            spec: &self.spec,
            ports,
            gpus,
        }
    }
}

/// One allocation.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) id: AllocationId,
    pub(crate) workload: usize,
    pub(crate) node: NodeName,
    pub(crate) work: Work,
    pub(crate) ports: Vec<PortBinding>,
    pub(crate) gpus: Vec<GpuBinding>,
}

/// What nodes are compared by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    points: i64,
    own: Reverse<usize>,
    link: Reverse<u64>,
    in_use: bool,
    suits: bool,
    strands: Reverse<i64>,
    size: usize,
    room: Reverse<u64>,
    name: Reverse<NodeName>,
}

/// All nodes and all allocations.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) nodes: BTreeMap<NodeName, NodeView>,
    pub(crate) held: Vec<Held>,
    pub(crate) site_points: BTreeMap<SiteName, Point>,
    /// The last running number that an allocation got.
    pub(crate) serial: u64,
}

pub(crate) fn site(index: usize) -> SiteName {
    SiteName::new(format!("s{index}")).unwrap()
}

/// An instance of one container with these ports.
pub(crate) fn workload_spec(cpu: u64, memory: u64, ports: &[(HostPort, Protocol)]) -> InstanceSpec {
    let ports = ports.iter().enumerate().map(|(index, (host, protocol))| PortSpec {
        name: PortName::new(format!("p{index}")).unwrap(),
        container: 80,
        protocol: *protocol,
        host: *host,
    });
    let container = ContainerSpec {
        name: ContainerName::new("c").unwrap(),
        image: "registry.example/c:1".to_owned(),
        digest: None,
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        resources: Resources {
            cpu: MilliCpu(cpu),
            memory: Bytes(memory),
            disk: Bytes(0),
            ..Resources::default()
        },
        limits: Limits { cpu: None, memory: Bytes(memory), pids: 10 },
        ports: ports.collect(),
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: skerry_types::Probes::default(),
        stop_signal: None,
    };
    InstanceSpec {
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
    }
}

fn attributes(view: &NodeView) -> Attributes {
    let mut attributes = view.attributes.clone();
    attributes.insert("node.name".to_owned(), view.name.to_string());
    attributes.insert("site.name".to_owned(), view.site.to_string());
    attributes
}

fn value(view: &NodeView, by: &SpreadBy) -> Option<String> {
    let key = match by {
        SpreadBy::Site => "site.name",
        SpreadBy::Node => "node.name",
        SpreadBy::Attribute(name) => name,
    };
    attributes(view).get(key).cloned()
}

impl World {
    pub(crate) fn nodes_of(&self, workload: usize) -> Vec<NodeName> {
        let own = self.held.iter().filter(|held| held.workload == workload);
        own.map(|held| held.node.clone()).collect()
    }

    pub(crate) fn used(&self, node: &NodeName) -> Resources {
        let here = self.held.iter().filter(|held| held.node == *node);
        here.fold(Resources::default(), |sum, held| sum + held.work.spec.resources())
    }

    fn ports(&self, node: &NodeName) -> Vec<(Protocol, u16)> {
        let here = self.held.iter().filter(|held| held.node == *node);
        let mut ports: Vec<_> =
            here.flat_map(|held| held.ports.iter().map(|port| (port.protocol, port.host))).collect();
        ports.sort_unstable();
        ports
    }

    fn on_node(&self, node: &NodeName) -> usize {
        self.held.iter().filter(|held| held.node == *node).count()
    }

    /// The cluster's books say what the allocations say, and no port has two owners.
    pub(crate) fn check_usage(&self, cluster: &Cluster) {
        assert_eq!(cluster.nodes(), self.nodes.keys().cloned().collect::<Vec<_>>().as_slice());
        for node in self.nodes.keys() {
            assert_eq!(cluster.used(node), Some(self.used(node)));
            let count = cluster.allocations(node).map(|count| usize::try_from(count).unwrap());
            assert_eq!(count, Some(self.on_node(node)));
            let ports: Vec<_> = cluster.taken_ports(node).collect();
            assert_eq!(ports, self.ports(node));
        }
    }

    /// What is free of each graphics processor of a node.
    pub(crate) fn free_gpus(&self, view: &NodeView) -> Vec<u64> {
        let here = || self.held.iter().filter(|held| held.node == view.name).flat_map(|held| &held.gpus);
        let taken = |gpu: u16| -> u64 { here().filter(|b| b.gpu == gpu).map(|b| b.share.0).sum() };
        (0..view.gpus).map(|gpu| 1000_u64.saturating_sub(taken(gpu))).collect()
    }

    /// Whether a workload that is meant has an instance on a node of the same value.
    fn is_there(&self, work: &Work, view: &NodeView, wish: &Affinity) -> bool {
        let Some(wanted) = value(view, &wish.by) else { return false };
        self.held.iter().any(|held| {
            let other = &held.work;
            other.key.tenant == work.key.tenant
                && other.key.name != work.key.name
                && wish.matches.matches(&other.labels)
                && value(&self.nodes[&held.node], &wish.by).as_ref() == Some(&wanted)
        })
    }

    /// Why the node may not take the workload whatever room it has.
    fn standing(&self, work: &Work, view: &NodeView) -> Option<Rule> {
        let placement = &work.placement;
        if !view.reachable {
            return Some(Rule::Unreachable);
        }
        if !view.schedulable {
            return Some(Rule::Cordoned);
        }
        if let Some(term) = placement.require.first_miss(&attributes(view)) {
            return Some(Rule::Require { term });
        }
        let mut taints = view.taints.iter();
        if let Some(taint) = taints.find(|taint| !placement.tolerate.contains(taint)) {
            return Some(Rule::Taint { taint: taint.clone() });
        }
        self.broken_must(work, view)
    }

    /// Whether every must about other workloads holds for an instance on a node.
    pub(crate) fn musts_hold(&self, work: &Work, view: &NodeView) -> bool {
        self.broken_must(work, view).is_none()
    }

    /// Musts by nodes come after the others.
    fn broken_must(&self, work: &Work, view: &NodeView) -> Option<Rule> {
        let placement = &work.placement;
        let musts = |wishes: &[Affinity], by_node: bool| -> Vec<Affinity> {
            let kind = |wish: &&Affinity| wish.weight.is_none() && (wish.by == SpreadBy::Node) == by_node;
            wishes.iter().filter(kind).cloned().collect()
        };
        [false, true].into_iter().find_map(|by_node| {
            let lonely = musts(&placement.affinity, by_node);
            let lonely = lonely.iter().find(|wish| !self.is_there(work, view, wish));
            let crowded = musts(&placement.anti_affinity, by_node);
            let crowded = crowded.iter().find(|wish| self.is_there(work, view, wish));
            let words = |wish: &Affinity| (wish.matches.to_string(), wish.by.to_string());
            let lonely = lonely.map(words).map(|(matches, by)| Rule::Affinity { matches, by });
            lonely.or(crowded.map(words).map(|(matches, by)| Rule::AntiAffinity { matches, by }))
        })
    }

    /// Workload and place of each bounded spread that does not hold.
    pub(crate) fn broken_spreads(&self, works: &[Work]) -> BTreeSet<(usize, usize)> {
        let mut broken = BTreeSet::new();
        for (workload, work) in works.iter().enumerate() {
            for (at, spread) in work.placement.spread.iter().enumerate() {
                let domain = self.nodes.values().filter(|view| self.standing(work, view).is_none());
                let counts: Vec<u32> = domain
                    .map(|view| self.count(workload, spread, value(view, &spread.by).as_ref()))
                    .collect();
                let skew = counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0);
                if spread.max_skew.is_some_and(|bound| skew > bound) {
                    broken.insert((workload, at));
                }
            }
        }
        broken
    }

    /// What affinities and nearness earn a node.
    fn wished(&self, work: &Work, view: &NodeView) -> i64 {
        let sum = |wishes: &[Affinity]| -> i64 {
            let there = wishes.iter().filter(|wish| self.is_there(work, view, wish));
            there.map(|wish| i64::from(wish.weight.unwrap_or_default())).sum()
        };
        let near = work.placement.near.iter().map(|near| {
            let to = match &near.to {
                Place::Point(point) => Some(*point),
                Place::Site(site) => self.site_points.get(site).copied(),
            };
            let (Some(from), Some(to)) = (view.point, to) else { return 0 };
            let left = i64::from(NEAR_KM.saturating_sub(from.distance_km(&to)));
            i64::from(near.weight) * left / i64::from(NEAR_KM)
        });
        sum(&work.placement.affinity) - sum(&work.placement.anti_affinity) + near.sum::<i64>()
    }

    /// Adds a node or replaces what is known of it.
    pub(crate) fn set_node(&mut self, view: &NodeView) {
        self.site_points.extend(view.point.map(|point| (view.site.clone(), point)));
        self.nodes.insert(view.name.clone(), view.clone());
    }

    /// The most that one container could have of graphics processors, where that is less than it needs. The part of one beside
    /// whole ones does not help, and is told all the same.
    fn gpu_miss(&self, view: &NodeView, need: u64) -> Option<u64> {
        let gpus = self.free_gpus(view);
        let whole: u64 = gpus.iter().filter(|free| **free == 1000).sum();
        let part = gpus.iter().copied().filter(|free| *free < 1000).max().unwrap_or_default();
        let most = if need < 1000 { part.max(whole) } else { whole };
        (most < need).then_some(most + if need < 1000 { 0 } else { part })
    }

    fn room(&self, view: &NodeView, spec: &InstanceSpec) -> Option<Rule> {
        let free = view.capacity.saturating_sub(&self.used(&view.name));
        let need = spec.resources();
        if self.on_node(&view.name) >= usize::try_from(view.limit.get()).unwrap() {
            return Some(Rule::AllocationLimit);
        }
        if need.cpu > free.cpu {
            return Some(Rule::Cpu { need: need.cpu, most_free: free.cpu });
        }
        if need.memory > free.memory {
            return Some(Rule::Memory { need: need.memory, most_free: free.memory });
        }
        if need.bandwidth > free.bandwidth {
            return Some(Rule::Bandwidth { need: need.bandwidth, most_free: free.bandwidth });
        }
        if let Some(most) = self.gpu_miss(view, need.gpu.0) {
            return Some(Rule::Gpu { need: need.gpu, most_free: MilliGpu(most).min(free.gpu) });
        }
        // What is held on a processor that is gone counts against those that are left.
        if need.gpu > free.gpu {
            return Some(Rule::Gpu { need: need.gpu, most_free: free.gpu });
        }
        self.ports_left(view, spec)
    }

    /// Which port the node cannot give.
    fn ports_left(&self, view: &NodeView, spec: &InstanceSpec) -> Option<Rule> {
        let mut taken: BTreeSet<_> = self.ports(&view.name).into_iter().collect();
        let mut fixed: Vec<_> = spec
            .ports()
            .filter_map(|port| match port.host {
                HostPort::Fixed(number) => Some((port.protocol, number)),
                _ => None,
            })
            .collect();
        // A port that is wanted twice is told before one that is taken.
        fixed.sort_by_key(|port| {
            let twice = fixed_count(spec, *port) > 1;
            (!twice, twice.then_some(*port))
        });
        let mut collisions = fixed.iter().filter(|port| !taken.insert(**port));
        if let Some((protocol, port)) = collisions.next() {
            return Some(Rule::HostPort { port: *port, protocol: *protocol });
        }
        let autos: Vec<_> = spec.ports().filter(|port| port.host == HostPort::Auto).collect();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let wanted = autos.iter().filter(|port| port.protocol == protocol).count();
            let range = view.port_range.0..=view.port_range.1;
            let free = range.filter(|port| !taken.contains(&(protocol, *port))).count();
            if wanted > free {
                return Some(Rule::HostPortRange { need: u32::try_from(autos.len()).unwrap() });
            }
        }
        None
    }

    fn count(&self, workload: usize, spread: &Spread, wanted: Option<&String>) -> u32 {
        let same = self.nodes_of(workload);
        let same = same
            .iter()
            .filter_map(|node| self.nodes.get(node))
            .filter(|view| value(view, &spread.by).as_ref() == wanted);
        u32::try_from(same.count()).unwrap()
    }

    fn skew(&self, workload: usize, view: &NodeView, work: &Work) -> Option<Rule> {
        work.placement.spread.iter().find_map(|spread| {
            let max_skew = spread.max_skew?;
            let values = self
                .nodes
                .values()
                .filter(|view| self.standing(work, view).is_none())
                .map(|view| self.count(workload, spread, value(view, &spread.by).as_ref()));
            let skew = self.count(workload, spread, value(view, &spread.by).as_ref()) + 1 - values.min()?;
            (skew > max_skew).then(|| Rule::MaxSkew { by: spread.by.to_string(), max_skew })
        })
    }

    pub(crate) fn refusal(&self, workload: usize, view: &NodeView, work: &Work) -> Option<Rule> {
        self.standing(work, view)
            .or_else(|| self.room(view, &work.spec))
            .or_else(|| self.skew(workload, view, work))
    }

    /// The order of nodes as the documentation has it, the best the greatest.
    fn rank(&self, workload: usize, view: &NodeView, work: &Work, typical: &[(Resources, u64)]) -> Rank {
        let placement = &work.placement;
        let preferred =
            placement.prefer.iter().filter(|preference| preference.matches.matches(&attributes(view)));
        let earned: i64 = preferred.map(|preference| i64::from(preference.weight)).sum();
        let spread = placement.spread.iter();
        let cost: i64 = spread
            .map(|spread| i64::from(self.count(workload, spread, value(view, &spread.by).as_ref())))
            .sum();
        let own = self.nodes_of(workload).iter().filter(|node| **node == view.name).count();
        let gpus = self.free_gpus(view);
        let free = view.capacity.saturating_sub(&self.used(&view.name));
        let worth = |of: &Resources, gpus: u64| of.cpu.0 * 4 + (of.memory.0 >> 20) + gpus * 32;
        let size = worth(&view.capacity, u64::from(view.gpus) * 1000);
        // Quarters of powers of two: 4, 5, 6, 7, 8, 10, 12, 14, 16, 20 and so on.
        let step = (2..60).flat_map(|power| (4..8_u64).map(move |quarter| quarter << power >> 2));
        Rank {
            points: earned + self.wished(work, view) - SPREAD_POINTS * cost,
            own: Reverse(own),
            link: Reverse(view.micros_per_mb),
            in_use: self.on_node(&view.name) > 0,
            suits: view.gpus == 0 || work.spec.resources().gpu.0 > 0,
            strands: Reverse(self.strands(view, work, typical)),
            size: step.filter(|step| *step <= size).count(),
            room: Reverse(worth(&free, gpus.iter().sum::<u64>())),
            name: Reverse(view.name.clone()),
        }
    }
}

fn fixed_count(spec: &InstanceSpec, (protocol, number): (Protocol, u16)) -> usize {
    let same = |port: &&PortSpec| port.protocol == protocol && port.host == HostPort::Fixed(number);
    spec.ports().filter(same).count()
}
