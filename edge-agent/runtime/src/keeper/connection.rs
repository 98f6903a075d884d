//! The task that owns the connection to the keeper.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use skerry_keeper_protocol::{
    ClientMessage, ContainerKey, Event, FrameBuffer, PROTOCOL_VERSION, Reply, Request, RequestId,
    ServerMessage, decode, encode,
};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::standby::Standby;
use super::{Ask, KeeperConfig, KeeperError, KeeperEvent, spawn};

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Read at once; most frames are far smaller.
const READ_BYTES: usize = 8 * 1024;

/// Where the task tells what happened.
pub(super) struct Outlets {
    pub(super) events: mpsc::Sender<KeeperEvent>,
    /// Counts ends and connections, for those who only wait for one.
    pub(super) ended: watch::Sender<u64>,
    /// The worker that stands by, which goes with its connection.
    pub(super) standby: Standby,
}

type Answer = oneshot::Sender<Result<Reply, KeeperError>>;

/// Connects, serves, connects again, until cancelled.
pub(super) async fn run(
    config: KeeperConfig,
    mut asks: mpsc::Receiver<Ask>,
    outlets: Outlets,
    cancel: CancellationToken,
) {
    let mut retry = RETRY_FIRST;
    let mut failures = 0_u32;
    loop {
        let connected = tokio::select! {
            // Dropping a connect half done leaves at most a keeper that was just started, which the next agent finds.
            () = cancel.cancelled() => return,
            connected = connect(&config) => connected,
        };
        match connected {
            Ok(mut session) => {
                (retry, failures) = (RETRY_FIRST, 0);
                outlets.ended.send_modify(|count| *count += 1);
                outlets.standby.take();
                outlets.standby.ask();
                tokio::select! {
                    // What was asked and not answered is told `Lost` or `Closed` as the session is dropped.
                    () = cancel.cancelled() => return,
                    error = session.serve(&mut asks, &outlets) => {
                        tracing::warn!(%error, "keeper connection lost");
                    }
                }
                session.lose_all();
            }
            Err(error) => {
                // A keeper that is just dying may still take the connection: only the second failure in a row needs a
                // person. It is said once for each absence, and tried again for ever.
                failures = failures.saturating_add(1);
                if failures == 2 {
                    tracing::error!(error = &error as &dyn std::error::Error, "keeper cannot be reached");
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(retry) => {}
                }
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

async fn connect(config: &KeeperConfig) -> Result<Session, KeeperError> {
    let stream = spawn::connect(config).await?;
    let mut session = Session::new(stream);
    session.greet().await?;
    Ok(session)
}

struct Session {
    stream: UnixStream,
    incoming: FrameBuffer,
    next_id: u64,
    waiting: BTreeMap<RequestId, Answer>,
    /// Events that the agent has not taken; ends are one for each container.
    backlog: VecDeque<KeeperEvent>,
    /// A container ended since it was last told.
    saw_end: bool,
}

impl Session {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            incoming: FrameBuffer::default(),
            next_id: 0,
            waiting: BTreeMap::new(),
            backlog: VecDeque::new(),
            saw_end: false,
        }
    }

    /// Says hello and takes stock. Ends that come meanwhile queue behind the stock.
    async fn greet(&mut self) -> Result<(), KeeperError> {
        match self.exchange(Request::Hello { version: PROTOCOL_VERSION }).await? {
            Reply::Hello { keeper, pid, .. } => tracing::info!(pid, version = keeper, "keeper connected"),
            _ => return Err(KeeperError::Unexpected),
        }
        let mut all = Vec::new();
        let mut after: Option<ContainerKey> = None;
        loop {
            let Reply::Containers { records, more } = self.exchange(Request::List { after }).await? else {
                return Err(KeeperError::Unexpected);
            };
            after = records.last().map(|record| record.key.clone());
            all.extend(records);
            if !more || after.is_none() {
                break;
            }
        }
        self.backlog.push_front(KeeperEvent::Connected(all));
        Ok(())
    }

    /// One request and its answer, before anything else is asked.
    async fn exchange(&mut self, request: Request) -> Result<Reply, KeeperError> {
        let (answer, mut answered) = oneshot::channel();
        self.send(Ask { request, answer }).await.map_err(|_| KeeperError::Lost)?;
        loop {
            if let Ok(result) = answered.try_recv() {
                return result;
            }
            self.receive().await.map_err(|_| KeeperError::Lost)?;
        }
    }

    /// Carries requests, answers and events until the connection breaks; returns why.
    async fn serve(&mut self, asks: &mut mpsc::Receiver<Ask>, outlets: &Outlets) -> io::Error {
        loop {
            let has_events = !self.backlog.is_empty();
            if std::mem::take(&mut self.saw_end) {
                outlets.ended.send_modify(|count| *count += 1);
            }
            // `readable`, `recv` and `reserve` lose nothing when another arm wins.
            let outcome = tokio::select! {
                ready = self.stream.readable() => match ready {
                    Ok(()) => self.take_in(),
                    Err(error) => Err(error),
                },
                ask = asks.recv() => match ask {
                    Some(ask) => self.send(ask).await,
                    None => Err(io::Error::other("nobody asks any more")),
                },
                permit = outlets.events.reserve(), if has_events => {
                    match (permit, self.backlog.pop_front()) {
                        (Ok(permit), Some(event)) => permit.send(event),
                        // The agent takes no events any more: it is shutting down.
                        _ => self.backlog.clear(),
                    }
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                return error;
            }
        }
    }

    async fn send(&mut self, ask: Ask) -> io::Result<()> {
        self.next_id += 1;
        let id = RequestId(self.next_id);
        match encode(&ClientMessage { id, request: ask.request }) {
            Ok(frame) => {
                self.waiting.insert(id, ask.answer);
                self.stream.write_all(&frame).await
            }
            Err(error) => {
                // Who asked may have gone.
                ask.answer.send(Err(KeeperError::Request(Box::new(error)))).ok();
                Ok(())
            }
        }
    }

    /// Waits for bytes and takes them.
    async fn receive(&mut self) -> io::Result<()> {
        self.stream.readable().await?;
        self.take_in()
    }

    /// Takes what is there to read.
    fn take_in(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.incoming.push(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        while let Some(payload) = self.incoming.next_payload().map_err(io::Error::other)? {
            let message = decode(payload).map_err(io::Error::other)?;
            self.handle(message);
        }
        Ok(())
    }

    fn handle(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Reply { id, result } => {
                if let Some(answer) = self.waiting.remove(&id) {
                    // Who asked may have stopped waiting.
                    answer.send(result.map_err(KeeperError::Refused)).ok();
                }
            }
            ServerMessage::Event(Event::Exited { key, exit }) => {
                self.backlog.push_back(KeeperEvent::Exited { key, exit });
                self.saw_end = true;
            }
        }
    }

    fn lose_all(&mut self) {
        for (_, answer) in std::mem::take(&mut self.waiting) {
            // Who asked may have stopped waiting.
            answer.send(Err(KeeperError::Lost)).ok();
        }
    }
}
