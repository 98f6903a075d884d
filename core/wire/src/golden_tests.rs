//! The bytes of every variant, fixed from the first release on: `fixtures/v1.txt`. A failing line means that old peers would
//! misread. `SKERRY_PRINT_FIXTURES=1 cargo test -p skerry-wire golden -- --nocapture` prints the lines of this build.

mod digests;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skerry_types::*;

use crate::*;

const FIXTURES: &str = include_str!("../fixtures/v1.txt");

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let bytes = encode(value);
    let line = format!("{name} {}", hex::encode(&bytes));
    if option_env!("SKERRY_PRINT_FIXTURES").is_some() {
        return println!("{line}");
    }
    assert!(FIXTURES.lines().any(|fixture| fixture == line), "no such fixture:\n{line}");
    assert_eq!(&decode::<T>(&bytes, bytes.len()).unwrap(), value, "{name} reads back");
}

fn key() -> WorkloadKey {
    WorkloadKey { tenant: TenantName::default(), name: WorkloadName::new("web").unwrap() }
}

fn spec() -> InstanceSpec {
    let container = ContainerSpec {
        name: ContainerName::new("main").unwrap(),
        image: "registry.example/nginx:1.22".into(),
        digest: Some(ImageDigest::new(format!("sha256:{}", "0a".repeat(32))).unwrap()),
        command: vec!["nginx".into()],
        args: vec!["-g".into()],
        env: vec![EnvVar { name: "LEVEL".into(), value: "info".into() }],
        resources: Resources {
            cpu: MilliCpu(250),
            memory: Bytes(64 << 20),
            disk: Bytes(200 << 20),
            ..Resources::default()
        },
        limits: Limits { cpu: Some(MilliCpu(1000)), memory: Bytes(128 << 20), pids: 200 },
        ports: vec![
            port("http", Protocol::Tcp, HostPort::Auto),
            port("dns", Protocol::Udp, HostPort::Fixed(53)),
            port("own", Protocol::Tcp, HostPort::None),
        ],
        user: Some("101:101".into()),
        read_only: true,
        capabilities: Capabilities { add: vec!["NET_BIND_SERVICE".into()], drop: vec!["CHOWN".into()] },
        probes: Probes {
            health: Some(probe(ProbeCheck::Http { port: PortName::new("http").unwrap(), path: "/".into() })),
            ready: Some(probe(ProbeCheck::Exec { command: vec!["true".into()] })),
        },
        stop_signal: Some(3),
    };
    let restart = RestartPolicy {
        when: RestartWhen::OnFailure,
        backoff: Duration::from_secs(1),
        max_backoff: Duration::from_mins(5),
    };
    let schedule = Schedule {
        cron: "0 3 * * *".into(),
        timezone: TimeZone::Named("Europe/Oslo".into()),
        overlap: Overlap::Replace,
        starting_deadline: Some(Duration::from_mins(5)),
    };
    InstanceSpec {
        init: vec![container.clone()],
        containers: vec![container],
        restart,
        stop_grace: Duration::from_secs(10),
        stop_delay: Duration::from_secs(3),
        schedule: Some(schedule),
        deadline: Some(Duration::from_hours(1)),
        stop_after: Some(Duration::from_hours(2)),
        exclusive: Some(Lease::DEFAULT),
    }
}

fn probe(check: ProbeCheck) -> Probe {
    let (interval, timeout, grace) =
        (Duration::from_secs(10), Duration::from_secs(2), Duration::from_secs(30));
    Probe { check, interval, timeout, failures: 3, grace }
}

