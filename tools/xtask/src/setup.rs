//! What each verb needs from apt, and its installation.
//!
//! The table is the whole truth: nothing else of the machine is touched, and no service that comes with a package is left
//! running or enabled.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What a package is for. A verb asks for some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To compile and link.
    Build,
    /// To make images.
    Images,
    /// To run nodes, a registry and their network.
    Run,
    /// What only tests need.
    Test,
    /// To compare with.
    Peers,
}

struct Package {
    name: &'static str,
    purpose: Purpose,
    reason: &'static str,
    /// Units that the package enables, and that are switched off after it was installed here.
    units: &'static [&'static str],
}

const fn package(name: &'static str, purpose: Purpose, reason: &'static str) -> Package {
    Package { name, purpose, reason, units: &[] }
}

const PACKAGES: &[Package] = &[
    package("gcc", Purpose::Build, "links Rust programs and compiles the C parts of ring and zstd"),
    package("libc6-dev", Purpose::Build, "the C library, static for the keeper"),
    package("pkg-config", Purpose::Build, "finds libseccomp"),
    package("libseccomp-dev", Purpose::Build, "system call filters, linked into the keeper"),
    package("mmdebstrap", Purpose::Images, "unpacks Debian packages into images"),
    package("iproute2", Purpose::Run, "network namespaces and links between hosts"),
    package("nftables", Purpose::Run, "host ports and masquerade of nodes; cuts links in the test ground"),
    Package {
        name: "docker-registry",
        purpose: Purpose::Run,
        reason: "the registry that nodes pull from",
        units: &["docker-registry.service"],
    },
    package("skopeo", Purpose::Run, "pushes images to the registry"),
    package("openssl", Purpose::Run, "the registry's certificates"),
    package("mosquitto-clients", Purpose::Run, "sends a message through the broker"),
    package("curl", Purpose::Run, "asks the registry in tests of the test ground"),
    package("busybox-static", Purpose::Test, "what runs in the containers of tests that have no image"),
    package("strace", Purpose::Test, "sees when a store syncs, and makes its disk fail"),
    package("wget", Purpose::Test, "asks a container for a page"),
    package("runc", Purpose::Peers, "start of a container to compare with"),
    package("crun", Purpose::Peers, "start of a container to compare with"),
    Package {
        name: "containerd",
        purpose: Purpose::Peers,
        reason: "start and memory of containers to compare with",
        units: &["containerd.service"],
    },
    Package {
        name: "podman",
        purpose: Purpose::Peers,
        reason: "start and memory of containers to compare with",
        units: &[
            "podman.service",
            "podman.socket",
            "podman-restart.service",
            "podman-auto-update.service",
            "podman-auto-update.timer",
        ],
    },
];

/// Installs what is missing for these purposes. Without root it prints the command that would, and fails.
pub(crate) fn run(purposes: &[Purpose]) -> Result<()> {
    let missing = missing(purposes)?;
    if missing.is_empty() {
        return Ok(());
    }
    println!("From apt, because it is missing here:");
    for package in &missing {
        println!("  {:18} {}", package.name, package.reason);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !crate::is_root() {
        let command =
            format!("apt-get update && apt-get install -y --no-install-recommends {}", names.join(" "));
        println!(
            "\nInstalling needs root. Run this, then the same command again:\n\n  sudo sh -c '{command}'\n"
        );
        bail!("{} package(s) are missing", names.len());
    }
    install(&names)?;
    let units: Vec<&str> = missing.iter().flat_map(|package| package.units).copied().collect();
    switch_off(&units)
}

fn missing(purposes: &[Purpose]) -> Result<Vec<&'static Package>> {
    let wanted: Vec<&Package> =
        PACKAGES.iter().filter(|package| purposes.contains(&package.purpose)).collect();
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"])
        .args(wanted.iter().map(|package| package.name))
        .output()
        .context("asking dpkg-query what is installed: this needs Debian or a system like it")?;
    // It fails when one of the packages is unknown, and lists the others all the same.
    let listed = String::from_utf8_lossy(&output.stdout);
    let installed: Vec<&str> = listed.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    Ok(wanted.into_iter().filter(|package| !installed.contains(&package.name)).collect())
}

fn install(names: &[&str]) -> Result<()> {
    let _quiet = NoServices::new()?;
    let wait = "DPkg::Lock::Timeout=300";
    apt(&["update", "-q", "-o", wait])?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends", "-o", wait];
    arguments.extend(names);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("starting apt-get")?;
    ensure!(status.success(), "apt-get {}: {status}", arguments.join(" "));
    Ok(())
}

/// The packages enabled their units for the next boot, although none was started.
fn switch_off(units: &[&str]) -> Result<()> {
    let has_systemd = ["/usr/bin/systemctl", "/bin/systemctl"].iter().any(|path| Path::new(path).exists());
    if units.is_empty() || !has_systemd {
        return Ok(());
    }
    let output = Command::new("systemctl")
        .args(["disable", "--quiet"])
        .args(units)
        .output()
        .context("starting systemctl")?;
    ensure!(output.status.success(), "systemctl disable: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// While it lives, packages that are being installed start no service: Debian's tools ask `policy-rc.d` first.
struct NoServices {
    made: bool,
}

impl NoServices {
    const PATH: &'static str = "/usr/sbin/policy-rc.d";

    fn new() -> Result<Self> {
        if Path::new(Self::PATH).exists() {
            return Ok(Self { made: false });
        }
        fs::write(Self::PATH, "#!/bin/sh\nexit 101\n").with_context(|| format!("writing {}", Self::PATH))?;
        let guard = Self { made: true };
        fs::set_permissions(Self::PATH, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {} executable", Self::PATH))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.made
            && let Err(error) = fs::remove_file(Self::PATH)
        {
            eprintln!("{} is left behind and keeps services from starting, remove it: {error}", Self::PATH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_named_once_and_says_why() {
        for (number, package) in PACKAGES.iter().enumerate() {
            assert!(package.reason.len() > 10, "{}", package.name);
            assert!(
                !PACKAGES[number + 1..].iter().any(|other| other.name == package.name),
                "{}",
                package.name
            );
        }
    }

    #[test]
    fn what_is_not_installed_is_missing() {
        let missing: Vec<&str> =
            missing(&[Purpose::Build, Purpose::Peers]).unwrap().iter().map(|package| package.name).collect();
        // A linker has made this very test.
        assert!(!missing.contains(&"libc6-dev"));
        assert!(!missing.contains(&"skopeo"), "not asked for");
    }
}
