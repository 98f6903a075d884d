//! One established connection, the same on both sides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::Side;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::certificate::PeerCertificate;
use crate::close::{CloseReason, LinkLost, detail_bytes};
use crate::frame::{FrameError, FramedReceiver, FramedSender};
use crate::recall::Remembered;
use crate::spiffe::SpiffeId;

/// Control before bulk whenever both have something to send. QUIC's default is 0; higher goes first.
const CONTROL_PRIORITY: i32 = 1;
const BULK_PRIORITY: i32 = -1;
/// Pause between nudges of a silent peer: 65 bytes every two seconds, only while it owes an answer.
const NUDGE_PAUSE: Duration = Duration::from_secs(2);
/// Longest header of a bulk stream: an enum with a few names in it.
const BULK_HEADER_MAX: usize = 4 * 1024;
/// A header follows the opening of its stream at once; this is for a link that loses most packets.
const BULK_HEADER_WAIT: Duration = Duration::from_secs(30);

/// A connection whose other side is authenticated. Cheap to clone; all clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: quinn::Connection,
    peer: Arc<PeerCertificate>,
    sent: Arc<Notify>,
    /// At a parent that remembers its children: gone with the last clone.
    _remembered: Option<Arc<Remembered>>,
}

/// A bulk stream that both sides agree on: log lines, an exec, a blob.
#[derive(Debug)]
pub struct BulkStream {
    /// To the other side.
    pub sender: FramedSender,
    /// From the other side.
    pub receiver: FramedReceiver,
}

/// A bulk stream that the other side opened, before its header is read.
#[derive(Debug)]
pub struct IncomingBulk {
    stream: BulkStream,
}

impl Connection {
    pub(crate) fn new(inner: quinn::Connection, peer: PeerCertificate) -> Self {
        Self::remembered(inner, peer, None)
    }

    pub(crate) fn remembered(
        inner: quinn::Connection,
        peer: PeerCertificate,
        remembered: Option<Remembered>,
    ) -> Self {
        let remembered = remembered.map(Arc::new);
        Self { inner, peer: Arc::new(peer), sent: Arc::new(Notify::new()), _remembered: remembered }
    }

    /// What the other side's certificate says.
    pub fn peer(&self) -> &PeerCertificate {
        &self.peer
    }

    /// Who the other side is.
    pub fn peer_id(&self) -> &SpiffeId {
        &self.peer.id
    }

    /// Where the other side is seen at present; it may move.
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Estimate of the round trip.
    pub fn round_trip(&self) -> Duration {
        self.inner.rtt()
    }

    /// UDP bytes sent and received on this connection so far, without IP and UDP headers.
    pub fn traffic_bytes(&self) -> (u64, u64) {
        let stats = self.inner.stats();
        (stats.udp_tx.bytes, stats.udp_rx.bytes)
    }

    /// UDP datagrams sent and received on this connection so far; each takes IP and UDP headers besides its bytes.
    pub fn traffic_datagrams(&self) -> (u64, u64) {
        let stats = self.inner.stats();
        (stats.udp_tx.datagrams, stats.udp_rx.datagrams)
    }

    /// The control stream: the child's first stream. To be called once, before any bulk stream is accepted; the parent's
    /// call returns when the child's first frame arrives, so the child must send first. Bound it by a deadline. Not
    /// cancel-safe at the parent: a cancelled call may have taken the stream.
    pub async fn control(&self) -> Result<(FramedSender, FramedReceiver), LinkLost> {
        let (send, receive) = match self.inner.side() {
            Side::Client => self.inner.open_bi().await?,
            Side::Server => self.inner.accept_bi().await?,
        };
        prioritize(&send, CONTROL_PRIORITY);
        Ok((FramedSender::telling(send, self.sent.clone()), FramedReceiver::new(receive)))
    }

    /// Opens a bulk stream that begins with `header`. Waits while the other side has as many open as it allows. It yields to
    /// the control stream in bandwidth, and its flow control is its own: a reader that stops stops only this stream.
    pub async fn open_bulk<H: Serialize>(&self, header: &H) -> Result<BulkStream, FrameError> {
        let (send, receive) = self.inner.open_bi().await.map_err(LinkLost::from)?;
        prioritize(&send, BULK_PRIORITY);
        let mut sender = FramedSender::new(send);
        sender.send(header).await?;
        Ok(BulkStream { sender, receiver: FramedReceiver::new(receive) })
    }

