//! The task that keeps the link to the master: dials, carries messages, serves bulk streams, takes renewed certificates.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use skerry_link::tls::{Identity, TrustRoots};
use skerry_link::{
    CloseReason, Connection, Dialer, FrameError, FramedReceiver, FramedSender, KeepAlive, LinkClock,
    LinkLost, MAX_FRAME_BYTES,
};
use skerry_wire::{ToChild, ToParent};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::brain::BrainHandle;
use crate::clock::TimeFloor;
use crate::facts::address_towards;
use crate::logs::BulkServer;
use crate::renewal::RenewalSignals;

/// From the handshake to the Welcome: the brain may wait 10 s for the keeper before it says hello, and a bad link adds some
/// round trips of 2 s.
const WELCOME_WAIT: Duration = Duration::from_secs(30);
/// How long the end of the process waits for the master to hear of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Keeps the link.
pub(crate) struct LinkTask {
    pub(crate) dialer: Dialer,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) clock: Arc<LinkClock>,
    pub(crate) floor: TimeFloor,
    pub(crate) brain: BrainHandle,
    pub(crate) bulk: BulkServer,
    pub(crate) renewed: mpsc::Receiver<(Identity, TrustRoots)>,
    pub(crate) signals: Arc<RenewalSignals>,
}

impl LinkTask {
    /// Runs until `cancel`.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        loop {
            let connection = tokio::select! {
                () = cancel.cancelled() => break,
                // Cancel-safe; giving up the attempts under way is meant, as they show the former certificate.
                Some((identity, roots)) = self.renewed.recv() => {
                    self.take_identity(&identity, &roots);
                    continue;
                }
                connection = self.dialer.connect() => connection,
            };
            let end = self.exchange(&connection, &cancel).await;
            tracing::info!(end, "the link is over");
            if let Some(LinkLost::ClosedByPeer { reason: CloseReason::CertificateExpired, .. }) =
                connection.lost()
            {
                self.signals.refused();
            }
        }
        if timeout(FAREWELL, self.dialer.shut_down()).await.is_err() {
            tracing::debug!("the master may not have heard of the end");
        }
    }

    fn take_identity(&mut self, identity: &Identity, roots: &TrustRoots) {
        if let Err(error) = self.dialer.set_identity(identity, roots) {
            return tracing::error!(
                error = skerry_types::chain(&error),
                "the renewed certificate cannot be used"
            );
        }
        self.dialer.hint().try_again();
    }

    async fn exchange(&mut self, connection: &Connection, cancel: &CancellationToken) -> String {
        let remote = connection.remote_address();
        tracing::info!(master = %connection.peer_id(), %remote, "connected");
        let (sender, receiver) = match timeout(WELCOME_WAIT, connection.control()).await {
            Ok(Ok(streams)) => streams,
            Ok(Err(lost)) => return lost.to_string(),
            Err(_) => return close(connection, CloseReason::Protocol, "no stream could be opened in time"),
        };
        let address = address_towards(remote);
        let outgoing = self.brain.link_up(address).await;
        let patience = self.keep_alive.idle_timeout();
        let mut welcomes = Welcomes {
            dialer: &mut self.dialer,
            clock: &self.clock,
            floor: &mut self.floor,
            signals: &self.signals,
        };
        let end = tokio::select! {
            // Whichever ends first ends the link, so nothing of the others is needed any more.
            () = cancel.cancelled() => close(connection, CloseReason::ShuttingDown, "the agent ends"),
            end = send(connection, sender, outgoing) => end,
            end = receive(connection, receiver, &self.brain, &mut welcomes) => end,
            lost = serve_bulk(connection, &self.bulk) => lost.to_string(),
            never = follow_address(&self.brain, remote, address, self.keep_alive.interval()) => match never {},
            () = connection.stalled(patience) => {
                close(connection, CloseReason::Protocol, "nothing was heard for too long")
            }
            Some((identity, roots)) = self.renewed.recv() => {
                // The master reads a certificate's end only as a connection comes up, so the link is made anew.
                if let Err(error) = welcomes.dialer.set_identity(&identity, &roots) {
                    tracing::error!(error = skerry_types::chain(&error), "the renewed certificate cannot be used");
                }
                welcomes.dialer.hint().try_again();
                close(connection, CloseReason::Done, "the certificate was renewed")
            }
        };
        self.brain.link_down().await;
        end
    }
}

/// What a Welcome changes.
struct Welcomes<'a> {
    dialer: &'a mut Dialer,
    clock: &'a LinkClock,
    floor: &'a mut TimeFloor,
    signals: &'a RenewalSignals,
}

async fn send(
    connection: &Connection,
    mut sender: FramedSender,
    mut outgoing: mpsc::Receiver<ToParent>,
) -> String {
    while let Some(message) = outgoing.recv().await {
        if let Err(error) = sender.send(&message).await {
            return error.to_string();
        }
    }
    close(connection, CloseReason::Protocol, "the node gave the link up")
}

async fn receive(
    connection: &Connection,
    mut receiver: FramedReceiver,
    brain: &BrainHandle,
    welcomes: &mut Welcomes<'_>,
) -> String {
    let mut first = Some(WELCOME_WAIT);
    loop {
        let received = match first.take() {
            Some(wait) => {
                timeout(wait, receiver.recv(MAX_FRAME_BYTES)).await.unwrap_or(Err(FrameError::TimedOut))
            }
            None => receiver.recv(MAX_FRAME_BYTES).await,
        };
        let message: ToChild = match received {
            Ok(Some(message)) => message,
            Ok(None) => return close(connection, CloseReason::Done, "the master ended the control stream"),
            Err(FrameError::Lost(lost)) => return lost.to_string(),
            Err(error) => return close(connection, CloseReason::Protocol, &error.to_string()),
        };
        if let ToChild::Welcome(welcome) = &message {
            tracing::info!(region = %welcome.region, protocol = welcome.protocol, "welcomed");
            welcomes.dialer.welcomed();
            welcomes.clock.observe(welcome.now);
            welcomes.floor.raise(welcome.now);
            welcomes.signals.told_time();
        }
        brain.received(message).await;
    }
}

/// Tells when this machine has another address on the way to the master: the link goes on, what people dial has moved.
async fn follow_address(
    brain: &BrainHandle,
    remote: SocketAddr,
    mut known: Option<IpAddr>,
    every: Duration,
) -> Infallible {
    loop {
        tokio::time::sleep(every).await;
        let present = address_towards(remote);
        // None between two addresses: what was told stays.
        if present.is_some() && present != known {
            known = present;
            brain.moved(present).await;
        }
    }
}

/// Answers bulk streams until the connection is gone; those under way end with it.
async fn serve_bulk(connection: &Connection, bulk: &BulkServer) -> LinkLost {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            // Both are cancel-safe.
            incoming = connection.accept_bulk() => match incoming {
                Ok(incoming) => {
                    streams.spawn(bulk.clone().serve(incoming));
                }
                Err(lost) => return lost,
            },
            Some(ended) = streams.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a bulk stream failed in a way that is a defect of the agent");
            },
        }
    }
}

fn close(connection: &Connection, reason: CloseReason, detail: &str) -> String {
    connection.close(reason, detail);
    detail.to_owned()
}
