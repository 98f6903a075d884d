//! QUIC settings of a link, with what they cost.
//!
//! An idle connection must be cheap (a master holds tens of thousands), a stream that nobody reads must not starve the
//! control stream, and a heartbeat must fit a metered uplink. Windows are caps on what the other side may leave with us
//! unread; they cost nothing until it does.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// Keep-alives missed before a link counts as lost.
const MISSED_KEEP_ALIVES: u32 = 3;
/// Unread bytes of one stream at a parent: what comes up are rows and log lines. At 100 ms of round trip it allows 640 kB/s.
const PARENT_STREAM_WINDOW: u32 = 64 * 1024;
/// Unread bytes of one stream at a child: image blobs come down. At 100 ms of round trip it allows 2.6 MB/s.
const CHILD_STREAM_WINDOW: u32 = 256 * 1024;
/// Streams that a child may have open at its parent: the control stream and three of bulk. QUIC keeps a table entry for
/// each permitted stream from the start.
const PARENT_INBOUND_STREAMS: u32 = 4;
/// Streams that a parent may have open at a child: logs, execs and forwards of several operators at one node.
const CHILD_INBOUND_STREAMS: u32 = 16;
/// Sent and not yet acknowledged: what a sender keeps for retransmission.
const SEND_WINDOW: u64 = 256 * 1024;
/// Handshake bytes kept out of order. A chain of three certificates takes 2 KiB.
const CRYPTO_BUFFER_BYTES: usize = 8 * 1024;
/// The only datagrams are the single bytes of [`Connection::stalled`](crate::Connection::stalled).
const DATAGRAM_BUFFER_BYTES: usize = 8 * 1024;

/// Why a duration cannot be a keep-alive interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keep-alive of {given:?} is outside {:?} to {:?}", KeepAlive::MIN, KeepAlive::MAX)]
pub struct KeepAliveError {
    /// What was asked for.
    pub given: Duration,
}

/// How often a child says that it is there. The same setting decides how soon both sides give a silent link up: after three
/// intervals. 25 s costs 13 MB a month on an idle link, 60 s 5.6 MB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeepAlive(Duration);

impl KeepAlive {
    /// Shorter would be a load test.
    pub const MIN: Duration = Duration::from_secs(1);
    /// Longer would let a parent keep dead links for over an hour.
    pub const MAX: Duration = Duration::from_mins(20);

    /// Checks and wraps an interval.
    pub fn new(interval: Duration) -> Result<Self, KeepAliveError> {
        if (Self::MIN..=Self::MAX).contains(&interval) {
            return Ok(Self(interval));
        }
        Err(KeepAliveError { given: interval })
    }

    /// The interval.
    pub fn interval(self) -> Duration {
        self.0
    }

    /// Silence after which the link counts as lost.
    pub fn idle_timeout(self) -> Duration {
        self.0 * MISSED_KEEP_ALIVES
    }
}

impl Default for KeepAlive {
    /// 25 s: below the 30 s after which common NATs forget a UDP mapping.
    fn default() -> Self {
        Self(Duration::from_secs(25))
    }
}

/// Settings of the child's side: it alone sends keep-alives, because it is the one behind a NAT.
pub(crate) fn child(keep_alive: KeepAlive) -> Arc<TransportConfig> {
    let mut config = base(CHILD_STREAM_WINDOW, CHILD_INBOUND_STREAMS, PARENT_INBOUND_STREAMS);
    config
        .keep_alive_interval(Some(keep_alive.interval()))
        .max_idle_timeout(Some(idle(keep_alive.idle_timeout())));
    Arc::new(config)
}

/// Settings of the parent's side. QUIC takes the smaller idle timeout of the two sides, so the longest that a child may
/// choose stands here, and each child's own setting holds.
pub(crate) fn parent() -> Arc<TransportConfig> {
    let mut config = base(PARENT_STREAM_WINDOW, PARENT_INBOUND_STREAMS, CHILD_INBOUND_STREAMS);
    config
        .max_idle_timeout(Some(idle(KeepAlive::MAX * MISSED_KEEP_ALIVES)))
        // A connection keeps a buffer as long as the most that it ever handed to the kernel at a time: up to ten datagrams with
        // this, 12 KB for each child. What goes down are rows, a datagram or two.
        .enable_segmentation_offload(false);
    Arc::new(config)
}

fn base(stream_window: u32, inbound: u32, outbound: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(inbound))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(stream_window))
        // Room for every stream at once: however many bulk streams are left unread, the control stream's window is free.
        .receive_window(VarInt::from_u32(stream_window * (inbound + outbound)))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        // Probing for a larger MTU costs 5.6 KB each way per connection, more than many links carry in an hour.
        .mtu_discovery_config(None);
    config
}

fn idle(timeout: Duration) -> IdleTimeout {
    // `KeepAlive::MAX` keeps every timeout far below the 2^62 ms that QUIC can say.
    IdleTimeout::try_from(timeout).unwrap_or_else(|_| IdleTimeout::from(VarInt::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_has_bounds_and_three_misses() {
        let check = |seconds: u64, good: bool| {
            assert_eq!(KeepAlive::new(Duration::from_secs(seconds)).is_ok(), good, "{seconds}");
        };
        check(0, false);
        check(1, true);
        check(1200, true);
        check(1201, false);
        assert_eq!(KeepAlive::default().idle_timeout(), Duration::from_secs(75));
    }
}
