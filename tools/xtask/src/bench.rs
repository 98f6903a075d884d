//! Builds what is measured and what measures, and runs it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use skerry_ground::{image, image_dir};

use crate::build::{self, Profile};
use crate::cargo;
use crate::setup::{self, Purpose};

/// The measurement that is a program of its own: ten thousand agents are no part of a round over everything.
const SWARM: &str = "swarm";

/// Runs all measurements whose name contains `filter`, or the swarm when that is named. Fails when a goal is missed.
pub(crate) fn run(root: &Path, json: bool, filter: &str) -> Result<()> {
    setup::run(&[Purpose::Build, Purpose::Images, Purpose::Run, Purpose::Peers])?;
    ensure!(crate::is_root(), "the measurements start containers: run this as root");
    let binaries = build::run(root, Profile::Release)?;
    // What is measured is all that goes to standard output.
    image::build_all(&root.join("images"), &image_dir(), |name| eprintln!("building image {name}"))?;
    // Not the release profile: what drives need not be linked as tightly as what is measured.
    let mut command = cargo(root);
    let package = if filter == SWARM { "skerry-swarm" } else { "skerry-benches" };
    command.args(["run", "--quiet", "--profile", "quick", "--package", package, "--"]);
    if json {
        command.arg("--json");
    }
    if filter != SWARM {
        command.arg(filter);
    }
    command.env("SKERRY_BIN_DIR", binaries).env("SKERRY_IMAGE_DIR", image_dir());
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "not every goal is met");
    Ok(())
}
