//! What processes and nodes keep while links flap and workloads come and go for long.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use skerry_ground::Cut;
use skerry_ground::measure::count;
use skerry_ground::region::Node;

use crate::Measurement;
use crate::process::rss_kib;
use crate::schedules::pause;
use crate::stage::{LIMIT, Stage};

/// Containers that run from the beginning to the end.
const STEADY: usize = 5;
/// Instances that each round makes, replaces by another version, and removes.
const CHURN: usize = 4;
/// For how long a link stays as it was broken in an ordinary round.
const FLAP: Duration = Duration::from_secs(3);
/// Every so many rounds the last node's link is cut for as long as it takes to give a link up.
const LONG_CUT_EVERY: usize = 8;
const LONG_CUT_ROUNDS: usize = 4;
/// Between the end of a round's work and the look at what is left of it.
const SETTLE: Duration = Duration::from_secs(2);
/// The first part of all looks, one in so many, shows buffers and caches filling and is left out.
const WARM_UP: usize = 3;
/// How much a value may rise from the first look that counts to the last, in hundredths of its median.
const RISE_PERCENT: f64 = 5.0;

/// How memory, open files, mounts and disk rise over `length`, from what was seen at the end of each round, when the same
/// containers run as at the end of every other.
pub(crate) fn measure(length: Duration) -> Result<Vec<Measurement>> {
    let stage = Stage::new(3)?;
    let [first, .., last] = stage.nodes.as_slice() else { anyhow::bail!("a soak has several nodes") };
    stage.run_hello("steady", "serve", STEADY, first)?;
    // Starts anew every second or so, whatever its link does.
    apply(&stage, &restless(&stage, last))?;
    let start = Instant::now();
    let mut looks = Vec::new();
    for round in 0.. {
        flap_and_churn(&stage, round)?;
        looks.push(Look::take(&stage, start.elapsed())?);
        if start.elapsed() >= length {
            break;
        }
    }
    last.host().heal()?;
    let lines = looks.split_off(looks.len() / WARM_UP);
    let rows = (0..Look::NAMES.len()).map(|which| judged(which, &lines));
    let mut rows: Vec<_> = rows.collect::<Result<_>>()?;
    rows.push(Measurement::new("rounds of flapping and churn", count(looks.len() + lines.len()), ""));
    Ok(rows)
}

/// One round: a workload comes while a link breaks, is replaced by another version, and goes.
fn flap_and_churn(stage: &Stage, round: usize) -> Result<()> {
    let [first, second, .., last] = stage.nodes.as_slice() else { anyhow::bail!("a soak has several nodes") };
    match round % LONG_CUT_EVERY {
        0 => last.host().cut(&Cut::Both)?,
        LONG_CUT_ROUNDS => last.host().heal()?,
        _ => {}
    }
    let flapping = if round.is_multiple_of(2) { first } else { second };
    let cut = [Cut::Both, Cut::Loss(30), Cut::FromHost, Cut::Unplugged, Cut::ToHost];
    apply(stage, &churn(stage, 1))?;
    flapping.host().cut(cut.get(round % cut.len()).context("a way to break a link")?)?;
    pause(FLAP)?;
    flapping.host().heal()?;
    stage.operator.wait("workload/churn", "running", LIMIT)?;
    apply(stage, &churn(stage, 2))?;
    stage.operator.wait("workload/churn", "running", LIMIT)?;
    stage.delete("churn")?;
    for node in [first, second] {
        stage.operator.wait(&format!("node/{}", node.name()), "reachable", LIMIT)?;
    }
    pause(SETTLE)
}

/// A service on the nodes whose links are never given up.
fn churn(stage: &Stage, version: usize) -> Value {
    let mut manifest = stage.hello("churn", "serve", CHURN, "");
    manifest["spec"]["containers"][0]["env"] = json!({"VERSION": version.to_string()});
    manifest["spec"]["placement"] = json!({
        "require": format!("node.name!={}", stage.nodes.last().map_or("", Node::name)),
        "spread": [{"by": "node"}],
    });
    // The other version takes over as soon as it runs: what is to be seen is many rounds, and not long ones.
    manifest["spec"]["update"] = json!({"min_healthy": "0s"});
    manifest
}

fn restless(stage: &Stage, node: &Node) -> Value {
    let mut manifest = stage.hello("restless", "sleep", 1, node.name());
    manifest["spec"]["containers"][0]["args"] = json!(["sleep", "1"]);
    manifest["spec"]["restart"] = json!({"policy": "always", "backoff": "200ms", "max_backoff": "1s"});
    manifest
}

