//! Disks that are full or answer with errors, under the node's state, its logs and the master's store.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use skerry_e2e::{Container, Plan, Region, SOON, Workload, in_region};
use skerry_ground::{Ballast, Process, run_command, small_disk, until, until_ok};

/// A try that failed is repeated after up to half a minute.
const AGAIN: Duration = Duration::from_secs(45);

#[test]
fn a_full_disk_under_a_node_stops_nothing_and_is_forgotten_when_there_is_room() {
    // What is kept for the node itself is less here, so that a small disk has room for workloads.
    let flags = &["--reserve-disk", "1Mi"];
    let plan = Plan {
        nodes: &[("n1", "oslo")],
        images: &["hello"],
        agent_flags: flags,
        unjoined: true,
        ..Plan::default()
    };
    in_region(&plan, |region| {
        let data = region.node("n1")?.data_dir();
        small_disk(&data, 64)?;
        small_disk(&data.join("logs"), 8)?;
        region.join("n1", "oslo")?;
        let image = region.image("hello")?;
        let restart = serde_json::json!({"policy": "always", "backoff": "200ms", "max_backoff": "1s"});
        let tick = small("tick", &image, &["tick", "20"]);
        let victim = small("victim", &image, &["sleep"]).spec("restart", restart);
        region.operator.apply(&[&tick, &victim])?;
        for name in ["tick", "victim"] {
            region.operator.running(name)?;
        }
        let healthy = region.node("n1")?.runs("tick", 1, SOON)?;
        logs_are_full(region, &data.join("logs"))?;
        state_is_full(region, &data)?;
        state_reads_errors(region, &data)?;
        let now = region.node("n1")?.containers_of("tick");
        ensure!(now == healthy, "a healthy container restarted: {healthy:?}, {now:?}");
        Ok(())
    });
}

/// One that asks for little disk.
fn small(name: &str, image: &str, args: &[&str]) -> Workload {
    let resources = serde_json::json!({"cpu": "10m", "memory": "16Mi", "disk": "1Mi"});
    Workload::new(name, image, args).container("resources", resources)
}

fn kill(victim: &Container) -> Result<()> {
    let pid = i32::try_from(victim.pid).ok().and_then(Pid::from_raw).context("a process id")?;
    kill_process(pid, Signal::KILL).context("killing a container")
}

fn restarts(region: &Region, limit: Duration) -> Result<()> {
    let node = region.node("n1")?;
    let victim = node.runs("victim", 1, SOON)?.remove(0);
    kill(&victim)?;
    until("the victim's restart", limit, || {
        let now = node.containers_of("victim");
        Ok((now.len() == 1 && now[0] != victim).then_some(()))
    })
}

fn logs_are_full(region: &Region, folder: &Path) -> Result<()> {
    region.step("no room for logs");
    let ballast = Ballast::fill(folder)?;
    restarts(region, AGAIN)?;
    region.operator.wait("node/n1", "reachable", SOON)?;
    drop(ballast);
    let before = region.operator.logs("workload/tick")?.lines().count();
    until("more of a log once there is room", SOON, || {
        Ok((region.operator.logs("workload/tick")?.lines().count() > before).then_some(()))
    })
}

fn state_is_full(region: &mut Region, data: &Path) -> Result<()> {
    region.step("no room for state");
    region.expected_errors.push("free space in the state directory");
    let ballast = Ballast::fill(data)?;
    restarts(region, AGAIN)?;
    let late = small("late", &region.image("hello")?, &["sleep"]);
    region.operator.apply(&[&late])?;
    region.step("the agent is killed on the full disk");
    let operator = region.operator.clone();
    let node = region.node_mut("n1")?;
    node.kill()?;
    node.start(None)?;
    node.reachable(&operator)?;
    restarts(region, AGAIN)?;
    region.step("there is room again");
    drop(ballast);
    region.node("n1")?.runs("late", 1, AGAIN)?;
    region.operator.wait("workload/late", "running", AGAIN)
}

/// What the agent writes to its ledger fails as on a disk that dies. It ends and says so, and containers go on without it.
fn state_reads_errors(region: &mut Region, data: &Path) -> Result<()> {
    region.step("the node's disk answers with errors");
    region.expected_errors.push("Input/output error");
    let pid = region.node("n1")?.pid().context("the agent runs")?;
    let before = region.node("n1")?.containers();
    let broken = breaks(region, pid)?;
    let unsaved = small("unsaved", &region.image("hello")?, &["sleep"]);
    region.operator.apply(&[&unsaved])?;
    let ledger = data.join("ledger").display().to_string();
    until_ok("the end of the agent", SOON, || {
        let ended = region.node_mut("n1")?.check().err().context("it runs")?;
        let said = region.node("n1")?.log();
        for words in [ledger.as_str(), "Input/output error"] {
            ensure!(said.contains(words), "{words:?} is not in its log: {ended:#}");
        }
        Ok(())
    })?;
    drop(broken);
    ensure!(region.node("n1")?.containers() == before, "containers did not go on: {before:?}");
    region.step("the agent starts on a disk that works");
    let operator = region.operator.clone();
    let node = region.node_mut("n1")?;
    node.kill()?;
    node.start(None)?;
    node.reachable(&operator)?;
    node.runs("unsaved", 1, SOON)?;
    restarts(region, AGAIN)
}