    /// The next bulk stream that the other side opens. Cancel-safe.
    pub async fn accept_bulk(&self) -> Result<IncomingBulk, LinkLost> {
        let (send, receive) = self.inner.accept_bi().await?;
        prioritize(&send, BULK_PRIORITY);
        Ok(IncomingBulk {
            stream: BulkStream { sender: FramedSender::new(send), receiver: FramedReceiver::new(receive) },
        })
    }

    /// Keeps a connection moving over a cut, and returns when it is not worth waiting for any more: when nothing at all came from
    /// the other side for `patience` after something was sent on the control stream. To be run beside the link's loop, by both
    /// sides and by one task each; after it returns, a child closes and dials anew, and a parent lets go.
    ///
    /// QUIC doubles its pause with each unanswered retransmission, so that after a cut of a minute the next one may be a
    /// minute away. Here a single byte goes out every two seconds while an answer is owed; the first that gets through makes the
    /// other side acknowledge, and QUIC sends what is missing at once. On a link that is idle or alive there is no timer and
    /// no traffic.
    pub async fn stalled(&self, patience: Duration) {
        loop {
            tokio::select! {
                // All cancel-safe: a notice is kept until it is taken, and what a lost datagram held was a byte to be dropped.
                () = self.sent.notified() => {
                    // Boxed: a link that is idle, as nearly all are, keeps no room for it.
                    if Box::pin(self.unanswered(patience)).await {
                        return;
                    }
                }
                byte = self.inner.read_datagram() => if byte.is_err() {
                    // The connection is gone: whoever reads the control stream is told why.
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    /// Whether the other side gives a sign within four round trips, asked three times; half a second to five seconds. For who
    /// wonders whether a connection that was not closed still has somebody at its other end.
    pub async fn answers(&self) -> bool {
        let heard = || self.inner.stats().udp_rx.datagrams;
        let before = heard();
        let patience = (self.inner.rtt() * 4).clamp(Duration::from_millis(500), Duration::from_secs(5));
        for _ in 0..3 {
            if let Err(error) = self.inner.send_datagram(Bytes::from_static(&[0])) {
                tracing::trace!(%error, "a nudge could not be sent");
                return false;
            }
            sleep(patience / 3).await;
            // A word that it is over is no sign of life.
            if heard() != before {
                return self.lost().is_none();
            }
        }
        false
    }

    /// Nudges until the other side gives a sign (false) or patience is over (true).
    async fn unanswered(&self, patience: Duration) -> bool {
        let heard = || self.inner.stats().udp_rx.datagrams;
        let before = heard();
        let begin = Instant::now();
        loop {
            sleep(NUDGE_PAUSE).await;
            if heard() != before {
                return false;
            }
            if begin.elapsed() >= patience {
                return true;
            }
            if let Err(error) = self.inner.send_datagram(Bytes::from_static(&[0])) {
                // Nothing depends on it: patience decides.
                tracing::trace!(%error, "a nudge could not be sent");
            }
        }
    }

    /// Closes the connection at once, with all its streams; what was not yet delivered is lost. `detail` is a sentence for
    /// the other side's log.
    pub fn close(&self, reason: CloseReason, detail: &str) {
        self.inner.close(reason.var_int(), detail_bytes(detail));
    }

    /// Waits until the connection is gone, however that comes. Cancel-safe.
    pub async fn closed(&self) -> LinkLost {
        self.inner.closed().await.into()
    }

    /// Why the connection is gone, if it is.
    pub fn lost(&self) -> Option<LinkLost> {
        self.inner.close_reason().map(LinkLost::from)
    }
}

impl IncomingBulk {
    /// Reads the header; to be called in the stream's own task, since a slow opener must not hold up others.
    pub async fn header<H: DeserializeOwned>(self) -> Result<(H, BulkStream), FrameError> {
        self.header_within(BULK_HEADER_MAX).await
    }

    /// As [`header`](Self::header), for streams whose header may be as long as `most` bytes.
    pub async fn header_within<H: DeserializeOwned>(
        mut self,
        most: usize,
    ) -> Result<(H, BulkStream), FrameError> {
        let header = timeout(BULK_HEADER_WAIT, self.stream.receiver.recv(most))
            .await
            .map_err(|_| FrameError::TimedOut)??
            .ok_or(FrameError::Cut)?;
        Ok((header, self.stream))
    }
}

fn prioritize(stream: &quinn::SendStream, priority: i32) {
    if stream.set_priority(priority).is_err() {
        // The stream is already closed: whoever writes to it will be told.
        tracing::trace!("a stream closed before its priority was set");
    }
}
