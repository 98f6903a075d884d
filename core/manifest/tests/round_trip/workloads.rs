//! Workloads of every shape.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use skerry_types::{
    Affinity, Bandwidth, Bytes, Capabilities, ContainerName, ContainerSpec, EnvVar, HostPort, InstanceSpec,
    Lease, Limits, MilliCpu, MilliGpu, Near, OnDisconnect, Place, Placement, Point, PortName, PortSpec,
    Preference, Probe, ProbeCheck, Probes, Protocol, Resources, RestartPolicy, SiteName, Spread, SpreadBy,
    Taint, TenantName, WorkloadKey, WorkloadKind, WorkloadName, WorkloadSpec,
};

use crate::life::{life, on_disconnect, probe, update};

/// Names, among them those that a YAML reader could take for something else.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?",
        select(vec!["null", "true", "no", "1e3", "0x1f", "1-2"]).prop_map(String::from)
    ]
}

/// Text of any kind, among it what must be quoted, folded or escaped.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\\x00]{0,40}",
        "\\PC{0,200}",
        "[ \\t\\n\\r:#'\"|>\\-\\[\\]{}&*!%@`,?~]{0,12}",
        "( ?[a-z]{1,12}\\n{0,2}){0,40}",
        select(vec![
            "",
            " ",
            "~",
            "null",
            "Yes",
            "1.10",
            "0755",
            ".inf",
            "<<",
            "---",
            "...",
            "- a",
            "\u{85}",
            "\u{feff}a",
            "\u{2028}"
        ])
        .prop_map(String::from),
    ]
}

pub(crate) fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z0-9]([A-Za-z0-9._/-]{0,10}[A-Za-z0-9])?"]
}

pub(crate) fn selector() -> impl Strategy<Value = String> {
    let terms = [
        "node.arch=amd64",
        "site.tier in (edge,metro)",
        "!spot",
        "a!=b",
        "node.memory_mb>=-2048",
        "x notin (y,z)",
        "in",
    ];
    vec(select(terms.to_vec()), 1..4).prop_map(|terms| terms.join(" , "))
}

fn resources() -> impl Strategy<Value = (Resources, Limits)> {
    let memory = prop_oneof![4_194_304..1_u64 << 44, (4_u64..1 << 20).prop_map(|mi| mi << 20)];
    let gpu = prop_oneof![0..=1000_u64, (1..=64_u64).prop_map(|whole| whole * 1000)];
    let rest = (0..=10_000_000_000_000_u64, gpu, 1..4_194_305_u32);
    (0..1_024_000_u64, memory, 0..1_u64 << 50, option::of(0..1000_u64), 0..1000_u64, rest).prop_map(
        |(cpu, memory, disk, more_cpu, less, (bandwidth, gpu, pids))| {
            let resources = Resources {
                cpu: MilliCpu(cpu),
                memory: Bytes(memory.saturating_sub(less)),
                disk: Bytes(disk),
                bandwidth: Bandwidth(bandwidth),
                gpu: MilliGpu(gpu),
            };
            let cpu = more_cpu.map(|more| MilliCpu((cpu + more).min(1_024_000)));
            (resources, Limits { cpu, memory: Bytes(memory), pids })
        },
    )
}

fn ports() -> impl Strategy<Value = BTreeMap<u16, (Protocol, u8)>> {
    btree_map(1..=u16::MAX, (select(vec![Protocol::Tcp, Protocol::Udp]), 0..3_u8), 0..4)
}

