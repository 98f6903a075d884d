//! Where the keeper's files are.

use skerry_keeper_protocol::{ContainerKey, LogStream, SOCKET_NAME};
use std::path::{Path, PathBuf};

/// Paths below the two directories that the keeper is given.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    run_dir: PathBuf,
    state_dir: PathBuf,
}

impl Layout {
    /// Over the run and the state directory.
    pub(crate) fn new(run_dir: &Path, state_dir: &Path) -> Self {
        Self { run_dir: run_dir.to_owned(), state_dir: state_dir.to_owned() }
    }

    /// The listening socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run_dir.join(SOCKET_NAME)
    }

    /// The locks that keep a second keeper out, one in each directory.
    pub(crate) fn locks(&self) -> [PathBuf; 2] {
        [self.run_dir.join("keeper.lock"), self.state_dir.join("keeper.lock")]
    }

    /// Holds a directory for each container.
    pub(crate) fn containers(&self) -> PathBuf {
        self.run_dir.join("containers")
    }

    /// The run files of one container.
    pub(crate) fn container(&self, key: &ContainerKey) -> ContainerDir {
        ContainerDir(self.containers().join(key.as_str()))
    }

    /// Holds system call filters in the kernel's form.
    pub(crate) fn filters(&self) -> PathBuf {
        self.run_dir.join("filters")
    }

    /// The socket by which a process that runs a command gives the word to start.
    pub(crate) fn exec_socket(&self, pid: u32) -> PathBuf {
        self.run_dir.join(format!("exec-{pid}.sock"))
    }

    /// Holds one record for each container.
    pub(crate) fn records(&self) -> PathBuf {
        self.state_dir.join("containers")
    }
}

/// The run files of one container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerDir(PathBuf);

impl ContainerDir {
    /// The files below this directory.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The pipe that carries one of the container's output streams.
    pub(crate) fn fifo(&self, stream: LogStream) -> PathBuf {
        self.0.join(stream.as_str())
    }

    /// What libcontainer keeps of this container.
    pub(crate) fn oci_root(&self) -> PathBuf {
        self.0.join("oci")
    }
}
