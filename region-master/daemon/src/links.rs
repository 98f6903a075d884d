//! The links of nodes and of regions below: one task for each, between its streams and the brain.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skerry_link::{
    Arrival, CloseReason, Connection, FrameError, FramedReceiver, FramedSender, LinkServer, MAX_FRAME_BYTES,
};
use skerry_region_state::{ChildIdentity, LinkId};
use skerry_types::{NodeName, RegionName};
use skerry_wire::{ToChild, ToParent};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::brain::{BrainHandle, LinkOrder};
use crate::enroll::{self, Enroller};
use crate::orders::OrderReceiver;

/// From the handshake to the hello. A node that starts looks for its containers first, for up to 10 s, and a bad link adds
/// some round trips of 2 s.
const HELLO_WAIT: Duration = Duration::from_secs(30);

/// How long a child may leave a message unanswered. A child gives up earlier and dials anew; this is for one that is gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Who a link is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Child {
    Node(NodeName),
    Region(RegionName),
}

impl Child {
    fn of(identity: &ChildIdentity) -> Self {
        match identity {
            ChildIdentity::Node(node) => Self::Node(node.node.clone()),
            ChildIdentity::Region(region) => Self::Region(region.region.clone()),
        }
    }
}

impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Region(region) => write!(f, "region {region}"),
        }
    }
}

/// The connections of the children, for streams that the API opens.
#[derive(Debug, Clone, Default)]
pub(crate) struct LinkTable {
    children: Arc<Mutex<BTreeMap<Child, (LinkId, Connection)>>>,
}

impl LinkTable {
    pub(crate) fn node(&self, node: &NodeName) -> Option<Connection> {
        self.connection(&Child::Node(node.clone()))
    }

    pub(crate) fn region(&self, region: &RegionName) -> Option<Connection> {
        self.connection(&Child::Region(region.clone()))
    }

    fn connection(&self, child: &Child) -> Option<Connection> {
        self.locked().get(child).map(|(_, connection)| connection.clone())
    }

    fn insert(&self, child: Child, link: LinkId, connection: Connection) {
        self.locked().insert(child, (link, connection));
    }

    fn remove(&self, child: &Child, link: LinkId) {
        let mut children = self.locked();
        if children.get(child).is_some_and(|(present, _)| *present == link) {
            children.remove(child);
        }
    }

