//! What the keeper knows of a container.

use crate::{ContainerKey, Identity};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id in the keeper's namespace.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: clock ticks from boot to its start.
    pub start_ticks: u64,
}

/// One container as the keeper knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its name.
    pub key: ContainerKey,
    /// As given at its create.
    pub identity: Identity,
    /// Where it stands.
    pub state: ContainerState,
    /// When it is killed, if it has such a time: milliseconds of `CLOCK_BOOTTIME`.
    pub kill_at_ms: Option<u64>,
}

/// Where a container stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// A worker is making it.
    Creating,
    /// Its first process lives.
    Running {
        /// The first process.
        process: ProcessIdentity,
        /// Wall clock at its start, milliseconds since 1970.
        started_at_unix_ms: u64,
    },
    /// Its first process ended.
    Exited {
        /// Wall clock at its start, milliseconds since 1970; `None` if it never started.
        started_at_unix_ms: Option<u64>,
        /// How it ended.
        exit: Exit,
    },
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code or signal of the first process.
    pub status: ExitStatus,
    /// Whether the kernel killed any process of the container for want of memory during its life.
    pub oom: bool,
    /// Wall clock when the keeper saw it, milliseconds since 1970.
    pub at_unix_ms: u64,
}

/// What is known of a process's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It ended by itself with this code, 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// Nobody saw it end.
    Unknown(UnknownExit),
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown(UnknownExit::KeeperAway) => f.write_str("ended while the keeper was away"),
            Self::Unknown(UnknownExit::NodeRebooted) => f.write_str("the node rebooted"),
            Self::Unknown(UnknownExit::CreateInterrupted) => f.write_str("the keeper died during its create"),
            Self::Unknown(UnknownExit::NotAChild) => f.write_str("ended, status not readable by the keeper"),
        }
    }
}

/// Why an exit status is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnknownExit {
    /// It ended while no keeper ran.
    KeeperAway,
    /// The record is from before the last boot.
    NodeRebooted,
    /// The keeper died during the create; what there was of the container was killed.
    CreateInterrupted,
    /// It was adopted after a keeper's death, so it was no child of this keeper, and the kernel does not tell others.
    NotAChild,
}

/// Resource use of a container, from its cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStats {
    /// Processor time since its start in nanoseconds.
    pub cpu_usage_ns: u64,
    /// Memory charged at this moment in bytes, page cache included.
    pub memory_bytes: u64,
    /// Memory limit in bytes; `None` when unlimited.
    pub memory_limit_bytes: Option<u64>,
    /// Processes killed by the kernel for want of memory.
    pub oom_kills: u64,
    /// Tasks at this moment.
    pub pids: u64,
}
