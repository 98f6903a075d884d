//! Client of the keeper, the process that owns all containers of the node and outlives the agent.
//!
//! One task owns the connection. It starts a keeper when there is none, connects again when it was lost, and tells of ends and
//! of the whole inventory after each absence, so that nothing which happened meanwhile is missed.

mod connection;
mod error;
mod spawn;
mod standby;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use skerry_keeper_protocol::{
    ContainerKey, ContainerRecord, ContainerStats, CreateRequest, Exit, FailureKind, ProcessIdentity, Reply,
    Request,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use error::KeeperError;

use standby::Standby;

/// Requests that wait for the connection; more callers wait for room.
const REQUESTS_MAX: usize = 64;
/// Ends that wait for the agent; the connection's task keeps the rest, one for each container at most.
const EVENTS_MAX: usize = 64;
/// How long an ordinary request may take, with a keeper that is just being started.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Where the keeper is and lives.
#[derive(Debug, Clone)]
pub struct KeeperConfig {
    /// The program.
    pub binary: PathBuf,
    /// Its socket, pipes and create files.
    pub run_dir: PathBuf,
    /// Its records of containers, and its own log.
    pub state_dir: PathBuf,
}

/// What the keeper tells by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperEvent {
    /// The connection was made, at start or after an absence. This is all there is; ends before this moment are in it.
    Connected(Vec<ContainerRecord>),
    /// A container ended.
    Exited {
        /// Which.
        key: ContainerKey,
        /// How.
        exit: Exit,
    },
}

struct Ask {
    request: Request,
    answer: oneshot::Sender<Result<Reply, KeeperError>>,
}

