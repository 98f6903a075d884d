//! Measurements of Skerry against goals, and against other runtimes or the machine's own floor in the same run.
//! `cargo xtask bench` builds what is measured and runs this.
//!
//! It measures and judges; it neither builds nor installs. What is measured are the release binaries in `$SKERRY_BIN_DIR`, from
//! outside; only the start of a container is driven through the agent's own library, so that the moment of the decision is
//! known. Start with [`MEASUREMENTS`].

mod applies;
mod fleet;
mod idle;
mod peers;
mod placement;
mod process;
mod schedules;
mod sizes;
mod soak;
mod stage;
mod start;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Parser;

pub(crate) use skerry_ground::measure::Measurement;

/// A measurement gives one or more values.
type Measure = fn(&Arguments) -> Result<Vec<Measurement>>;

/// All measurements by name, in the order in which they are run.
const MEASUREMENTS: &[(&str, Measure)] = &[
    ("sizes", |_| sizes::measure()),
    ("start", |_| start::measure()),
    ("fleet", |_| fleet::measure()),
    ("applies", |_| applies::measure()),
    ("idle", |_| idle::measure()),
    ("schedules", |_| schedules::measure()),
    ("packing", |arguments| placement::packing(&arguments.openb)),
    ("durable", |_| placement::durable()),
    ("rollout", |_| placement::fleet_update()),
    (SOAK, |arguments| soak::measure(Duration::from_mins(arguments.minutes))),
];

/// Takes as long as it is told to, and so is run only by its whole name.
const SOAK: &str = "soak";

/// Measures speeds and sizes of the release binaries in `$SKERRY_BIN_DIR`.
#[derive(Debug, Parser)]
#[command(name = "skerry-benches", disable_version_flag = true)]
struct Arguments {
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
    /// Only the measurements whose name contains this: sizes, start, fleet, applies, idle, schedules, packing, durable,
    /// rollout; soak only by its whole name
    #[arg(default_value = "")]
    filter: String,
    /// Folder of the openb trace
    #[arg(long, env = "SKERRY_OPENB", default_value = "../shared/data/openb")]
    openb: std::path::PathBuf,
    /// How long the soak takes
    #[arg(long, env = "SKERRY_SOAK_MINUTES", default_value_t = 30)]
    minutes: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every measurement that is asked for, also when one fails, and fails when a goal is missed.
fn run(arguments: &Arguments) -> Result<()> {
    skerry_ground::catch_interrupts()?;
    let is_chosen = |name: &str| match name {
        SOAK => arguments.filter == SOAK,
        _ => name.contains(&arguments.filter),
    };
    let chosen: Vec<_> = MEASUREMENTS.iter().filter(|(name, _)| is_chosen(name)).collect();
    ensure!(!chosen.is_empty(), "no measurement has '{}' in its name", arguments.filter);
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (name, measure) in chosen {
        skerry_ground::check_interrupt()?;
        eprintln!("measuring: {name}");
        match measure(arguments) {
            Ok(measured) => {
                if arguments.json {
                    for row in &measured {
                        println!("{}", row.to_json());
                    }
                }
                rows.extend(measured);
            }
            Err(error) => {
                eprintln!("error: {name}: {error:#}");
                failed.push(*name);
            }
        }
    }
    if !arguments.json {
        skerry_ground::measure::table(&rows);
    }
    let missed = rows.iter().filter(|row| !row.ok()).count();
    if missed > 0 || !failed.is_empty() {
        bail!("{missed} goal(s) missed, {} measurement(s) failed {failed:?}", failed.len());
    }
    Ok(())
}
