//! From an allocation to its running containers.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skerry_keeper_protocol::{ContainerKey, ContainerState, CreateRequest, FailureKind, LogPolicy};
use skerry_types::{AllocationId, ContainerSpec, FencingToken, WallTime};

use super::identity::{self, Start};
use super::known::Entry;
use super::{ContainerRef, PrepareError, Runtime, StartError, etc, now};
use crate::bundle::{self, BundlePaths, ContainerConfig, Device, NodeTraits};
use crate::image::Image;
use crate::keeper::KeeperError;
use crate::network::PortForward;
use crate::snapshot::{self, SnapshotPaths};

/// Where a container finds its fencing token.
const TOKEN_VARIABLE: &str = "SKERRY_FENCING_TOKEN";
/// The same as a file in the bundle, which is bound into the container.
const TOKEN_FILE: &str = "fencing-token";

/// What an allocation's containers share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    /// The allocation.
    pub allocation: AllocationId,
    /// Host ports that lead to it.
    pub ports: Vec<PortForward>,
    /// The address it had, if it had one; it gets it again if it can.
    pub address: Option<Ipv4Addr>,
}

/// One start of a container.
#[derive(Debug, Clone)]
pub struct ContainerStart<'a> {
    /// What it runs.
    pub spec: &'a ContainerSpec,
    /// Which start of it, from 0.
    pub attempt: u32,
    /// Its image, whole and on disk.
    pub image: Arc<Image>,
    /// Device files of the node that it has beside the harmless ones; absolute.
    pub devices: &'a [String],
    /// What it is given if it is exclusive.
    pub fence: Option<Fence>,
}

/// What an exclusive container is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// In its environment as `SKERRY_FENCING_TOKEN`, and in the file `/run/skerry/fencing-token`.
    pub token: FencingToken,
    /// When the keeper ends it unless [`Runtime::extend`] puts that off: milliseconds of `CLOCK_BOOTTIME`.
    pub kill_at_ms: u64,
}

/// A container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Its first process.
    pub pid: u32,
    /// Since when.
    pub started_at: WallTime,
}

impl Runtime {
    /// Makes an allocation's network and files, or finds them. Returns its address. Does not wait for host ports to be in force:
    /// [`Runtime::start`] does.
    pub async fn prepare(&self, sandbox: &SandboxSpec) -> Result<Ipv4Addr, PrepareError> {
        let lock = self.allocation(&sandbox.allocation);
        let _held = lock.lock().await;
        self.prepare_held(sandbox).await
    }

    async fn prepare_held(&self, sandbox: &SandboxSpec) -> Result<Ipv4Addr, PrepareError> {
        let alloc = &sandbox.allocation;
        let ip = self.network.claim(alloc, sandbox.address, &sandbox.ports)?;
        let dir = self.shared.paths.etc(alloc);
        // Three files of a few lines on a memory file system: less than handing them to another thread costs.
        let files =
            async { if dir.join("resolv.conf").exists() { Ok(()) } else { etc::write(&dir, alloc, ip) } };
        // In this order: the kernel makes the network on a thread of its own while the files are written.
        let (attached, written) =
            tokio::join!(self.network.attach(alloc, sandbox.address, &sandbox.ports), files);
        attached?;
        written.map_err(|source| PrepareError::Files { path: dir.clone(), source })?;
        Ok(ip)
    }

