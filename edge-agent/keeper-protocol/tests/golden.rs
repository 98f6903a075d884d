//! The bytes of every variant. A difference here breaks a running keeper or a record on disk: append a variant instead.

use skerry_keeper_protocol::{
    ClientMessage, ContainerKey, ContainerRecord, ContainerState, ContainerStats, CreateRequest, Event,
    ExecJob, ExecOutcome, Exit, ExitStatus, Failure, FailureKind, Identity, LogPolicy, ProcessIdentity,
    Reply, Request, RequestId, ServerMessage, UnknownExit, decode, encode,
};
use std::fmt::Debug;
use std::fmt::Write as _;

fn check<T>(value: &T, expect: &str)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug,
{
    let frame = encode(value).expect("within the limit");
    let mut hex = String::new();
    for byte in &frame[4..] {
        write!(hex, "{byte:02x}").expect("a string takes every write");
    }
    assert_eq!(hex, expect, "{value:?}");
    assert_eq!(decode::<T>(&frame[4..]).ok().as_ref(), Some(value));
}

fn key() -> ContainerKey {
    "ab".parse().expect("a key")
}

const PROCESS: ProcessIdentity = ProcessIdentity { pid: 300, start_ticks: 2 };

fn record(state: ContainerState) -> ContainerRecord {
    ContainerRecord { key: key(), identity: Identity::default(), state, kill_at_ms: None }
}

fn exit(status: ExitStatus) -> Exit {
    Exit { status, oom: false, at_unix_ms: 4 }
}

fn request(request: Request, expect: &str) {
    check(&ClientMessage { id: RequestId(5), request }, &format!("05{expect}"));
}

fn reply(reply: Reply, expect: &str) {
    check(&ServerMessage::Reply { id: RequestId(5), result: Ok(reply) }, &format!("000500{expect}"));
}

#[test]
fn requests() {
    request(Request::Hello { version: 1 }, "0001");
    let create = CreateRequest {
        key: key(),
        identity: Identity::try_from(vec![9, 8]).unwrap(),
        bundle: "/b".into(),
        cgroups_path: "/c".parse().unwrap(),
        log: LogPolicy { dir: "/l".into(), max_bytes: 300, max_files: 3 },
        deadline_ms: 1000,
        kill_at_ms: Some(300),
    };
    request(Request::Create(Box::new(create)), "01026162020908022f62022f63022f6cac0203e80701ac02");
    request(Request::Signal { key: key(), signal: 9, all: true }, "020261621201");
    request(Request::List { after: None }, "0300");
    request(Request::List { after: Some(key()) }, "0301026162");
    request(Request::Inspect { key: key() }, "04026162");
    request(Request::Delete { key: key(), force: false }, "0502616200");
    request(Request::Stats { key: key() }, "06026162");
    request(Request::Upgrade { binary: "/k".into() }, "07022f6b");
    request(Request::Shutdown { force: true }, "0801");
    request(Request::Expect, "09");
    request(Request::Extend { key: key(), kill_at_ms: 300 }, "0a026162ac02");
}

#[test]
fn replies() {
    reply(Reply::Hello { version: 1, keeper: "0.1".into(), pid: 7 }, "000103302e3107");
    reply(Reply::Created { process: PROCESS }, "01ac0202");
    reply(Reply::Done, "02");
    reply(
        Reply::Containers { records: vec![record(ContainerState::Creating)], more: true },
        "030102616200000001",
    );
    let running = record(ContainerState::Running { process: PROCESS, started_at_unix_ms: 1 });
    reply(Reply::Container(Box::new(running)), "040261620001ac02020100");
    let exited =
        record(ContainerState::Exited { started_at_unix_ms: Some(1), exit: exit(ExitStatus::Code(3)) });
    reply(Reply::Container(Box::new(exited)), "04026162000201010006000400");
    let stats = ContainerStats {
        cpu_usage_ns: 1,
        memory_bytes: 2,
        memory_limit_bytes: Some(3),
        oom_kills: 4,
        pids: 5,
    };
    reply(Reply::Stats(stats), "05010201030405");
}

#[test]
fn failures() {
    let kinds = [
        FailureKind::BadRequest,
        FailureKind::UnsupportedVersion,
        FailureKind::Exists,
        FailureKind::NotFound,
        FailureKind::Running,
        FailureKind::NotRunning,
        FailureKind::InvalidBundle,
        FailureKind::CreateFailed,
        FailureKind::DeadlineExceeded,
        FailureKind::Cancelled,
        FailureKind::Busy,
        FailureKind::Io,
    ];
    for (index, kind) in kinds.into_iter().enumerate() {
        let failure = Failure { kind, message: "no".into() };
        let message = ServerMessage::Reply { id: RequestId(5), result: Err(failure) };
        check(&message, &format!("000501{index:02x}026e6f"));
    }
}

#[test]
fn exits() {
    let event = |status| ServerMessage::Event(Event::Exited { key: key(), exit: exit(status) });
    check(&event(ExitStatus::Code(3)), "010002616200060004");
    check(&event(ExitStatus::Signal(9)), "010002616201120004");
    check(&event(ExitStatus::Unknown(UnknownExit::KeeperAway)), "010002616202000004");
    check(&event(ExitStatus::Unknown(UnknownExit::NodeRebooted)), "010002616202010004");
    check(&event(ExitStatus::Unknown(UnknownExit::CreateInterrupted)), "010002616202020004");
    check(&event(ExitStatus::Unknown(UnknownExit::NotAChild)), "010002616202030004");
}

#[test]
fn commands() {
    let job = ExecJob {
        asked_by: 7,
        process: PROCESS,
        bundle: "/b".into(),
        cgroup: "/c".parse().unwrap(),
        run_dir: "/r".into(),
        command: vec!["a".into(), "b".into()],
        timeout_ms: 1000,
    };
    check(&job, "07ac0202022f62022f63022f720201610162e807");
    let output = || vec![b'x'];
    check(&ExecOutcome::Ended { status: ExitStatus::Code(3), output: output() }, "0000060178");
    check(&ExecOutcome::TimedOut { output: output() }, "010178");
    check(&ExecOutcome::Failed { kind: FailureKind::NotRunning, message: "no".into() }, "0205026e6f");
}
