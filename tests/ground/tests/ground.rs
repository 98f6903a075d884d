//! The ground itself on the real machine: it must be able to fail, and it must leave nothing.

#![expect(clippy::unwrap_used, reason = "a step of a test that fails is told by its panic")]

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use skerry_ground::{
    Cut, Host, Namespace, Process, Registry, Run, Snapshot, Wan, catch_interrupts, image, processes, until,
    workspace_root,
};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(10);

/// Sends a datagram from one host to another and tells whether it arrived.
fn arrives(from: &Host, to: &Host) -> bool {
    let any: SocketAddr = (to.address(), 0).into();
    let inside = to.namespace().within(move || UdpSocket::bind(any)).unwrap().unwrap();
    let address = inside.local_addr().unwrap();
    inside.set_read_timeout(Some(SHORT)).unwrap();
    let sender = from.namespace().within(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    // Unplugged, the sender is told; cut, it is not.
    sender.send_to(b"x", address).is_ok() && inside.recv(&mut [0; 8]).is_ok()
}

#[test]
fn a_link_is_cut_each_way_and_heals() {
    let run = Run::start("ground").unwrap();
    let mut wan = Wan::new(&run).unwrap();
    let (a, b, c) = (wan.host("a").unwrap(), wan.host("b").unwrap(), wan.host("c").unwrap());
    let state = || (arrives(&a, &b), arrives(&b, &a), arrives(&a, &c), arrives(&b, &c));
    assert_eq!(state(), (true, true, true, true), "whole");

    for (cut, expect) in [
        (Cut::Both, (false, false, false, true)),
        (Cut::FromHost, (false, true, false, true)),
        (Cut::ToHost, (true, false, true, true)),
        (Cut::Between("b".into()), (false, false, true, true)),
        (Cut::Unplugged, (false, false, false, true)),
    ] {
        a.cut(&cut).unwrap();
        assert_eq!(state(), expect, "{cut:?}");
        a.heal().unwrap();
        // A neighbour that did not answer is asked again a second later.
        until(&format!("a whole link after {cut:?}"), LONG, || {
            Ok((state() == (true, true, true, true)).then_some(()))
        })
        .unwrap();
    }
    let before = a.traffic().unwrap();
    assert!(arrives(&a, &b));
    let after = a.traffic().unwrap();
    assert!(after.sent_bytes >= before.sent_bytes + 43, "{before:?} {after:?}");

    a.cut(&Cut::Loss(50)).unwrap();
    let arrived = (0..40).filter(|_| arrives(&a, &b)).count();
    // Outside of this once in a million runs.
    assert!((5..=35).contains(&arrived), "{arrived} of 40 arrived");
    a.heal().unwrap();
}

#[test]
fn a_power_cut_leaves_the_disk_and_nothing_else() {
    let run = Run::start("ground").unwrap();
    let mut wan = Wan::new(&run).unwrap();
    let (a, b) = (wan.host("a").unwrap(), wan.host("b").unwrap());
    std::fs::write(a.disk().join("kept"), "x").unwrap();
    std::fs::write(a.memory().join("lost"), "x").unwrap();
    let mounted = a.disk().join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    assert!(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&mounted).status().unwrap().success());
    let cgroup = PathBuf::from("/sys/fs/cgroup/pids").join(a.cgroup()).join("x");
    if cgroup.parent().unwrap().parent().unwrap().parent().is_some_and(std::path::Path::exists) {
        std::fs::create_dir_all(&cgroup).unwrap();
    }
    // A child in a namespace and session of its own, as a container is.
    let mut command = a.command("sh");
    command.args(["-c", "unshare --net --fork setsid sleep 1000 & exec sleep 1000"]);
    let mut process = Process::start("sleeper", command, a.log("sleeper")).unwrap();
    let other = Process::start("other", sleep_on(&b), b.log("other")).unwrap();
    until("both sleepers", LONG, || Ok((a.processes().len() >= 3).then_some(()))).unwrap();

    a.power_cut().unwrap();
    assert!(process.exit().unwrap().is_some());
    assert!(a.processes().is_empty());
    assert!(!a.memory().join("lost").exists() && a.disk().join("kept").exists());
    assert!(!cgroup.exists());
    assert!(processes().contains_key(&other.pid()), "the other host is untouched");

    a.power_on().unwrap();
    assert!(arrives(&a, &b) && arrives(&b, &a));
}

