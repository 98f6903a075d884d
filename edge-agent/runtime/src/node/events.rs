//! What the runtime tells by itself, in the words of the agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skerry_keeper_protocol::{self as protocol, ContainerRecord, ExitStatus};
use skerry_types::{ContainerStatus, Exit, ExitKind, WallTime};
use tokio::sync::mpsc;

use super::identity::Start;
use super::{ContainerRef, Shared};
use crate::keeper::KeeperEvent;
use crate::logs;

/// Something that happened to containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// Everything there is: first of all events, and again after the keeper was away. Ends before this moment are in it.
    Inventory(Vec<FoundContainer>),
    /// A container ended.
    Exited {
        /// Which.
        container: ContainerRef,
        /// Which start of it.
        attempt: u32,
        /// How.
        exit: Exit,
        /// The end of its log.
        log_tail: String,
    },
}

/// A container that the keeper knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundContainer {
    /// Which.
    pub container: ContainerRef,
    /// Which start of it.
    pub attempt: u32,
    /// What it is doing.
    pub state: FoundState,
    /// When the keeper ends it, if it is exclusive: milliseconds of `CLOCK_BOOTTIME`.
    pub kill_at_ms: Option<u64>,
}

/// What a found container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundState {
    /// It runs.
    Running {
        /// Its first process.
        pid: u32,
        /// Since when.
        started_at: WallTime,
    },
    /// It has ended, perhaps while nobody was looking.
    Exited {
        /// How.
        exit: Exit,
        /// The end of its log.
        log_tail: String,
    },
}

/// The stream of [`RuntimeEvent`]s. To be taken steadily.
#[derive(Debug)]
pub struct RuntimeEvents {
    pub(super) events: mpsc::Receiver<KeeperEvent>,
    /// Taken, and not told yet: makes [`RuntimeEvents::next`] cancel-safe.
    pub(super) pending: Option<KeeperEvent>,
    pub(super) shared: Arc<Shared>,
}

impl RuntimeEvents {
    /// The next event; `None` when the runtime was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<RuntimeEvent> {
        loop {
            if self.pending.is_none() {
                self.pending = Some(self.events.recv().await?);
            }
            let told = match &self.pending {
                Some(event) => self.tell(event).await,
                None => None,
            };
            self.pending = None;
            if told.is_some() {
                return told;
            }
        }
    }

    /// `None` for what is not of this agent.
    async fn tell(&self, event: &KeeperEvent) -> Option<RuntimeEvent> {
        match event {
            KeeperEvent::Connected(records) => {
                self.shared.known(|known| known.take_stock(records));
                let mut found = Vec::with_capacity(records.len());
                for record in records {
                    found.extend(self.found(record).await);
                }
                Some(RuntimeEvent::Inventory(found))
            }
            KeeperEvent::Exited { key, exit } => {
                let (start, started_at) = self
                    .shared
                    .known(|known| known.by_key(key).map(|entry| (entry.start.clone(), entry.started_at)))?;
                let log_tail = self.log_tail(&start).await;
                let exit = told_exit(exit, started_at);
                Some(RuntimeEvent::Exited {
                    container: start.container,
                    attempt: start.attempt,
                    exit,
                    log_tail,
                })
            }
        }
    }

    /// A container that is just being made is passed over: the start of it is tried again and finds it.
    async fn found(&self, record: &ContainerRecord) -> Option<FoundContainer> {
        let start = Start::decode(&record.identity)?;
        let state = match &record.state {
            protocol::ContainerState::Creating => return None,
            protocol::ContainerState::Running { process, started_at_unix_ms } => {
                FoundState::Running { pid: process.pid, started_at: WallTime(*started_at_unix_ms) }
            }
            protocol::ContainerState::Exited { started_at_unix_ms, exit } => {
                let started_at = started_at_unix_ms.map(WallTime);
                let log_tail = self.log_tail(&start).await;
                FoundState::Exited { exit: told_exit(exit, started_at), log_tail }
            }
        };
        let (container, attempt) = (start.container, start.attempt);
        Some(FoundContainer { container, attempt, state, kill_at_ms: record.kill_at_ms })
    }

    /// Empty when it cannot be read: an end is told all the same.
    async fn log_tail(&self, start: &Start) -> String {
        let Start { container, asked_at, .. } = start;
        let dir: PathBuf = self.shared.paths.log(container);
        logs::tail_text(&dir, *asked_at, ContainerStatus::LOG_TAIL_MAX).await.unwrap_or_else(|error| {
            tracing::warn!(%container, %error, "the end of a log cannot be read");
            String::new()
        })
    }
}

fn told_exit(exit: &protocol::Exit, started_at: Option<WallTime>) -> Exit {
    let at = WallTime(exit.at_unix_ms);
    let kind = match exit.status {
        ExitStatus::Code(code) => ExitKind::Code(code),
        ExitStatus::Signal(signal) => ExitKind::Signal(signal),
        ExitStatus::Unknown(_) => ExitKind::Unknown,
    };
    let ran_for = started_at.map_or(Duration::ZERO, |started_at| at.since(started_at));
    Exit { kind, out_of_memory: exit.oom, at, ran_for }
}
