//! The parent's endpoint: one UDP port for links, enrolment and renewal.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::HandshakeData;
use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime};
use ring::digest::{SHA256, digest};
use ring::hmac;
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admission::Parent;
use crate::certificate::{CertificateError, PeerCertificate};
use crate::clock::LinkClock;
use crate::close::{CloseReason, LinkLost, detail_bytes, farewell};
use crate::connection::Connection;
use crate::dial::ANSWER_WAIT;
use crate::enroll::EnrollSession;
use crate::recall::{Entry, Memory, OwnId, RandomIds, call_back};
use crate::spiffe::SpiffeId;
use crate::tls::{self, SharedIdentity, TlsError, TrustRoots};
use crate::{ALPN_ENROLL, ALPN_LINK, transport};

/// Datagrams of first contact that wait for their handshake to begin, over all children: 10,000 of 1,200 bytes.
const WAITING_BYTES: u64 = 12 * 1024 * 1024;
/// Handshakes that wait to begin at most; beyond that QUIC refuses.
const WAITING_MAX: usize = 16 * 1024;
/// Age at which a first contact is not answered any more: an answer has a second to get to a child before it asks anew.
const STALE: Duration = ANSWER_WAIT.saturating_sub(Duration::from_secs(1));
/// The least time between two resets for connections of an earlier process: a thousand a second.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// How the parent listens.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// UDP address of the links.
    pub listen: SocketAddr,
    /// Socket receive buffer asked for, in bytes. 4 MiB took 10,000 children at once in 4.4 s without a failure, the
    /// kernel's default of 208 KiB took 20 s and failed.
    pub receive_buffer_bytes: usize,
    /// Handshakes under way at a time. Each takes 40 KiB and, over a 100 ms link, a quarter of a second: 512 are 20 MiB and
    /// 2,000 children a second. The others wait their turn.
    pub max_handshakes: usize,
    /// How long one handshake may take; enough for a round trip of 2 s with losses.
    pub handshake_wait: Duration,
    /// The file in which the server remembers where its children are, so that after a kill it can call them back at once. With
    /// none they find out by their next keep-alive.
    pub memory: Option<PathBuf>,
}

impl ServerSettings {
    /// The defaults, on an address.
    pub fn on(listen: SocketAddr) -> Self {
        Self {
            listen,
            receive_buffer_bytes: 4 * 1024 * 1024,
            max_handshakes: 512,
            handshake_wait: Duration::from_secs(20),
            memory: None,
        }
    }
}

/// Why the parent cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket could not be made.
    #[error("cannot listen on udp {address}: is another skerry-master running there?")]
    Socket {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The TLS configuration could not be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server's own certificate is not a region's under a CA of its own.
    #[error("the certificate of '{id}' is not a region's by the region's CA: a master cannot serve with it")]
    NotARegion {
        /// Whose certificate it is.
        id: SpiffeId,
    },
}

/// Someone who finished the TLS handshake, or did not.
#[derive(Debug)]
pub enum Arrival {
    /// A child with a valid certificate of this federation: a node of this region, or the master of a region right below it. It waits
    /// for its control stream and a Welcome; until then it does not count as connected.
    Link(Connection),
    /// Someone who wants a certificate.
    Enroll(EnrollSession),
    /// Someone who was sent away, with the reason that was given to them.
    Refused {
        /// Where from.
        remote: SocketAddr,
        /// Why.
        why: RefusedArrival,
    },
}

/// Why an arrival was sent away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedArrival {
    /// The handshake failed or took too long.
    #[error("handshake: {0}")]
    Handshake(#[from] LinkLost),
    /// The handshake took too long.
    #[error("the handshake took longer than {wait:?}")]
    TooSlow {
        /// The bound.
        wait: Duration,
    },
    /// The certificate's content makes no sense here.
    #[error("certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate is fine but not for this.
    #[error("{reason}: {detail}")]
    Closed {
        /// The reason sent.
        reason: CloseReason,
        /// The words sent.
        detail: String,
    },
}