fn sleep_on(host: &Host) -> Command {
    let mut command = host.command("sleep");
    command.arg("1000");
    command
}

#[test]
fn a_run_leaves_nothing_and_the_snapshot_would_tell() {
    let before = Snapshot::take().unwrap();
    let run = Run::start("ground").unwrap();
    let name = run.name().to_owned();
    let mut wan = Wan::new(&run).unwrap();
    let a = wan.host("a").unwrap();
    // Its guard is gone, but not the process.
    let pid = Process::start("left", sleep_on(&a), a.log("left")).unwrap().leave();
    let during = Snapshot::take().unwrap().left_by(&before, &[&name]);
    for kind in ["namespace ", "file "] {
        assert!(during.iter().any(|item| item.starts_with(kind)), "{kind}: {during:?}");
    }
    let process = format!("process {pid} ");
    assert!(Snapshot::take().unwrap().since(&before).iter().any(|item| item.starts_with(&process)));
    run.take_down().unwrap();
    let after = Snapshot::take().unwrap();
    assert_eq!(after.left_by(&before, &[&name, &process]), Vec::<String>::new());
}

/// A process of its own that makes a run and waits: this test binary with a filter for `a_run_of_its_own`.
fn run_of_its_own() -> (Process, String, tempfile::NamedTempFile) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_run_of_its_own", "--nocapture"]).env("LEAVE_A_RUN", "1");
    let log = tempfile::NamedTempFile::new().unwrap();
    let process = Process::start("a run", command, log.path()).unwrap();
    let name = until("the run", LONG, || {
        Ok(process
            .log()
            .lines()
            .find_map(|line| line.split_once("stands: ").map(|(_, name)| name.to_owned())))
    })
    .unwrap();
    (process, name, log)
}

/// Does nothing when it runs as a test.
#[test]
fn a_run_of_its_own() {
    if std::env::var_os("LEAVE_A_RUN").is_none() {
        return;
    }
    catch_interrupts().unwrap();
    let run = Run::start("sweep").unwrap();
    let mut wan = Wan::new(&run).unwrap();
    let host = wan.host("a").unwrap();
    let process = Process::start("left", sleep_on(&host), host.log("left")).unwrap();
    println!("stands: {}", run.name());
    let error = until("what never is", Duration::from_mins(1), || Ok(None::<()>)).unwrap_err();
    println!("ended: {error}");
    drop(process);
}

#[test]
fn what_a_killed_run_left_is_swept() {
    let (mut process, name, _log) = run_of_its_own();
    let swept = Run::sweep("sweep").unwrap();
    assert!(!swept.contains(&name), "its owner lives");
    let standing = Snapshot::take().unwrap();
    process.kill().unwrap();
    // The sweep of another run may have come first.
    Run::sweep("sweep").unwrap();
    let after = Snapshot::take().unwrap();
    assert!(standing.left_by(&after, &[&name]).len() > 2, "the comparison sees the run");
    assert_eq!(after.left_by(&standing, &[&name]), Vec::<String>::new());
    assert!(!PathBuf::from("/run/netns").join(format!("{name}-a")).exists());
}

#[test]
fn an_interrupted_run_takes_itself_down() {
    let (mut process, name, _log) = run_of_its_own();
    let standing = Snapshot::take().unwrap();
    process.signal(rustix::process::Signal::INT).unwrap();
    let status = process.ended(LONG).unwrap();
    assert!(status.success() && process.log().contains("ended: interrupted"), "{}", process.log());
    let after = Snapshot::take().unwrap();
    assert!(standing.left_by(&after, &[&name]).len() > 2, "the comparison sees the run");
    assert!(!PathBuf::from("/run/netns").join(format!("{name}-a")).exists());
    assert!(!PathBuf::from("/var/lib/skerry-ground").join(&name).exists());
}