    /// Makes and starts a container, and its sandbox if need be. Returns when it runs and its host ports lead to it. What an
    /// earlier start of the container left is removed; a start of the same attempt that runs already is the answer.
    pub async fn start(
        &self,
        sandbox: &SandboxSpec,
        start: ContainerStart<'_>,
    ) -> Result<Started, StartError> {
        let container =
            ContainerRef { allocation: sandbox.allocation.clone(), container: start.spec.name.clone() };
        let lock = self.allocation(&sandbox.allocation);
        let _held = lock.lock().await;
        if let Some(started) = self.clear_way(&container, start.attempt).await? {
            return Ok(started);
        }
        let mut config = ContainerConfig::settle(start.spec, &start.image.config)?;
        let devices = start.devices.iter().map(|path| Device::of(Path::new(path)));
        config.devices = devices.collect::<Result<_, _>>()?;
        if let Some(fence) = start.fence {
            config.set_env(TOKEN_VARIABLE, &fence.token.to_string());
        }
        let request = self.create_request(&container, &start)?;
        let made = self.make(sandbox, &container, &start, config, request).await;
        match made {
            Ok(started) => {
                if let Err(error) = self.network.ports_ready(&sandbox.allocation).await {
                    // The container runs; the rules are loaded again until they are in force.
                    tracing::warn!(%container, %error, "host ports are not in force");
                }
                Ok(started)
            }
            Err(error) => {
                self.undo(&container).await;
                Err(error)
            }
        }
    }

    /// Removes earlier starts from the keeper, but for one of this attempt that runs.
    async fn clear_way(&self, container: &ContainerRef, attempt: u32) -> Result<Option<Started>, StartError> {
        let starts = self.shared.known(|known| known.starts(container));
        for entry in starts {
            let record = self.keeper.inspect(entry.key.clone()).await?;
            let running = record.and_then(|record| match record.state {
                ContainerState::Running { process, started_at_unix_ms } => {
                    Some(Started { pid: process.pid, started_at: WallTime(started_at_unix_ms) })
                }
                _ => None,
            });
            if running.is_some() && entry.start.attempt == attempt {
                return Ok(running);
            }
            self.keeper.delete(entry.key.clone()).await?;
            self.shared.known(|known| known.forget(&entry.key));
        }
        Ok(None)
    }

    fn create_request(
        &self,
        container: &ContainerRef,
        start: &ContainerStart<'_>,
    ) -> Result<CreateRequest, StartError> {
        let request_error = |error| StartError::Keeper(KeeperError::Request(error));
        let key = identity::key(container, start.attempt).map_err(request_error)?;
        let known = Start {
            container: container.clone(),
            attempt: start.attempt,
            stop_signal: identity::stop_signal(&start.image.config.stop_signal),
            asked_at: now(),
        };
        let identity = known.encode().map_err(request_error)?;
        let cgroup = self.cgroup(container);
        let request = CreateRequest {
            key: key.clone(),
            identity,
            bundle: self.shared.paths.bundle(container),
            cgroups_path: cgroup.parse().map_err(|error| request_error(Box::new(error)))?,
            log: LogPolicy {
                dir: self.shared.paths.log(container),
                max_bytes: self.config.log_max_bytes,
                max_files: self.config.log_max_files,
            },
            deadline_ms: u32::try_from(self.config.create_deadline.as_millis()).unwrap_or(u32::MAX),
            kill_at_ms: start.fence.map(|fence| fence.kill_at_ms),
        };
        // Known from here on, so that a removal finds it whatever becomes of this start.
        let entry = Entry { key, start: known, started_at: None, pid: None };
        self.shared.known(|known| known.insert(entry));
        Ok(request)
    }

    async fn make(
        &self,
        sandbox: &SandboxSpec,
        container: &ContainerRef,
        start: &ContainerStart<'_>,
        config: ContainerConfig,
        request: CreateRequest,
    ) -> Result<Started, StartError> {
        let files = BundleFiles {
            snapshot: self.shared.paths.snapshot(container),
            bundle: request.bundle.clone(),
            netns: self.network.netns(&container.allocation),
            etc: self.shared.paths.etc(&container.allocation),
            cgroup: request.cgroups_path.as_str().to_owned(),
            hostname: etc::hostname(&container.allocation).to_owned(),
            traits: self.traits,
            token: start.fence.map(|fence| fence.token),
        };
        let image = start.image.clone();
        let write = tokio::task::spawn_blocking(move || files.write(&image, &config));
        // None needs another; each is milliseconds of the kernel's work. An announcement that fails costs only time.
        let (prepared, written, _announced) =
            tokio::join!(self.prepare_held(sandbox), write, self.keeper.expect_create());
        written.map_err(|panic| StartError::Files {
            path: request.bundle.clone(),
            source: std::io::Error::other(panic),
        })??;
        prepared?;
        let process = self.create(request).await?;
        let started = Started { pid: process.pid, started_at: now() };
        self.shared.known(|known| known.started(container, start.attempt, started.pid, started.started_at));
        Ok(started)
    }

