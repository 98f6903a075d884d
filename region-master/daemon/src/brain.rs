//! The task that owns the brain.

use std::collections::HashMap;
use std::time::Duration;

use skerry_region_state::{
    Action, ApiCall, ApiError, ApiReply, CallId, ChildIdentity, EnrollRefusal, EnrollWish, Enrolled, Input,
    LinkId, RegionState, SecretHash, TokenId,
};
use skerry_store::{Backlog, Progress, WriteQueue, WriterGone};
use skerry_wire::{ToChild, ToParent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::orders::{self, OrderReceiver, Orders};

/// Inputs that wait for the brain. When it is full, callers and links wait in turn.
const INBOX_MAX: usize = 1024;
/// Messages that wait for a link: four frames of rows and as many answers each way, doubled. A link that is further behind
/// does not read, and is closed.
const LINK_QUEUE_MAX: usize = 32;

/// How long a question waits on a full disk before whoever asked is told: room that comes back at once is not worth a word.
const FULL_PATIENCE: Duration = Duration::from_secs(2);

/// An order of the brain to a link.
#[derive(Debug)]
pub(crate) enum LinkOrder {
    Send(Box<ToChild>),
    Close(String),
}

/// An order of the brain to the link to the region above.
#[derive(Debug)]
pub(crate) enum UplinkOrder {
    Send(ToParent),
    Close(String),
}

#[derive(Debug)]
enum Order {
    Call(ApiCall, oneshot::Sender<Result<ApiReply, ApiError>>),
    Certify(Certify, oneshot::Sender<Result<Enrolled, EnrollRefusal>>),
    LinkUp(LinkId, ChildIdentity, Orders<LinkOrder>),
    Twin(LinkId, ChildIdentity, [String; 2], Orders<LinkOrder>),
    LinkDown(LinkId),
    Received(LinkId, ToParent),
    ParentUp(mpsc::Sender<UplinkOrder>),
    ParentDown,
    FromParent(ToChild),
}

/// What a node or a region wants certified.
#[derive(Debug)]
pub(crate) enum Certify {
    Enroll { token: TokenId, secret: SecretHash, wish: EnrollWish, key: [u8; 32] },
    Renew(ChildIdentity),
}

/// The master is shutting down.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the master is shutting down")]
pub(crate) struct ShuttingDown;

/// Why a question has no durable answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error(transparent)]
    ShuttingDown(#[from] ShuttingDown),
    #[error(
        "the disk of the master's store is full: nothing can be promised before there is room on it; what was asked may yet \
         be done then, nodes go on meanwhile"
    )]
    DiskFull,
}

/// The way to the brain.
#[derive(Debug, Clone)]
pub(crate) struct BrainHandle {
    inbox: mpsc::Sender<Order>,
    change: watch::Receiver<u64>,
    progress: Progress,
}

impl BrainHandle {
    /// Asks, and waits for the durable answer.
    pub(crate) async fn call(&self, call: ApiCall) -> Result<Result<ApiReply, ApiError>, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        self.inbox.send(Order::Call(call, sender)).await.map_err(|_| ShuttingDown)?;
        self.answer(receiver).await
    }

    async fn answer<T>(&self, receiver: oneshot::Receiver<T>) -> Result<T, NoAnswer> {
        let mut progress = self.progress.clone();
        tokio::select! {
            answer = receiver => Ok(answer.map_err(|_| ShuttingDown)?),
            () = progress.disk_full_for(FULL_PATIENCE) => Err(NoAnswer::DiskFull),
        }
    }

    /// Asks whether a node or a region may have a certificate, and waits for the durable answer.
    pub(crate) async fn certify(&self, wish: Certify) -> Result<Result<Enrolled, EnrollRefusal>, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        self.inbox.send(Order::Certify(wish, sender)).await.map_err(|_| ShuttingDown)?;
        self.answer(receiver).await
    }

    /// Announces a link, and gives its orders.
    pub(crate) async fn link_up(
        &self,
        link: LinkId,
        identity: ChildIdentity,
    ) -> Result<OrderReceiver<LinkOrder>, ShuttingDown> {
        let (sender, receiver) = orders::queue(LINK_QUEUE_MAX);
        self.inbox.send(Order::LinkUp(link, identity, sender)).await.map_err(|_| ShuttingDown)?;
        Ok(receiver)
    }

    /// Announces a link with the identity of one that is up and answers, and gives its orders.
    pub(crate) async fn twin(
        &self,
        link: LinkId,
        identity: ChildIdentity,
        from: [String; 2],
    ) -> Result<OrderReceiver<LinkOrder>, ShuttingDown> {
        let (sender, receiver) = orders::queue(LINK_QUEUE_MAX);
        self.inbox.send(Order::Twin(link, identity, from, sender)).await.map_err(|_| ShuttingDown)?;
        Ok(receiver)
    }

    pub(crate) async fn link_down(&self, link: LinkId) -> Result<(), ShuttingDown> {
        self.inbox.send(Order::LinkDown(link)).await.map_err(|_| ShuttingDown)
    }

    pub(crate) async fn received(&self, link: LinkId, message: ToParent) -> Result<(), ShuttingDown> {
        self.inbox.send(Order::Received(link, message)).await.map_err(|_| ShuttingDown)
    }

    /// Announces the link to the region above, and gives its orders. Each must be followed by a
    /// [`parent_down`](Self::parent_down) before the next.
    pub(crate) async fn parent_up(&self) -> Result<mpsc::Receiver<UplinkOrder>, ShuttingDown> {
        let (sender, receiver) = mpsc::channel(LINK_QUEUE_MAX);
        self.inbox.send(Order::ParentUp(sender)).await.map_err(|_| ShuttingDown)?;
        Ok(receiver)
    }

    pub(crate) async fn parent_down(&self) -> Result<(), ShuttingDown> {
        self.inbox.send(Order::ParentDown).await.map_err(|_| ShuttingDown)
    }

    pub(crate) async fn parent_said(&self, message: ToChild) -> Result<(), ShuttingDown> {
        self.inbox.send(Order::FromParent(message)).await.map_err(|_| ShuttingDown)
    }

    /// The number of the last change to what lists show.
    pub(crate) fn change(&self) -> watch::Receiver<u64> {
        self.change.clone()
    }
}

