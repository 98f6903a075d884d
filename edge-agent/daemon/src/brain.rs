//! The task that owns the brain: feeds it, and carries out what it wants.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use skerry_agent_state::{Action, AgentState, ContainerRef, FoundContainer, Input, Operation};
use skerry_runtime::{RuntimeEvent, RuntimeEvents};
use skerry_store::Backlog;
use skerry_types::{AllocationId, Bytes, MonoTime, NodeFacts};
use skerry_wire::{ToChild, ToParent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::facts::Machine;
use crate::layers::Layers;
use crate::loads::{self, Meter, Samples};
use crate::operations::{Hands, Operations, store_digest};
use crate::starts::{self, Ended, Starts, runtime_reference};

/// News of links that wait for the brain. When it is full, the link stops reading.
const INBOX_MAX: usize = 32;
/// Messages that wait for a link: four frames of rows and as many answers each way, doubled. A link that is further behind
/// does not send, and is closed.
const LINK_QUEUE_MAX: usize = 32;
/// Events of the runtime that wait for the brain; more wait in the keeper's client.
const EVENTS_MAX: usize = 16;
/// How often usage is looked at. A row of it costs 800 bytes with its answer: told each time, that is half of what keep-alives cost.
const USAGE_EVERY: Duration = Duration::from_mins(5);
/// From one collection of images that a short disk asked for to the next: when nothing is left to collect, looking again soon
/// only wears the disk.
const COLLECT_EVERY: Duration = Duration::from_mins(10);

/// News for the brain.
#[derive(Debug)]
pub(crate) enum News {
    /// A link is up, with the way to it and the address that this node has on it.
    LinkUp(mpsc::Sender<ToParent>, Option<IpAddr>),
    /// The node has another address on the way to the master.
    Moved(Option<IpAddr>),
    /// The parent said something.
    Received(ToChild),
    /// The link is gone.
    LinkDown,
    /// Somebody wants to know whether a container is of this node.
    Knows(ContainerRef, oneshot::Sender<bool>),
}

/// The way to the brain. Everything is dropped once the agent shuts down.
#[derive(Debug, Clone)]
pub(crate) struct BrainHandle(mpsc::Sender<News>);

impl BrainHandle {
    pub(crate) fn new() -> (Self, mpsc::Receiver<News>) {
        let (sender, receiver) = mpsc::channel(INBOX_MAX);
        (Self(sender), receiver)
    }

    /// Announces a link, and gives what is to be sent on it. The end of that means: close the link.
    pub(crate) async fn link_up(&self, address: Option<IpAddr>) -> mpsc::Receiver<ToParent> {
        let (sender, receiver) = mpsc::channel(LINK_QUEUE_MAX);
        self.tell(News::LinkUp(sender, address)).await;
        receiver
    }

    pub(crate) async fn moved(&self, address: Option<IpAddr>) {
        self.tell(News::Moved(address)).await;
    }

    pub(crate) async fn link_down(&self) {
        self.tell(News::LinkDown).await;
    }

    pub(crate) async fn received(&self, message: ToChild) {
        self.tell(News::Received(message)).await;
    }

    pub(crate) async fn knows(&self, container: ContainerRef) -> bool {
        let (answer, answered) = oneshot::channel();
        self.tell(News::Knows(container, answer)).await;
        answered.await.unwrap_or(false)
    }

    async fn tell(&self, news: News) {
        if self.0.send(news).await.is_err() {
            tracing::debug!("the agent is shutting down");
        }
    }
}

/// What the task is made of.
pub(crate) struct Parts {
    pub(crate) state: AgentState,
    pub(crate) ledger: Backlog,
    pub(crate) hands: Hands,
    pub(crate) inbox: mpsc::Receiver<News>,
    pub(crate) machine: Machine,
    pub(crate) facts: NodeFacts,
    /// Whether the address in the facts is the operator's word.
    pub(crate) address_is_fixed: bool,
    /// Bytes of disk that images leave free.
    pub(crate) disk_reserve: Bytes,
}

/// Owns the brain.
pub(crate) struct BrainTask {
    parts: Parts,
    operations: Operations,
    starts: Starts,
    link: Option<mpsc::Sender<ToParent>>,
    collection: JoinSet<()>,
    collected_at: Option<Instant>,
    meter: Meter,
    samples: JoinSet<Samples>,
    layers: Layers,
    /// Words to the keeper of how long what is exclusive may run.
    extensions: JoinSet<()>,
}

impl BrainTask {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            operations: Operations::new(parts.hands.clone()),
            starts: Starts::default(),
            link: None,
            collection: JoinSet::new(),
            collected_at: None,
            meter: Meter::new(),
            samples: JoinSet::new(),
            layers: Layers::new(parts.hands.images.clone()),
            extensions: JoinSet::new(),
            parts,
        }
    }

    /// Runs until `cancel`, or until the ledger cannot be written any more.
    pub(crate) async fn run(mut self, events: RuntimeEvents, cancel: CancellationToken) -> Result<()> {
        let (forward, mut events_in) = mpsc::channel(EVENTS_MAX);
        let mut pump = JoinSet::new();
        pump.spawn(forward_events(events, forward));
        let mut look = interval(USAGE_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.feed(Input::Facts(self.parts.facts.clone()));
        loop {
            let timeout = self.parts.state.poll_timeout().map(clock::instant);
            tokio::select! {
                // All are cancel-safe. The runtime's events come before operations' answers: what was told first counts first.
                biased;
                () = cancel.cancelled() => break,
                step = self.parts.ledger.step() => {
                    if let Some(id) = step.context("the ledger takes no more writes")? {
                        self.feed(Input::Persisted(id));
                    }
                }
                Some(event) = events_in.recv() => self.take_event(event).await,
                (op, result) = self.operations.next() => {
                    let ended = self.starts.answered(op, &result);
                    self.feed(Input::Done(op, result));
                    if let Some(ended) = ended {
                        self.feed(ended.into());
                    }
                }
                Some(news) = self.parts.inbox.recv() => self.take(news),
                _ = look.tick() => self.look(),
                () = sleep_until(self.meter.next()), if self.samples.is_empty() => self.sample(),
                Some(samples) = self.samples.join_next() => self.take_samples(samples),
                layers = self.layers.next() => self.feed(Input::Layers(layers)),
                Some(done) = self.collection.join_next() => if let Err(error) = done {
                    tracing::error!(%error, "a collection of images failed");
                },
                Some(done) = self.extensions.join_next() => if let Err(error) = done {
                    tracing::error!(%error, "telling the keeper of a lease failed");
                },
                () = sleep_until(timeout.unwrap_or_else(Instant::now)), if timeout.is_some() => {
                    self.feed(Input::Timeout);
                }
            }
        }
        self.operations.stop().await;
        self.parts.ledger.finish().await.context("the ledger takes no more writes")
    }

    fn feed(&mut self, input: Input) {
        self.parts.state.handle(clock::now(), input);
        while let Some(action) = self.parts.state.poll_action() {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Persist(id, batch) => self.parts.ledger.push(id, batch),
            Action::Send(message) => self.send(message),
            Action::CloseLink { reason } => {
                tracing::warn!(reason, "the link is closed, and dialled again");
                self.link = None;
            }
            Action::Begin(op, operation) => {
                match &operation {
                    Operation::Start { intent, container, attempt, .. } => {
                        let container =
                            ContainerRef { allocation: intent.id.clone(), container: container.clone() };
                        self.starts.begin(op, container, *attempt);
                    }
                    // A pull that meets a full disk collects what is not in use.
                    Operation::Pull { .. } => self.parts.hands.images.set_in_use(self.images_in_use()),
                    _ => {}
                }
                self.operations.begin(op, operation);
            }
            Action::Cancel(op) => self.operations.cancel(op),
            Action::Extend { allocation, deadline } => self.extend(allocation, deadline),
        }
    }

    /// Tells the keeper how long what is exclusive may run. If it does not hear of it, it ends it sooner, never later.
    fn extend(&mut self, allocation: AllocationId, deadline: MonoTime) {
        let (runtime, kill_at_ms) = (self.parts.hands.runtime.clone(), clock::boottime_ms(deadline));
        self.extensions.spawn(async move {
            if let Err(error) = runtime.extend(&allocation, kill_at_ms).await {
                tracing::warn!(%allocation, error = skerry_types::chain(&error), "the keeper is not told of a lease");
            }
        });
    }

    /// Dropping the way to a link closes it.
    fn send(&mut self, message: ToParent) {
        let Some(link) = &self.link else { return };
        if link.try_send(message).is_err() {
            tracing::info!("the link does not keep up and is closed");
            self.link = None;
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::LinkUp(link, address) => {
                self.link = Some(link);
                self.take_address(address);
                self.feed(Input::LinkUp);
            }
            News::Moved(address) => self.take_address(address),
            News::Received(message) => self.feed(Input::Received(message)),
            News::LinkDown => {
                self.link = None;
                self.feed(Input::LinkDown);
            }
            News::Knows(container, answer) => {
                let knows = self.parts.state.lifecycles().any(|lifecycle| {
                    let intent = lifecycle.intent();
                    intent.id == container.allocation
                        && intent.spec.all_containers().any(|spec| spec.name == container.container)
                });
                // Who asked may have gone.
                answer.send(knows).ok();
            }
        }
    }

    fn take_address(&mut self, address: Option<IpAddr>) {
        if !self.parts.address_is_fixed && self.parts.facts.address != address {
            self.parts.facts.address = address;
            self.feed(Input::Facts(self.parts.facts.clone()));
        }
    }

    async fn take_event(&mut self, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Inventory(found) => {
                let mut found: Vec<FoundContainer> = found.into_iter().map(starts::found).collect();
                for missing in self.starts.missing(&found) {
                    // Nothing else is told meanwhile. That it has a usage means that it is there.
                    let container = runtime_reference(missing.container.clone());
                    if let Ok(Some(_)) = self.parts.hands.runtime.stats(&container).await {
                        found.push(missing);
                    }
                }
                tracing::info!(containers = found.len(), "the keeper's containers are taken stock of");
                self.feed(Input::Inventory(found));
                self.collect();
            }
            RuntimeEvent::Exited { container, attempt, exit, log_tail } => {
                tracing::info!(%container, attempt, %exit, "a container ended");
                let ended = Ended { container: starts::reference(container), attempt, exit, log_tail };
                if let Some(ended) = self.starts.ended(ended) {
                    self.feed(ended.into());
                }
            }
        }
    }

    fn look(&mut self) {
        if let Some(usage) = self.parts.machine.news() {
            self.feed(Input::Usage(usage));
        }
        if self.parts.machine.free_disk() < self.parts.disk_reserve {
            self.collect();
        }
    }

    fn sample(&mut self) {
        if let Some(containers) = self.meter.begin(&self.parts.state) {
            self.samples.spawn(loads::sample(self.parts.hands.runtime.clone(), containers));
        }
    }

    fn take_samples(&mut self, samples: Result<Samples, JoinError>) {
        match samples {
            Ok(samples) => {
                let loads = self.meter.take(samples);
                self.feed(Input::Loads(loads));
            }
            Err(error) => tracing::error!(%error, "a look at what containers use failed"),
        }
    }

    /// Removes images that nothing needs, if the disk is short of what is to be free.
    fn collect(&mut self) {
        let is_recent = self.collected_at.is_some_and(|at| at.elapsed() < COLLECT_EVERY);
        if is_recent || !self.collection.is_empty() {
            return;
        }
        self.collected_at = Some(Instant::now());
        let (images, in_use) = (self.parts.hands.images.clone(), self.images_in_use());
        let target = self.parts.disk_reserve.0;
        self.collection.spawn(async move {
            match images.collect(&in_use, target).await {
                Ok(collected) if collected.is_empty() => {}
                Ok(collected) => {
                    let (images, layers) = (collected.images.len(), collected.layers);
                    tracing::info!(
                        images,
                        layers,
                        free = collected.free,
                        "images that nothing needs are removed"
                    );
                }
                Err(error) => {
                    tracing::warn!(error = skerry_types::chain(&error), "images cannot be collected");
                }
            }
        });
    }

    fn images_in_use(&self) -> std::collections::BTreeSet<skerry_registry::Digest> {
        self.parts.state.images_in_use().iter().filter_map(store_digest).collect()
    }
}

async fn forward_events(mut events: RuntimeEvents, forward: mpsc::Sender<RuntimeEvent>) {
    while let Some(event) = events.next().await {
        if forward.send(event).await.is_err() {
            return;
        }
    }
}