/// A workload with every part that a share carries.
fn workload() -> WorkloadSpec {
    let site = SiteName::new("oslo").unwrap();
    let beside = |weight| Affinity { matches: "app=db".parse().unwrap(), by: SpreadBy::Site, weight };
    let target = ScaleTarget::Metric { name: "queue".into(), value_milli: 5000 };
    WorkloadSpec {
        key: key(),
        labels: BTreeMap::from([("app".into(), "web".into())]),
        kind: WorkloadKind::Job(JobPolicy {
            parallelism: 2,
            retries: 3,
            deadline: Some(Duration::from_mins(1)),
        }),
        instances: 4,
        priority: 70,
        instance: Arc::new(spec()),
        placement: Placement {
            require: "node.arch=arm64".parse().unwrap(),
            prefer: vec![Preference { matches: "site.tier=edge".parse().unwrap(), weight: -5 }],
            spread: vec![Spread { by: SpreadBy::Attribute("node.rack".into()), max_skew: Some(2) }],
            tolerate: vec![Taint::new("maintenance").unwrap()],
            near: vec![
                Near { to: Place::Point("59.91,10.75".parse().unwrap()), weight: 20 },
                Near { to: Place::Site(site), weight: 10 },
            ],
            affinity: vec![beside(Some(5))],
            anti_affinity: vec![beside(None)],
        },
        update: UpdatePolicy {
            waves: vec![Wave {
                matches: "site.tier=edge".parse().unwrap(),
                size: WaveSize::Percent(10),
                healthy_for: Duration::from_secs(30),
            }],
            window: Some(Window { days: 0b1_1111, from_minute: 60, minutes: 120 }),
            per_site: Some(1),
            ..UpdatePolicy::default()
        },
        on_disconnect: OnDisconnect {
            replace_after: Some(Duration::from_mins(10)),
            on_return: OnReturn::KeepNew,
            stop_after: None,
        },
        scale: Some(Scale { min: 1, max: 9, target, stabilization: Duration::from_mins(5), step: 2 }),
    }
}

fn port(name: &str, protocol: Protocol, host: HostPort) -> PortSpec {
    PortSpec { name: PortName::new(name).unwrap(), container: 80, protocol, host }
}

fn id() -> AllocationId {
    AllocationId::new("web-0-1z").unwrap()
}

fn cursor() -> Cursor {
    Cursor { epoch: Epoch(7), incarnation: Incarnation(11), revision: Revision(300) }
}

fn row() -> Row {
    Row { key: RowKey::new(TableId::INTENT, "web-0-1z"), revision: Revision(300), value: Some(vec![1, 2, 3]) }
}

fn status(phase: Phase, state: ContainerState, kind: ExitKind) -> ObservedRow {
    let exit = Exit {
        kind,
        out_of_memory: true,
        at: WallTime(1_700_000_000_000),
        ran_for: Duration::from_millis(1500),
    };
    let container = ContainerStatus {
        name: ContainerName::new("main").unwrap(),
        state,
        restarts: 3,
        last_exit: Some(exit),
        log_tail: "bye".into(),
    };
    ObservedRow::Status(AllocationStatus {
        id: id(),
        generation: Generation(2),
        phase,
        reason: Some(Reason::new(ReasonCode::Exited, "it ended")),
        address: Some([10, 210, 0, 5].into()),
        containers: vec![container],
        since: WallTime(1_700_000_000_001),
        ready_since: Some(WallTime(1_700_000_000_002)),
        last_due: Some(WallTime(1_700_000_000_003)),
        token: Some(FencingToken::new(71, 3)),
    })
}

#[test]
fn messages_up() {
    let hello = Hello {
        oldest: 1,
        newest: 2,
        software: "0.1.0".into(),
        cursor: cursor(),
        epoch: Epoch(9),
        head: Revision(12),
    };
    check("up.hello", &ToParent::Hello(hello));
    check(
        "up.rows.delta",
        &ToParent::Rows(RowsFrame::Delta {
            epoch: Epoch(7),
            incarnation: Incarnation(11),
            rows: vec![row()],
        }),
    );
    let snapshot = RowsFrame::Snapshot {
        epoch: Epoch(7),
        incarnation: Incarnation(11),
        first: true,
        rows: vec![row()],
        end: Some(Revision(301)),
    };
    check("up.rows.snapshot", &ToParent::Rows(snapshot));
    check("up.ack", &ToParent::Ack(cursor()));
    check("up.renew", &ToParent::Renew { round: 300 });
}

