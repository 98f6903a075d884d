//! `cargo xtask`: installs what a verb needs, builds it and runs it.
//!
//! The verbs are [`Verb`]. What the demo, the tests and the benchmarks share (registry, namespaces, images, guards) is in
//! `skerry-ground`; this crate needs no system library, so that it starts on a machine with Rust and nothing else.

mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and shows Skerry.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check the house rules: imports, IO in brains, file length, names, documentation.
    Tidy,
}

fn main() -> ExitCode {
    let root = workspace_root();
    let result = match Arguments::parse().verb {
        Verb::Tidy => tidy::run(&root),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the root Cargo.toml. xtask is only ever run by cargo from its own checkout.
fn workspace_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}
