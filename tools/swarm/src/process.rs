//! What a process takes, read from `/proc`.

use std::fs;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use tokio::time::Duration;

/// Resident memory in KiB.
pub(crate) fn rss_kib(pid: u32) -> Result<f64> {
    field_kib(pid, "VmRSS:")
}

/// The most that was ever resident, in KiB.
pub(crate) fn peak_kib(pid: u32) -> Result<f64> {
    field_kib(pid, "VmHWM:")
}

/// Processor time of all threads there ever were, to a hundredth of a second.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name may hold spaces and parentheses: what follows the last one is fixed.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).context("an odd stat")?;
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Ok(Duration::from_millis(ticks * 1000 / clock_ticks_per_second()))
}

fn field_kib(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok());
    value.with_context(|| format!("{path} has no {name}"))
}
