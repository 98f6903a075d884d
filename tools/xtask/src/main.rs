//! `cargo xtask`: installs what a verb needs, builds it and runs it.
//!
//! The verbs are [`Verb`]. What the demo, the tests and the benchmarks share (registry, namespaces, images, guards) is in
//! `skerry-ground`; this crate needs no system library, so that it starts on a machine with Rust and nothing else.

mod bench;
mod build;
mod demo;
mod images;
mod setup;
mod suite;
mod tidy;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use setup::Purpose;
use skerry_ground::workspace_root;

/// Builds, tests and shows Skerry. Each verb installs what it needs from apt and says so.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show Skerry at work: two regions of edge nodes, links that break, processes that die, updates.
    Demo(demo::Options),
    /// Run everything that must pass: format, lints, house rules, all tests. Needs root.
    Test,
    /// Build the images that the demo and the tests run.
    Images,
    /// Measure speeds and sizes against their goals and against other runtimes. Needs root.
    Bench {
        /// Print one JSON object per line instead of a table.
        #[arg(long)]
        json: bool,
        /// Only the measurements whose name contains this; `swarm` for ten thousand agents on one master, `soak` for half an hour of
        /// links that flap and workloads that come and go.
        #[arg(default_value = "")]
        filter: String,
    },
    /// Check the house rules: imports, IO in brains, file length, names, documentation.
    Tidy,
    /// Build the four binaries into target/skerry.
    Build {
        /// As shipped, instead of quickly.
        #[arg(long)]
        release: bool,
    },
    /// Install what all verbs need.
    Setup,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> Result<()> {
    let root = &workspace_root();
    match verb {
        Verb::Demo(options) => demo::run(root, options),
        Verb::Test => suite::run(root),
        Verb::Images => {
            setup::run(&[Purpose::Build, Purpose::Images])?;
            images::run(root).map(drop)
        }
        Verb::Bench { json, filter } => bench::run(root, *json, filter),
        Verb::Tidy => tidy::run(root),
        Verb::Build { release } => {
            setup::run(&[Purpose::Build])?;
            let profile = if *release { build::Profile::Release } else { build::Profile::Quick };
            let folder = build::run(root, profile)?;
            println!("{}", folder.display());
            Ok(())
        }
        Verb::Setup => {
            setup::run(&[Purpose::Build, Purpose::Images, Purpose::Run, Purpose::Test, Purpose::Peers])
        }
    }
}

/// The cargo that runs this, at work in the workspace.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn is_root() -> bool {
    // The owner of a process's own folder in /proc is the user it runs as.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
