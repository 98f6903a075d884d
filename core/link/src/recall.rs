//! How a parent that was killed calls its children back: it remembers in a file where they are, and on its next start tells each
//! that its connection is gone.
//!
//! An idle child would otherwise find out with its next keep-alive, up to 25 seconds later. What is sent is QUIC's stateless
//! reset (RFC 9000, 10.3), which nobody but the parent can make, without waiting for a packet to answer. It is an offer only:
//! a child that has moved since, or a file that is lost with the power, costs the time of a keep-alive.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};
use ring::hmac;
use tokio::time::{interval, sleep};

/// Enough that two connections of one master never share an id.
const CONNECTION_ID_BYTES: usize = 8;
/// What an entry of the file takes: whether it holds, a port, an address as of IPv6, a connection id; the rest is zero.
const ENTRY_BYTES: usize = 32;
/// A reset: bytes without a meaning, as long as those of a keep-alive, and the token at the end.
const RESET_BYTES: usize = 40;
const TOKEN_BYTES: usize = 16;
/// Children that are called back at a time, and the pause: 4,000 a second, about as many as come back in a second.
const AT_A_TIME: usize = 40;
const PAUSE: Duration = Duration::from_millis(10);
/// Children that were called and are not back from which on the pause is longer: who waits for a second says everything again, which
/// takes time that others wait for. It goes on all the same, a thousand a second, for some have moved and never come.
const AWAITED_MAX: usize = 1000;
const LONG_PAUSE: Duration = Duration::from_millis(40);
/// A child whose call is lost would find out by its next keep-alive only, so all are called twice. Who is back takes no notice.
const CALLS: usize = 2;
/// From one call to the next.
const CALLED_AGAIN_AFTER: Duration = Duration::from_secs(4);

thread_local! {
    static LAST_MADE: Cell<[u8; CONNECTION_ID_BYTES]> = const { Cell::new([0; CONNECTION_ID_BYTES]) };
}

/// Connection ids of 8 random bytes. QUIC's default ones carry a checksum under a key of the process, and a packet for a
/// connection of an earlier process would be dropped without an answer.
pub(crate) struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let id = rand::random();
        LAST_MADE.set(id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The id under which a child knows its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnId([u8; CONNECTION_ID_BYTES]);

impl OwnId {
    /// That of the connection which this thread accepted just before: accepting makes the id.
    pub(crate) fn of_the_last_accepted() -> Self {
        Self(LAST_MADE.get())
    }
}

/// A child and its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    remote: SocketAddr,
    id: OwnId,
}

impl Entry {
    /// Where the child is, but for its port: that may be another one behind a NAT by now.
    pub(crate) fn ip(&self) -> IpAddr {
        self.remote.ip().to_canonical()
    }

    fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0] = 1;
        bytes[2..4].copy_from_slice(&self.remote.port().to_be_bytes());
        let address = match self.remote.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        bytes[4..20].copy_from_slice(&address.octets());
        bytes[20..28].copy_from_slice(&self.id.0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().ok()?;
        let address: [u8; 16] = bytes[4..20].try_into().ok()?;
        let id = OwnId(bytes[20..28].try_into().ok()?);
        let remote = (Ipv6Addr::from(address).to_canonical(), u16::from_be_bytes([bytes[2], bytes[3]]));
        (bytes[0] == 1).then(|| Self { remote: remote.into(), id })
    }

    /// The reset that only the holder of `key` can make for this connection.
    fn reset(self, key: &hmac::Key) -> [u8; RESET_BYTES] {
        let mut packet: [u8; RESET_BYTES] = rand::random();
        // As the first byte of a packet with a short header.
        packet[0] = 0b0100_0000 | (packet[0] >> 2);
        let token = hmac::sign(key, &self.id.0);
        packet[RESET_BYTES - TOKEN_BYTES..].copy_from_slice(&token.as_ref()[..TOKEN_BYTES]);
        packet
    }
}

/// The children that are connected, in a file of fixed entries. It is never synced: it has to outlive the process, not the
/// machine.
#[derive(Debug)]
pub(crate) struct Memory {
    file: File,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    free: BTreeSet<u64>,
    /// Slots from here on were never used.
    next: u64,
}

