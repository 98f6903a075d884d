//! Builds what is measured and what measures, and runs it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use skerry_ground::{image, image_dir};

use crate::build::{self, Profile};
use crate::cargo;
use crate::setup::{self, Purpose};

/// Runs all measurements whose name contains `filter`. Fails when a goal is missed.
pub(crate) fn run(root: &Path, json: bool, filter: &str) -> Result<()> {
    setup::run(&[Purpose::Build, Purpose::Images, Purpose::Run, Purpose::Peers])?;
    ensure!(crate::is_root(), "the measurements start containers: run this as root");
    let binaries = build::run(root, Profile::Release)?;
    // What is measured is all that goes to standard output.
    image::build_all(&root.join("images"), &image_dir(), |name| eprintln!("building image {name}"))?;
    // Not the release profile: what drives need not be linked as tightly as what is measured.
    let mut command = cargo(root);
    command.args(["run", "--quiet", "--profile", "quick", "--package", "skerry-benches", "--"]);
    if json {
        command.arg("--json");
    }
    command.arg(filter).env("SKERRY_BIN_DIR", binaries).env("SKERRY_IMAGE_DIR", image_dir());
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "not every goal is met");
    Ok(())
}
