//! Containers from create to delete.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod support;

use serde_json::json;
use skerry_keeper_protocol::{ContainerState, ExitStatus, FailureKind, Reply, Request};
use support::{Node, eventually, key};

#[test]
fn an_exit_code_is_told_and_kept_and_nothing_stays() {
    let node = Node::start();
    let mut client = node.client();
    let process = client.create(node.shell("a", "echo out; echo err >&2; exit 7"));
    assert!(process.pid > 1);
    let exit = client.exit("a");
    assert_eq!((exit.status, exit.oom), (ExitStatus::Code(7), false));
    let record = client.inspect("a").unwrap();
    assert_eq!(record.identity.as_bytes(), b"identity of a");
    assert!(matches!(record.state, ContainerState::Exited { exit: kept, .. } if kept == exit));
    let mut log = node.log("a");
    log.sort();
    assert_eq!(log, ["stderr F err", "stdout F out"]);

    assert_eq!(client.delete("a", false), Ok(Reply::Done));
    assert_eq!(node.traces("a"), Vec::<std::path::PathBuf>::new());
    assert_eq!(node.cgroup_traces(), Vec::<std::path::PathBuf>::new());
    assert_eq!(client.inspect("a").unwrap_err().kind, FailureKind::NotFound);
    assert_eq!(client.delete("a", false), Ok(Reply::Done));
}

