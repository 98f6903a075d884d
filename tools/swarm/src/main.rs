//! `skerry-swarm`: puts a master through thousands of agents, and prints what it took.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use skerry_ground::measure::table;
use skerry_swarm::{Course, Plan};

/// Puts the `skerry-master` of `$SKERRY_BIN_DIR` through thousands of light agents. Needs root.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
struct Arguments {
    /// Nodes, at most 10,000
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// Workloads with one instance on every node
    #[arg(long, default_value_t = 10)]
    allocations: usize,
    /// Milliseconds that the scripted runtime takes for every operation
    #[arg(long, default_value_t = 20)]
    operation_ms: u64,
    /// Seconds before an idle master is looked at
    #[arg(long, default_value_t = 40)]
    settle_s: u64,
    /// Seconds for which an idle master is looked at
    #[arg(long, default_value_t = 60)]
    idle_s: u64,
    /// Seconds that the master stays away in the second storm after all links were given up; 0: no such storm
    #[arg(long, default_value_t = 10)]
    outage_s: u64,
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
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

fn run(arguments: &Arguments) -> Result<()> {
    skerry_ground::catch_interrupts()?;
    let rows = Course::run(Plan {
        agents: arguments.agents,
        allocations: arguments.allocations,
        operation: Duration::from_millis(arguments.operation_ms),
        settle: Duration::from_secs(arguments.settle_s),
        idle: Duration::from_secs(arguments.idle_s),
        outage: Some(arguments.outage_s).filter(|seconds| *seconds > 0).map(Duration::from_secs),
    })?;
    if arguments.json {
        for row in &rows {
            println!("{}", row.to_json());
        }
    } else {
        table(&rows);
    }
    match rows.iter().filter(|row| !row.ok()).count() {
        0 => Ok(()),
        missed => bail!("{missed} goal(s) missed"),
    }
}
