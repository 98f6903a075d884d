//! Measurements of Skerry from outside: its binaries and processes against goals, and against other runtimes in the same
//! run. `cargo xtask bench` builds what is measured, runs [`MEASUREMENTS`] and prints them.
//!
//! It measures and judges; it neither builds nor installs.

mod measurement;
mod sizes;

use std::path::PathBuf;

use anyhow::Result;

pub use measurement::Measurement;

/// What is measured.
#[derive(Debug)]
pub struct Subject {
    /// The folder of the four release binaries.
    pub binaries: PathBuf,
}

/// A measurement: a function from the subject to one or more values.
pub type Measure = fn(&Subject) -> Result<Vec<Measurement>>;

/// All measurements by name, in the order in which they are run.
pub const MEASUREMENTS: &[(&str, Measure)] = &[("binary sizes", sizes::measure)];