impl Memory {
    /// Opens the file, and takes out who was connected when the last process ended.
    pub(crate) fn open(path: &Path) -> io::Result<(Arc<Self>, Vec<Entry>)> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        file.set_len(0)?;
        let left = bytes.chunks_exact(ENTRY_BYTES).filter_map(Entry::decode).collect();
        Ok((Arc::new(Self { file, slots: Mutex::default() }), left))
    }

    /// Remembers a child until what is given back is dropped.
    pub(crate) fn remember(self: &Arc<Self>, remote: SocketAddr, id: OwnId) -> Remembered {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let next = slots.next;
            slots.free.pop_first().unwrap_or_else(|| {
                slots.next += 1;
                next
            })
        };
        self.write(slot, Entry { remote, id }.encode());
        Remembered { memory: Arc::clone(self), slot }
    }

    /// How many are connected.
    fn connected(&self) -> usize {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(slots.next).unwrap_or(usize::MAX).saturating_sub(slots.free.len())
    }

    fn write(&self, slot: u64, entry: [u8; ENTRY_BYTES]) {
        if let Err(error) = self.file.write_all_at(&entry, slot * ENTRY_BYTES as u64) {
            tracing::debug!(%error, "where a child is cannot be remembered");
        }
    }
}

/// A child that is connected.
#[derive(Debug)]
pub(crate) struct Remembered {
    memory: Arc<Memory>,
    slot: u64,
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.memory.write(self.slot, [0; ENTRY_BYTES]);
        self.memory.slots.lock().unwrap_or_else(PoisonError::into_inner).free.insert(self.slot);
    }
}

/// Tells each child that its connection is gone, from the socket that it was on. Who is back is in `memory`.
pub(crate) async fn call_back(socket: UdpSocket, key: hmac::Key, children: Vec<Entry>, memory: Arc<Memory>) {
    let mut call = interval(CALLED_AGAIN_AFTER);
    for _ in 0..CALLS {
        call.tick().await;
        let mut called = 0;
        for some in children.chunks(AT_A_TIME) {
            for child in some {
                if let Err(error) = socket.send_to(&child.reset(&key), child.remote) {
                    tracing::debug!(remote = %child.remote, %error, "a child could not be called back");
                }
            }
            called += some.len();
            sleep(pause(called.saturating_sub(memory.connected()))).await;
        }
    }
}

fn pause(awaited: usize) -> Duration {
    if awaited > AWAITED_MAX { LONG_PAUSE } else { PAUSE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_connected_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("connected");
        let (memory, left) = Memory::open(&path).unwrap();
        assert_eq!(left, []);
        let entry = |remote: &str, id: u8| Entry { remote: remote.parse().unwrap(), id: OwnId([id; 8]) };
        let (one, two) = (entry("192.0.2.1:7", 1), entry("[2001:db8::1]:65535", 2));
        let first = memory.remember(one.remote, one.id);
        let _second = memory.remember(two.remote, two.id);
        let third = memory.remember(one.remote, one.id);
        drop(first);
        let _fourth = memory.remember(one.remote, OwnId([4; 8]));
        drop(third);
        assert_eq!(memory.connected(), 2);
        // As a kill leaves it: nothing is dropped.
        let (_, left) = Memory::open(&path).unwrap();
        assert_eq!(left, [Entry { id: OwnId([4; 8]), ..one }, two]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_called_next_waits_while_many_are_not_back() {
        let dir = tempfile::tempdir().unwrap();
        let (memory, _) = Memory::open(&dir.path().join("connected")).unwrap();
        let parent = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let child = UdpSocket::bind("127.0.0.1:0").unwrap();
        let entry = Entry { remote: child.local_addr().unwrap(), id: OwnId([1; 8]) };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let calls = async || {
            let begin = tokio::time::Instant::now();
            call_back(parent(), key.clone(), vec![entry; 4 * AWAITED_MAX], Arc::clone(&memory)).await;
            begin.elapsed()
        };
        // Twice a quarter at forty in ten milliseconds; the rest at a quarter of that while nobody comes.
        let alone = calls().await;
        assert!((7..8).contains(&alone.as_secs()), "{alone:?}");
        let back: Vec<_> = (0..4 * AWAITED_MAX).map(|_| memory.remember(entry.remote, entry.id)).collect();
        let all_back = calls().await;
        assert_eq!(all_back.as_secs(), 5, "{all_back:?}");
        drop(back);
        assert_eq!(memory.connected(), 0);
    }

    #[test]
    fn a_damaged_file_is_worth_nothing_and_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("connected");
        std::fs::write(&path, [7; 3 * ENTRY_BYTES + 5]).unwrap();
        assert_eq!(Memory::open(&path).unwrap().1, []);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