/// The agent's hand on the keeper.
#[derive(Debug)]
pub struct Keeper {
    asks: mpsc::Sender<Ask>,
    exits: watch::Receiver<u64>,
    standby: Standby,
    cancel: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Keeper {
    /// Starts the connection's task. The first event is [`KeeperEvent::Connected`]. Events must be taken: while they are not,
    /// the task keeps the latest for each container.
    pub fn open(config: KeeperConfig) -> (Self, mpsc::Receiver<KeeperEvent>) {
        let (asks, asked) = mpsc::channel(REQUESTS_MAX);
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let cancel = CancellationToken::new();
        let (ended, exits) = watch::channel(0);
        let standby = Standby::default();
        let outlets = connection::Outlets { events, ended, standby: standby.clone() };
        let connection = tokio::spawn(connection::run(config, asked, outlets, cancel.clone()));
        let own = asks.clone();
        let start = async move || expect(&own).await.is_ok();
        let keeping = tokio::spawn(standby.clone().keep(start, cancel.clone()));
        let tasks = Mutex::new(vec![connection, keeping]);
        (Self { asks, exits, standby, cancel, tasks }, received)
    }

    /// Makes and starts a container. A container of the same key and identity that runs already is the answer to an earlier try
    /// whose answer was lost.
    pub async fn create(&self, request: CreateRequest) -> Result<ProcessIdentity, KeeperError> {
        let created = self.try_create(request).await;
        self.standby.ask();
        created
    }

    async fn try_create(&self, request: CreateRequest) -> Result<ProcessIdentity, KeeperError> {
        let deadline = REQUEST_DEADLINE + Duration::from_millis(u64::from(request.deadline_ms));
        let ask = || self.ask(Request::Create(Box::new(request.clone())), deadline);
        let first = match ask().await {
            // Whether it was made shows on the second try.
            Err(KeeperError::Lost) => ask().await,
            first => first,
        };
        match first {
            Ok(Reply::Created { process }) => Ok(process),
            Ok(_) => Err(KeeperError::Unexpected),
            Err(error) if error.refusal() == Some(FailureKind::Exists) => {
                self.running_like(&request).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Announces a create, which then finds a worker that is up. Never needed: a failure shows at the create.
    pub async fn expect_create(&self) -> Result<(), KeeperError> {
        if self.standby.take() { Ok(()) } else { expect(&self.asks).await }
    }

    /// The process of the container of this key, if it runs and has the request's identity.
    async fn running_like(&self, request: &CreateRequest) -> Result<Option<ProcessIdentity>, KeeperError> {
        use skerry_keeper_protocol::ContainerState::Running;
        let record = self.inspect(request.key.clone()).await?;
        Ok(record.filter(|record| record.identity == request.identity).and_then(|record| {
            match record.state {
                Running { process, .. } => Some(process),
                _ => None,
            }
        }))
    }

    /// Sends a signal to a container's first process, or to all of them. A container that does not run is fine.
    pub async fn signal(&self, key: ContainerKey, signal: i32, all: bool) -> Result<(), KeeperError> {
        let sent = self.done(Request::Signal { key, signal, all }).await;
        ignore(sent, &[FailureKind::NotRunning, FailureKind::NotFound])
    }

    /// Puts off the time at which a container is killed. A container that does not run is fine.
    pub async fn extend(&self, key: ContainerKey, kill_at_ms: u64) -> Result<(), KeeperError> {
        let extended = self.done(Request::Extend { key, kill_at_ms }).await;
        ignore(extended, &[FailureKind::NotRunning, FailureKind::NotFound])
    }

    /// Kills a container if it runs and forgets it. Absent is fine.
    pub async fn delete(&self, key: ContainerKey) -> Result<(), KeeperError> {
        ignore(self.done(Request::Delete { key, force: true }).await, &[FailureKind::NotFound])
    }

    /// What the keeper knows of a container.
    pub async fn inspect(&self, key: ContainerKey) -> Result<Option<ContainerRecord>, KeeperError> {
        match self.ask(Request::Inspect { key }, REQUEST_DEADLINE).await {
            Ok(Reply::Container(record)) => Ok(Some(*record)),
            Ok(_) => Err(KeeperError::Unexpected),
            Err(error) if error.refusal() == Some(FailureKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Everything the keeper knows, ordered by key.
    pub async fn list(&self) -> Result<Vec<ContainerRecord>, KeeperError> {
        let mut all: Vec<ContainerRecord> = Vec::new();
        loop {
            let after = all.last().map(|record| record.key.clone());
            match self.ask(Request::List { after }, REQUEST_DEADLINE).await? {
                Reply::Containers { records, more } => {
                    let more = more && !records.is_empty();
                    all.extend(records);
                    if !more {
                        return Ok(all);
                    }
                }
                _ => return Err(KeeperError::Unexpected),
            }
        }
    }

    /// Resource use of a container.
    pub async fn stats(&self, key: ContainerKey) -> Result<ContainerStats, KeeperError> {
        match self.ask(Request::Stats { key }, REQUEST_DEADLINE).await? {
            Reply::Stats(stats) => Ok(stats),
            _ => Err(KeeperError::Unexpected),
        }
    }

    /// Replaces the keeper by a program, in place; containers go on.
    pub async fn upgrade(&self, binary: PathBuf) -> Result<(), KeeperError> {
        self.done(Request::Upgrade { binary }).await
    }

    /// Ends the keeper, for a node that leaves: with `force` what runs is killed, else the keeper refuses while anything runs.
    /// The client ends with it.
    pub async fn shutdown(&self, force: bool) -> Result<(), KeeperError> {
        self.done(Request::Shutdown { force }).await?;
        self.close().await;
        Ok(())
    }

    /// Changes whenever a container ended, or the keeper was away and one may have.
    pub fn exits(&self) -> watch::Receiver<u64> {
        self.exits.clone()
    }

    /// Ends the client. The keeper and its containers go on.
    pub async fn close(&self) {
        self.cancel.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the keeper's connection failed");
            }
        }
    }

    async fn done(&self, request: Request) -> Result<(), KeeperError> {
        match self.ask(request, REQUEST_DEADLINE).await? {
            Reply::Done => Ok(()),
            _ => Err(KeeperError::Unexpected),
        }
    }

    async fn ask(&self, request: Request, deadline: Duration) -> Result<Reply, KeeperError> {
        ask(&self.asks, request, deadline).await
    }
}

async fn ask(asks: &mpsc::Sender<Ask>, request: Request, deadline: Duration) -> Result<Reply, KeeperError> {
    let (answer, answered) = oneshot::channel();
    let exchange = async {
        asks.send(Ask { request, answer }).await.map_err(|_| KeeperError::Closed)?;
        answered.await.map_err(|_| KeeperError::Closed)?
    };
    tokio::time::timeout(deadline, exchange).await.map_err(|_| KeeperError::Deadline { after: deadline })?
}

/// Has the keeper start a worker for a create that is to come.
async fn expect(asks: &mpsc::Sender<Ask>) -> Result<(), KeeperError> {
    match ask(asks, Request::Expect, REQUEST_DEADLINE).await? {
        Reply::Done => Ok(()),
        _ => Err(KeeperError::Unexpected),
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn ignore(result: Result<(), KeeperError>, kinds: &[FailureKind]) -> Result<(), KeeperError> {
    result.or_else(|error| match error.refusal() {
        Some(kind) if kinds.contains(&kind) => Ok(()),
        _ => Err(error),
    })
}
