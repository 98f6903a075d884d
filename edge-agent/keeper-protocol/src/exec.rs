//! Commands in containers that run.
//!
//! The keeper's program runs one itself when it is started with the word `exec`: an [`ExecJob`] is one frame on its standard
//! input, an [`ExecOutcome`] one on its standard output. The keeper takes no part, as nothing of a command outlives who asked.

use crate::{CgroupPath, ExitStatus, FailureKind, ProcessIdentity};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Bytes of a command's output that are kept, from its beginning.
pub const EXEC_OUTPUT_MAX: usize = 4096;

/// A command to run in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecJob {
    /// Who asks: when it is gone, the command is killed.
    pub asked_by: u32,
    /// The container's first process.
    pub process: ProcessIdentity,
    /// Absolute path of its bundle: user, environment, rights and system call filter are those of the container.
    pub bundle: PathBuf,
    /// Its cgroup, which the command joins.
    pub cgroup: CgroupPath,
    /// The keeper's run directory.
    pub run_dir: PathBuf,
    /// Program and arguments; a program without `/` is looked for in the container's `PATH`.
    pub command: Vec<String>,
    /// The command is killed when it takes longer, in milliseconds.
    pub timeout_ms: u32,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecOutcome {
    /// It ended.
    Ended {
        /// How.
        status: ExitStatus,
        /// What it said on standard output and standard error, in the order in which it came; at most
        /// [`EXEC_OUTPUT_MAX`] bytes.
        output: Vec<u8>,
    },
    /// It took too long and was killed, with what it started in its process group.
    TimedOut {
        /// What it said.
        output: Vec<u8>,
    },
    /// It was not run. [`FailureKind::NotRunning`]: the container has ended. [`FailureKind::CreateFailed`]: the command cannot
    /// be run in it.
    Failed {
        /// For programs.
        kind: FailureKind,
        /// For people.
        message: String,
    },
}
