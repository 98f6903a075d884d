//! Commands in real containers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use skerry_runtime::network::PortForward;
use skerry_runtime::{ContainerStart, ExecError, Executed, Runtime};
use skerry_types::{ContainerSpec, EnvVar, ExitKind, Protocol};
use support::machine::{Machine, container, next, sandbox, script, start};
use support::{on_a_node, run, until};

const SOON: Duration = Duration::from_secs(5);

async fn exec(runtime: &Runtime, command: &[&str]) -> Result<Executed, ExecError> {
    let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    runtime.exec(&container("web-0-1"), &command, SOON).await
}

async fn shell(runtime: &Runtime, text: &str) -> (String, Option<ExitKind>) {
    let done = exec(runtime, &["sh", "-c", text]).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    (done.output, done.end)
}

/// The command lines of all processes in the container.
async fn processes(runtime: &Runtime) -> String {
    shell(runtime, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await.0
}

/// The part of `/proc/PID/status` that says what a process may do.
const RIGHTS: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; ulimit -n; pwd";

#[test]
fn a_command_has_what_the_container_has_and_no_more() {
    on_a_node(|| async {
        let machine = Machine::new("exec-same");
        let (runtime, _events) = machine.open().await;
        let env = vec![EnvVar { name: "LEVEL".to_owned(), value: "info".to_owned() }];
        for user in [None, Some("web".to_owned())] {
            let world =
                "hostname; echo $LEVEL $HOME; cat /etc/hosts; ls -l /proc/self/ns | grep -oE '[a-z]+:\\[.*';";
            let own = format!("({world} {RIGHTS}; cat /proc/self/cgroup) | sort > /dev/shm/own; sleep 1000");
            let spec = ContainerSpec { env: env.clone(), user: user.clone(), ..script(&own) };
            start(&machine, &runtime, &sandbox("web-0-1"), &spec).await;
            let look = format!(
                "({world} {RIGHTS}; cat /proc/self/cgroup) | sort > /dev/shm/mine; cat /dev/shm/mine; cmp /dev/shm/own /dev/shm/mine"
            );
            let mut seen = shell(&runtime, &look).await;
            let began = Instant::now();
            while seen.1 != Some(ExitKind::Code(0)) && began.elapsed() < SOON {
                seen = shell(&runtime, &look).await;
            }
            assert_eq!(seen.1, Some(ExitKind::Code(0)), "{user:?}: {}", seen.0);
            assert!(seen.0.contains("Seccomp:\t2") && seen.0.contains("NoNewPrivs:\t1"), "{}", seen.0);
            let (output, _) =
                shell(&runtime, "unshare -U true || echo refused; mount -t tmpfs x /tmp || echo also").await;
            assert!(output.contains("refused") && output.contains("also"), "{output}");
            runtime.remove_container(&container("web-0-1")).await.unwrap();
        }
        runtime.remove_allocation(&sandbox("web-0-1").allocation).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}

#[test]
fn ends_are_told_as_they_are() {
    on_a_node(|| async {
        let machine = Machine::new("exec-ends");
        let (runtime, _events) = machine.open().await;
        start(&machine, &runtime, &sandbox("web-0-1"), &script("exec sleep 1000")).await;
        let check = async |text: &str, end: ExitKind, output: &str| {
            assert_eq!(shell(&runtime, text).await, (output.to_owned(), Some(end)), "{text}");
        };
        check("exit 0", ExitKind::Code(0), "").await;
        check("echo out; echo err >&2; exit 3", ExitKind::Code(3), "out\nerr\n").await;
        check("kill -9 $$", ExitKind::Signal(9), "").await;
        let (output, end) = shell(&runtime, "cat /dev/zero | head -c 1000000").await;
        assert_eq!((output.len(), end), (4096, Some(ExitKind::Code(0))), "what is too much is left out");
        // Who stays behind holds the output open, and is not waited for.
        let began = Instant::now();
        let (output, end) = shell(&runtime, "sleep 30 & echo said").await;
        assert_eq!((output.as_str(), end), ("said\n", Some(ExitKind::Code(0))));
        assert!(began.elapsed() < SOON);

        let missing = exec(&runtime, &["not-there"]).await.unwrap_err();
        assert!(
            matches!(&missing, ExecError::Refused { message } if message.contains("not-there")),
            "{missing:?}"
        );
        let unfit = exec(&runtime, &["/etc/passwd"]).await.unwrap_err();
        assert!(matches!(unfit, ExecError::Refused { .. }), "{unfit:?}");
        let nobody = runtime.exec(&container("web-9-9"), &["true".to_owned()], SOON).await.unwrap_err();
        assert!(matches!(nobody, ExecError::NotRunning(_)), "{nobody:?}");
        let left: Vec<_> = std::fs::read_dir(machine.config.run_dir.join("keeper"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("exec"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        runtime.remove_allocation(&sandbox("web-0-1").allocation).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}

#[test]
fn what_takes_too_long_is_killed_with_what_it_started() {
    on_a_node(|| async {
        let machine = Machine::new("exec-slow");
        let (runtime, _events) = machine.open().await;
        start(&machine, &runtime, &sandbox("web-0-1"), &script("exec sleep 1000")).await;
        let slow = ["sh", "-c", "echo begun; sleep 777 & sleep 777; echo never"].map(str::to_owned);
        let began = Instant::now();
        let done = runtime.exec(&container("web-0-1"), &slow, Duration::from_millis(300)).await.unwrap();
        assert_eq!(done, Executed { end: None, output: "begun\n".to_owned() });
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let mut seen = processes(&runtime).await;
        while seen.contains("777") && began.elapsed() < SOON {
            seen = processes(&runtime).await;
        }
        assert!(!seen.contains("777") && seen.contains("sleep 1000"), "{seen}");

        // Nobody waits for the answer any more.
        let command = ["sleep", "888"].map(str::to_owned);
        let who = container("web-0-1");
        let given_up = runtime.exec(&who, &command, SOON);
        assert!(tokio::time::timeout(Duration::from_millis(200), given_up).await.is_err());
        let mut seen = processes(&runtime).await;
        while seen.contains("888") && began.elapsed() < SOON {
            seen = processes(&runtime).await;
        }
        assert!(!seen.contains("888"), "{seen}");
        runtime.remove_allocation(&sandbox("web-0-1").allocation).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}

#[test]
fn a_container_that_ends_takes_its_commands_along() {
    on_a_node(|| async {
        let machine = Machine::new("exec-end");
        let (runtime, mut events) = machine.open().await;
        start(&machine, &runtime, &sandbox("web-0-1"), &script("exec sleep 1000")).await;
        let command = ["sleep", "999"].map(str::to_owned);
        let (who, long) = (container("web-0-1"), Duration::from_mins(1));
        let (done, ()) = tokio::join!(runtime.exec(&who, &command, long), async {
            while !processes(&runtime).await.contains("sleep 999") {}
            runtime.kill(&who).await.unwrap();
        });
        assert_eq!(done.unwrap().end, Some(ExitKind::Signal(9)));
        drop(next(&mut events).await);
        assert!(matches!(exec(&runtime, &["true"]).await, Err(ExecError::NotRunning(_))));
        runtime.remove_allocation(&sandbox("web-0-1").allocation).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}

#[test]
fn an_allocation_at_rest_has_no_network_and_keeps_its_logs() {
    on_a_node(|| async {
        let machine = Machine::new("exec-rest");
        let (runtime, mut events) = machine.open().await;
        let port = PortForward { protocol: Protocol::Tcp, host: 8080, container: 80 };
        let sandbox = skerry_runtime::SandboxSpec { ports: vec![port], ..sandbox("web-0-1") };
        start(&machine, &runtime, &sandbox, &script("echo done")).await;
        drop(next(&mut events).await);
        runtime.remove_container(&container("web-0-1")).await.unwrap();
        runtime.release(&sandbox.allocation).await.unwrap();
        runtime.release(&sandbox.allocation).await.unwrap();
        assert!(!machine.config.run_dir.join("netns/web-0-1").exists());
        until("the host port to go", || !run("nft", &["list", "ruleset"]).contains("8080")).await;
        let log = machine.config.data_dir.join("logs/web-0-1/main");
        assert!(std::fs::read_dir(log).unwrap().next().is_some(), "its log stays");
        start(&machine, &runtime, &sandbox, &script("exec sleep 1000")).await;
        runtime.remove_allocation(&sandbox.allocation).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}

#[test]
fn a_container_has_the_devices_that_it_was_given() {
    on_a_node(|| async {
        let machine = Machine::new("exec-device");
        let (runtime, mut events) = machine.open().await;
        // The node's loop control stands for any device that containers do not have by themselves.
        let device = "/dev/loop-control".to_owned();
        assert!(std::path::Path::new(&device).exists(), "this test needs {device}");
        for (devices, expect) in [(vec![device.clone()], "there"), (Vec::new(), "not there")] {
            let spec = script("if true < /dev/loop-control; then echo there; else echo not there; fi");
            let image = machine.image.clone();
            let begun = ContainerStart { spec: &spec, attempt: 0, image, devices: &devices, fence: None };
            runtime.start(&sandbox("web-0-1"), begun).await.unwrap();
            let skerry_runtime::RuntimeEvent::Exited { log_tail, .. } = next(&mut events).await else {
                panic!("an exit was expected");
            };
            assert!(log_tail.lines().any(|line| line == expect), "{devices:?}: {log_tail}");
            runtime.remove_allocation(&sandbox("web-0-1").allocation).await.unwrap();
        }
        let spec = script("true");
        let devices = ["/dev/not-there".to_owned()];
        let begun = ContainerStart {
            spec: &spec,
            attempt: 0,
            image: machine.image.clone(),
            devices: &devices,
            fence: None,
        };
        let error = runtime.start(&sandbox("web-0-1"), begun).await.unwrap_err();
        assert!(error.reason().message.contains("/dev/not-there"), "{}", error.reason().message);
        runtime.remove_allocation(&sandbox("web-0-1").allocation).await.unwrap();
        assert_eq!(machine.leftovers(), Vec::<String>::new());
        runtime.close().await;
    });
}
