//! Where the runtime keeps what, below the agent's directories.
//!
//! ```text
//! <run>/netns/<alloc>                    pinned network namespace
//! <run>/etc/<alloc>/                     hosts, hostname, resolv.conf
//! <run>/bundles/<alloc>/<container>/     config.json, rootfs (mounted)
//! <run>/keeper/                          the keeper's socket and pipes
//! <data>/keeper/                         the keeper's records and log
//! <data>/ground/                         the layer below all images
//! <data>/writable/<alloc>/<container>/   writable layer of the present start
//! <data>/logs/<alloc>/<container>/       log files over all starts
//! ```

use std::path::{Path, PathBuf};

use skerry_types::AllocationId;

use super::ContainerRef;
use crate::snapshot::SnapshotPaths;

#[derive(Debug, Clone)]
pub(super) struct Paths {
    run: PathBuf,
    data: PathBuf,
}

impl Paths {
    pub(super) fn new(run: &Path, data: &Path) -> Self {
        Self { run: run.to_owned(), data: data.to_owned() }
    }

    pub(super) fn netns_dir(&self) -> PathBuf {
        self.run.join("netns")
    }

    pub(super) fn keeper_run(&self) -> PathBuf {
        self.run.join("keeper")
    }

    pub(super) fn keeper_state(&self) -> PathBuf {
        self.data.join("keeper")
    }

    pub(super) fn etc(&self, alloc: &AllocationId) -> PathBuf {
        self.run.join("etc").join(alloc.as_str())
    }

    pub(super) fn bundles(&self) -> PathBuf {
        self.run.join("bundles")
    }

    pub(super) fn bundle(&self, container: &ContainerRef) -> PathBuf {
        below(&self.bundles(), container)
    }

    pub(super) fn writable(&self) -> PathBuf {
        self.data.join("writable")
    }

    pub(super) fn ground(&self) -> PathBuf {
        self.data.join("ground")
    }

    pub(super) fn snapshot(&self, container: &ContainerRef) -> SnapshotPaths {
        SnapshotPaths {
            rootfs: self.bundle(container).join("rootfs"),
            writable: below(&self.writable(), container),
            ground: self.ground(),
        }
    }

    pub(super) fn log(&self, container: &ContainerRef) -> PathBuf {
        below(&self.data.join("logs"), container)
    }

    /// Directories that hold one entry for each allocation, and nothing else.
    pub(super) fn by_allocation(&self) -> [PathBuf; 4] {
        [self.bundles(), self.run.join("etc"), self.writable(), self.data.join("logs")]
    }
}

fn below(dir: &Path, container: &ContainerRef) -> PathBuf {
    dir.join(container.allocation.as_str()).join(container.container.as_str())
}
