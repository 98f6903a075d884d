//! The link to the master of the region above: dials for ever, carries messages, answers calls that come down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skerry_link::enroll::RenewalSignals;
use skerry_link::tls::{Identity, TrustRoots};
use skerry_link::{
    CloseReason, Connection, DialError, DialState, Dialer, FrameError, FramedReceiver, FramedSender,
    KeepAlive, LinkClock, LinkLost, MAX_FRAME_BYTES,
};
use skerry_wire::{ToChild, Welcome};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::brain::{BrainHandle, UplinkOrder};
use crate::calls::CallServer;
use skerry_types::chain;

/// From the handshake to the Welcome: the parent's brain answers at once, and a bad link adds some round trips of 2 s.
const WELCOME_WAIT: Duration = Duration::from_secs(30);
/// A link that lasted so long was a good one: how it ends is news.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the parent to hear of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Keeps the link.
pub(crate) struct Uplink {
    pub(crate) dialer: Dialer,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) roots: TrustRoots,
    pub(crate) clock: Arc<LinkClock>,
    pub(crate) brain: BrainHandle,
    pub(crate) calls: CallServer,
    /// The identity to show; it changes with each renewal.
    pub(crate) identity: watch::Receiver<Identity>,
    pub(crate) signals: Arc<RenewalSignals>,
    /// Who keeps the master's own certificate looks at it when the time is told.
    pub(crate) told_time: Arc<Notify>,
}

impl Uplink {
    /// Runs until `cancel`.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let mut diary = Diary::default();
        loop {
            let mut state = self.dialer.state();
            let connection = tokio::select! {
                () = cancel.cancelled() => break,
                // Cancel-safe; giving up the attempts under way is meant, as they show the former certificate.
                Ok(()) = self.identity.changed() => {
                    self.take_identity();
                    continue;
                }
                connection = self.dialer.connect() => connection,
                // Never returns; it only tells what the dialer meets.
                () = diary.watch(&mut state) => continue,
            };
            let began = Instant::now();
            let end = self.exchange(&connection, &cancel).await;
            diary.ended(&end, began.elapsed());
            if let Some(LinkLost::ClosedByPeer { reason: CloseReason::CertificateExpired, .. }) =
                connection.lost()
            {
                self.signals.refused();
            }
        }
        if timeout(FAREWELL, self.dialer.shut_down()).await.is_err() {
            tracing::debug!("the region above may not have heard of the end");
        }
    }

    fn take_identity(&mut self) {
        let identity = self.identity.borrow_and_update().clone();
        if let Err(error) = self.dialer.set_identity(&identity, &self.roots) {
            return tracing::error!(error = chain(&error), "the renewed certificate cannot be used");
        }
        self.dialer.hint().try_again();
    }

    async fn exchange(&mut self, connection: &Connection, cancel: &CancellationToken) -> End {
        let remote = connection.remote_address();
        tracing::debug!(parent = %connection.peer_id(), %remote, "connected to the region above");
        let (sender, receiver) = match timeout(WELCOME_WAIT, connection.control()).await {
            Ok(Ok(streams)) => streams,
            Ok(Err(lost)) => return End::lost(&lost),
            Err(_) => return close(connection, CloseReason::Protocol, "no stream could be opened in time"),
        };
        let Ok(orders) = self.brain.parent_up().await else {
            return close(connection, CloseReason::ShuttingDown, "the master ends");
        };
        let patience = self.keep_alive.idle_timeout();
        let mut welcomes = Welcomes {
            dialer: &mut self.dialer,
            clock: &self.clock,
            signals: &self.signals,
            told_time: &self.told_time,
        };
        let end = tokio::select! {
            // Whichever ends first ends the link, so nothing of the others is needed any more. The end of the process comes
            // first: the brain ends with it, and that is not to be told as something else.
            biased;
            () = cancel.cancelled() => close(connection, CloseReason::ShuttingDown, "the master ends"),
            end = send(connection, sender, orders) => end,
            end = receive(connection, receiver, &self.brain, &mut welcomes) => end,
            lost = serve_calls(connection, &self.calls) => End::lost(&lost),
            () = connection.stalled(patience) => {
                close(connection, CloseReason::Protocol, "nothing was heard for too long")
            }
            Ok(()) = self.identity.changed() => {
                // A parent reads a certificate's end only as a connection comes up, so the link is made anew.
                close(connection, CloseReason::Done, "the certificate was renewed")
            }
        };
        if end.renewed {
            self.identity.mark_changed();
        }
        if self.brain.parent_down().await.is_err() {
            tracing::debug!("the brain has gone before the link to the region above");
        }
        end
    }
}

/// How a link ended.
struct End {
    words: String,
    /// Whether somebody should know: it will end so again.
    refused: bool,
    renewed: bool,
}