    fn has_another(&self, child: &Child, link: LinkId) -> bool {
        self.locked().get(child).is_some_and(|(present, _)| *present != link)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Child, (LinkId, Connection)>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes arrivals until `cancel`.
pub(crate) async fn serve(
    mut server: LinkServer,
    brain: BrainHandle,
    table: LinkTable,
    enroller: Arc<Enroller>,
    cancel: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let next = AtomicU64::new(1);
    loop {
        let arrival = tokio::select! {
            () = cancel.cancelled() => break,
            // Cancel-safe: handshakes under way stay with the server.
            arrival = server.accept() => arrival,
        };
        match arrival {
            None => break,
            Some(Arrival::Link(connection)) => {
                let id = LinkId(next.fetch_add(1, Ordering::Relaxed));
                let Some(identity) = enroll::child(connection.peer()) else {
                    connection.close(CloseReason::Refused, "links are for nodes and regions");
                    continue;
                };
                let child = Child::of(&identity);
                let (brain, table, cancel) = (brain.clone(), table.clone(), cancel.clone());
                let link = LinkTask { id, child, connection, brain, table, cancel };
                tasks.spawn(async move { link.run(Box::new(identity)).await });
            }
            Some(Arrival::Enroll(session)) => {
                let enroller = Arc::clone(&enroller);
                tasks.spawn(async move { enroller.serve(session).await });
            }
            Some(Arrival::Refused { remote, why }) => {
                tracing::info!(%remote, %why, "a peer was sent away");
            }
        }
    }
    server.shut_down().await;
    tasks.close();
    tasks.wait().await;
}

/// A link waits for its child for hours, and a master has ten thousand: what it needs for a moment only is boxed and the rest lent,
/// since a future has room for all that it ever does, and twice for what is moved into another.
struct LinkTask {
    id: LinkId,
    child: Child,
    connection: Connection,
    brain: BrainHandle,
    table: LinkTable,
    cancel: CancellationToken,
}

impl LinkTask {
    async fn run(&self, identity: Box<ChildIdentity>) {
        let end = self.live(identity).await;
        tracing::info!(child = %self.child, end, "a link is over");
        if self.brain.link_down(self.id).await.is_err() {
            tracing::debug!(child = %self.child, "the brain has gone before the link");
        }
    }

    /// A child that dials several times at once opens a stream on one of the connections only: without it there is no link.
    async fn live(&self, identity: Box<ChildIdentity>) -> String {
        let (child, remote) = (&self.child, self.connection.remote_address());
        let (mut sender, mut receiver) = match timeout(HELLO_WAIT, self.connection.control()).await {
            Ok(Ok(streams)) => streams,
            Ok(Err(lost)) => return lost.to_string(),
            Err(_) => return self.close(CloseReason::Protocol, "no control stream came in time"),
        };
        if let Some(first) = Box::pin(self.first()).await {
            tracing::warn!(%child, %remote, first, "a second machine with the key of a child that is connected");
            return Box::pin(self.refuse(*identity, [first, remote.to_string()], &mut sender)).await;
        }
        tracing::info!(%child, %remote, "a link comes up");
        self.table.insert(child.clone(), self.id, self.connection.clone());
        let end = match Box::pin(self.brain.link_up(self.id, *identity)).await {
            Ok(mut orders) => self.exchange(&mut sender, &mut receiver, &mut orders).await,
            Err(_) => self.close(CloseReason::ShuttingDown, ""),
        };
        self.table.remove(child, self.id);
        end
    }

    /// Where the child is connected from already, if that connection still has somebody at its other end: a child that starts
    /// anew or comes by another way leaves one behind that does not answer.
    async fn first(&self) -> Option<String> {
        let first = self.table.connection(&self.child)?;
        first.answers().await.then(|| first.remote_address().to_string())
    }

    /// Lets the brain say why this link is not taken.
    async fn refuse(&self, identity: ChildIdentity, from: [String; 2], sender: &mut FramedSender) -> String {
        match self.brain.twin(self.id, identity, from).await {
            Ok(mut orders) => self.send(sender, &mut orders).await,
            Err(_) => self.close(CloseReason::ShuttingDown, ""),
        }
    }

    async fn exchange(
        &self,
        sender: &mut FramedSender,
        receiver: &mut FramedReceiver,
        orders: &mut OrderReceiver<LinkOrder>,
    ) -> String {
        tokio::select! {
            // Whichever ends first ends the link, so nothing of the other is needed any more.
            end = self.send(sender, orders) => end,
            end = self.receive(receiver) => end,
            () = self.connection.stalled(SILENCE_MAX) => self.close(CloseReason::Protocol, "no answer came in time"),
        }
    }

    async fn send(&self, sender: &mut FramedSender, orders: &mut OrderReceiver<LinkOrder>) -> String {
        while let Some(order) = orders.next().await {
            match order {
                LinkOrder::Send(message) => {
                    let refused = matches!(*message, ToChild::Refused(_));
                    if let Err(error) = Box::pin(sender.send(&*message)).await {
                        return error.to_string();
                    }
                    if refused {
                        return Box::pin(self.part(sender)).await;
                    }
                }
                LinkOrder::Close(reason) => {
                    let superseded = self.table.has_another(&self.child, self.id);
                    let kind = if superseded { CloseReason::Superseded } else { CloseReason::Protocol };
                    return self.close(kind, &reason);
                }
            }
        }
        if self.cancel.is_cancelled() {
            return self.close(CloseReason::ShuttingDown, "the master ends");
        }
        self.close(CloseReason::Protocol, "the link does not keep up")
    }

    /// Lets the last words arrive before the connection is closed.
    async fn part(&self, sender: &mut FramedSender) -> String {
        let last_words = async {
            sender.finish()?;
            sender.delivered().await
        };
        match timeout(Duration::from_secs(5), last_words).await {
            Ok(Ok(())) => self.close(CloseReason::Refused, "refused"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => self.close(CloseReason::Refused, "refused, and not heard"),
        }
    }

    async fn receive(&self, receiver: &mut FramedReceiver) -> String {
        let mut first = Some(HELLO_WAIT);
        loop {
            let received = match first.take() {
                Some(wait) => {
                    let first = Box::pin(timeout(wait, receiver.recv(MAX_FRAME_BYTES)));
                    first.await.unwrap_or(Err(FrameError::TimedOut))
                }
                None => receiver.recv(MAX_FRAME_BYTES).await,
            };
            let message: ToParent = match received {
                Ok(Some(message)) => message,
                Ok(None) => return "the child ended it".to_owned(),
                Err(FrameError::Lost(lost)) => return lost.to_string(),
                Err(error) => return self.close(CloseReason::Protocol, &error.to_string()),
            };
            if Box::pin(self.brain.received(self.id, message)).await.is_err() {
                return self.close(CloseReason::ShuttingDown, "");
            }
        }
    }

    fn close(&self, reason: CloseReason, detail: &str) -> String {
        self.connection.close(reason, detail);
        format!("closed: {reason} {detail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_waits_takes_little() {
        fn future_bytes<F>(_: impl FnOnce(LinkTask, Box<ChildIdentity>) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = future_bytes(|link, identity| async move { link.run(identity).await });
        assert!(bytes <= 1216, "{bytes} bytes for each link");
    }
}
