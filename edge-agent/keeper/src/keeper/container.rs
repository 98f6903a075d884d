//! One container in memory.

use super::lease::Lease;
use super::poller::{ClientId, Token};
use crate::journal::Entry;
use crate::logs::ContainerLog;
use rustix::fd::OwnedFd;
use skerry_keeper_protocol::{ContainerRecord, Failure, Reply, RequestId};
use std::time::{Duration, Instant};

/// Whom to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) client: ClientId,
    pub(super) request: RequestId,
}

/// An answer that waits for something to end.
pub(super) type Answer = (Address, Result<Reply, Failure>);

/// A container, what is on disk of it, and what is open for it.
#[derive(Debug)]
pub(super) struct Container {
    /// What is, or should be, on disk.
    pub(super) entry: Entry,
    /// When to try again to write `entry`, which failed.
    pub(super) save_again: Option<Instant>,
    /// Its output, until it has ended.
    pub(super) output: Option<Output>,
    /// What is going on.
    pub(super) phase: Phase,
    /// Requests to delete it that wait for its end.
    pub(super) deletes: Vec<Address>,
    /// When it is killed, if it has such a time.
    pub(super) lease: Option<Lease>,
}

/// Output pipes and the names under which they are watched.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) log: ContainerLog,
    pub(super) tokens: [Token; 2],
}

/// What is going on with a container.
#[derive(Debug)]
pub(super) enum Phase {
    /// A worker is making it.
    Creating(Create),
    /// It runs.
    Running(Owner),
    /// It has ended.
    Exited,
    /// It is being forgotten.
    Removing(Remove),
}

/// A create under way.
#[derive(Debug)]
pub(super) struct Create {
    /// The worker, leader of its process group.
    pub(super) worker: u32,
    /// The worker's standard output.
    pub(super) outcome: OwnedFd,
    /// When the worker, or the patience for its death, runs out.
    pub(super) deadline: Instant,
    /// Whom to tell.
    pub(super) asked_by: Option<Address>,
    /// Why the worker was killed, if it was.
    pub(super) verdict: Option<Failure>,
}

/// How the keeper learns that a container's first process ended.
#[derive(Debug)]
pub(super) enum Owner {
    /// It is this process's child.
    Child,
    /// It was taken over from a keeper that died.
    Adopted { pidfd: OwnedFd, token: Token },
}

/// A removal under way: a cgroup cannot go before the last of its processes.
#[derive(Debug)]
pub(super) struct Remove {
    pub(super) next_try: Instant,
    pub(super) pause: Duration,
    pub(super) give_up: Instant,
    /// Sent when nothing of the container is left.
    pub(super) answers: Vec<Answer>,
}

impl Container {
    /// What clients see of it.
    pub(super) fn record(&self) -> ContainerRecord {
        self.entry.record(self.lease.map(|lease| lease.kill_at_ms))
    }

    /// When something has to be done for it even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Creating(create) => Some(create.deadline),
            Phase::Removing(remove) => Some(remove.next_try),
            Phase::Running(_) | Phase::Exited => None,
        };
        phase.into_iter().chain(self.save_again).min()
    }
}
