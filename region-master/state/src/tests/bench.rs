//! A brain, its store, its nodes and its callers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use skerry_types::{
    Batch, Bytes, Capabilities, ContainerName, ContainerSpec, HostPort, InstanceSpec, Labels, Limits,
    MilliCpu, MonoTime, NodeFacts, NodeName, Now, PersistId, Placement, PortName, PortSpec, Protocol, Quota,
    RegionName, Resources, RestartPolicy, RestartWhen, SiteName, TenantName, TenantSpec, WallTime,
    WorkloadKey, WorkloadKind, WorkloadName, WorkloadSpec,
};
use skerry_wire::{Incarnation, ToChild, ToParent};

use super::node::FakeNode;
use crate::*;

pub(super) const DAY: Duration = Duration::from_hours(24);
/// What every store takes at once.
const KEYS_MAX: usize = 100;

pub(super) type Disk = BTreeMap<(String, Vec<u8>), Vec<u8>>;

pub(super) struct Bench {
    pub(super) state: RegionState,
    pub(super) now: Now,
    pub(super) disk: Disk,
    /// While set, batches wait.
    pub(super) full: bool,
    /// How many more batches are written before the disk is full.
    pub(super) batches_left: Option<usize>,
    waiting: VecDeque<(PersistId, Batch)>,
    pub(super) nodes: BTreeMap<NodeName, FakeNode>,
    pub(super) replies: BTreeMap<CallId, Result<ApiReply, ApiError>>,
    pub(super) certified: BTreeMap<CallId, Result<Enrolled, EnrollRefusal>>,
    pub(super) sent: Vec<(LinkId, ToChild)>,
    pub(super) closed: Vec<(LinkId, String)>,
    /// For the region above, in order.
    pub(super) up: Vec<ToParent>,
    pub(super) up_closed: Vec<String>,
    /// For regions below, in order.
    pub(super) down: Vec<(LinkId, ToChild)>,
    pub(super) config: RegionConfig,
    /// What was said to who reads the log.
    pub(super) warned: Vec<String>,
    announced: u64,
    calls: u64,
    links: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::of(config("north", false))
    }

    pub(super) fn of(config: RegionConfig) -> Self {
        let now = Now { mono: MonoTime(Duration::from_secs(100)), wall: WallTime(1_700_000_000_000) };
        Self {
            state: load_as(config.clone(), now, &Disk::new()),
            config,
            up: Vec::new(),
            up_closed: Vec::new(),
            down: Vec::new(),
            now,
            disk: Disk::new(),
            full: false,
            batches_left: None,
            waiting: VecDeque::new(),
            nodes: BTreeMap::new(),
            replies: BTreeMap::new(),
            certified: BTreeMap::new(),
            sent: Vec::new(),
            closed: Vec::new(),
            warned: Vec::new(),
            announced: 0,
            calls: 0,
            links: 0,
        }
    }

    /// A bench with nodes `n1` to `nCOUNT` in site `s1`, all connected: 4 cores, 4 GiB, ports 30000 to 30009.
    pub(super) fn with_nodes(count: usize) -> Self {
        let mut bench = Self::new();
        for at in 1..=count {
            bench.join(&format!("n{at}"), "s1");
            bench.connect(&format!("n{at}"));
        }
        bench
    }

    pub(super) fn join(&mut self, node: &str, site: &str) {
        let name = node_name(node);
        let decision = self.enroll_new(node, site);
        let enrolled = Enrolled::Node { node: name.clone(), site: SiteName::new(site).unwrap() };
        assert_eq!(decision, Ok(enrolled));
        self.nodes.insert(name.clone(), FakeNode::new(&name, facts(4)));
    }

    fn enroll_new(&mut self, node: &str, site: &str) -> Result<Enrolled, EnrollRefusal> {
        let id: TokenId = format!("t-{node}").parse().unwrap();
        let token = NewToken {
            id: id.clone(),
            secret: SecretHash([7; 32]),
            scope: TokenScope::Site(SiteName::new(site).unwrap()),
            expires: WallTime(self.now.wall.0 + 1000),
            uses: 1,
        };
        self.call(ApiCall::CreateToken(token)).expect("a token");
        self.enroll(&id, node, None, key_of(node))
    }

    pub(super) fn enroll(
        &mut self,
        token: &TokenId,
        node: &str,
        site: Option<&str>,
        key: [u8; 32],
    ) -> Result<Enrolled, EnrollRefusal> {
        let call = self.call_id();
        let site = site.map(|site| SiteName::new(site).unwrap());
        let (token, secret) = (token.clone(), SecretHash([7; 32]));
        let wish = EnrollWish::Node { node: node_name(node), site };
        self.feed(Input::Enroll { call, token, secret, wish, key });
        self.certified.remove(&call).expect("a decision")
    }

    pub(super) fn call_id(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    pub(super) fn identity(&self, node: &str) -> NodeIdentity {
        NodeIdentity {
            node: node_name(node),
            site: SiteName::new("s1").unwrap(),
            expires: WallTime(self.now.wall.0 + 1),
            key: key_of(node),
        }
    }

    pub(super) fn link_id(&mut self) -> LinkId {
        self.links += 1;
        LinkId(self.links)
    }

    pub(super) fn dial(&mut self, node: &str) -> LinkId {
        let link = self.link_id();
        self.feed(Input::LinkUp(link, ChildIdentity::Node(self.identity(node))));
        link
    }

    pub(super) fn connect(&mut self, node: &str) {
        let link = self.dial(node);
        let hello = self.node(node).hello(link);
        self.feed(Input::Received(link, hello));
        self.exchange();
    }

    pub(super) fn cut(&mut self, node: &str) {
        let link = self.node(node).link.expect("a link to cut");
        self.node(node).cut();
        self.feed(Input::LinkDown(link));
        self.exchange();
    }

    pub(super) fn node(&mut self, name: &str) -> &mut FakeNode {
        self.nodes.get_mut(&node_name(name)).expect("a node")
    }

    pub(super) fn call(&mut self, call: ApiCall) -> Result<ApiReply, ApiError> {
        let id = self.call_id();
        self.feed(Input::Call(id, call));
        let reply = self.replies.remove(&id).expect("an answer");
        self.exchange();
        reply
    }

    pub(super) fn apply(&mut self, spec: &WorkloadSpec) -> Applied {
        match self.call(ApiCall::Apply { spec: Arc::new(spec.clone()), dry_run: false }) {
            Ok(ApiReply::Applied(applied)) => applied,
            other => panic!("{other:?}"),
        }
    }

    /// Describes a tenant.
    pub(super) fn tenant(&mut self, tenant: &str, parent: Option<&str>, limit: Quota) {
        let name = |text: &str| TenantName::new(text).unwrap();
        let spec = TenantSpec {
            name: name(tenant),
            parent: parent.map(name),
            weight: TenantSpec::DEFAULT_WEIGHT,
            guarantee: Quota::default(),
            limit,
        };
        self.call(ApiCall::ApplyTenant { spec, dry_run: false }).expect("a tenant");
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.state.handle(self.now, input);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        loop {
            while let Some(action) = self.state.poll_action() {
                match action {
                    Action::Persist(id, batch) => {
                        let keys: BTreeSet<_> = batch.writes.iter().map(|w| (w.table, &w.key)).collect();
                        assert!(keys.len() <= KEYS_MAX, "a batch touches {} keys", keys.len());
                        self.waiting.push_back((id, batch));
                    }
                    Action::Send(link, message) => self.sent.push((link, message)),
                    Action::Close { link, reason } => {
                        for node in self.nodes.values_mut().filter(|node| node.link == Some(link)) {
                            node.cut();
                        }
                        self.closed.push((link, reason));
                    }
                    Action::Reply(call, reply) => drop(self.replies.insert(call, reply)),
                    Action::Certify(call, decision) => drop(self.certified.insert(call, decision)),
                    Action::SendParent(message) => self.up.push(message),
                    Action::CloseParent { reason } => self.up_closed.push(reason),
                    Action::Warn(message) => self.warned.push(message),
                    Action::Changed(change) => {
                        assert!(change > self.announced && change <= self.state.change());
                        self.announced = change;
                    }
                }
            }
            if self.full || self.batches_left == Some(0) {
                break;
            }
            let Some((id, batch)) = self.waiting.pop_front() else { break };
            self.batches_left = self.batches_left.map(|left| left - 1);
            for write in batch.writes {
                let key = (write.table.to_owned(), write.key);
                match write.value {
                    Some(value) => self.disk.insert(key, value),
                    None => self.disk.remove(&key),
                };
            }
            self.state.handle(self.now, Input::Persisted(id));
        }
    }

    /// Carries messages until nobody has anything to say.
    pub(super) fn exchange(&mut self) {
        loop {
            let mut up: Vec<(LinkId, ToParent)> = Vec::new();
            for (link, message) in std::mem::take(&mut self.sent) {
                let Some(node) = self.nodes.values_mut().find(|node| node.link == Some(link)) else {
                    self.down.push((link, message));
                    continue;
                };
                up.extend(node.receive(message).into_iter().map(|answer| (link, answer)));
            }
            for node in self.nodes.values_mut() {
                let Some(link) = node.link else { continue };
                up.extend(node.poll().into_iter().map(|frame| (link, frame)));
            }
            let redials: Vec<String> =
                self.nodes.values().filter(|n| n.redials).map(|n| n.name.to_string()).collect();
            for name in &redials {
                self.node(name).redials = false;
                self.cut(name);
                self.connect(name);
            }
            if up.is_empty() && self.sent.is_empty() {
                return;
            }
            for (link, message) in up {
                self.feed(Input::Received(link, message));
            }
        }
    }

    /// The process ends and another begins; links are gone, and what was not on disk is lost.
    pub(super) fn restart(&mut self) {
        self.waiting.clear();
        self.sent.clear();
        self.nodes.values_mut().for_each(FakeNode::cut);
        self.batches_left = None;
        self.up.clear();
        self.down.clear();
        self.config.incarnation.0 += 1;
        self.state = load_as(self.config.clone(), self.now, &self.disk);
        self.announced = 0;
        self.drain();
    }

    pub(super) fn connect_all(&mut self) {
        let names: Vec<String> = self.nodes.keys().map(NodeName::to_string).collect();
        for name in &names {
            self.connect(name);
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.now = Now { mono: self.now.mono + time, wall: WallTime(self.now.wall.0 + ms) };
    }

    /// Lets time pass in steps, telling the brain when it wants to be told.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(at) = self.state.poll_timeout().filter(|at| *at <= end) {
            self.pass(at.since(self.now.mono));
            self.feed(Input::Timeout);
            self.exchange();
        }
        self.pass(end.since(self.now.mono));
    }

    pub(super) fn life(&mut self, call: LifeCall) -> Result<LifeReply, ApiError> {
        match self.call(ApiCall::Life(call)) {
            Ok(ApiReply::Life(reply)) => Ok(reply),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    }

    pub(super) fn rollout(&mut self, name: &str) -> RolloutView {
        match self.life(LifeCall::Status(key(name))) {
            Ok(LifeReply::Rollout(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    /// Allocations that should run, as `INSTANCE@NODE/GENERATION`, in order.
    pub(super) fn placed(&self) -> Vec<String> {
        let run =
            |record: &&crate::records::AllocationRecord| record.intent.desired == skerry_types::Desired::Run;
        let mut placed: Vec<String> = self
            .state
            .allocations
            .values()
            .filter(run)
            .map(|record| format!("{}@{}/{}", record.intent.instance, record.node, record.intent.generation))
            .collect();
        placed.sort();
        placed
    }

    pub(super) fn workload(&mut self, name: &str) -> Option<WorkloadView> {
        let filter = Filter { name: Some(name.to_owned()), ..Filter::default() };
        match self.call(ApiCall::Workloads(filter)) {
            Ok(ApiReply::Workloads(mut page)) => page.items.pop(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn events(&mut self) -> Vec<EventView> {
        match self.call(ApiCall::Events(Filter::default())) {
            Ok(ApiReply::Events(page)) => page.items,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn config(region: &str, has_parent: bool) -> RegionConfig {
    let region = RegionName::new(region).unwrap();
    RegionConfig { region, incarnation: Incarnation(77), software: "test".to_owned(), has_parent }
}

pub(super) fn load_as(config: RegionConfig, now: Now, disk: &Disk) -> RegionState {
    let rows = disk.iter().map(|((table, key), value)| (table.clone(), key.clone(), value.clone()));
    RegionState::load(config, now, rows).expect("what was written can be read")
}

pub(super) fn node_name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub(super) fn key_of(node: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key[..node.len()].copy_from_slice(node.as_bytes());
    key
}

pub(super) fn facts(cores: u64) -> NodeFacts {
    let capacity = Resources {
        cpu: MilliCpu(cores * 1000),
        memory: Bytes(cores << 30),
        disk: Bytes(cores << 30),
        ..Resources::default()
    };
    NodeFacts { capacity, machine: capacity, port_range: (30000, 30009), ..NodeFacts::default() }
}

pub(super) fn key(name: &str) -> WorkloadKey {
    WorkloadKey { tenant: TenantName::default(), name: WorkloadName::new(name).unwrap() }
}

/// `instances` of one container, each with a core and a GiB less one byte.
pub(super) fn spec(name: &str, instances: u32) -> WorkloadSpec {
    let container = ContainerSpec {
        name: ContainerName::new("main").unwrap(),
        image: "registry.example/app:1".to_owned(),
        digest: None,
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        resources: Resources {
            cpu: MilliCpu(1000),
            memory: Bytes((1 << 30) - 1),
            disk: Bytes(0),
            ..Resources::default()
        },
        limits: Limits { cpu: None, memory: Bytes(1 << 30), pids: 64 },
        ports: Vec::new(),
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: skerry_types::Probes::default(),
        stop_signal: None,
    };
    let restart = RestartPolicy {
        when: RestartWhen::Always,
        backoff: Duration::from_secs(1),
        max_backoff: Duration::from_mins(1),
    };
    WorkloadSpec {
        key: key(name),
        labels: Labels::new(),
        kind: WorkloadKind::Service,
        instances,
        instance: Arc::new(InstanceSpec {
            containers: vec![container],
            restart,
            stop_grace: Duration::from_secs(10),
            stop_delay: Duration::ZERO,
            init: Vec::new(),
            schedule: None,
            deadline: None,
            stop_after: None,
            exclusive: None,
        }),
        placement: Placement::default(),
        priority: WorkloadSpec::DEFAULT_PRIORITY,
        update: skerry_types::UpdatePolicy::default(),
        on_disconnect: skerry_types::OnDisconnect::default(),
        scale: None,
    }
}

/// The same workload with another spec of its instances.
pub(super) fn changed(spec: &WorkloadSpec, arg: &str) -> WorkloadSpec {
    let mut spec = spec.clone();
    Arc::make_mut(&mut spec.instance).containers[0].args = vec![arg.to_owned()];
    spec
}

pub(super) fn small(mut spec: WorkloadSpec) -> WorkloadSpec {
    Arc::make_mut(&mut spec.instance).containers[0].resources = Resources::default();
    spec
}

pub(super) fn with_port(mut spec: WorkloadSpec, host: HostPort) -> WorkloadSpec {
    Arc::make_mut(&mut spec.instance).containers[0].ports =
        vec![PortSpec { name: PortName::new("http").unwrap(), container: 80, protocol: Protocol::Tcp, host }];
    spec
}