impl End {
    fn passing(words: impl Into<String>) -> Self {
        let words = words.into();
        let renewed = words == "the certificate was renewed";
        Self { words, refused: false, renewed }
    }

    fn refused(words: impl Into<String>) -> Self {
        Self { words: words.into(), refused: true, renewed: false }
    }

    fn lost(lost: &LinkLost) -> Self {
        let refused = matches!(
            lost,
            LinkLost::ClosedByPeer {
                reason: CloseReason::Refused | CloseReason::WrongIdentity | CloseReason::Version,
                ..
            }
        );
        Self { refused, ..Self::passing(lost.to_string()) }
    }
}

/// What a Welcome changes.
struct Welcomes<'a> {
    dialer: &'a mut Dialer,
    clock: &'a LinkClock,
    signals: &'a RenewalSignals,
    told_time: &'a Notify,
}

impl Welcomes<'_> {
    fn take(&mut self, welcome: &Welcome) {
        tracing::info!(region = %welcome.region, protocol = welcome.protocol, "the region above welcomes this one");
        self.dialer.welcomed();
        self.clock.observe(welcome.now);
        self.signals.told_time();
        self.told_time.notify_one();
    }
}

async fn send(
    connection: &Connection,
    mut sender: FramedSender,
    mut orders: mpsc::Receiver<UplinkOrder>,
) -> End {
    while let Some(order) = orders.recv().await {
        match order {
            UplinkOrder::Send(message) => match sender.send(&message).await {
                Ok(()) => {}
                Err(FrameError::Lost(lost)) => return End::lost(&lost),
                Err(error) => return End::refused(error.to_string()),
            },
            UplinkOrder::Close(reason) => {
                connection.close(CloseReason::Refused, &reason);
                return End::refused(reason);
            }
        }
    }
    close(connection, CloseReason::Protocol, "the link does not keep up")
}

async fn receive(
    connection: &Connection,
    mut receiver: FramedReceiver,
    brain: &BrainHandle,
    welcomes: &mut Welcomes<'_>,
) -> End {
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
            Ok(None) => return close(connection, CloseReason::Done, "the parent ended the control stream"),
            Err(FrameError::Lost(lost)) => return End::lost(&lost),
            Err(error) => return close(connection, CloseReason::Protocol, &error.to_string()),
        };
        let refused = match &message {
            ToChild::Welcome(welcome) => {
                welcomes.take(welcome);
                None
            }
            ToChild::Refused(refused) => {
                Some(format!("the region above refuses the link: {}", refused.message))
            }
            ToChild::Rows(_) | ToChild::Ack(_) | ToChild::Renewed { .. } => None,
        };
        if brain.parent_said(message).await.is_err() {
            return close(connection, CloseReason::ShuttingDown, "the master ends");
        }
        if let Some(words) = refused {
            return End::refused(words);
        }
    }
}

/// Answers calls until the connection is gone; those under way end with it.
async fn serve_calls(connection: &Connection, calls: &CallServer) -> LinkLost {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            // Both are cancel-safe.
            incoming = connection.accept_bulk() => match incoming {
                Ok(incoming) => {
                    streams.spawn(calls.clone().serve(incoming));
                }
                Err(lost) => return lost,
            },
            Some(ended) = streams.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a call failed in a way that is a defect of the master");
            },
        }
    }
}

fn close(connection: &Connection, reason: CloseReason, detail: &str) -> End {
    connection.close(reason, detail);
    End::passing(detail)
}

/// What was said of the link already: it is dialled for ever, and the same words are said once.
#[derive(Default)]
struct Diary {
    dial: Option<String>,
    end: Option<String>,
}

impl Diary {
    fn ended(&mut self, end: &End, lasted: Duration) {
        self.dial = None;
        let words = end.words.clone();
        if lasted < STABLE_AFTER && self.end.as_ref() == Some(&words) {
            return tracing::debug!(end = words, "the link to the region above ended as before");
        }
        if end.refused {
            tracing::warn!(
                end = words,
                "the link to the region above cannot be kept; this region goes on by itself and keeps trying"
            );
        } else {
            tracing::info!(end = words, "the link to the region above is over");
        }
        self.end = Some(words);
    }

    /// Tells of failures to dial, each kind once.
    async fn watch(&mut self, state: &mut watch::Receiver<DialState>) {
        loop {
            if let DialState::Connecting { last: Some(error), .. } = &*state.borrow_and_update() {
                self.failed(error);
            }
            if state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn failed(&mut self, error: &DialError) {
        let words = chain(error);
        if self.dial.as_ref() == Some(&words) {
            return;
        }
        if matches!(error, DialError::Lost { lost: LinkLost::TheirCertificate(_), .. }) {
            tracing::warn!(error = words, "who answers is not the region above; check --parent");
        } else {
            tracing::info!(error = words, "the region above is not reached; this region goes on by itself");
        }
        self.dial = Some(words);
    }
}
