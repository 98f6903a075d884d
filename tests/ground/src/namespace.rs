use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{output, run_command, words};

const FOLDER: &str = "/run/netns";

/// A named network namespace, as `ip netns` knows it. It is not a guard: its [`Run`](crate::Run) takes it down.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace with its loopback up.
    pub(crate) fn add(name: String) -> Result<Self> {
        run_command(&mut words(&format!("ip netns add {name}")))?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name that `ip netns` lists.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// A command that will run in the namespace. Its process id is the program's own.
    ///
    /// It keeps the caller's mount namespace, which `ip netns exec` would not: there, a daemon that is started again
    /// would not see the mounts of the one before it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `work` on a thread of its own inside of the namespace, so that sockets it opens are the namespace's.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(self.path()).with_context(|| format!("opening namespace {}", self.name))?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("entering namespace {}", self.name))?;
                Ok(work())
            });
            inside.join().map_err(|_| anyhow!("the work in namespace {} panicked", self.name))?
        })
    }

    /// Runs `ip` with these words in the namespace and gives what it prints.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        output(&mut words(&format!("ip -n {} {arguments}", self.name)))
    }

    /// Runs one nftables script in the namespace.
    pub fn nft(&self, script: &str) -> Result<String> {
        output(self.command("nft").arg(script))
    }
}

/// The names of all namespaces that `ip netns` knows.
pub(crate) fn names() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(FOLDER) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The number that the kernel shows for the namespace in `/proc/PID/ns/net`.
pub(crate) fn inode(name: &str) -> Option<u64> {
    fs::metadata(Path::new(FOLDER).join(name)).ok().map(|metadata| metadata.ino())
}

/// Deletes the namespace; one that is gone already is no failure.
pub(crate) fn delete(name: &str) -> Result<()> {
    let deleted = run_command(&mut words(&format!("ip netns delete {name}")));
    if Path::new(FOLDER).join(name).exists() { deleted } else { Ok(()) }
}