fn apply(stage: &Stage, manifest: &Value) -> Result<()> {
    let path = stage.write(manifest)?;
    stage.operator.skerry(&["apply", "-f", &path.display().to_string()]).map(drop)
}

/// What was seen at one moment.
struct Look {
    /// Since the beginning.
    at: Duration,
    values: [f64; Self::NAMES.len()],
}

impl Look {
    /// What is looked at, with the unit.
    const NAMES: [(&str, &str); 13] = [
        ("master, resident", "KiB"),
        ("agent, resident", "KiB"),
        ("keeper, resident", "KiB"),
        ("agent of a node that is cut off for long, resident", "KiB"),
        ("its keeper, resident", "KiB"),
        ("open files of the master", ""),
        ("open files of the agent", ""),
        ("open files of the keeper", ""),
        ("mounts of the agent", ""),
        ("mounts of the keeper", ""),
        ("disk of the master", "KiB"),
        ("disk of the node", "KiB"),
        ("disk of a node that is cut off for long", "KiB"),
    ];

    fn take(stage: &Stage, at: Duration) -> Result<Self> {
        let (Some(first), Some(last)) = (stage.nodes.first(), stage.nodes.last()) else {
            anyhow::bail!("there is no node");
        };
        let (agent, keeper) = processes_of(first)?;
        let (far_agent, far_keeper) = processes_of(last)?;
        let master = stage.master.pid().context("the master does not run")?;
        let values = [
            rss_kib(master)?,
            rss_kib(agent)?,
            rss_kib(keeper)?,
            rss_kib(far_agent)?,
            rss_kib(far_keeper)?,
            open_files(master)?,
            open_files(agent)?,
            open_files(keeper)?,
            mounts(agent, stage.run.name())?,
            mounts(keeper, stage.run.name())?,
            disk_kib(&stage.master.data_dir())?,
            disk_kib(first.host().folder())?,
            disk_kib(last.host().folder())?,
        ];
        let shown: Vec<String> = values.iter().map(|value| format!("{value:.0}")).collect();
        eprintln!("{:>5} s  {}", at.as_secs(), shown.join("  "));
        Ok(Self { at, values })
    }
}

/// The rise of one kind of value from the first of the looks to the last, by the median of the slopes between any two of them
/// (Theil and Sen): a value that jumps to and fro has none.
fn judged(which: usize, looks: &[Look]) -> Result<Measurement> {
    let (name, unit) = Look::NAMES.get(which).context("a value has a name")?;
    let points: Vec<(f64, f64)> = looks
        .iter()
        .filter_map(|look| Some((look.at.as_secs_f64() / 3600.0, *look.values.get(which)?)))
        .collect();
    let slopes = points.iter().enumerate().flat_map(|(number, one)| {
        points.iter().skip(number + 1).map(move |other| (other.1 - one.1) / (other.0 - one.0))
    });
    let (Some(slope), Some(begin), Some(end)) = (median(slopes), points.first(), points.last()) else {
        anyhow::bail!("{name}: one look gives no slope");
    };
    let level = median(points.iter().map(|point| point.1)).context("there are looks")?;
    let rise = 100.0 * slope * (end.0 - begin.0) / level;
    eprintln!("{name}: {slope:+.1} {unit} an hour at {level:.0}, a rise of {rise:+.2} %");
    Ok(Measurement::new(format!("{name}, rise over the soak"), rise, "%").at_most(RISE_PERCENT))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn processes_of(node: &Node) -> Result<(u32, u32)> {
    let agent = node.pid().context("the agent does not run")?;
    Ok((agent, node.keeper().context("there is no keeper")?.pid))
}

fn open_files(pid: u32) -> Result<f64> {
    let folder = format!("/proc/{pid}/fd");
    Ok(count(fs::read_dir(&folder).with_context(|| format!("reading {folder}"))?.count()))
}

/// Mounts of this run that a process sees: others on the machine have theirs.
fn mounts(pid: u32, run: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/mountinfo");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    Ok(count(text.lines().filter(|line| line.contains(run)).count()))
}

/// What a folder takes on its disk, without file systems that are mounted below and without what containers printed, which has a
/// bound of its own.
fn disk_kib(folder: &Path) -> Result<f64> {
    let device = fs::metadata(folder).with_context(|| format!("reading {}", folder.display()))?.dev();
    let (mut blocks, mut folders) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        // What goes away meanwhile takes nothing.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.dev() != device || entry.file_name() == "logs" {
                continue;
            }
            blocks += found.blocks();
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(count(usize::try_from(blocks)?) / 2.0)
}
