//! What a process takes, read from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Proportional set size in KiB: pages that several processes share count in parts.
pub(crate) fn pss_kib(pid: u32) -> Result<f64> {
    field_kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// Resident set size in KiB.
pub(crate) fn rss_kib(pid: u32) -> Result<f64> {
    field_kib(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Processor time of all threads that live, to the nanosecond.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))?.flatten() {
        // A thread that ends just then has done next to nothing.
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

fn field_kib(path: &str, name: &str) -> Result<f64> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
    value.and_then(|word| word.parse().ok()).with_context(|| format!("{path} has no {name}"))
}
