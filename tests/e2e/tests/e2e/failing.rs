//! Workloads that fail on their node, and what is said of them.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Plan, Region, SOON, Workload, in_region};
use skerry_ground::{http, until, until_ok};

use crate::images::is_held_up;

#[test]
fn workloads_that_fail_say_why_and_are_tried_again() {
    let plan = Plan { nodes: &[("n1", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        let image = region.image("hello")?;
        port_taken(region, &image)?;
        no_such_command(region, &image)?;
        out_of_memory(region, &image)?;
        crash_loop(region, &image)?;
        killed(region, &image)?;
        policies(region, &image)
    });
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn describe(region: &Region, workload: &str) -> Result<skerry_e2e::Said> {
    let allocation = region.operator.allocation(workload)?;
    let id = allocation["id"].as_str().context("an allocation has an id")?;
    region.operator.run(&["describe", "allocation", id])?.ok()
}

fn port_taken(region: &Region, image: &str) -> Result<()> {
    region.step("another program has the port");
    let host = region.node("n1")?.host();
    let foreign = host.namespace().within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8099)))??;
    let web = Workload::new("web", image, &["serve"]).port(8080, &json!(8099));
    region.operator.apply(&[&web])?;
    is_held_up(region, "web", "PortTaken", &["8099/tcp", "taken by a program on this node"])?;
    drop(foreign);
    region.operator.running("web")?;
    let address = (host.address(), 8099).into();
    let page = until_ok("the page", SOON, || http::fetch(region.wan.namespace(), address, "/"))?;
    ensure!(page.starts_with("hello from "), "{page}");
    region.operator.delete("web")
}

fn no_such_command(region: &Region, image: &str) -> Result<()> {
    region.step("a command that is not in the image");
    let lost = Workload::new("lost", image, &[]).container("command", json!(["/bin/nothing"]));
    region.operator.apply(&[&lost])?;
    is_held_up(region, "lost", "CreateFailed", &["/bin/nothing"])?;
    // Mended by a change, without waiting for the next try of what was wrong.
    region.operator.apply(&[&Workload::new("lost", image, &["sleep"])])?;
    region.operator.running("lost")?;
    region.operator.delete("lost")
}

fn out_of_memory(region: &Region, image: &str) -> Result<()> {
    region.step("a container that wants more memory than it may");
    region.operator.apply(&[&Workload::new("hungry", image, &["eat", "64"])])?;
    until("the end for want of memory", SOON, || {
        let allocation = region.operator.allocation("hungry")?;
        Ok((allocation["reason"] == "OutOfMemory").then_some(()))
    })
    .with_context(|| region.operator.whole_state())?;
    describe(region, "hungry")?.says(&["OutOfMemory", "signal 9", "out of memory", "hello eat 64"])?;
    region.operator.delete("hungry")
}

/// The waits between starts are those of the manifest: one second, doubled, a part of a quarter added, at most four in all.
fn crash_loop(region: &Region, image: &str) -> Result<()> {
    region.step("a container that ends again and again");
    region.operator.apply(&[&Workload::new("crash", image, &["exit", "3"])])?;
    for (restarts, least_ms, most_ms) in [(0, 1000, 1250), (1, 2000, 2500), (2, 3000, 4000), (3, 3000, 4000)]
    {
        let what = format!("the wait after {restarts} restarts");
        let seen = until(&what, SOON, || {
            let seen = region.operator.allocation("crash")?;
            let waits = number(&seen, "/containers/0/next_start_at_ms") > 0;
            Ok((waits && number(&seen, "/containers/0/restarts") == restarts).then_some(seen))
        })
        .with_context(|| region.operator.whole_state())?;
        let ended = number(&seen, "/containers/0/last_exit/at_ms");
        let wait = number(&seen, "/containers/0/next_start_at_ms").saturating_sub(ended);
        // From the end to the news of it some time passes.
        ensure!((least_ms..most_ms + 500).contains(&wait), "after {restarts} restarts {wait} ms: {seen}");
    }
    describe(region, "crash")?.says(&[
        "backoff",
        "starts again in",
        "Last exit",
        "exit code 3",
        "End of its log at its last exit",
        "hello exit",
        "Exited",
    ])?;
    region.operator.run(&["describe", "workload", "crash"])?.ok()?.says(&["backoff", "exit code 3"])?;
    region.operator.run(&["get", "workloads", "crash"])?.ok()?.says(&["0/1"])?;
    let logs = region.operator.logs("workload/crash")?;
    ensure!(logs.contains("hello exit"), "{logs:?}");
    region.operator.delete("crash")
}

fn killed(region: &Region, image: &str) -> Result<()> {
    region.step("a container that is killed from outside");
    let node = region.node("n1")?;
    region.operator.apply(&[&Workload::new("killed", image, &["sleep"])])?;
    region.operator.running("killed")?;
    let before = node.runs("killed", 1, SOON)?;
    let pid = i32::try_from(before[0].pid)?;
    let pid = rustix::process::Pid::from_raw(pid).context("a process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    until("another start", Duration::from_secs(10), || {
        let found = node.containers_of("killed");
        Ok((found.len() == 1 && found != before).then_some(()))
    })?;
    region.operator.running("killed")?;
    describe(region, "killed")?.says(&["running", "signal 9 (SIGKILL)"])?;
    ensure!(number(&region.operator.allocation("killed")?, "/containers/0/restarts") == 1, "one restart");
    region.operator.delete("killed")
}

fn policies(region: &Region, image: &str) -> Result<()> {
    region.step("restart policies");
    let with = |name: &str, policy: &str, code: &str| {
        let restart = json!({"policy": policy, "backoff": "200ms", "max_backoff": "400ms"});
        Workload::new(name, image, &["exit", code]).spec("restart", restart)
    };
    let done = with("done", "on_failure", "0");
    let again = with("again", "on_failure", "5");
    let once = with("once", "never", "4");
    let fine = with("fine", "never", "0");
    region.operator.apply(&[&done, &again, &once, &fine])?;
    let checks = [("done", "completed", 0), ("fine", "completed", 0), ("once", "failed", 4)];
    for (name, phase, code) in checks {
        region.operator.wait(&format!("workload/{name}"), &format!("phase={phase}"), SOON)?;
        describe(region, name)?.says(&[phase, &format!("exit code {code}"), "hello exit"])?;
    }
    until("restarts after a failure", SOON, || {
        let seen = region.operator.allocation("again")?;
        Ok((number(&seen, "/containers/0/restarts") >= 4).then_some(()))
    })?;
    describe(region, "again")?.says(&["exit code 5"])?;
    for (name, ..) in checks {
        let seen = region.operator.allocation(name)?;
        ensure!(number(&seen, "/containers/0/restarts") == 0, "it was started again: {seen}");
        ensure!(region.node("n1")?.containers_of(name).is_empty(), "{name} runs");
    }
    ["done", "again", "once", "fine"].iter().try_for_each(|name| region.operator.delete(name))
}