/// The listening endpoint of a parent.
#[derive(Debug)]
pub struct LinkServer {
    endpoint: Endpoint,
    handshakes: JoinSet<Arrival>,
    /// Who waits for a handshake, by the time of the first contact.
    waiting: VecDeque<(Instant, Incoming)>,
    parent: Arc<Parent>,
    settings: ServerSettings,
    memory: Option<Arc<Memory>>,
    /// Where children were connected from when the last process was killed.
    known: BTreeSet<IpAddr>,
    recall: JoinSet<()>,
}

impl LinkServer {
    /// Listens. `clock` is the master's: it decides which client certificates have run out.
    pub fn bind(
        settings: ServerSettings,
        identity: &SharedIdentity,
        roots: &TrustRoots,
        clock: Arc<LinkClock>,
    ) -> Result<Self, BindError> {
        let current = identity.current();
        let parent = Parent::of(current.certificate(), clock)
            .ok_or_else(|| BindError::NotARegion { id: current.certificate().id.clone() })?;
        let mut config = tls::parent(identity, roots)?;
        config
            .transport_config(transport::parent())
            .migration(true)
            .max_incoming(WAITING_MAX)
            .incoming_buffer_size_total(WAITING_BYTES);
        let failed = |source| BindError::Socket { address: settings.listen, source };
        let socket = socket(&settings).map_err(failed)?;
        let key = reset_key(&current);
        let (mut recall, mut known) = (JoinSet::new(), BTreeSet::new());
        let memory = settings.memory.as_deref().and_then(|path| match Memory::open(path) {
            Ok((memory, children)) => {
                known.extend(children.iter().map(Entry::ip));
                let socket = socket.try_clone().inspect_err(|error| tracing::debug!(%error, "no second handle"));
                let back = Arc::clone(&memory);
                recall.extend(socket.ok().map(|socket| call_back(socket, key.clone(), children, back)));
                Some(memory)
            }
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "children cannot be called back after a kill, they will be late");
                None
            }
        });
        let config = (endpoint_config(key), Some(config));
        let endpoint = Endpoint::new(config.0, config.1, socket, Arc::new(TokioRuntime)).map_err(failed)?;
        let (handshakes, waiting, parent) = (JoinSet::new(), VecDeque::new(), Arc::new(parent));
        Ok(Self { endpoint, handshakes, waiting, parent, settings, memory, known, recall })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Connections that are up, handshakes included.
    pub fn open_connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// The next arrival; `None` after [`shut_down`](Self::shut_down). Has to be called all the time: handshakes make
    /// progress by themselves but begin here. Cancel-safe: handshakes under way stay with the server.
    pub async fn accept(&mut self) -> Option<Arrival> {
        loop {
            self.begin_latest();
            tokio::select! {
                // Cancel-safe: a finished task stays in the set until it is returned.
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(arrival) => return Some(arrival),
                    Err(error) => tracing::error!(%error, "a handshake task failed"),
                },
                // Cancel-safe: an `Incoming` is only taken out of the endpoint when this branch is chosen.
                incoming = self.endpoint.accept() => self.queue(incoming?),
            }
        }
    }

    fn queue(&mut self, incoming: Incoming) {
        self.waiting.push_back((Instant::now(), incoming));
        if self.waiting.len() > WAITING_MAX / 2
            && let Some((_, oldest)) = self.waiting.pop_front()
        {
            // Not refused: who hears nothing sends again after a while, who is refused at once.
            oldest.ignore();
        }
    }

    /// Begins handshakes while there is room, the latest contact first. When more want one than can be had, the first in the
    /// queue would be served after they have given up, one after the other, and nobody would get through.
    fn begin_latest(&mut self) {
        while self.handshakes.len() < self.settings.max_handshakes
            && let Some((since, incoming)) = self.waiting.pop_back()
        {
            if since.elapsed() < STALE {
                self.begin(incoming);
                continue;
            }
            incoming.ignore();
            // All others are older.
            self.waiting.drain(..).for_each(|(_, older)| older.ignore());
        }
    }

    fn begin(&mut self, incoming: Incoming) {
        let crowded = self.handshakes.len() >= self.settings.max_handshakes / 2;
        let is_known = || self.known.contains(&incoming.remote_address().ip().to_canonical());
        if crowded && !incoming.remote_address_validated() && incoming.may_retry() && !is_known() {
            // A round trip more for the honest; whoever forges addresses gets no place, unless with that of a child. Children
            // who all come back at once are spared it: it is a quarter of their bytes.
            if let Err(error) = incoming.retry() {
                tracing::debug!(%error, "a retry could not be sent");
            }
            return;
        }
        let (parent, memory) = (self.parent.clone(), self.memory.clone());
        let wait = self.settings.handshake_wait;
        self.handshakes.spawn(async move {
            let remote = incoming.remote_address();
            let arrival = match timeout(wait, receive(&parent, memory.as_ref(), incoming)).await {
                Ok(arrival) => arrival,
                Err(_) => Err(RefusedArrival::TooSlow { wait }),
            };
            arrival.unwrap_or_else(|why| Arrival::Refused { remote, why })
        });
    }

    /// Closes every connection with [`CloseReason::ShuttingDown`] and waits until the other sides had a chance to hear it, a second at most.
    pub async fn shut_down(&mut self) {
        self.recall.shutdown().await;
        self.handshakes.shutdown().await;
        self.endpoint.close(CloseReason::ShuttingDown.var_int(), b"");
        farewell(&self.endpoint).await;
    }
}

