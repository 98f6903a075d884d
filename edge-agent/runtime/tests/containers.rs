//! Real containers, made by a real keeper, in a network namespace of the test's own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use skerry_runtime::network::PortForward;
use skerry_runtime::{ContainerStart, FoundState, Runtime, RuntimeEvent};
use skerry_types::{Capabilities, ContainerSpec, EnvVar, ExitKind, Protocol, ReasonCode};
use support::machine::{Machine, container, next, sandbox, script, start};
use support::{on_a_node, run, until};

/// Runs a script to its end and returns what it wrote and its exit code.
async fn run_script(name: &'static str, spec: &ContainerSpec) -> (String, ExitKind) {
    let machine = Machine::new(name);
    let (runtime, mut events) = machine.open().await;
    start(&machine, &runtime, &sandbox("web-0-1"), spec).await;
    let RuntimeEvent::Exited { container: who, attempt, exit, log_tail } = next(&mut events).await else {
        panic!("an exit was expected");
    };
    assert_eq!((who, attempt), (container("web-0-1"), 0));
    runtime.remove_allocation(&sandbox("web-0-1").allocation).await.unwrap();
    assert_eq!(machine.leftovers(), Vec::<String>::new());
    runtime.close().await;
    (log_tail, exit.kind)
}

#[test]
fn a_container_sees_its_own_world() {
    on_a_node(|| async {
        let text = "hostname; id; grep -c . /proc/net/dev; ip -4 addr show eth0 | grep -o 'inet [0-9.]*'; \
                    cat /etc/hosts | grep web; echo $LEVEL $HOME; exit 7";
        let env = vec![EnvVar { name: "LEVEL".to_owned(), value: "info".to_owned() }];
        let (output, exit) = run_script("world", &ContainerSpec { env, ..script(text) }).await;
        assert_eq!(exit, ExitKind::Code(7), "{output}");
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[0], "web-0-1");
        assert!(lines[1].starts_with("uid=0(root) gid=0(root)"), "{output}");
        assert_eq!(lines[2], "4", "two lines of titles, lo and eth0: {output}");
        assert_eq!(lines[3], "inet 10.210.0.2");
        assert_eq!(lines[4], "10.210.0.2\tweb-0-1");
        assert_eq!(lines[5], "info /root");
    });
}

#[test]
fn a_container_is_locked_in() {
    on_a_node(|| async {
        let text = "echo forked $(echo yes); unshare -U true || echo no user namespace; mount -t tmpfs x /tmp || echo no mount; \
                    cat /proc/kcore | grep -c .; echo x > /proc/sys/kernel/hostname || echo no sysctl; \
                    grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; grep cgroup /proc/mounts; echo end";
        let (output, _) = run_script("locked", &script(text)).await;
        for expected in [
            "forked yes",
            "no user namespace",
            "no mount",
            "no sysctl",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "end",
        ] {
            assert!(output.contains(expected), "{expected} in {output}");
        }
        // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE
        assert!(output.contains("CapEff:\t00000000000004fb"), "{output}");
        let is_v1 = !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        assert!(!is_v1 || !output.contains("/sys/fs/cgroup"), "{output}");
    });
}

#[test]
fn a_named_user_keeps_only_what_it_was_given() {
    on_a_node(|| async {
        let capabilities =
            Capabilities { add: vec!["NET_BIND_SERVICE".to_owned()], drop: vec!["ALL".to_owned()] };
        let spec = ContainerSpec {
            user: Some("web".to_owned()),
            read_only: true,
            capabilities,
            ..script("id; grep CapEff /proc/self/status; touch /own || echo read-only; echo $HOME")
        };
        let (output, _) = run_script("user", &spec).await;
        assert!(output.starts_with("uid=101(web) gid=102(web) groups=29(audio)"), "{output}");
        assert!(output.contains("CapEff:\t0000000000000400") && output.contains("read-only"), "{output}");
        assert!(output.lines().any(|line| line == "/www"), "{output}");
    });
}

