//! The whole suite: format, lints, house rules, binaries, images, tests; in that order, each with its time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use skerry_ground::image_dir;

use crate::build::Profile;
use crate::setup::Purpose;
use crate::{build, cargo, images, setup, tidy};

const SIMULATOR: &str = "skerry-sim";
/// For how long the simulator plays seeds that nobody has tried.
const FRESH_SECONDS: &str = "120";

/// Runs everything. The first sections are independent of each other, so that one run tells all that is wrong; without
/// binaries or images there is nothing to test.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut suite = Suite::default();
    let purposes = [Purpose::Build, Purpose::Images, Purpose::Run, Purpose::Test];
    suite.must("what is needed", || setup::run(&purposes))?;
    ensure!(crate::is_root(), "the tests make network namespaces and containers: run this as root");
    suite.section("format", || step(root, &["fmt", "--all", "--check"]));
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    suite.section("lints", || step(root, &clippy));
    suite.section("house rules", || tidy::run(root));
    suite.must("binaries", || build::run(root, Profile::Quick).map(drop))?;
    suite.must("images", || images::run(root).map(drop))?;
    let mut tally = Tally::default();
    suite.section("tests", || tests(root, &["--workspace", "--exclude", SIMULATOR], &mut tally));
    // What it finds goes by how much it plays: ten times as much as without optimization.
    suite.section("simulator", || tests(root, &["--package", SIMULATOR, "--profile", "quick"], &mut tally));
    suite.summary(&tally)
}

fn step(root: &Path, arguments: &[&str]) -> Result<()> {
    let status = cargo(root).args(arguments).status().context("starting cargo")?;
    ensure!(status.success(), "cargo {}: {status}", arguments.join(" "));
    Ok(())
}

/// Runs cargo's tests of these packages, shows what it prints, and counts its result lines.
fn tests(root: &Path, packages: &[&str], tally: &mut Tally) -> Result<()> {
    let seed = seed_of_tree(root).map(|seed| ("SKERRY_SIM_FRESH_FROM", seed.to_string()));
    let mut child = cargo(root)
        .args(["test", "--no-fail-fast"])
        .args(packages)
        .envs(seed)
        .env("SKERRY_SIM_FRESH_S", FRESH_SECONDS)
        .env("SKERRY_BIN_DIR", Profile::Quick.folder(root))
        .env("SKERRY_IMAGE_DIR", image_dir())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let stdout = child.stdout.take().context("the output of cargo is not there")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("reading what cargo prints")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.read(&line);
    }
    let status = child.wait().context("waiting for cargo")?;
    ensure!(status.success(), "{} test(s) failed", tally.failed.max(1));
    Ok(())
}

/// From which seed on the simulator's fresh ones begin: a number of the tree that is checked out, so that each tree has its own, and
/// what failed fails again. `None` outside of a repository.
fn seed_of_tree(root: &Path) -> Option<u64> {
    let arguments = ["rev-parse", "--short=8", "HEAD^{tree}"];
    let output = Command::new("git").args(arguments).current_dir(root).stderr(Stdio::null()).output().ok()?;
    let said = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    u64::from_str_radix(said.trim().get(..8)?, 16).ok()
}

/// Tests as cargo's `test result:` lines count them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    names: Vec<String>,
}

impl Tally {
    fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.names.push(name.to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let count = |what: &str| {
            let words: Vec<&str> = result.split([' ', ';']).collect();
            let at = words.iter().position(|word| *word == what)?;
            words.get(at.checked_sub(1)?)?.parse::<u64>().ok()
        };
        self.passed += count("passed").unwrap_or(0);
        self.failed += count("failed").unwrap_or(0);
    }
}

#[derive(Debug, Default)]
struct Suite {
    sections: Vec<(&'static str, Duration, bool)>,
}

impl Suite {
    /// Runs a section and goes on whatever comes of it.
    fn section(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        if let Err(error) = self.must(name, work) {
            eprintln!("error: {error:#}");
        }
    }

    /// Runs a section without which the next ones make no sense.
    fn must(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        println!("=== {name}: {} in {:.1} s", verdict(result.is_ok()), took.as_secs_f32());
        self.sections.push((name, took, result.is_ok()));
        result
    }

    fn summary(&self, tally: &Tally) -> Result<()> {
        println!("\nSummary");
        for (name, took, ok) in &self.sections {
            println!("  {name:16} {:6} {:7.1} s", verdict(*ok), took.as_secs_f32());
        }
        let total: Duration = self.sections.iter().map(|(_, took, _)| *took).sum();
        println!("  {} tests passed, {} failed; {:.1} s", tally.passed, tally.failed, total.as_secs_f32());
        for name in &tally.names {
            println!("  failed: {name}");
        }
        let failed: Vec<&str> =
            self.sections.iter().filter(|(_, _, ok)| !ok).map(|(name, ..)| *name).collect();
        if !failed.is_empty() {
            bail!("not all is well: {}", failed.join(", "));
        }
        Ok(())
    }
}

fn verdict(ok: bool) -> &'static str {
    if ok { "ok" } else { "FAILED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 1.00s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally, Tally { passed: 42, failed: 1, names: vec!["a::c".to_owned()] });
    }

    #[test]
    fn one_failed_section_fails_the_suite() {
        let mut suite = Suite::default();
        suite.section("good", || Ok(()));
        assert!(suite.summary(&Tally::default()).is_ok());
        suite.section("bad", || bail!("no"));
        suite.section("good", || Ok(()));
        let error = suite.summary(&Tally::default()).unwrap_err();
        assert_eq!(error.to_string(), "not all is well: bad");
    }
}
