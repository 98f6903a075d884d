//! Builds the four binaries into one folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use skerry_ground::output;

/// How the binaries are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For the demo and the tests.
    Quick,
    /// As shipped, for measurements.
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Release => "release",
        }
    }

    /// The folder that [`run`] puts the binaries in.
    pub(crate) fn folder(self, root: &Path) -> PathBuf {
        let folder = match self {
            Self::Quick => "bin",
            Self::Release => "release-bin",
        };
        root.join("target/skerry").join(folder)
    }
}

/// Package and binary of what runs everywhere, linked as usual.
const DYNAMIC: &[(&str, &str)] =
    &[("skerry-master", "skerry-master"), (AGENT, AGENT), ("skerry-cli", "skerry")];

/// Compiled for size: its text is most of the memory that it needs on a gateway.
const AGENT: &str = "skerry-agent";
const KEEPER: &str = "skerry-keeper";

/// Builds all four binaries and gives their folder.
pub(crate) fn run(root: &Path, profile: Profile) -> Result<PathBuf> {
    let folder = profile.folder(root);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    dynamic(root, profile)?;
    for (_, binary) in DYNAMIC {
        place(&root.join("target").join(profile.name()).join(binary), &folder.join(binary))?;
    }
    keeper(root, profile, &folder)?;
    Ok(folder)
}

/// Tests take the shortest way. What ships is built one package at a time: built together, each would carry what only another
/// asks of a library.
fn dynamic(root: &Path, profile: Profile) -> Result<()> {
    let packages = DYNAMIC.iter().map(|(package, _)| *package);
    if profile == Profile::Quick {
        return build(cargo(root, profile).args(packages.flat_map(|package| ["--package", package])));
    }
    for package in packages {
        let mut command = cargo(root, profile);
        command.args(["--package", package]);
        if package == AGENT {
            command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s");
        }
        build(&mut command)?;
    }
    Ok(())
}

/// The keeper is static and does not move in memory: it starts fastest so, and has the least private memory. It has a
/// target folder of its own, so that its compiler flags do not make cargo build everything else again.
///
/// The shipped one is compiled for size and has no unwind tables: it aborts on a panic, and what it waits for is the kernel.
fn keeper(root: &Path, profile: Profile, folder: &Path) -> Result<()> {
    let host = host_triple()?;
    let target = root.join("target/keeper");
    let mut command = cargo(root, profile);
    command.args(["--package", KEEPER, "--target", &host]).arg("--target-dir").arg(&target);
    let mut flags = vec!["-C target-feature=+crt-static -C relocation-model=static".to_owned()];
    if profile == Profile::Release {
        let script = root.join("tools/xtask/no-unwind-tables.ld");
        flags.push(format!("-C force-unwind-tables=no -C link-arg={}", script.display()));
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z");
    }
    command.env("RUSTFLAGS", flags.join(" "));
    command.env("LIBSECCOMP_LINK_TYPE", "static").env("LIBSECCOMP_LIB_PATH", libseccomp_folder()?);
    build(&mut command)?;
    place(&target.join(host).join(profile.name()).join(KEEPER), &folder.join(KEEPER))
}

fn cargo(root: &Path, profile: Profile) -> Command {
    let mut command = crate::cargo(root);
    command.args(["build", "--profile", profile.name()]);
    command
}

fn build(command: &mut Command) -> Result<()> {
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "cargo build failed");
    Ok(())
}

/// Puts a copy in place at once: a node may be running the binary that is replaced.
fn place(from: &Path, to: &Path) -> Result<()> {
    let beside = to.with_extension("new");
    fs::copy(from, &beside).with_context(|| format!("copying {}", from.display()))?;
    fs::rename(&beside, to).with_context(|| format!("replacing {}", to.display()))
}

fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = output(Command::new(rustc).arg("-vV"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}

fn libseccomp_folder() -> Result<String> {
    let mut command = Command::new("pkg-config");
    Ok(output(command.args(["--variable=libdir", "libseccomp"]))?.trim().to_owned())
}