#[test]
fn a_host_port_leads_to_a_container() {
    on_a_node(|| async {
        let machine = Machine::new("port");
        let (runtime, _events) = machine.open().await;
        let port = PortForward { protocol: Protocol::Tcp, host: 8080, container: 80 };
        let sandbox = skerry_runtime::SandboxSpec { ports: vec![port], ..sandbox("web-0-1") };
        start(&machine, &runtime, &sandbox, &script("exec httpd -f -h /www")).await;
        // The answer to a start means that the port leads there; the server itself needs a moment.
        let page =
            || std::process::Command::new("wget").args(["-qO-", "http://127.0.0.1:8080/"]).output().unwrap();
        until("the page", || page().stdout == b"hello from the edge\n").await;
        runtime.discard(&sandbox.allocation, Duration::from_millis(100)).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.dismantle().await.unwrap();
        assert_eq!(run("nft", &["list", "ruleset"]), "");
    });
}

#[test]
fn a_restarted_agent_finds_its_containers() {
    on_a_node(|| async {
        let machine = Machine::new("restart");
        let (runtime, mut events) = machine.open().await;
        let kept = sandbox("web-0-1");
        let running = start(&machine, &runtime, &kept, &script("exec sleep 1000")).await;
        start(&machine, &runtime, &sandbox("web-1-2"), &script("echo last words; exit 3")).await;
        let pid = i32::try_from(running.pid).unwrap();
        let cmdline = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert_eq!(cmdline, "sleep\x001000\x00");
        assert!(matches!(next(&mut events).await, RuntimeEvent::Exited { .. }));
        runtime.close().await;
        drop((runtime, events));
        // What a node that lost its power leaves of others.
        std::fs::create_dir_all(machine.config.data_dir.join("writable/gone-0-9/main/upper")).unwrap();
        std::fs::create_dir_all(machine.config.run_dir.join("bundles/web-0-1/other/rootfs")).unwrap();

        let (runtime, mut events) = Runtime::open(machine.config.clone()).await.unwrap();
        let known = BTreeMap::from([(kept.allocation.clone(), Vec::new())]);
        let addresses = runtime.reconcile(known).await.unwrap();
        assert_eq!(addresses.len(), 2, "what the keeper holds is kept, known or not: {addresses:?}");
        assert!(!machine.config.data_dir.join("writable/gone-0-9").exists());
        assert!(!machine.config.run_dir.join("bundles/web-0-1/other").exists());
        let RuntimeEvent::Inventory(found) = next(&mut events).await else {
            panic!("an inventory comes first")
        };
        let states: Vec<_> = found.into_iter().map(|found| found.state).collect();
        assert!(matches!(states[0], FoundState::Running { pid, .. } if pid == running.pid), "{states:?}");
        let FoundState::Exited { exit, log_tail } = &states[1] else { panic!("{states:?}") };
        assert_eq!((exit.kind, log_tail.as_str()), (ExitKind::Code(3), "last words\n"));
        // The same start again is answered by the container that runs.
        let again = start(&machine, &runtime, &kept, &script("exec sleep 1000")).await;
        assert_eq!(again.pid, running.pid);
        runtime.kill(&container("web-0-1")).await.unwrap();
        let RuntimeEvent::Exited { exit, .. } = next(&mut events).await else {
            panic!("an exit was expected")
        };
        assert_eq!(exit.kind, ExitKind::Signal(9));
        for allocation in ["web-0-1", "web-1-2"] {
            runtime.remove_allocation(&sandbox(allocation).allocation).await.unwrap();
        }
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}

#[test]
fn a_killed_keeper_is_followed_by_another() {
    on_a_node(|| async {
        let machine = Machine::new("keeper");
        let (runtime, mut events) = machine.open().await;
        let running = start(&machine, &runtime, &sandbox("web-0-1"), &script("exec sleep 1000")).await;
        let keeper = machine.keeper_pid().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        let RuntimeEvent::Inventory(found) = next(&mut events).await else {
            panic!("an inventory was expected")
        };
        assert!(matches!(found[0].state, FoundState::Running { pid, .. } if pid == running.pid), "{found:?}");
        assert_ne!(machine.keeper_pid().unwrap(), keeper);
        runtime.ask(&container("web-0-1"), None).await.unwrap();
        runtime.discard(&sandbox("web-0-1").allocation, Duration::from_millis(200)).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}

#[test]
fn a_removal_finds_what_a_start_makes_after_the_keeper_died() {
    on_a_node(|| async {
        let machine = Machine::new("late");
        let (runtime, mut events) = machine.open().await;
        let (sandbox, spec) = (sandbox("web-0-1"), script("exec sleep 1000"));
        for moment_ms in 0..25 {
            let keeper = nix::unistd::Pid::from_raw(machine.keeper_pid().unwrap());
            let start = ContainerStart {
                spec: &spec,
                attempt: 0,
                image: machine.image.clone(),
                devices: &[],
                fence: None,
            };
            let removal = async {
                tokio::time::sleep(Duration::from_millis(moment_ms)).await;
                nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
                while !matches!(next(&mut events).await, RuntimeEvent::Inventory(_)) {}
                runtime.remove_container(&container("web-0-1")).await
            };
            // The start may succeed or be called off: it depends on the moment.
            let (_, removed) = tokio::join!(runtime.start(&sandbox, start), removal);
            removed.unwrap();
            assert_eq!(runtime.keeper().list().await.unwrap(), Vec::new(), "killed after {moment_ms} ms");
        }
        runtime.remove_allocation(&sandbox.allocation).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}

#[test]
fn restarts_of_a_container_share_its_log_and_not_its_files() {
    on_a_node(|| async {
        let machine = Machine::new("again");
        let (runtime, mut events) = machine.open().await;
        let spec = script("[ -e /mark ] && echo dirty; touch /mark; echo started");
        for attempt in 0..3 {
            let start = ContainerStart {
                spec: &spec,
                attempt,
                image: machine.image.clone(),
                devices: &[],
                fence: None,
            };
            runtime.start(&sandbox("web-0-1"), start).await.unwrap();
            let RuntimeEvent::Exited { attempt: ended, log_tail, .. } = next(&mut events).await else {
                panic!("an exit was expected");
            };
            assert_eq!((ended, log_tail.as_str()), (attempt, "started\n"));
        }
        let mut log =
            runtime.logs(&container("web-0-1"), skerry_runtime::logs::LogQuery::default()).await.unwrap();
        assert_eq!(log.next().await.unwrap().len(), 3);
        runtime.remove_container(&container("web-0-1")).await.unwrap();
        runtime.remove_container(&container("web-0-1")).await.unwrap();
        assert!(machine.config.data_dir.join("logs/web-0-1/main").exists(), "the log stays");
        runtime.remove_allocation(&sandbox("web-0-1").allocation).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}

#[test]
fn a_start_that_fails_leaves_nothing_and_says_why() {
    on_a_node(|| async {
        let machine = Machine::new("fails");
        let (runtime, _events) = machine.open().await;
        let check = async |spec: ContainerSpec, code: ReasonCode, part: &str| {
            let start = ContainerStart {
                spec: &spec,
                attempt: 0,
                image: machine.image.clone(),
                devices: &[],
                fence: None,
            };
            let error = runtime.start(&sandbox("web-0-1"), start).await.unwrap_err();
            let reason = error.reason();
            assert!(reason.code == code && reason.message.contains(part), "{reason:?}");
            runtime.remove_allocation(&sandbox("web-0-1").allocation).await.unwrap();
            assert_eq!(machine.leftovers(), Vec::<String>::new());
        };
        let missing = ContainerSpec { command: vec!["/bin/absent".to_owned()], ..script("") };
        check(missing, ReasonCode::CreateFailed, "/bin/absent").await;
        let stranger = ContainerSpec { user: Some("nobody".to_owned()), ..script("") };
        check(stranger, ReasonCode::CreateFailed, "no user or group 'nobody'").await;
        runtime.close().await;
    });
}

#[test]
fn starting_is_quick() {
    on_a_node(|| async {
        let machine = Machine::new("quick");
        let (runtime, _events) = machine.open().await;
        let mut times = Vec::new();
        for n in 0..20 {
            let began = Instant::now();
            start(&machine, &runtime, &sandbox(&format!("web-{n}-1")), &script("exec sleep 1000")).await;
            times.push(began.elapsed());
        }
        times.sort();
        println!("start: p50 {:?}, slowest {:?}", times[10], times[19]);
        for n in 0..20 {
            runtime.discard(&sandbox(&format!("web-{n}-1")).allocation, Duration::ZERO).await.unwrap();
        }
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}