    /// Asks the keeper. A container of this key that does not run is the rest of an earlier try and makes way.
    async fn create(
        &self,
        request: CreateRequest,
    ) -> Result<skerry_keeper_protocol::ProcessIdentity, StartError> {
        let key: ContainerKey = request.key.clone();
        let result = match self.keeper.create(request.clone()).await {
            Err(error) if error.refusal() == Some(FailureKind::Exists) => {
                self.keeper.delete(key).await?;
                self.keeper.create(request).await
            }
            result => result,
        };
        result.map_err(|error| match error.refusal() {
            Some(FailureKind::Cancelled) => StartError::Removed,
            _ => error.into(),
        })
    }

    /// After a start that failed. What cannot be undone here is by the next start or the removal.
    async fn undo(&self, container: &ContainerRef) {
        for entry in self.shared.known(|known| known.starts(container)) {
            match self.keeper.delete(entry.key.clone()).await {
                Ok(()) => self.shared.known(|known| known.forget(&entry.key)),
                Err(error) => tracing::warn!(%container, %error, "a failed start cannot be undone yet"),
            }
        }
        let paths = self.shared.paths.snapshot(container);
        if let Err(error) = super::blocking(move || snapshot::remove(&paths)).await {
            tracing::warn!(%container, %error, "a failed start cannot be undone yet");
        }
    }

    /// Lets the exclusive containers of an allocation run up to a later time. One that does not run is fine.
    pub async fn extend(&self, alloc: &AllocationId, kill_at_ms: u64) -> Result<(), KeeperError> {
        for entry in self.shared.known(|known| known.of_allocation(alloc)) {
            self.keeper.extend(entry.key, kill_at_ms).await?;
        }
        Ok(())
    }

    /// Side by side, so that all containers of the node share its processors by what they asked for, whichever allocations they are
    /// of. Neither name has an underscore.
    pub(super) fn cgroup(&self, container: &ContainerRef) -> String {
        let ContainerRef { allocation, container } = container;
        format!("{}/{allocation}_{container}", self.config.cgroup_parent.trim_end_matches('/'))
    }
}

/// All that a bundle is made from.
struct BundleFiles {
    snapshot: SnapshotPaths,
    bundle: PathBuf,
    netns: PathBuf,
    etc: PathBuf,
    cgroup: String,
    hostname: String,
    traits: NodeTraits,
    token: Option<FencingToken>,
}

impl BundleFiles {
    /// Mounts the root file system and writes `config.json`. Nothing is synced: after a power cut everything here is made anew.
    fn write(&self, image: &Image, config: &ContainerConfig) -> Result<(), StartError> {
        snapshot::mount_fresh(&self.snapshot, &image.layers)?;
        let rootfs: &Path = &self.snapshot.rootfs;
        let user = bundle::resolve_user(rootfs, &config.user)?;
        let token = self.bundle.join(TOKEN_FILE);
        if let Some(value) = self.token {
            let written = fs::write(&token, format!("{value}\n"));
            written.map_err(|source| StartError::Files { path: token.clone(), source })?;
        }
        let paths = BundlePaths {
            rootfs,
            netns: &self.netns,
            etc: &self.etc,
            cgroup: &self.cgroup,
            token: self.token.map(|_| token.as_path()),
        };
        let spec = bundle::specification(config, &user, &self.hostname, &paths, &self.traits)?;
        let path = self.bundle.join("config.json");
        fs::write(&path, spec.to_string()).map_err(|source| StartError::Files { path, source })
    }
}