prop_compose! {
    fn container()(
        image in select(vec!["nginx", "registry.example/nginx:1.22", "registry.example:5000/a/b:1"]),
        command in vec(text(), 0..3),
        args in vec(text(), 0..3),
        env in btree_map("[A-Za-z_][A-Za-z0-9_.-]{0,8}", text(), 0..5),
        (resources, limits) in resources(),
        ports in ports(),
        user in option::of("(0|[1-9][0-9]{0,8}|[a-z][a-z0-9_-]{0,8})(:[a-z]{1,8})?"),
        read_only in any::<bool>(),
        add in proptest::sample::subsequence(vec!["NET_ADMIN", "CHOWN", "BPF"], 0..=3),
        drop in proptest::sample::subsequence(vec!["KILL", "ALL"], 0..=2),
        (health, ready) in (option::of(probe()), option::of(probe())),
        stop_signal in option::of(prop_oneof![1..=31_u8, 34..=64_u8]),
    ) -> ContainerSpec {
        let names = |names: Vec<&str>| names.into_iter().map(String::from).collect();
        ContainerSpec {
            name: ContainerName::new("a").expect("a name"),
            image: image.to_owned(),
            digest: None,
            command,
            args,
            env: EnvVar::from_map(env),
            resources,
            limits,
            ports: ports.into_iter().map(port).collect(),
            user,
            read_only,
            capabilities: Capabilities { add: names(add), drop: names(drop) },
            probes: Probes { health, ready },
            stop_signal,
        }
    }
}

fn port((number, (protocol, host)): (u16, (Protocol, u8))) -> PortSpec {
    let host = match host {
        0 => HostPort::None,
        1 => HostPort::Auto,
        _ => HostPort::Fixed(number),
    };
    let name = PortName::new(format!("p{number}")).expect("a name");
    PortSpec { name, container: number, protocol, host }
}

prop_compose! {
    fn placement()(
        require in option::of(selector()),
        prefer in vec((selector(), -100..=100), 0..3),
        spread in btree_map(select(vec!["site", "node", "node.rack", "site.tier"]), option::of(1..10_000_u32), 0..4),
        tolerate in vec(label(), 0..3),
        near in vec(near(), 0..3),
        (affinity, anti_affinity) in (vec(affinity(), 0..3), vec(affinity(), 0..3)),
    ) -> Placement {
        let parsed = |text: String| text.parse().expect("a selector");
        Placement {
            require: parsed(require.unwrap_or_default()),
            prefer: prefer.into_iter().map(|(text, weight)| Preference { matches: parsed(text), weight }).collect(),
            spread: spread.into_iter().map(|(by, max_skew)| Spread { by: spread_by(by), max_skew }).collect(),
            tolerate: tolerate.into_iter().map(|taint| Taint::new(taint).expect("a taint")).collect(),
            near,
            affinity,
            anti_affinity,
        }
    }
}

pub(crate) fn spread_by(text: &str) -> SpreadBy {
    match text {
        "site" => SpreadBy::Site,
        "node" => SpreadBy::Node,
        other => SpreadBy::Attribute(other.to_owned()),
    }
}

fn near() -> impl Strategy<Value = Near> {
    let point = (-90_000_000..=90_000_000_i32, -180_000_000..=180_000_000_i32)
        .prop_map(|(latitude, longitude)| Place::Point(Point { latitude, longitude }));
    let site = name().prop_map(|name| Place::Site(SiteName::new(name).expect("a name")));
    (prop_oneof![point, site], 1..=100).prop_map(|(to, weight)| Near { to, weight })
}

prop_compose! {
    fn affinity()(
        matches in selector(),
        by in select(vec!["site", "node", "node.rack"]),
        weight in option::of(1..=100),
    ) -> Affinity {
        Affinity { matches: matches.parse().expect("a selector"), by: spread_by(by), weight }
    }
}

fn lease() -> impl Strategy<Value = Option<Lease>> {
    let length = 10_000..=3_600_000_u64;
    option::of(length.prop_map(|ms| Lease::new(Duration::from_millis(ms)).expect("within its bounds")))
}