#[test]
fn messages_down() {
    let welcome = Welcome {
        protocol: 1,
        region: RegionName::new("north").unwrap(),
        above: vec![RegionName::new("world").unwrap()],
        now: WallTime(1_700_000_000_000),
        cursor: cursor(),
        epoch: Epoch(9),
    };
    check("down.welcome", &ToChild::Welcome(welcome));
    for code in [
        RefusalCode::Version,
        RefusalCode::Identity,
        RefusalCode::Removed,
        RefusalCode::Busy,
        RefusalCode::Taken,
    ] {
        check(&format!("down.refused.{code:?}"), &ToChild::Refused(Refused { code, message: "no".into() }));
    }
    let gone = Row { value: None, ..row() };
    check(
        "down.rows.delta",
        &ToChild::Rows(RowsFrame::Delta { epoch: Epoch(7), incarnation: Incarnation(11), rows: vec![gone] }),
    );
    check("down.ack", &ToChild::Ack(cursor()));
    check("down.renewed", &ToChild::Renewed { round: 300, cursor: cursor() });
}

fn intent(desired: Desired) -> AllocationIntent {
    AllocationIntent {
        id: id(),
        workload: key(),
        generation: Generation(2),
        instance: InstanceIndex(0),
        spec: Arc::new(spec()),
        ports: vec![PortBinding {
            name: PortName::new("http").unwrap(),
            protocol: Protocol::Tcp,
            container: 80,
            host: 20_000,
        }],
        desired,
        gpus: vec![GpuBinding {
            container: ContainerName::new("main").unwrap(),
            gpu: 1,
            share: MilliGpu(500),
        }],
        timezone: Some("Europe/Oslo".into()),
    }
}

#[test]
fn rows_down() {
    for desired in [Desired::Run, Desired::Stop, Desired::Keep] {
        check(&format!("intent.{desired:?}"), &IntentRow::Allocation(Arc::new(intent(desired))));
    }
}

#[test]
fn rows_up() {
    let phases = [
        Phase::Pending,
        Phase::Pulling,
        Phase::Starting,
        Phase::Running,
        Phase::Backoff,
        Phase::Stopping,
        Phase::Stopped,
        Phase::Completed,
        Phase::Failed,
    ];
    for phase in phases {
        check(&format!("status.{phase:?}"), &status(phase, ContainerState::Waiting, ExitKind::Code(137)));
    }
    let at = WallTime(1_700_000_000_000);
    let states = [
        ("running", ContainerState::Running { pid: 4242, started_at: at }),
        ("backoff", ContainerState::Backoff { until: at }),
        ("ended", ContainerState::Ended),
    ];
    for (name, state) in states {
        check(&format!("status.container.{name}"), &status(Phase::Backoff, state, ExitKind::Signal(9)));
    }
    check("status.exit.unknown", &status(Phase::Backoff, ContainerState::Ended, ExitKind::Unknown));
    let facts = NodeFacts {
        capacity: Resources {
            cpu: MilliCpu(1500),
            memory: Bytes(3 << 30),
            disk: Bytes(10 << 30),
            ..Resources::default()
        },
        machine: Resources {
            cpu: MilliCpu(2000),
            memory: Bytes(4 << 30),
            disk: Bytes(20 << 30),
            ..Resources::default()
        },
        labels: BTreeMap::from([("tier".into(), "edge".into())]),
        taints: vec![Taint::new("maintenance").unwrap()],
        allocations: AllocationLimit::new(253),
        port_range: (20_000, 29_999),
        gpus: vec![Gpu { model: "t4".into(), devices: vec!["/dev/nvidia0".into()] }],
        arch: "arm64".into(),
        os: "Debian 12".into(),
        kernel: "6.1".into(),
        cgroup: "2".into(),
        agent_version: "0.1.0".into(),
        boot_id: "b".into(),
        address: Some([192, 0, 2, 1].into()),
    };
    check("facts", &ObservedRow::Facts(facts));
    let layers = [[1; 32], [2; 32]].map(|digest| LayerId::of(&digest));
    check("layers", &ObservedRow::Layers(NodeLayers::new(layers)));
    check("orphan", &ObservedRow::Orphan(intent(Desired::Keep)));
    let used =
        Resources { cpu: MilliCpu(15), memory: Bytes(3 << 20), disk: Bytes(10), ..Resources::default() };
    check("usage", &ObservedRow::Usage(NodeUsage { used }));
    let subjects = [
        ("workload", EventSubject::Workload(key())),
        ("allocation", EventSubject::Allocation(id(), key())),
        ("node", EventSubject::Node(NodeName::new("n1").unwrap())),
        ("region", EventSubject::Region),
        ("child", EventSubject::Child(RegionName::new("north").unwrap())),
        ("tenant", EventSubject::Tenant(TenantName::new("acme").unwrap())),
    ];
    for (name, subject) in subjects {
        let (reason, message) = ("Started".into(), "it runs".into());
        let event = Event { at, level: EventLevel::Warning, subject, reason, message };
        check(&format!("event.{name}"), &ObservedRow::Event(event));
    }
}

