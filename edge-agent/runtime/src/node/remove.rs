//! Ends containers and leaves nothing of them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use skerry_types::{AllocationId, ContainerName};

use super::paths::Paths;
use super::{ContainerRef, RemoveError, Runtime, blocking, snapshot};
use crate::keeper::KeeperError;
use crate::snapshot::SnapshotError;

impl Runtime {
    /// Asks a container to end, by a signal to its first process: this one, or else its image's stop signal. One that does not
    /// run is fine.
    pub async fn ask(&self, container: &ContainerRef, signal: Option<u8>) -> Result<(), KeeperError> {
        let latest = self.shared.known(|known| known.latest(container).cloned());
        match latest {
            Some(entry) => {
                let signal = signal.map_or(entry.start.stop_signal, i32::from);
                self.keeper.signal(entry.key, signal, false).await
            }
            None => Ok(()),
        }
    }

    /// Kills all processes of a container. One that does not run is fine.
    pub async fn kill(&self, container: &ContainerRef) -> Result<(), KeeperError> {
        let latest = self.shared.known(|known| known.latest(container).map(|entry| entry.key.clone()));
        match latest {
            Some(key) => self.keeper.signal(key, Signal::SIGKILL as i32, true).await,
            None => Ok(()),
        }
    }

    /// Removes a container, killing it if it runs: what the keeper holds, its mount, its writable layer. Its log stays. Absent is
    /// fine.
    pub async fn remove_container(&self, container: &ContainerRef) -> Result<(), RemoveError> {
        // At first without waiting: this calls off a start that is under way and hangs.
        self.end(&self.shared.known(|known| known.starts(container))).await?;
        let lock = self.allocation(&container.allocation);
        let _held = lock.lock().await;
        self.forget(self.shared.known(|known| known.starts(container))).await?;
        let (paths, bundle) = (self.shared.paths.snapshot(container), self.shared.paths.bundle(container));
        blocking(move || {
            snapshot::remove(&paths)?;
            snapshot::remove_tree(&bundle)
        })
        .await?;
        Ok(())
    }

    /// Gives back the network of an allocation whose containers are removed: its namespace, its host ports, its address for
    /// others. Logs stay. Absent is fine.
    pub async fn release(&self, alloc: &AllocationId) -> Result<(), RemoveError> {
        let lock = self.allocation(alloc);
        let _held = lock.lock().await;
        Ok(self.network.detach(alloc).await?)
    }

    /// Removes everything of an allocation, logs too, killing what runs. Absent is fine.
    pub async fn remove_allocation(&self, alloc: &AllocationId) -> Result<(), RemoveError> {
        self.end(&self.shared.known(|known| known.of_allocation(alloc))).await?;
        let lock = self.allocation(alloc);
        let held = lock.lock().await;
        self.forget(self.shared.known(|known| known.of_allocation(alloc))).await?;
        let (paths, id) = (self.shared.paths.clone(), alloc.clone());
        let files = blocking(move || remove_files(&paths, &id));
        let (files, network) = tokio::join!(files, self.network.detach(alloc));
        files?;
        network?;
        drop(held);
        self.allocations.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(alloc);
        Ok(())
    }

    /// Asks all containers of an allocation to end, kills what still runs after `grace`, and removes everything.
    pub async fn discard(&self, alloc: &AllocationId, grace: Duration) -> Result<(), RemoveError> {
        let mut exits = self.keeper.exits();
        let starts = self.shared.known(|known| known.of_allocation(alloc));
        for entry in &starts {
            self.keeper.signal(entry.key.clone(), entry.start.stop_signal, false).await?;
        }
        let all_ended = async {
            while self.any_runs(alloc).await? {
                if exits.changed().await.is_err() {
                    return Err(KeeperError::Closed);
                }
            }
            Ok(())
        };
        if let Ok(ended) = tokio::time::timeout(grace, all_ended).await {
            ended?;
        } else {
            tracing::info!(%alloc, "grace is over, what runs is killed");
        }
        self.remove_allocation(alloc).await
    }

    async fn any_runs(&self, alloc: &AllocationId) -> Result<bool, KeeperError> {
        let starts = self.shared.known(|known| known.of_allocation(alloc));
        for entry in starts {
            let record = self.keeper.inspect(entry.key).await?;
            let runs = record.is_some_and(|record| {
                matches!(record.state, skerry_keeper_protocol::ContainerState::Running { .. })
            });
            if runs {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends starts. They stay known: one that is under way may be made all the same, and then has to be found.
    async fn end(&self, starts: &[super::known::Entry]) -> Result<(), KeeperError> {
        for entry in starts {
            self.keeper.delete(entry.key.clone()).await?;
        }
        Ok(())
    }

    /// Ends starts and forgets them. To be called while nothing else is done to the allocation.
    async fn forget(&self, starts: Vec<super::known::Entry>) -> Result<(), KeeperError> {
        self.end(&starts).await?;
        self.shared.known(|known| starts.iter().for_each(|entry| known.forget(&entry.key)));
        Ok(())
    }
}

fn remove_files(paths: &Paths, alloc: &AllocationId) -> Result<(), SnapshotError> {
    snapshot::unmount_below(&paths.bundles().join(alloc.as_str()))?;
    paths.by_allocation().iter().try_for_each(|dir| snapshot::remove_tree(&dir.join(alloc.as_str())))
}

/// Removes what belongs to no allocation, and mounts and writable layers of containers that the keeper does not hold, which a
/// reboot or a crash left. Names that are no names of ours are removed too: nobody else writes here. Blocking.
pub(super) fn sweep(
    paths: &Paths,
    allocations: &BTreeSet<AllocationId>,
    containers: &BTreeSet<ContainerRef>,
) -> Result<(), SnapshotError> {
    for dir in paths.by_allocation() {
        for name in names(&dir)? {
            let known = AllocationId::new(name.as_str()).ok().filter(|alloc| allocations.contains(alloc));
            if known.is_none() {
                snapshot::unmount_below(&dir.join(&name))?;
                snapshot::remove_tree(&dir.join(&name))?;
            }
        }
    }
    for alloc in allocations {
        for dir in [paths.bundles(), paths.writable()] {
            for name in names(&dir.join(alloc.as_str()))? {
                let container = ContainerName::new(name.as_str()).ok();
                let container =
                    container.map(|container| ContainerRef { allocation: alloc.clone(), container });
                if container.is_none_or(|container| !containers.contains(&container)) {
                    let left = dir.join(alloc.as_str()).join(&name);
                    snapshot::unmount_below(&left)?;
                    snapshot::remove_tree(&left)?;
                }
            }
        }
    }
    Ok(())
}

/// Names in a directory; none when it is not there.
fn names(dir: &Path) -> Result<Vec<String>, SnapshotError> {
    let failed = |source| SnapshotError::Directory { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
