//! The rules of placement written down plainly, one node at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skerry_allocator::{ALLOCATIONS_MAX, Booking, Cluster, Demand, NodeView, Placed, SPREAD_POINTS};
use skerry_types::{
    AllocationId, Attributes, Bytes, Capabilities, ContainerName, ContainerSpec, GpuBinding, HostPort,
    InstanceIndex, InstanceSpec, Labels, Limits, MilliCpu, NodeName, Placement, PortBinding, PortName,
    PortSpec, Protocol, Refusal, Resources, RestartPolicy, RestartWhen, Rule, SiteName, Spread, SpreadBy,
    TenantName, WorkloadKey, WorkloadName,
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
    pub(crate) spec: InstanceSpec,
    pub(crate) ports: Vec<PortBinding>,
}

/// All nodes and all allocations.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) nodes: BTreeMap<NodeName, NodeView>,
    pub(crate) held: Vec<Held>,
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
        init: Vec::new(),
        schedule: None,
        deadline: None,
        stop_after: None,
    }
}

fn attributes(view: &NodeView) -> Attributes {
    let mut attributes = view.attributes.clone();
    attributes.insert("node.name".to_owned(), view.name.to_string());
    attributes.insert("site.name".to_owned(), view.site.to_string());
    attributes
}

fn value(view: &NodeView, spread: &Spread) -> Option<String> {
    let key = match &spread.by {
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

    fn used(&self, node: &NodeName) -> Resources {
        let here = self.held.iter().filter(|held| held.node == *node);
        here.fold(Resources::default(), |sum, held| sum + held.spec.resources())
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

    /// Why the node may not take the workload whatever room it has.
    fn standing(view: &NodeView, placement: &Placement) -> Option<Rule> {
        if !view.reachable {
            return Some(Rule::Unreachable);
        }
        if let Some(term) = placement.require.first_miss(&attributes(view)) {
            return Some(Rule::Require { term });
        }
        let mut taints = view.taints.iter();
        taints
            .find(|taint| !placement.tolerate.contains(taint))
            .map(|taint| Rule::Taint { taint: taint.clone() })
    }

    fn room(&self, view: &NodeView, spec: &InstanceSpec) -> Option<Rule> {
        let free = view.capacity.saturating_sub(&self.used(&view.name));
        let need = spec.resources();
        if self.on_node(&view.name) >= usize::try_from(ALLOCATIONS_MAX).unwrap() {
            return Some(Rule::AllocationLimit { limit: ALLOCATIONS_MAX });
        }
        if need.cpu > free.cpu {
            return Some(Rule::Cpu { need: need.cpu, most_free: free.cpu });
        }
        if need.memory > free.memory {
            return Some(Rule::Memory { need: need.memory, most_free: free.memory });
        }
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
            .filter(|view| value(view, spread).as_ref() == wanted);
        u32::try_from(same.count()).unwrap()
    }

    fn skew(&self, workload: usize, view: &NodeView, placement: &Placement) -> Option<Rule> {
        placement.spread.iter().find_map(|spread| {
            let max_skew = spread.max_skew?;
            let values = self
                .nodes
                .values()
                .filter(|view| Self::standing(view, placement).is_none())
                .map(|view| self.count(workload, spread, value(view, spread).as_ref()));
            let skew = self.count(workload, spread, value(view, spread).as_ref()) + 1 - values.min()?;
            (skew > max_skew).then(|| Rule::MaxSkew { by: spread.by.to_string(), max_skew })
        })
    }

    fn refusal(
        &self,
        workload: usize,
        view: &NodeView,
        spec: &InstanceSpec,
        placement: &Placement,
    ) -> Option<Rule> {
        Self::standing(view, placement)
            .or_else(|| self.room(view, spec))
            .or_else(|| self.skew(workload, view, placement))
    }

    /// The order of nodes as the documentation has it, the best the greatest.
    fn rank(
        &self,
        workload: usize,
        view: &NodeView,
        spec: &InstanceSpec,
        placement: &Placement,
    ) -> (i64, Reverse<usize>, u64, Reverse<NodeName>) {
        let preferred =
            placement.prefer.iter().filter(|preference| preference.matches.matches(&attributes(view)));
        let earned: i64 = preferred.map(|preference| i64::from(preference.weight)).sum();
        let spread = placement.spread.iter();
        let cost: i64 =
            spread.map(|spread| i64::from(self.count(workload, spread, value(view, spread).as_ref()))).sum();
        let own = self.nodes_of(workload).iter().filter(|node| **node == view.name).count();
        let full = self.used(&view.name) + spec.resources();
        let share = |used: u64, capacity: u64| used * 1000 / capacity.max(1);
        let fullness = share(full.cpu.0, view.capacity.cpu.0) + share(full.memory.0, view.capacity.memory.0);
        (earned - SPREAD_POINTS * cost, Reverse(own), fullness, Reverse(view.name.clone()))
    }

    /// The node may take the instance, no node that may is better, and the ports are those that were asked for.
    pub(crate) fn check_choice(
        &self,
        workload: usize,
        spec: &InstanceSpec,
        placement: &Placement,
        placed: &Placed,
    ) {
        let best = self
            .nodes
            .values()
            .filter(|view| self.refusal(workload, view, spec, placement).is_none())
            .max_by_key(|view| self.rank(workload, view, spec, placement))
            .expect("some node may take it");
        assert_eq!(placed.node, best.name, "{spec:?} {placement:?}");
        let wanted = spec.ports().filter(|port| port.host != HostPort::None);
        let wanted: Vec<_> = wanted.collect();
        assert_eq!(wanted.len(), placed.ports.len());
        let taken: BTreeSet<_> = self.ports(&placed.node).into_iter().collect();
        for (wanted, bound) in wanted.iter().zip(&placed.ports) {
            assert_eq!(
                (&wanted.name, wanted.container, wanted.protocol),
                (&bound.name, bound.container, bound.protocol)
            );
            assert!(!taken.contains(&(bound.protocol, bound.host)));
            match wanted.host {
                HostPort::Fixed(number) => assert_eq!(bound.host, number),
                _ => assert!((best.port_range.0..=best.port_range.1).contains(&bound.host)),
            }
        }
    }

    /// Every node is refused, and under the rule that is said, with the right numbers.
    pub(crate) fn check_refusals(
        &self,
        workload: usize,
        spec: &InstanceSpec,
        placement: &Placement,
        refusals: &[Refusal],
    ) {
        if self.nodes.is_empty() {
            assert_eq!(refusals, [Refusal { rule: Rule::NoNodes, nodes: 0 }]);
            return;
        }
        let rules: Vec<Rule> = self
            .nodes
            .values()
            .map(|view| self.refusal(workload, view, spec, placement).expect("no node may take it"))
            .collect();
        let total: u32 = refusals.iter().map(|refusal| refusal.nodes).sum();
        assert_eq!(usize::try_from(total).unwrap(), self.nodes.len());
        for refusal in refusals {
            let same: Vec<_> = rules.iter().filter(|rule| kind(rule) == kind(&refusal.rule)).collect();
            assert_eq!(same.len(), usize::try_from(refusal.nodes).unwrap(), "{refusal:?}");
            // The rules of one kind differ only in what is free, and the most of that is said.
            assert_eq!(same.into_iter().max(), Some(&refusal.rule));
        }
        assert!(refusals.windows(2).all(|pair| pair[0].nodes >= pair[1].nodes));
    }
}

fn fixed_count(spec: &InstanceSpec, (protocol, number): (Protocol, u16)) -> usize {
    let same = |port: &&PortSpec| port.protocol == protocol && port.host == HostPort::Fixed(number);
    spec.ports().filter(same).count()
}

fn kind(rule: &Rule) -> Rule {
    let mut kind = rule.clone();
    match &mut kind {
        Rule::Cpu { most_free, .. } => most_free.0 = 0,
        Rule::Memory { most_free, .. } | Rule::Disk { most_free, .. } => most_free.0 = 0,
        _ => {}
    }
    kind
}
