//! Connections: good ones, bad ones, and a second keeper.

mod support;

use skerry_keeper_protocol::{
    ClientMessage, ContainerState, ExitStatus, FailureKind, MAX_FRAME_BYTES, Reply, Request, RequestId,
    encode,
};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use support::{Client, Node, eventually, key, program};

#[test]
fn garbage_closes_only_its_own_connection() {
    let node = Node::start();
    let mut good = node.client();
    let oversized = u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_le_bytes();
    let unknown_variant = encode(&(7_u64, 200_u32)).unwrap();
    let mut trailing =
        encode(&ClientMessage { id: RequestId(1), request: Request::List { after: None } }).unwrap();
    trailing[0] += 1;
    trailing.push(0);
    for bytes in [&oversized[..], &[0xff; 64], &unknown_variant, &trailing, &[0, 0, 0, 0]] {
        let mut bad = node.client();
        bad.stream.write_all(bytes).unwrap();
        while bad.receive() {}
        assert!(good.list().is_empty());
    }
    // Half a frame, and then nothing: it waits and disturbs nobody.
    let mut half = node.client();
    half.stream.write_all(&[9, 0, 0, 0, 1]).unwrap();
    good.create(node.shell("a", "exit 1"));
    assert_eq!(good.exit("a").status, ExitStatus::Code(1));
}

#[test]
fn hello_comes_first_and_names_the_version() {
    let node = Node::start();
    let mut client = Client::new(UnixStream::connect(node.path("run/keeper.sock")).unwrap());
    assert_eq!(client.call(Request::List { after: None }).unwrap_err().kind, FailureKind::BadRequest);
    assert_eq!(
        client.call(Request::Hello { version: 99 }).unwrap_err().kind,
        FailureKind::UnsupportedVersion
    );
    assert!(matches!(client.call(Request::Hello { version: 1 }), Ok(Reply::Hello { version: 1, .. })));
    assert!(client.list().is_empty());
}

/// Workers of a keeper, with or without a job.
fn workers(node: &Node) -> Vec<u32> {
    let pid = node.keeper.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let is_worker = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"worker")
    };
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(is_worker).collect()
}

/// Whether a process is gone or waits to be reaped. Its words are gone earlier, while it still dies.
fn has_died(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    matches!(state, Some('Z' | 'X'))
}

#[test]
fn a_worker_that_waits_long_holds_little_and_works() {
    let node = Node::start();
    let mut client = node.client();
    assert!(matches!(client.call(Request::Expect), Ok(Reply::Done)));
    // Its words show a moment after its start.
    let worker = eventually("a worker waits", || workers(&node).first().copied());
    let first = || {
        let children = std::fs::read_to_string(format!("/proc/{worker}/task/{worker}/children")).ok()?;
        children.trim().parse::<u32>().ok()
    };
    let first = eventually("its first process is there", first);
    let gave_back = |pid| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kib = |name: &str| -> u32 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        // Its own pages of code, of which it needs few to wait; a library that is linked to it stays.
        kib("VmHWM:") > kib("VmRSS:") + 500
    };
    eventually("they have given pages back", || (gave_back(worker) && gave_back(first)).then_some(()));
    client.create(node.shell("a", "exit 3"));
    assert_eq!(client.exit("a").status, ExitStatus::Code(3));
}

#[test]
fn an_announced_create_finds_its_worker_and_others_end_with_the_connection() {
    let node = Node::start();
    let (mut used, mut unused) = (node.client(), node.client());
    assert!(matches!(used.call(Request::Expect), Ok(Reply::Done)));
    // Its words show a moment after its start.
    let waiting = eventually("a worker waits", || workers(&node).first().copied());
    used.create(node.shell("a", "exit 1"));
    assert_eq!(used.exit("a").status, ExitStatus::Code(1));
    assert!(!std::path::Path::new(&format!("/proc/{waiting}")).exists(), "it did not make the container");

    for _ in 0..20 {
        assert!(matches!(unused.call(Request::Expect), Ok(Reply::Done)));
    }
    let waiting = eventually("workers wait", || Some(workers(&node)).filter(|all| !all.is_empty()));
    assert!(waiting.len() < 20, "{waiting:?}");
    // One that dies while it waits is not missed.
    let killed = waiting[waiting.len() - 1];
    Command::new("kill").args(["-KILL", &killed.to_string()]).status().unwrap();
    eventually("it is dead", || has_died(killed).then_some(()));
    unused.create(node.shell("b", "exit 2"));
    assert_eq!(unused.exit("b").status, ExitStatus::Code(2));
    drop(unused);
    eventually("no worker waits for a client that is gone", || workers(&node).is_empty().then_some(()));
}