#[test]
fn signals() {
    let node = Node::start();
    let mut client = node.client();
    client.create(node.shell("trap", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"));
    node.wait_for_log("trap", "stdout F ready");
    assert_eq!(client.create_again(&node, "trap"), FailureKind::Exists);
    assert_eq!(client.delete("trap", false).unwrap_err().kind, FailureKind::Running);
    assert_eq!(client.signal("trap", 99).unwrap_err().kind, FailureKind::BadRequest);
    assert_eq!(client.signal("trap", 15), Ok(Reply::Done));
    assert_eq!(client.exit("trap").status, ExitStatus::Code(3));
    assert_eq!(client.signal("trap", 15).unwrap_err().kind, FailureKind::NotRunning);

    client.create(node.shell("killed", "sleep 1000"));
    assert_eq!(client.signal("killed", 9), Ok(Reply::Done));
    assert_eq!(client.exit("killed").status, ExitStatus::Signal(9));

    client.create(node.shell("all", "sleep 1000 & sleep 1000 & wait; wait"));
    assert_eq!(client.call(Request::Signal { key: key("all"), signal: 9, all: true }), Ok(Reply::Done));
    assert_eq!(client.exit("all").status, ExitStatus::Signal(9));

    client.create(node.shell("forced", "sleep 1000"));
    assert_eq!(client.delete("forced", true), Ok(Reply::Done));
    assert_eq!(client.exit("forced").status, ExitStatus::Signal(9));
    assert!(node.traces("forced").is_empty());
}

trait CreateAgain {
    fn create_again(&mut self, node: &Node, name: &str) -> FailureKind;
}

impl CreateAgain for support::Client {
    fn create_again(&mut self, node: &Node, name: &str) -> FailureKind {
        self.call(Request::Create(Box::new(node.shell(name, "true")))).unwrap_err().kind
    }
}

#[test]
fn out_of_memory_is_told() {
    let node = Node::start();
    let mut client = node.client();
    let small =
        |spec: &mut serde_json::Value| spec["linux"]["resources"]["memory"]["limit"] = json!(16 << 20);
    let dd = ["/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
    client.create(node.bundle("first", &dd, small));
    let exit = client.exit("first");
    assert_eq!((exit.status, exit.oom), (ExitStatus::Signal(9), true));

    // The first process lives on and ends by itself: what died was a child.
    let script = "dd if=/dev/zero of=/dev/null bs=64M count=1; exit 5";
    client.create(node.bundle("child", &["/bin/sh", "-c", script], small));
    let exit = client.exit("child");
    assert_eq!((exit.status, exit.oom), (ExitStatus::Code(5), true));
    match client.call(Request::Stats { key: key("child") }) {
        Ok(Reply::Stats(stats)) => {
            assert_eq!(stats.oom_kills, 1);
            assert_eq!(stats.memory_limit_bytes, Some(16 << 20));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn stats_move_and_swap_is_bounded() {
    let node = Node::start();
    let mut client = node.client();
    client.create(node.shell("busy", "while :; do :; done"));
    let stats =
        eventually("processor time shows", || match client.call(Request::Stats { key: key("busy") }) {
            Ok(Reply::Stats(stats)) => (stats.cpu_usage_ns > 1_000_000).then_some(stats),
            other => panic!("{other:?}"),
        });
    assert!(stats.memory_bytes > 0 && stats.pids == 1, "{stats:?}");
    let memory = format!("/sys/fs/cgroup/memory{}", node.cgroup_of("busy"));
    if let Ok(text) = std::fs::read_to_string(format!("{memory}/memory.memsw.limit_in_bytes")) {
        assert_eq!(text.trim(), (64 << 20).to_string());
    }
}

#[test]
fn nothing_of_the_keeper_leaks_into_a_container() {
    let node = Node::start();
    let mut client = node.client();
    client.create(node.bundle("a", &["/bin/cat", "/proc/self/status", "/proc/self/oom_score_adj"], |_| {}));
    assert_eq!(client.exit("a").status, ExitStatus::Code(0));
    let log = node.log("a");
    for expect in ["stdout F SigBlk:\t0000000000000000", "stdout F 0"] {
        assert!(log.iter().any(|line| line == expect), "{expect:?} is not in {log:#?}");
    }
    let ignored = log.iter().find_map(|line| line.strip_prefix("stdout F SigIgn:\t")).unwrap();
    // Signals 32 and up are the C library's and whoever started this test's.
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0, "{ignored}");
    assert!(log.iter().all(|line| line.starts_with("stdout ")), "{log:#?}");

    let script = "echo /proc/self/fd/*; echo $(tr '\\0' ' ' < /proc/self/environ)";
    client.create(node.bundle("b", &["/bin/sh", "-c", script], |_| {}));
    assert_eq!(client.exit("b").status, ExitStatus::Code(0));
    let log = node.log("b");
    assert_eq!(log[0], "stdout F /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3");
    assert!(!log[1].contains("CARGO"), "{log:?}");
}

#[test]
fn bundles_that_cannot_run() {
    let node = Node::start();
    let mut client = node.client();
    let mut check = |request, kind, part: &str| {
        let failure = client.call(Request::Create(Box::new(request))).unwrap_err();
        assert_eq!(failure.kind, kind, "{}", failure.message);
        assert!(failure.message.contains(part), "{}", failure.message);
        assert_eq!(node.traces("x"), Vec::<std::path::PathBuf>::new());
    };
    let mut missing = node.shell("x", "true");
    missing.bundle = node.path("nowhere");
    check(missing, FailureKind::InvalidBundle, "nowhere");
    let mut relative = node.shell("x", "true");
    relative.bundle = "bundle".into();
    check(relative, FailureKind::BadRequest, "absolute");
    check(node.bundle("x", &["no-such-command"], |_| {}), FailureKind::CreateFailed, "no-such-command");
    check(node.bundle("x", &["/tmp"], |_| {}), FailureKind::CreateFailed, "is a directory");
    let rootfs = |spec: &mut serde_json::Value| spec["root"]["path"] = json!("/nowhere/rootfs");
    check(node.bundle("x", &["true"], rootfs), FailureKind::InvalidBundle, "/nowhere/rootfs");
    let cgroup = |spec: &mut serde_json::Value| {
        spec["mounts"] = json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]);
    };
    check(node.bundle("x", &["true"], cgroup), FailureKind::InvalidBundle, "/sys/fs/cgroup");
    let text = node.shell("x", "true");
    std::fs::write(text.bundle.join("config.json"), "{").unwrap();
    check(text, FailureKind::InvalidBundle, "config.json");
    client.create(node.shell("x", "exit 4"));
    assert_eq!(client.exit("x").status, ExitStatus::Code(4));
}

#[test]
fn a_program_that_only_its_owner_may_execute() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let node = Node::start();
    let program = node.path("rootfs/bin/own");
    std::fs::copy("/bin/busybox", &program).unwrap();
    chown(&program, Some(7), Some(7)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut client = node.client();
    let user =
        |id: u32| move |spec: &mut serde_json::Value| spec["process"]["user"] = json!({"uid": id, "gid": id});
    let request = |name: &str, id| node.bundle(name, &["own", "true"], user(id));
    client.create(request("mine", 7));
    client.exit("mine");
    let failure = client.call(Request::Create(Box::new(request("theirs", 8)))).unwrap_err();
    assert!(failure.message.contains("/bin/own cannot be executed"), "{}", failure.message);
}

#[test]
fn a_hung_create_is_killed_at_its_deadline() {
    let node = Node::start();
    let mut client = node.client();
    let hang = |spec: &mut serde_json::Value| {
        spec["hooks"] =
            json!({"prestart": [{"path": "/bin/busybox", "args": ["busybox", "sleep", "12345"]}]});
    };
    let mut request = node.bundle("hung", &["true"], hang);
    request.deadline_ms = 300;
    let hung = client.send(Request::Create(Box::new(request)));
    // Nobody waits for it.
    client.create(node.shell("other", "exit 0"));
    assert_eq!(client.exit("other").status, ExitStatus::Code(0));
    let failure = client.reply(hung).unwrap_err();
    assert_eq!(failure.kind, FailureKind::DeadlineExceeded, "{}", failure.message);
    assert!(node.traces("hung").is_empty(), "{:?}", node.traces("hung"));
    assert!(client.inspect("hung").is_err());

    let mut request = node.bundle("hung", &["true"], hang);
    request.deadline_ms = 60_000;
    let hung = client.send(Request::Create(Box::new(request)));
    assert_eq!(client.delete("hung", true), Ok(Reply::Done));
    assert_eq!(client.reply(hung).unwrap_err().kind, FailureKind::Cancelled);
    client.create(node.shell("hung", "exit 6"));
    assert_eq!(client.exit("hung").status, ExitStatus::Code(6));
}

#[test]
fn many_at_once() {
    let node = Node::start();
    let mut client = node.client();
    let names: Vec<String> = (0..24).map(|number| format!("many-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        client.send(Request::Create(Box::new(node.shell(name, &format!("exit {number}")))));
    }
    for (number, name) in names.iter().enumerate() {
        assert_eq!(client.exit(name).status, ExitStatus::Code(i32::try_from(number).unwrap()), "{name}");
    }
    assert_eq!(client.list().len(), 24);
    let deletes: Vec<_> =
        names.iter().map(|name| client.send(Request::Delete { key: key(name), force: false })).collect();
    for id in deletes {
        assert_eq!(client.reply(id), Ok(Reply::Done));
    }
    assert!(client.list().is_empty());
    assert!(node.cgroup_traces().is_empty());
}
