//! Creates that are called off at any moment. Alone in its program, as it reaps whoever comes to it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod support;

use rustix::process::{Pid, WaitOptions, waitpid};
use skerry_keeper_protocol::{Reply, Request};
use std::time::{Duration, Instant};
use support::{Node, eventually};

const ROUNDS: u32 = 60;
/// From before a worker has read its job to after the container runs.
const STEP: Duration = Duration::from_micros(250);

#[test]
fn creates_that_are_called_off_at_any_moment_leave_nothing() {
    let mut node = Node::start();
    for round in 0..ROUNDS {
        let mut client = node.client();
        if round % 3 == 0 {
            assert_eq!(client.call(Request::Expect), Ok(Reply::Done));
        }
        client.send(Request::Create(Box::new(node.shell("a", "sleep 1000"))));
        let strike = Instant::now() + STEP * round;
        while Instant::now() < strike {
            std::hint::spin_loop();
        }
        if round % 2 == 0 {
            node.kill_keeper();
            node.restart_keeper();
            client = node.client();
        }
        let deleting = std::thread::spawn(move || client.delete("a", true));
        // No cgroup goes before what was in it is reaped.
        eventually("the delete is answered", || {
            reap(&node);
            deleting.is_finished().then_some(())
        });
        assert_eq!(deleting.join().unwrap(), Ok(Reply::Done), "round {round}");
        eventually(&format!("nothing is left of round {round}"), || {
            reap(&node);
            let left = [node.traces("a"), node.cgroup_traces()].concat();
            (left.is_empty() && makers(&node).is_empty()).then_some(())
        });
    }
    // A socket whose process was killed in the moment in which it had a name.
    node.kill_keeper();
    std::fs::write(node.path("run/words/0.sock"), "").unwrap();
    node.restart_keeper();
    node.client();
    assert_eq!(std::fs::read_dir(node.path("run/words")).unwrap().count(), 0);
}

/// Workers, and first processes that are no container yet, by the words that they were started with.
fn makers(node: &Node) -> Vec<String> {
    let run_dir = node.path("run").display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let words = processes.filter_map(|entry| {
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        (words.contains(" worker ") && words.contains(&run_dir)).then_some(words)
    });
    words.collect()
}

/// Collects orphans of killed keepers, which come to this process.
fn reap(node: &Node) {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let children: String =
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok()).collect();
    let pids = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
    for pid in pids.filter(|pid| u32::try_from(*pid).ok() != Some(node.keeper.id())) {
        // One that has not ended is asked again.
        waitpid(Pid::from_raw(pid), WaitOptions::NOHANG).ok();
    }
}
