//! Runs the measurements and prints them as a table or as JSON, one object per line.

use std::path::Path;

use anyhow::{Result, bail};
use skerry_benches::{MEASUREMENTS, Measurement, Subject};

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};

/// Runs all measurements whose name contains `filter`. Fails when a goal is missed.
pub(crate) fn run(root: &Path, json: bool, filter: &str) -> Result<()> {
    setup::run(&[Purpose::Build, Purpose::Images, Purpose::Run, Purpose::Peers])?;
    let subject = Subject { binaries: build::run(root, Profile::Release)? };
    let mut missed = 0;
    let mut table = Vec::new();
    for (name, measure) in MEASUREMENTS.iter().filter(|(name, _)| name.contains(filter)) {
        if !json {
            eprintln!("measuring {name}");
        }
        for measurement in measure(&subject)? {
            missed += usize::from(!measurement.ok());
            if json {
                println!("{}", measurement.to_json());
            } else {
                table.push(measurement);
            }
        }
    }
    print_table(&table);
    if missed > 0 {
        bail!("{missed} goal(s) missed");
    }
    Ok(())
}

fn print_table(rows: &[Measurement]) {
    if rows.is_empty() {
        return;
    }
    println!("{:36} {:>12} {:8} {:>26} {:>7}  goal", "measured", "value", "unit", "against", "ratio");
    for row in rows {
        let against = row.against().map(|(name, value)| format!("{name} {value:.2}")).unwrap_or_default();
        let ratio = row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let verdict = if row.ok() { "ok" } else { "MISSED" };
        let goal = row.goal().map(|goal| format!("{goal}: {verdict}")).unwrap_or_default();
        println!("{:36} {:>12.2} {:8} {against:>26} {ratio:>7}  {goal}", row.name(), row.value(), row.unit());
    }
}