#[test]
fn loads() {
    let gauges = BTreeMap::from([("queue".to_owned(), 1500)]);
    check(
        "load",
        &ObservedRow::Load(AllocationLoad { id: id(), cpu: MilliCpu(90), memory: Bytes(5), gauges }),
    );
}

#[test]
fn rows_to_a_region() {
    let share = Share {
        spec: workload(),
        generation: Generation(3),
        owner: RegionName::new("world").unwrap(),
        instances: InstanceSet::from(vec![(0, 2), (7, 7)]),
        offer: 4,
        floor: 70,
        leave: Leave {
            hold: Hold::Paused,
            canaries: 2,
            promoted: false,
            waves: 3,
            sizes: vec![4, 0],
            parallelism: 5,
            reverts: true,
        },
    };
    check("region.share", &RegionRow::Share(share));
    let kinds =
        [("service", WorkloadKind::Service), ("cron", WorkloadKind::Cron), ("daemon", WorkloadKind::Daemon)];
    for (name, kind) in kinds {
        check(&format!("kind.{name}"), &kind);
    }
    check("region.tenant", &RegionRow::Tenant(TenantGrant { spec: tenant(), escrow: quota() }));
}

fn quota() -> Quota {
    Quota { cpu: Some(MilliCpu(4000)), gpu: Some(MilliGpu(500)), ..Quota::default() }
}

fn tenant() -> TenantSpec {
    TenantSpec {
        name: TenantName::new("acme").unwrap(),
        parent: Some(TenantName::new("people").unwrap()),
        weight: 200,
        guarantee: Quota { memory: Some(Bytes(1 << 30)), ..Quota::default() },
        limit: Quota { disk: Some(Bytes(5)), bandwidth: Some(Bandwidth(10_000_000)), ..quota() },
    }
}

fn amounts() -> Resources {
    Resources {
        cpu: MilliCpu(1500),
        memory: Bytes(3 << 30),
        disk: Bytes(10 << 30),
        bandwidth: Bandwidth(1_000_000),
        gpu: MilliGpu(1000),
    }
}

#[test]
fn every_reason_code() {
    let codes = [
        ReasonCode::ImageNotFound,
        ReasonCode::RegistryUnauthorized,
        ReasonCode::RegistryUnreachable,
        ReasonCode::ImageInvalid,
        ReasonCode::DiskFull,
        ReasonCode::PortTaken,
        ReasonCode::Network,
        ReasonCode::CreateFailed,
        ReasonCode::Exited,
        ReasonCode::OutOfMemory,
        ReasonCode::Keeper,
        ReasonCode::Unhealthy,
        ReasonCode::InitFailed,
        ReasonCode::DeadlineExceeded,
        ReasonCode::Disconnected,
        ReasonCode::NoLease,
        ReasonCode::NoRoom,
    ];
    for code in codes {
        check(&format!("reason.{code}"), &code);
    }
}

#[test]
fn bulk() {
    let request = LogsRequest {
        allocation: id(),
        container: ContainerName::new("main").unwrap(),
        tail: Some(10),
        since: Some(WallTime(5)),
        follow: true,
    };
    check("bulk.logs", &BulkHeader::Logs(request));
    let call = CallRequest { method: "ListNodes".into(), user: "ada".into(), message: vec![1] };
    check("bulk.call", &BulkHeader::Call(call));
    check("bulk.data", &BulkFrame::Data(b"hello\n".to_vec()));
    check("bulk.failed", &BulkFrame::Failed("no such container".into()));
}
