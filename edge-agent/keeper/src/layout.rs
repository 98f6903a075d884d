//! Where the keeper's files are.

use rustix::fs::{FlockOperation, flock};
use skerry_keeper_protocol::{ContainerKey, LogStream, SOCKET_NAME};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
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

    /// Holds the sockets by which first processes get the word to start. Empty but for moments.
    pub(crate) fn words(&self) -> PathBuf {
        self.run_dir.join("words")
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

    /// Takes the right to make or to remove the container, until what is given is dropped in this process and in those that it
    /// forks. `None` while another has it, or when it has removed the container.
    ///
    /// A worker may outlive its keeper by what it does in the kernel at that moment, and must not make a cgroup after the next keeper
    /// has removed all that there was. What is locked is a file and not the directory: no descriptor of a directory of the node may
    /// be open in a process that enters the container's root.
    pub(crate) fn hold(&self) -> io::Result<Option<File>> {
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(self.0.join("lock"));
        let file = match open {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if file.metadata()?.nlink() > 0 => Ok(Some(file)),
            Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Says when the container is killed. On a file system in memory: it is written often, and no container outlives it.
    pub(crate) fn lease(&self) -> PathBuf {
        self.0.join("lease")
    }

    /// What libcontainer keeps of this container.
    pub(crate) fn oci_root(&self) -> PathBuf {
        self.0.join("oci")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_holds_a_container() {
        let root = tempfile::tempdir().unwrap();
        let dir = ContainerDir::new(root.path().join("a"));
        assert!(dir.hold().unwrap().is_none(), "there is none");
        std::fs::create_dir(dir.path()).unwrap();
        let held = dir.hold().unwrap();
        assert!(held.is_some() && dir.hold().unwrap().is_none());
        drop(held);
        let held = dir.hold().unwrap();
        assert!(held.is_some());
        std::fs::remove_dir_all(dir.path()).unwrap();
        drop(held);
        assert!(dir.hold().unwrap().is_none(), "it was removed");
    }
}