/// Owns the brain, and carries out its actions.
pub(crate) struct BrainTask {
    state: RegionState,
    clock: Clock,
    store: Backlog,
    inbox: mpsc::Receiver<Order>,
    change: watch::Sender<u64>,
    links: HashMap<LinkId, Orders<LinkOrder>>,
    parent: Option<mpsc::Sender<UplinkOrder>>,
    calls: HashMap<CallId, oneshot::Sender<Result<ApiReply, ApiError>>>,
    certificates: HashMap<CallId, oneshot::Sender<Result<Enrolled, EnrollRefusal>>>,
    next_call: u64,
}

impl BrainTask {
    pub(crate) fn new(
        state: RegionState,
        clock: Clock,
        writes: WriteQueue,
        progress: Progress,
    ) -> (Self, BrainHandle) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let (change, changed) = watch::channel(state.change());
        let heard = progress.clone();
        let task = Self {
            state,
            clock,
            store: Backlog::new(writes, progress),
            inbox,
            change,
            links: HashMap::new(),
            parent: None,
            calls: HashMap::new(),
            certificates: HashMap::new(),
            next_call: 1,
        };
        (task, BrainHandle { inbox: sender, change: changed, progress: heard })
    }

    /// Runs until `cancel`, or until the store fails.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<(), WriterGone> {
        self.act();
        loop {
            let due = self.state.poll_timeout();
            let input = tokio::select! {
                // All are cancel-safe: an order stays in its channel, progress in its watch.
                () = cancel.cancelled() => break,
                step = self.store.step() => match step? {
                    Some(persisted) => Input::Persisted(persisted),
                    None => continue,
                },
                () = self.clock.at(due) => Input::Timeout,
                order = self.inbox.recv() => match order {
                    Some(order) => self.take(order),
                    None => break,
                },
            };
            self.state.handle(self.clock.now(), input);
            self.act();
        }
        self.store.finish().await
    }

    fn take(&mut self, order: Order) -> Input {
        match order {
            Order::Call(call, answer) => {
                let id = self.call_id();
                self.calls.insert(id, answer);
                Input::Call(id, call)
            }
            Order::Certify(wish, answer) => {
                let call = self.call_id();
                self.certificates.insert(call, answer);
                match wish {
                    Certify::Enroll { token, secret, wish, key } => {
                        Input::Enroll { call, token, secret, wish, key }
                    }
                    Certify::Renew(identity) => Input::Renew { call, identity },
                }
            }
            Order::LinkUp(link, identity, orders) => {
                self.links.insert(link, orders);
                Input::LinkUp(link, identity)
            }
            Order::Twin(link, identity, from, orders) => {
                self.links.insert(link, orders);
                Input::Twin { link, identity, from }
            }
            Order::LinkDown(link) => {
                self.links.remove(&link);
                Input::LinkDown(link)
            }
            Order::Received(link, message) => Input::Received(link, message),
            Order::ParentUp(orders) => {
                self.parent = Some(orders);
                Input::ParentUp
            }
            Order::ParentDown => {
                self.parent = None;
                Input::ParentDown
            }
            Order::FromParent(message) => Input::FromParent(message),
        }
    }

    fn call_id(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    fn act(&mut self) {
        while let Some(action) = self.state.poll_action() {
            match action {
                Action::Persist(id, batch) => self.store.push(id, batch),
                Action::Reply(call, reply) => answer(self.calls.remove(&call), reply),
                Action::Certify(call, decision) => answer(self.certificates.remove(&call), decision),
                Action::Send(link, message) => self.order(link, LinkOrder::Send(Box::new(message))),
                Action::Close { link, reason } => {
                    self.order(link, LinkOrder::Close(reason));
                    self.links.remove(&link);
                }
                Action::SendParent(message) => self.order_up(UplinkOrder::Send(message)),
                Action::CloseParent { reason } => {
                    self.order_up(UplinkOrder::Close(reason));
                    self.parent = None;
                }
                Action::Warn(message) => tracing::warn!("{message}"),
                Action::Changed(change) => {
                    self.change.send_replace(change);
                }
            }
        }
    }

    /// A link whose queue is full does not read: dropping its queue closes it, and its node dials again.
    fn order(&mut self, link: LinkId, order: LinkOrder) {
        let Some(orders) = self.links.get(&link) else { return };
        if orders.give(order).is_err() {
            tracing::warn!(link = link.0, "a link that does not keep up is closed");
            self.links.remove(&link);
        }
    }

    /// As with a child's link: one that does not keep up is given up, and dialled anew.
    fn order_up(&mut self, order: UplinkOrder) {
        let Some(orders) = &self.parent else { return };
        if orders.try_send(order).is_err() {
            tracing::warn!("the link to the region above does not keep up and is closed");
            self.parent = None;
        }
    }
}

/// A caller that has gone needs no answer.
fn answer<T>(caller: Option<oneshot::Sender<T>>, value: T) {
    if caller.is_some_and(|caller| caller.send(value).is_err()) {
        tracing::debug!("a caller left before its answer");
    }
}
