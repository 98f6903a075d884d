//! Containers that may run up to a certain time only.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod support;

use rustix::time::{ClockId, clock_gettime};
use skerry_keeper_protocol::{
    ContainerState, CreateRequest, ExitStatus, Failure, FailureKind, Reply, Request,
};
use support::{Client, Node, eventually, key};

fn boottime_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap() * 1000 + u64::try_from(time.tv_nsec).unwrap() / 1_000_000
}

fn until(kill_at_ms: u64, request: CreateRequest) -> CreateRequest {
    CreateRequest { kill_at_ms: Some(kill_at_ms), ..request }
}

fn extend(client: &mut Client, name: &str, kill_at_ms: u64) -> Result<Reply, Failure> {
    client.call(Request::Extend { key: key(name), kill_at_ms })
}

#[test]
fn what_is_not_extended_is_killed_with_all_that_it_started() {
    let node = Node::start();
    let mut client = node.client();
    let kill_at = boottime_ms() + 3000;
    client.create(until(kill_at, node.shell("a", "trap '' TERM; sleep 1000 & sleep 1000 & wait")));
    client.create(node.shell("free", "sleep 1000"));
    assert_eq!(client.inspect("a").unwrap().kill_at_ms, Some(kill_at));
    assert_eq!(client.exit("a").status, ExitStatus::Signal(9));
    assert!(boottime_ms() >= kill_at, "not before");
    assert!(matches!(client.inspect("free").unwrap().state, ContainerState::Running { .. }));
    assert_eq!(extend(&mut client, "a", kill_at + 60_000).unwrap_err().kind, FailureKind::NotRunning);
}

#[test]
fn it_runs_on_while_it_is_extended_and_never_shorter() {
    let node = Node::start();
    let mut client = node.client();
    let kill_at = boottime_ms() + 3000;
    client.create(until(kill_at, node.shell("a", "sleep 1000")));
    assert_eq!(extend(&mut client, "a", kill_at + 2000), Ok(Reply::Done));
    assert_eq!(extend(&mut client, "a", kill_at), Ok(Reply::Done));
    assert_eq!(client.inspect("a").unwrap().kill_at_ms, Some(kill_at + 2000));
    assert_eq!(client.exit("a").status, ExitStatus::Signal(9));
    assert!(boottime_ms() >= kill_at + 2000);
}

#[test]
fn nothing_is_started_whose_time_has_come() {
    let node = Node::start();
    let mut client = node.client();
    let late = until(boottime_ms().saturating_sub(1), node.shell("a", "sleep 1000"));
    let refused = client.call(Request::Create(Box::new(late))).unwrap_err();
    assert_eq!(refused.kind, FailureKind::DeadlineExceeded);
    assert!(node.traces("a").is_empty());
    // A start that takes until then is undone.
    let slow = node.bundle("slow", &["true"], |spec| {
        let args = ["busybox", "sleep", "1000"];
        spec["hooks"] = serde_json::json!({"prestart": [{"path": "/bin/busybox", "args": args}]});
    });
    let refused = client.call(Request::Create(Box::new(until(boottime_ms() + 2000, slow)))).unwrap_err();
    assert_eq!(refused.kind, FailureKind::DeadlineExceeded);
    assert!(node.traces("slow").is_empty());
}

#[test]
fn a_keeper_that_comes_late_kills_at_once() {
    let mut node = Node::start();
    let kill_at = boottime_ms() + 2000;
    let process = node.client().create(until(kill_at, node.shell("a", "sleep 1000")));
    assert_eq!(extend(&mut node.client(), "a", kill_at + 1000), Ok(Reply::Done));
    node.kill_keeper();
    eventually("the time has come", || (boottime_ms() > kill_at + 1000).then_some(()));
    assert!(std::path::Path::new(&format!("/proc/{}", process.pid)).exists(), "nobody is there to kill it");
    node.restart_keeper();
    eventually("it is killed", || {
        let state = node.client().inspect("a").unwrap().state;
        let pid = rustix::process::Pid::from_raw(i32::try_from(process.pid).unwrap());
        // The orphan came to the test, which collects it as init would.
        rustix::process::waitpid(pid, rustix::process::WaitOptions::NOHANG).ok();
        matches!(state, ContainerState::Exited { .. }).then_some(())
    });
}
