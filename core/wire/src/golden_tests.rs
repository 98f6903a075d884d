//! The bytes of every variant, fixed for ever: `fixtures/v1.txt`. A failing line means that old peers would misread.

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
        resources: Resources { cpu: MilliCpu(250), memory: Bytes(64 << 20), disk: Bytes(200 << 20) },
        limits: Limits { cpu: Some(MilliCpu(1000)), memory: Bytes(128 << 20), pids: 200 },
        ports: vec![
            port("http", Protocol::Tcp, HostPort::Auto),
            port("dns", Protocol::Udp, HostPort::Fixed(53)),
            port("own", Protocol::Tcp, HostPort::None),
        ],
        user: Some("101:101".into()),
        read_only: true,
        capabilities: Capabilities { add: vec!["NET_BIND_SERVICE".into()], drop: vec!["CHOWN".into()] },
    };
    let restart = RestartPolicy {
        when: RestartWhen::OnFailure,
        backoff: Duration::from_secs(1),
        max_backoff: Duration::from_mins(5),
    };
    InstanceSpec { containers: vec![container], restart, stop_grace: Duration::from_secs(10) }
}

fn port(name: &str, protocol: Protocol, host: HostPort) -> PortSpec {
    PortSpec { name: PortName::new(name).unwrap(), container: 80, protocol, host }
}

fn id() -> AllocationId {
    AllocationId::new("web-0-1z").unwrap()
}

fn cursor() -> Cursor {
    Cursor { epoch: Epoch(7), revision: Revision(300) }
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
    })
}

#[test]
fn messages_up() {
    let hello = Hello { oldest: 1, newest: 2, software: "0.1.0".into(), cursor: cursor(), epoch: Epoch(9) };
    check("up.hello", &ToParent::Hello(hello));
    check("up.rows.delta", &ToParent::Rows(RowsFrame::Delta { epoch: Epoch(7), rows: vec![row()] }));
    let snapshot =
        RowsFrame::Snapshot { epoch: Epoch(7), first: true, rows: vec![row()], end: Some(Revision(301)) };
    check("up.rows.snapshot", &ToParent::Rows(snapshot));
    check("up.ack", &ToParent::Ack(cursor()));
}

#[test]
fn messages_down() {
    let welcome = Welcome {
        protocol: 1,
        region: RegionName::new("north").unwrap(),
        now: WallTime(1_700_000_000_000),
        cursor: cursor(),
        epoch: Epoch(9),
    };
    check("down.welcome", &ToChild::Welcome(welcome));
    let codes = [RefusalCode::Version, RefusalCode::Identity, RefusalCode::Removed, RefusalCode::Busy];
    for code in codes {
        check(&format!("down.refused.{code:?}"), &ToChild::Refused(Refused { code, message: "no".into() }));
    }
    let gone = Row { value: None, ..row() };
    check("down.rows.delta", &ToChild::Rows(RowsFrame::Delta { epoch: Epoch(7), rows: vec![gone] }));
    check("down.ack", &ToChild::Ack(cursor()));
}

#[test]
fn rows_down() {
    for desired in [Desired::Run, Desired::Stop] {
        let intent = AllocationIntent {
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
        };
        check(&format!("intent.{desired:?}"), &IntentRow::Allocation(intent));
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
        capacity: Resources { cpu: MilliCpu(1500), memory: Bytes(3 << 30), disk: Bytes(10 << 30) },
        machine: Resources { cpu: MilliCpu(2000), memory: Bytes(4 << 30), disk: Bytes(20 << 30) },
        labels: BTreeMap::from([("tier".into(), "edge".into())]),
        taints: vec![Taint::new("maintenance").unwrap()],
        port_range: (20_000, 29_999),
        arch: "arm64".into(),
        os: "Debian 12".into(),
        kernel: "6.1".into(),
        cgroup: "2".into(),
        agent_version: "0.1.0".into(),
        boot_id: "b".into(),
        address: Some([192, 0, 2, 1].into()),
    };
    check("facts", &ObservedRow::Facts(facts));
    let used = Resources { cpu: MilliCpu(15), memory: Bytes(3 << 20), disk: Bytes(10) };
    check("usage", &ObservedRow::Usage(NodeUsage { used }));
    let subjects = [
        ("workload", EventSubject::Workload(key())),
        ("allocation", EventSubject::Allocation(id(), key())),
        ("node", EventSubject::Node(NodeName::new("n1").unwrap())),
        ("region", EventSubject::Region),
    ];
    for (name, subject) in subjects {
        let (reason, message) = ("Started".into(), "it runs".into());
        let event = Event { at, level: EventLevel::Warning, subject, reason, message };
        check(&format!("event.{name}"), &ObservedRow::Event(event));
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
    check("bulk.data", &BulkFrame::Data(b"hello\n".to_vec()));
    check("bulk.failed", &BulkFrame::Failed("no such container".into()));
}