#[test]
fn a_process_ends_with_its_guard() {
    let run = Run::start("ground").unwrap();
    let log = run.folder().join("x.log");
    let mut command = Command::new("sh");
    command.args(["-c", "echo ready; trap '' TERM; while true; do sleep 1000; done"]);
    let process = Process::start("stubborn", command, &log).unwrap();
    until("its line", LONG, || Ok(process.log().contains("ready").then_some(()))).unwrap();
    let seen = processes().remove(&process.pid()).unwrap();
    drop(process);
    assert!(!seen.is_alive());
}

#[test]
fn the_registry_wants_its_ca_and_its_password() {
    let out = tempfile::tempdir().unwrap();
    let recipes = tempfile::tempdir().unwrap();
    for file in ["hello.toml", "hello.rs"] {
        std::fs::copy(workspace_root().join("images").join(file), recipes.path().join(file)).unwrap();
    }
    let images = image::build_all(recipes.path(), out.path(), |_| {}).unwrap();
    let [hello] = images.as_slice() else { panic!("one recipe, {} images", images.len()) };
    assert!(hello.fresh);
    let again = image::build_all(recipes.path(), out.path(), |_| {}).unwrap();
    assert!(!again[0].fresh && again[0].digest == hello.digest, "kept");
    std::fs::remove_dir_all(&hello.layout).unwrap();
    let remade = image::build_all(recipes.path(), out.path(), |_| {}).unwrap();
    assert!(remade[0].fresh && remade[0].digest == hello.digest, "the same recipe gives the same bytes");

    let run = Run::start("ground").unwrap();
    let mut wan = Wan::new(&run).unwrap();
    let mut registry = Registry::start(&wan.host("registry").unwrap()).unwrap();
    let client = wan.host("client").unwrap();
    assert_eq!(registry.push(&hello.layout, &hello.name_and_tag()).unwrap(), "198.18.0.2:5000/hello:1");
    assert_eq!(registry.digest("hello:1").unwrap(), hello.digest);
    assert!(registry.blob(&hello.digest).is_file());

    let url = format!("https://{}/v2/hello/tags/list", registry.authority());
    let account = format!("{}:{}", registry.user(), registry.password());
    let ca = registry.ca();
    let curl = |arguments: &[&str]| {
        let mut command = client.command("curl");
        command.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "5"]);
        String::from_utf8(command.args(arguments).arg(&url).output().unwrap().stdout).unwrap()
    };
    let ca = ca.to_str().unwrap();
    assert_eq!(curl(&["--cacert", ca, "--user", &account]), "200");
    assert_eq!(curl(&["--cacert", ca, "--user", "skerry:wrong"]), "401");
    assert_eq!(curl(&["--cacert", ca]), "401");
    assert_eq!(curl(&["--user", &account]), "000", "its CA is not among the system's");
    registry.pause().unwrap();
    assert_eq!(curl(&["--cacert", ca, "--user", &account]), "000");
    registry.resume().unwrap();
    assert_eq!(curl(&["--cacert", ca, "--user", &account]), "200");
}

#[test]
fn a_page_is_fetched_from_inside() {
    let run = Run::start("ground").unwrap();
    let mut wan = Wan::new(&run).unwrap();
    let host = wan.host("a").unwrap();
    let listen =
        |namespace: &Namespace| namespace.within(|| TcpListener::bind("0.0.0.0:80")).unwrap().unwrap();
    let listener = listen(host.namespace());
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        for body in ["200 OK\r\n\r\nhello", "404 No\r\n\r\n"] {
            let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 512]).unwrap() > 0);
            write!(stream, "HTTP/1.0 {body}").unwrap();
        }
    });
    let address = (host.address(), 80).into();
    assert_eq!(skerry_ground::http::fetch(wan.namespace(), address, "/").unwrap(), "hello");
    let error = skerry_ground::http::fetch(wan.namespace(), address, "/").unwrap_err();
    assert!(format!("{error:#}").contains("404"), "{error:#}");
    server.join().unwrap();
}
