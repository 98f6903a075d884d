//! What the keeper and its worker say to each other: one frame each way, over the worker's standard input and output.

use serde::{Deserialize, Serialize};
use skerry_keeper_protocol::{CgroupPath, ContainerKey, FailureKind, ProcessIdentity};
use std::path::PathBuf;

/// One container to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The keeper; a worker whose keeper is gone gives up.
    pub(crate) keeper_pid: u32,
    /// Soft limit of open files that the container is to start with: the keeper raised its own.
    pub(crate) open_files: Option<u64>,
    /// Name of the container.
    pub(crate) key: ContainerKey,
    /// The bundle as the agent wrote it.
    pub(crate) bundle: PathBuf,
    /// The container's cgroup.
    pub(crate) cgroup: CgroupPath,
    /// The container's run files.
    pub(crate) run_dir: PathBuf,
    /// Where translated system call filters are kept.
    pub(crate) filters: PathBuf,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The container's first process was told to run.
    Started(ProcessIdentity),
    /// It was not made.
    Failed {
        /// For programs.
        kind: FailureKind,
        /// For people.
        message: String,
    },
}
