//! What outlives the keeper, and what is known afterwards.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod support;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::json;
use skerry_keeper_protocol::{
    ContainerState, ExitStatus, FailureKind, ProcessIdentity, Reply, Request, UnknownExit,
};
use std::path::{Path, PathBuf};
use support::{Node, eventually, key, program};

const COUNTER: &str = "trap 'exit 9' TERM; i=0; while :; do echo line $i; i=$((i+1)); sleep 0.02; done";

fn pid(process: ProcessIdentity) -> Pid {
    Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap()
}

fn status(state: &ContainerState) -> ExitStatus {
    match state {
        ContainerState::Exited { exit, .. } => exit.status,
        other => panic!("{other:?}"),
    }
}

/// Collects an orphan that came to the test, as init would.
fn reap(process: ProcessIdentity) {
    eventually("the orphan ends", || waitpid(Some(pid(process)), WaitOptions::NOHANG).unwrap());
}

fn assert_running(node: &Node, name: &str, process: ProcessIdentity) {
    match node.client().inspect(name).unwrap().state {
        ContainerState::Running { process: now, .. } => assert_eq!(now, process),
        other => panic!("{other:?}"),
    }
}

#[test]
fn containers_survive_a_killed_keeper_and_are_adopted() {
    let mut node = Node::start();
    let process = node.client().create(node.shell("a", COUNTER));
    node.wait_for_log("a", "stdout F line 3");
    node.kill_keeper();
    let lines = node.log("a").len();
    node.restart_keeper();
    assert_running(&node, "a", process);
    // What was written while nobody read is there, once and in order.
    eventually("output goes on", || (node.log("a").len() > lines + 5).then_some(()));
    for (number, line) in node.log("a").iter().enumerate() {
        assert_eq!(line, &format!("stdout F line {number}"));
    }
    // It is no child of this keeper, and its end is known all the same.
    let mut client = node.client();
    client.signal("a", 15).unwrap();
    assert_eq!(client.exit("a").status, ExitStatus::Code(9));
    reap(process);
    assert_eq!(client.delete("a", false), Ok(Reply::Done));
    assert!(node.traces("a").is_empty() && node.cgroup_traces().is_empty());
}

#[test]
fn the_status_of_an_adopted_container_that_its_parent_has_reaped() {
    let mut node = Node::start();
    let process = node.client().create(node.shell("a", COUNTER));
    node.kill_keeper();
    node.restart_keeper();
    assert_running(&node, "a", process);
    let mut client = node.client();
    let keeper = Pid::from_raw(i32::try_from(node.keeper.id()).unwrap()).unwrap();
    kill_process(keeper, Signal::STOP).unwrap();
    node.wait_for_trap("a");
    kill_process(pid(process), Signal::TERM).unwrap();
    reap(process);
    kill_process(keeper, Signal::CONT).unwrap();
    let told = client.exit("a").status;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = kernel.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let tells = (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 15);
    let expect = if tells { ExitStatus::Code(9) } else { ExitStatus::Unknown(UnknownExit::NotAChild) };
    assert_eq!(told, expect);
}

trait WaitForTrap {
    fn wait_for_trap(&self, name: &str);
}

impl WaitForTrap for Node {
    /// The trap is set before the first line; the pipe holds it while the keeper is stopped.
    fn wait_for_trap(&self, name: &str) {
        let status = eventually("the trap is set", || {
            let pid = std::fs::read_to_string(format!(
                "/sys/fs/cgroup/memory{}/cgroup.procs",
                self.cgroup_of(name)
            ));
            let pid = pid.unwrap().lines().next()?.to_owned();
            let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:\t"))?.to_owned();
            (u64::from_str_radix(&caught, 16).ok()? & (1 << 14) != 0).then_some(caught)
        });
        assert!(!status.is_empty());
    }
}

