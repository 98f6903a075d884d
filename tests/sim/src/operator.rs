//! Operators at random, and what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skerry_region_state::{
    AllocationView, ApiCall, ApiError, ApiReply, CallId, Filter, Input, Page, RegionState,
};
use skerry_types::{
    Bytes, Capabilities, ContainerName, ContainerSpec, HostPort, ImageDigest, InstanceSpec, Labels, Limits,
    MilliCpu, Placement, PortName, PortSpec, Protocol, Resources, RestartPolicy, RestartWhen, TenantName,
    WorkloadKey, WorkloadKind, WorkloadName, WorkloadSpec,
};

use crate::event::Event;
use crate::finale::Stage;
use crate::rng::Rng;
use crate::world::{SECOND, World};

const WORKLOADS: usize = 4;

/// What a workload may be, by what its operators asked for; `None`: gone.
type Wish = Option<Arc<WorkloadSpec>>;

#[derive(Debug, Default)]
pub(crate) struct Operators {
    /// By workload, in order: what was acknowledged last, then what was asked for since.
    wishes: BTreeMap<WorkloadKey, Vec<(CallId, Wish)>>,
    open: BTreeMap<CallId, WorkloadKey>,
    pub(crate) acknowledged: u64,
    pub(crate) page: Option<(CallId, Page<AllocationView>)>,
}

impl Operators {
    /// The master died: its callers never hear.
    pub(crate) fn forget_callers(&mut self) {
        self.open.clear();
    }

    /// What the region does not hold, though it was acknowledged and nothing else was asked for since.
    pub(crate) fn missing(&self, region: &RegionState) -> Option<String> {
        let held: BTreeMap<&WorkloadKey, &Arc<WorkloadSpec>> =
            region.wanted().map(|spec| (&spec.key, spec)).collect();
        self.wishes.iter().find_map(|(key, wishes)| {
            let is = held.get(key).copied();
            let good = wishes.iter().any(|(_, wish)| wish.as_ref() == is);
            let version = |spec: &Arc<WorkloadSpec>| {
                format!("{} {:?}", spec.instances, spec.instance.containers[0].args)
            };
            let known: Vec<_> = wishes.iter().map(|(_, wish)| wish.as_ref().map(version)).collect();
            (!good)
                .then(|| format!("workload {key} is {:?}, where {known:?} was acknowledged", is.map(version)))
        })
    }
}

impl World {
    pub(crate) fn operate(&mut self) {
        if self.stage != Stage::Storm {
            return;
        }
        self.soon(SECOND / 2..30 * SECOND, Event::Operator);
        if !self.master.up {
            return;
        }
        let which = self.rng.below(WORKLOADS);
        let name = WorkloadName::new(format!("w{which}")).expect("a workload name");
        let key = WorkloadKey { tenant: TenantName::default(), name };
        let wish = (!self.rng.percent(15)).then(|| Arc::new(spec(&mut self.rng, key.clone(), which)));
        self.ask(key, wish);
    }

    fn ask(&mut self, key: WorkloadKey, wish: Wish) {
        let call = self.master.next_call();
        let request = match &wish {
            Some(spec) => ApiCall::Apply { spec: Arc::clone(spec), dry_run: false },
            None => ApiCall::Delete(key.clone()),
        };
        let wishes = self.operators.wishes.entry(key.clone()).or_insert_with(|| vec![(CallId(0), None)]);
        wishes.push((call, wish));
        self.operators.open.insert(call, key);
        self.tell_master(Input::Call(call, request));
    }

    pub(crate) fn replied(&mut self, call: CallId, reply: &Result<ApiReply, ApiError>) {
        let Some(key) = self.operators.open.remove(&call) else { return };
        let Some(wishes) = self.operators.wishes.get_mut(&key) else { return };
        if reply.is_err() {
            wishes.retain(|(id, _)| *id != call);
            return;
        }
        self.operators.acknowledged += 1;
        wishes.retain(|(id, _)| *id >= call);
    }

    /// All allocations as an operator sees them; `None` while the master owes the answer.
    pub(crate) fn list(&mut self) -> Option<Vec<AllocationView>> {
        let call = self.master.next_call();
        self.tell_master(Input::Call(call, ApiCall::Allocations(Filter::default())));
        self.operators.page.take().filter(|(id, _)| *id == call).map(|(_, page)| page.items)
    }
}

fn spec(rng: &mut Rng, key: WorkloadKey, which: usize) -> WorkloadSpec {
    let fixed = which == 0;
    let host = match rng.below(3) {
        _ if fixed => HostPort::Fixed(8080),
        0 => HostPort::None,
        _ => HostPort::Auto,
    };
    let port = PortSpec {
        name: PortName::new("http").expect("a port name"),
        container: 80,
        protocol: Protocol::Tcp,
        host,
    };
    let count = 1 + rng.below(2);
    let mut containers: Vec<ContainerSpec> = (0..count).map(|at| container(rng, at)).collect();
    containers[0].ports.push(port);
    WorkloadSpec {
        key,
        labels: Labels::new(),
        kind: WorkloadKind::Service,
        instances: u32::try_from(rng.below(if fixed { 3 } else { 5 })).unwrap_or_default(),
        instance: Arc::new(InstanceSpec {
            containers,
            restart: RestartPolicy {
                when: if rng.percent(80) { RestartWhen::Always } else { RestartWhen::OnFailure },
                backoff: Duration::from_millis(500),
                max_backoff: Duration::from_secs(8),
            },
            stop_grace: Duration::from_secs(rng.within(1..5)),
            init: Vec::new(),
            schedule: None,
            deadline: None,
            stop_after: None,
        }),
        placement: Placement::default(),
        priority: WorkloadSpec::DEFAULT_PRIORITY,
        update: skerry_types::UpdatePolicy::default(),
        on_disconnect: skerry_types::OnDisconnect::default(),
        scale: None,
        exclusive: false,
    }
}

fn container(rng: &mut Rng, at: usize) -> ContainerSpec {
    let image = rng.below(6);
    ContainerSpec {
        name: ContainerName::new(format!("c{at}")).expect("a container name"),
        image: format!("registry.example/i{image}:1"),
        digest: ImageDigest::new(format!("sha256:{image:064x}")).ok(),
        command: Vec::new(),
        args: vec![rng.within(0..3).to_string()],
        env: Vec::new(),
        resources: Resources {
            cpu: MilliCpu(rng.within(1..6) * 100),
            memory: Bytes(rng.within(1..6) << 26),
            disk: Bytes(0),
            ..Resources::default()
        },
        limits: Limits { cpu: None, memory: Bytes(1 << 29), pids: 64 },
        ports: Vec::new(),
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: skerry_types::Probes::default(),
        stop_signal: None,
    }
}