#[test]
fn a_full_or_broken_disk_under_the_master_loses_nothing_acknowledged() {
    let plan = Plan { nodes: &[("n1", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        let image = region.image("hello")?;
        region.operator.apply(&[&Workload::new("first", &image, &["sleep"])])?;
        region.operator.running("first")?;
        let before = region.node("n1")?.containers();
        onto_a_small_disk(region)?;
        master_is_full(region)?;
        master_reads_errors(region)?;
        master_cannot_read(region)?;
        ensure!(region.node("n1")?.containers_of("first") == before, "a healthy container restarted");
        Ok(())
    });
}

/// Moves what the master has onto a disk of 48 MiB.
fn onto_a_small_disk(region: &mut Region) -> Result<()> {
    region.master.stop(SOON)?;
    let data = region.master.data_dir();
    let aside = data.with_extension("aside");
    fs::rename(&data, &aside).context("moving the master's folder")?;
    small_disk(&data, 48)?;
    run_command(Command::new("cp").arg("-a").arg(aside.join(".")).arg(&data))?;
    back(region)
}

fn back(region: &mut Region) -> Result<()> {
    let operator = region.operator.clone();
    region.master.start()?;
    region.node_mut("n1")?.reachable(&operator)
}

/// Whether the master took a workload; a refusal or no answer in time is none.
fn taken(region: &Region, name: &str) -> Result<bool> {
    let workload = Workload::new(name, &region.image("hello")?, &["sleep"]);
    let said =
        region.operator.run_with(&["apply", "-f", "-", "--request-timeout", "3s"], &workload.to_string())?;
    Ok(said.code == 0)
}

fn master_is_full(region: &mut Region) -> Result<()> {
    region.step("no room for the master's store");
    let ballast = Ballast::fill(&region.master.data_dir())?;
    // What is in flight may still fit in what the store has set aside; in the end nothing does.
    let mut acknowledged = Vec::new();
    let full = until("a refusal", SOON, || {
        let name = format!("full-{}", acknowledged.len());
        if taken(region, &name)? {
            acknowledged.push(name);
            return Ok(None);
        }
        Ok(Some(name))
    })?;
    until("a word of the full disk", SOON, || {
        Ok(region.master.log().contains("no space left on the disk").then_some(()))
    })?;
    region.operator.run(&["get", "workloads"])?.exits(1)?.says(&["disk of the master's store is full"])?;
    ensure!(!region.node("n1")?.containers().is_empty(), "what runs goes on");
    drop(ballast);
    region.step("there is room again");
    until_ok("applies go on by themselves", SOON, || ensure_taken(region, &full))?;
    acknowledged.push(full);
    for name in &acknowledged {
        region.operator.running(name)?;
        region.operator.delete(name)?;
    }
    Ok(())
}

fn ensure_taken(region: &Region, name: &str) -> Result<()> {
    ensure!(taken(region, name)?, "{name} is not taken");
    Ok(())
}

/// Lets a process's writes to files fail as on a disk that dies, until this is dropped.
fn breaks(region: &Region, pid: u32) -> Result<Process> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-p", &pid.to_string(), "-o", "/dev/null"]);
    for call in ["fdatasync", "fsync", "pwrite64", "sync_file_range"] {
        strace.args(["-e", &format!("inject={call}:error=EIO")]);
    }
    let tracer = Process::start("strace", strace, region.folder().join("strace.log"))?;
    until("the tracer", SOON, || {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok((!status.contains("TracerPid:\t0")).then_some(()))
    })?;
    Ok(tracer)
}

/// Every write of the store fails as on a disk that dies. The master must say so and acknowledge nothing.
fn master_reads_errors(region: &mut Region) -> Result<()> {
    region.step("the master's disk answers with errors");
    for words in ["Input/output error", "the writer of the store has ended"] {
        region.expected_errors.push(words);
    }
    let broken = breaks(region, region.master.pid().context("the master runs")?)?;
    ensure!(!taken(region, "lost")?, "acknowledged what cannot be on disk");
    drop(broken);
    // Whether it ended by itself or goes on: nothing may be assumed of a store whose disk failed.
    if region.master.ended()?.is_none() {
        region.master.kill()?;
    }
    let said = region.master.log();
    ensure!(said.contains("Input/output error"), "the log does not name the error");
    back(region)?;
    ensure_taken(region, "lost")?;
    region.operator.running("lost")?;
    region.operator.delete("lost")
}

/// A store that cannot be read is left as it is, and the master says what to do.
fn master_cannot_read(region: &mut Region) -> Result<()> {
    region.step("the master's store is damaged");
    region.master.stop(SOON)?;
    let store = region.master.data_dir().join("store");
    let aside = store.with_extension("whole");
    run_command(Command::new("cp").arg("-a").arg(&store).arg(&aside))?;
    let damaged = damage(&store)?;
    region.expected_errors.push("cannot be read");
    region.master.launch()?;
    until("the end of the master", SOON, || region.master.ended())?;
    let said = region.master.log();
    let data = region.master.data_dir().display().to_string();
    for word in [
        "cannot be read",
        "will not be overwritten",
        &format!("cp -a BACKUP {data}"),
        "skerry-master restored",
    ] {
        ensure!(said.contains(word), "{word:?} is not said: {}", said.lines().last().unwrap_or_default());
    }
    for (path, bytes) in damaged {
        ensure!(fs::read(&path)? == bytes, "{} was changed", path.display());
    }
    fs::remove_dir_all(&store)?;
    fs::rename(&aside, &store)?;
    back(region)
}

/// Overwrites the beginning of every file; gives what is in them then.
fn damage(folder: &Path) -> Result<Vec<(std::path::PathBuf, Vec<u8>)>> {
    let mut damaged = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            damaged.extend(damage(&path)?);
            continue;
        }
        let mut bytes = fs::read(&path)?;
        let end = bytes.len().min(4096);
        bytes[..end].fill(0xa5);
        fs::write(&path, &bytes)?;
        damaged.push((path, bytes));
    }
    Ok(damaged)
}