#[test]
fn an_end_that_nobody_saw_is_unknown() {
    let mut node = Node::start();
    let process = node.client().create(node.shell("a", COUNTER));
    node.kill_keeper();
    kill_process(pid(process), Signal::KILL).unwrap();
    reap(process);
    node.restart_keeper();
    let state = node.client().inspect("a").unwrap().state;
    assert_eq!(status(&state), ExitStatus::Unknown(UnknownExit::KeeperAway));
    assert_eq!(node.client().delete("a", false), Ok(Reply::Done));
    assert!(node.traces("a").is_empty());
}

#[test]
fn a_create_that_the_keeper_did_not_live_to_finish() {
    let mut node = Node::start();
    let request = node.bundle("a", &["true"], |spec| {
        spec["hooks"] = json!({"prestart": [{"path": "/bin/busybox", "args": ["busybox", "sleep", "1000"]}]});
    });
    let mut client = node.client();
    client.send(Request::Create(Box::new(request)));
    let procs = format!("/sys/fs/cgroup/memory{}/cgroup.procs", node.cgroup_of("a"));
    eventually("the container has a process", || {
        std::fs::read_to_string(&procs).ok().filter(|text| !text.is_empty())
    });
    node.kill_keeper();
    node.restart_keeper();
    let state = node.client().inspect("a").unwrap().state;
    assert_eq!(status(&state), ExitStatus::Unknown(UnknownExit::CreateInterrupted));
    // Its processes are orphans that came to this test, and no cgroup goes before they are reaped.
    let reaper = std::thread::spawn(move || {
        eventually("the cgroup is empty", || {
            let text = std::fs::read_to_string(&procs).unwrap_or_default();
            for pid in text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
                waitpid(Some(pid), WaitOptions::NOHANG).ok();
            }
            (!Path::new(&procs).exists()).then_some(())
        });
    });
    assert_eq!(node.client().delete("a", false), Ok(Reply::Done));
    reaper.join().unwrap();
    assert!(node.traces("a").is_empty());
}

#[test]
fn an_upgrade_in_place_keeps_children_and_exit_codes() {
    let node = Node::start();
    let mut client = node.client();
    let process = client.create(node.shell("a", COUNTER));
    client.create(node.shell("b", "sleep 1000"));
    node.wait_for_log("a", "stdout F line 1");
    for bad in ["/bin/false", "/nowhere", "relative"] {
        let failure = client.call(Request::Upgrade { binary: bad.into() }).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{}", failure.message);
    }
    let next = node.path("next-keeper");
    std::fs::copy(program(), &next).unwrap();
    assert_eq!(client.call(Request::Upgrade { binary: next.clone() }), Ok(Reply::Done));
    while client.receive() {}

    let mut client = node.client();
    let program = std::fs::read_link(format!("/proc/{}/exe", node.keeper.id())).unwrap();
    assert_eq!(program, next);
    assert_running(&node, "a", process);
    let lines = node.log("a").len();
    eventually("output goes on", || (node.log("a").len() > lines + 3).then_some(()));
    client.signal("a", 15).unwrap();
    assert_eq!(client.exit("a").status, ExitStatus::Code(9));
    client.signal("b", 9).unwrap();
    assert_eq!(client.exit("b").status, ExitStatus::Signal(9));

    // The signal does the same, to the program at the keeper's own path.
    client.create(node.shell("c", "exit 11"));
    client.exit("c");
    let keeper = Pid::from_raw(i32::try_from(node.keeper.id()).unwrap()).unwrap();
    kill_process(keeper, Signal::USR2).unwrap();
    while client.receive() {}
    assert_eq!(status(&node.client().inspect("c").unwrap().state), ExitStatus::Code(11));
}