async fn receive(
    parent: &Parent,
    memory: Option<&Arc<Memory>>,
    incoming: Incoming,
) -> Result<Arrival, RefusedArrival> {
    let connecting = incoming.accept().map_err(LinkLost::from)?;
    let id = OwnId::of_the_last_accepted();
    let connection = connecting.await.map_err(LinkLost::from)?;
    let peer = peer_certificate(&connection)?;
    if protocol(&connection).as_deref() == Some(ALPN_ENROLL) {
        return Ok(Arrival::Enroll(EnrollSession::new(connection, peer, parent.clone())));
    }
    match parent.admit(peer, parent.clock.now()) {
        Ok(peer) => {
            let remembered = memory.map(|memory| memory.remember(connection.remote_address(), id));
            Ok(Arrival::Link(Connection::remembered(connection, peer, remembered)))
        }
        Err((reason, detail)) => {
            connection.close(reason.var_int(), detail_bytes(&detail));
            Err(RefusedArrival::Closed { reason, detail })
        }
    }
}

/// The chain of the other side. On a resumed session it is the chain of the full handshake before it: also then everything
/// in it is judged anew.
pub(crate) fn peer_certificate(
    connection: &quinn::Connection,
) -> Result<Option<PeerCertificate>, CertificateError> {
    let Some(identity) = connection.peer_identity() else {
        return Ok(None);
    };
    let Ok(chain) = identity.downcast::<Vec<CertificateDer<'static>>>() else {
        return Ok(None);
    };
    PeerCertificate::from_chain(&chain).map(Some)
}

fn protocol(connection: &quinn::Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    debug_assert!(
        data.protocol.as_deref().is_none_or(|p| p == ALPN_LINK || p == ALPN_ENROLL),
        "only offered protocols are negotiated"
    );
    data.protocol
}

/// A restarted master tells children at once that their connections are gone (stateless reset), instead of leaving them to
/// their idle timeout: the key of those resets stays the same, being derived from the server's private key.
fn reset_key(identity: &tls::Identity) -> hmac::Key {
    let seed = digest(&SHA256, &[b"skerry stateless reset", identity.private_key().secret_der()].concat());
    hmac::Key::new(hmac::HMAC_SHA256, seed.as_ref())
}

/// Connection ids of an earlier process are answered with a reset rather than dropped.
fn endpoint_config(reset_key: hmac::Key) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(|| Box::new(RandomIds)).min_reset_interval(RESET_INTERVAL);
    config
}

fn socket(settings: &ServerSettings) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(settings.listen), Type::DGRAM, Some(Protocol::UDP))?;
    if settings.listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&settings.listen.into())?;
    let asked = settings.receive_buffer_bytes;
    // The privileged call may exceed net.core.rmem_max; without the privilege the kernel cuts the plain one down to that.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, asked).is_err() {
        socket.set_recv_buffer_size(asked)?;
    }
    let got = socket.recv_buffer_size()?;
    if got < asked {
        tracing::warn!(asked, got, "small UDP receive buffer: raise net.core.rmem_max for many nodes");
    }
    Ok(socket.into())
}