#[test]
fn a_second_keeper_is_refused() {
    let node = Node::start();
    for (run, state) in [("run", "state"), ("run", "other"), ("other", "state")] {
        let second = Command::new(program())
            .args(["--run-dir".as_ref(), node.path(run).as_os_str()])
            .args(["--state-dir".as_ref(), node.path(state).as_os_str()])
            .output()
            .unwrap();
        let text = String::from_utf8(second.stderr).unwrap();
        assert!(!second.status.success());
        assert!(text.contains(&format!("another skerry-keeper (pid {})", node.keeper.id())), "{text}");
    }
    assert!(node.client().list().is_empty());
}

#[test]
fn the_socket_is_the_owners_alone() {
    let node = Node::start();
    let mode = std::fs::metadata(node.path("run/keeper.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700 & mode & 0o777);
    assert_eq!(mode & 0o077, 0);
}

#[test]
fn a_client_that_takes_nothing_is_not_waited_for() {
    let node = Node::start();
    let mut client = node.client();
    for number in 0..12 {
        let mut request = node.shell(&format!("c{number}"), "true");
        request.identity = vec![7; 2000].try_into().unwrap();
        client.create(request);
    }
    let mut stalled = node.client();
    stalled.stream.set_nonblocking(true).unwrap();
    let frame = encode(&ClientMessage { id: RequestId(9), request: Request::List { after: None } }).unwrap();
    for _ in 0..20_000 {
        if stalled.stream.write_all(&frame).is_err() {
            break;
        }
    }
    assert_eq!(client.list().len(), 12);
    let rss = std::fs::read_to_string(format!("/proc/{}/statm", node.keeper.id())).unwrap();
    let pages: usize = rss.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(pages * 4096 < 24 << 20, "{pages} pages");
}

#[test]
fn long_lists_come_in_pages() {
    let node = Node::start();
    let mut client = node.client();
    let names: Vec<String> = (0..40).map(|number| format!("c{number:02}")).collect();
    for name in &names {
        let mut request = node.shell(name, "true");
        request.identity = vec![7; 2048].try_into().unwrap();
        client.send(Request::Create(Box::new(request)));
    }
    for name in &names {
        client.exit(name);
    }
    match client.call(Request::List { after: None }) {
        Ok(Reply::Containers { records, more }) => assert!(more && records.len() < 40),
        other => panic!("{other:?}"),
    }
    let listed: Vec<String> = client.list().into_iter().map(|record| record.key.to_string()).collect();
    assert_eq!(listed, names);
}

#[test]
fn events_go_to_every_client() {
    let node = Node::start();
    let (mut one, mut two) = (node.client(), node.client());
    one.create(node.shell("a", "exit 2"));
    assert_eq!(one.exit("a"), two.exit("a"));
}

#[test]
fn shutdown() {
    let mut node = Node::start();
    let mut client = node.client();
    client.create(node.shell("a", "sleep 1000"));
    let failure = client.call(Request::Shutdown { force: false }).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Running);
    assert_eq!(client.call(Request::Shutdown { force: true }), Ok(Reply::Done));
    assert!(node.keeper.wait().unwrap().success());
    assert!(!node.path("run/keeper.sock").exists());
    node.restart_keeper();
    let mut client = node.client();
    match client.inspect("a").unwrap().state {
        ContainerState::Exited { exit, .. } => assert_eq!(exit.status, ExitStatus::Signal(9)),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.call(Request::Delete { key: key("a"), force: false }), Ok(Reply::Done));
    assert_eq!(client.call(Request::Shutdown { force: false }), Ok(Reply::Done));
    assert!(node.keeper.wait().unwrap().success());
}