#[test]
fn upgrades_lose_no_line_and_no_exit() {
    let node = Node::start();
    let mut client = node.client();
    let script = "i=0; while [ $i -lt 400 ]; do echo -n \"half $i, \"; echo whole; i=$((i+1)); done; exit 21";
    let expect = text_of(&(0..400).map(|i| format!("stdout F half {i}, whole")).collect::<Vec<_>>());
    let open_files = || std::fs::read_dir(format!("/proc/{}/fd", node.keeper.id())).unwrap().count();
    let before = open_files();
    for round in 0..8 {
        let name = format!("r{round}");
        client.create(node.shell(&name, script));
        assert_eq!(client.call(Request::Upgrade { binary: program() }), Ok(Reply::Done));
        while client.receive() {}
        client = node.client();
        let state = eventually("it ends", || match client.inspect(&name).unwrap().state {
            ContainerState::Running { .. } => None,
            state => Some(state),
        });
        assert_eq!(status(&state), ExitStatus::Code(21));
        assert_eq!(text_of(&node.log(&name)), expect, "{round}");
    }
    assert!(open_files() <= before, "descriptors leak through an upgrade");
}

/// Entries joined to what the container wrote.
fn text_of(log: &[String]) -> String {
    log.iter()
        .map(|line| match line.split_at("stdout P ".len()) {
            ("stdout P ", part) => part.to_owned(),
            (_, end) => format!("{end}\n"),
        })
        .collect()
}

#[test]
fn records_of_another_boot_and_damaged_ones() {
    let mut node = Node::start();
    let process = node.client().create(node.shell("old", "sleep 1000"));
    node.client().create(node.shell("torn", "true"));
    node.kill_keeper();
    kill_process(pid(process), Signal::KILL).unwrap();
    reap(process);
    let record = node.path("state/containers/old");
    let mut bytes = std::fs::read(&record).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = boot.trim().as_bytes();
    let at = bytes.windows(boot.len()).position(|window| window == boot).unwrap();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    std::fs::write(&record, &bytes).unwrap();
    std::fs::write(node.path("state/containers/torn"), b"x").unwrap();
    std::fs::create_dir(node.path("run/containers/stray")).unwrap();
    node.restart_keeper();
    let records = node.client().list();
    assert_eq!(records.len(), 1);
    assert_eq!(status(&records[0].state), ExitStatus::Unknown(UnknownExit::NodeRebooted));
    assert!(node.path("state/containers/torn_damaged").exists());
    assert!(!node.path("run/containers/stray").exists() && !node.path("run/containers/torn").exists());
}

#[test]
fn a_signal_to_end_leaves_containers_to_the_successor() {
    let mut node = Node::start();
    let process = node.client().create(node.shell("a", COUNTER));
    let keeper = Pid::from_raw(i32::try_from(node.keeper.id()).unwrap()).unwrap();
    kill_process(keeper, Signal::TERM).unwrap();
    assert!(node.keeper.wait().unwrap().success());
    node.restart_keeper();
    assert_running(&node, "a", process);
    node.client().delete("a", true).unwrap();
}

#[test]
fn a_removal_that_the_keeper_did_not_live_to_finish() {
    let mut node = Node::start();
    for _ in 0..20 {
        let mut client = node.client();
        let process = client.create(node.shell("a", "sleep 1000"));
        client.send(Request::Delete { key: key("a"), force: true });
        let record = node.path("state/containers/a");
        while record.exists() {
            std::hint::spin_loop();
        }
        node.kill_keeper();
        waitpid(Some(pid(process)), WaitOptions::NOHANG).ok();
        node.restart_keeper();
        assert_eq!(node.client().delete("a", true), Ok(Reply::Done));
        assert_eq!(node.cgroup_traces(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_worker_that_lingers_holds_up_the_removal() {
    let node = Node::start();
    let mut client = node.client();
    client.create(node.shell("a", "sleep 1000"));
    let lock = eventually("the worker is gone", || {
        let file = std::fs::File::open(node.path("run/containers/a/lock")).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| file)
    });
    let asked = client.send(Request::Delete { key: key("a"), force: true });
    client.exit("a");
    assert_eq!(client.list().len(), 1);
    assert!(!node.cgroup_traces().is_empty());
    drop(lock);
    assert_eq!(client.reply(asked), Ok(Reply::Done));
    assert!(node.traces("a").is_empty() && node.cgroup_traces().is_empty());
}
