use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use skerry_ground::run_command;

/// Builds the library that, preloaded, moves a program's wall clock by `$WALL_CLOCK_OFFSET_S` seconds and leaves its monotonic
/// clock alone. The kernel has a namespace for the monotonic clock but none for the wall clock, so the call is what is moved.
pub fn wrong_clock(folder: &Path) -> Result<PathBuf> {
    let library = folder.join("wrong_clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/wrong_clock.rs");
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args([
        "--edition",
        "2024",
        "--crate-type",
        "cdylib",
        "-C",
        "panic=abort",
        "-C",
        "opt-level=s",
        "-o",
    ]);
    run_command(command.arg(&library).arg(source)).context("building the wrong clock")?;
    Ok(library)
}
