//! A relay of datagrams whose link can be cut.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Carries datagrams between one child and the parent, unless it is cut.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) cut: Arc<AtomicBool>,
    /// When the last datagram from the child was dropped.
    pub(crate) dropped: watch::Receiver<Option<Instant>>,
    /// How often the parent asked the child to show that its address is its own (RFC 9000, 17.2.5).
    pub(crate) retries: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn to(parent: SocketAddr) -> Self {
        let child_side = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let parent_side = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        parent_side.connect(parent).await.unwrap();
        let address = child_side.local_addr().unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = cut.clone();
        let retries = Arc::new(AtomicUsize::new(0));
        let asked = retries.clone();
        let (drops, dropped) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut up, mut down) = ([0; 2048], [0; 2048]);
            let mut child = None;
            loop {
                tokio::select! {
                    got = child_side.recv_from(&mut up) => {
                        let (len, from) = got.unwrap();
                        child = Some(from);
                        if is_cut.load(Ordering::SeqCst) {
                            drops.send_replace(Some(Instant::now()));
                        } else {
                            carried(parent_side.send(&up[..len]).await);
                        }
                    }
                    got = parent_side.recv(&mut down) => {
                        let Some(len) = carried(got) else { continue };
                        if down[0] & 0xf0 == 0xf0 {
                            asked.fetch_add(1, Ordering::SeqCst);
                        }
                        if let (Some(child), false) = (child, is_cut.load(Ordering::SeqCst)) {
                            child_side.send_to(&down[..len], child).await.unwrap();
                        }
                    }
                }
            }
        });
        Self { address, cut, dropped, retries, _tasks: tasks }
    }
}

/// A parent that is down is no fault of the relay.
fn carried(result: std::io::Result<usize>) -> Option<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
        other => Some(other.unwrap()),
    }
}