prop_compose! {
    pub(crate) fn spec()(
        (name, tenant) in (name(), name()),
        labels in btree_map(label(), prop_oneof![label(), Just(String::new())], 0..4),
        (instances, priority) in (1..=10_000_u32, 0..=100_u8),
        (init, containers) in (vec(container(), 0..2), vec(container(), 1..4)),
        (backoff, more, grace) in (100..60_000_u64, 0..1_000_000_u64, 0..=3_600_000_u64),
        placement in placement(),
        mut life in life(),
        (on_disconnect, mut update, exclusive) in (on_disconnect(), update(), lease()),
    ) -> WorkloadSpec {
        let backoff = Duration::from_millis(backoff);
        let is_daemon = life.kind == WorkloadKind::Daemon;
        let scale = life.scale.take();
        let instances = scale.as_ref().map_or(instances, |scale| instances.clamp(scale.min, scale.max));
        update.canary = update.canary.min(instances);
        let containers_stop = Duration::from_millis(grace) * u32::try_from(containers.len()).expect("few");
        let exclusive =
            exclusive.filter(|lease| !is_daemon && lease.length() >= Lease::shortest_for(containers_stop));
        if exclusive.is_some() {
            update.max_surge = 0;
            update.max_unavailable = update.max_unavailable.max(1);
        }
        WorkloadSpec {
            key: WorkloadKey {
                tenant: TenantName::new(tenant).expect("a name"),
                name: WorkloadName::new(name).expect("a name"),
            },
            labels,
            kind: life.kind,
            instances: if is_daemon { 0 } else { instances },
            priority,
            instance: Arc::new(instance(init, containers, InstanceSpec {
                init: Vec::new(),
                containers: Vec::new(),
                restart: RestartPolicy {
                    when: life.restarts,
                    backoff,
                    max_backoff: (backoff + Duration::from_millis(more)).min(Duration::from_hours(24)),
                },
                stop_grace: Duration::from_millis(grace),
                stop_delay: Duration::from_millis(grace.min(600_000)),
                schedule: life.schedule,
                deadline: life.run_deadline,
                stop_after: on_disconnect.stop_after,
                exclusive,
            })),
            placement: if is_daemon { Placement { spread: Vec::new(), ..placement } } else { placement },
            update,
            on_disconnect: OnDisconnect {
                replace_after: on_disconnect.replace_after.filter(|_| !is_daemon),
                ..on_disconnect
            },
            scale,
        }
    }
}

/// An instance whose containers have names of their own, and probe ports that they have.
fn instance(init: Vec<ContainerSpec>, containers: Vec<ContainerSpec>, rest: InstanceSpec) -> InstanceSpec {
    let mut all = init;
    let first = all.len();
    all.extend(containers);
    let mut all = distinct(all);
    let containers = all.split_off(first);
    for container in &mut all {
        container.ports = Vec::new();
        container.probes = Probes::default();
    }
    let mut containers = containers;
    let ports = containers.iter().flat_map(|container| &container.ports);
    let probed = ports.filter(|port| port.protocol == Protocol::Tcp).map(|port| port.name.clone()).next();
    for container in &mut containers {
        let Probes { health, ready } = &mut container.probes;
        for probe in [health, ready] {
            aim(probe, probed.as_ref());
        }
    }
    InstanceSpec { init: all, containers, ..rest }
}

/// Lets a probe look at this port, or takes it away when there is none to look at.
fn aim(probe: &mut Option<Probe>, at: Option<&PortName>) {
    let Some(Probe { check: ProbeCheck::Http { port, .. } | ProbeCheck::Tcp { port }, .. }) = probe else {
        return;
    };
    match at {
        Some(at) => *port = at.clone(),
        None => *probe = None,
    }
}

/// Gives every container a name of its own, and every port to the first that has it.
fn distinct(mut containers: Vec<ContainerSpec>) -> Vec<ContainerSpec> {
    let mut used = BTreeSet::new();
    for (index, container) in containers.iter_mut().enumerate() {
        container.name = ContainerName::new(format!("c{index}")).expect("a name");
        container.ports.retain(|port| used.insert(port.container));
    }
    containers
}
