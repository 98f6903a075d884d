//! The child's side: dialling for ever.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quinn::Endpoint;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::net::lookup_host;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout, timeout_at};

use crate::ALPN_LINK;
use crate::backoff::{Backoff, BackoffSettings};
use crate::clock::LinkClock;
use crate::close::{LinkLost, farewell};
use crate::connection::Connection;
use crate::server::peer_certificate;
use crate::tls::{
    self, Expected, Identity, RefusalSlot, ServerChainVerifier, ServerRefusal, TlsError, Trust, TrustRoots,
};
use crate::transport::{self, KeepAlive};

/// QUIC needs a name to key its session tickets by; it is never sent.
const SERVER_NAME: &str = "skerry";
/// Longest that one attempt may take: a handshake over a round trip of 4 s with losses.
pub(crate) const ATTEMPT_WAIT: Duration = Duration::from_secs(15);
/// How long an attempt waits for the first word of an answer before another takes its place. QUIC repeats its first packet after
/// one second and three, so a parent that comes up is asked within three seconds. It is asked for one handshake: with several
/// attempts under way at a time a master to which ten thousand children come at once serves many that nobody waits for any more.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(6);
/// From the start of an attempt to the next at least, when there are several addresses: each has its own turn.
const NEXT_ADDRESS: Duration = Duration::from_millis(1500);
/// Attempts under way at a time. One that was answered is not cut short by the next.
const ATTEMPTS_MAX: usize = 4;
/// Longest that resolving a name may take.
const RESOLVE_WAIT: Duration = Duration::from_secs(5);

/// How a child dials.
#[derive(Debug, Clone)]
pub struct DialSettings {
    /// Where the parent may be, `host:port`. Names are resolved for each attempt; attempts go round all addresses.
    pub addresses: Vec<String>,
    /// How often to say that the child is there, and so when silence means that the link is lost.
    pub keep_alive: KeepAlive,
    /// Waits between attempts.
    pub backoff: BackoffSettings,
    /// How long a welcomed connection must have lasted before the waits start small again.
    pub stable_after: Duration,
}

impl DialSettings {
    /// The defaults, to these addresses.
    pub fn to(addresses: Vec<String>) -> Self {
        Self {
            addresses,
            keep_alive: KeepAlive::default(),
            backoff: BackoffSettings::default(),
            stable_after: Duration::from_secs(10),
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The name has no address, or resolving failed.
    #[error("cannot resolve '{address}': {detail}")]
    Resolve {
        /// The configured address.
        address: String,
        /// The resolver's word.
        detail: String,
    },
    /// No address is configured.
    #[error("no address of a master is configured")]
    NoAddress,
    /// This machine could not open a socket or send.
    #[error("cannot dial {address}: {detail}")]
    Local {
        /// The resolved address.
        address: SocketAddr,
        /// The system's word.
        detail: String,
    },
    /// Nothing usable came back in time.
    #[error("no answer from {address} within {wait:?}")]
    NoAnswer {
        /// The resolved address.
        address: SocketAddr,
        /// The time that it had.
        wait: Duration,
    },
    /// The handshake failed.
    #[error("{address}: {lost}")]
    Lost {
        /// The resolved address.
        address: SocketAddr,
        /// Why.
        lost: LinkLost,
    },
}

/// What the dialler is doing, for status and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialState {
    /// Nothing was tried yet.
    Idle,
    /// Trying; `failures` in a row so far, and the last one's reason.
    Connecting {
        /// Failures since the last stable connection.
        failures: u32,
        /// The last reason.
        last: Option<DialError>,
    },
    /// The handshake is done. Not yet "accepted": that is the parent's Welcome.
    Connected {
        /// The parent's address.
        address: SocketAddr,
    },
}

/// Tells a dialler that waiting makes no sense any more, for instance because the network changed.
#[derive(Debug, Clone)]
pub struct DialHint(Arc<Notify>);

impl DialHint {
    /// Ends the present wait between attempts. Hints do not add up.
    pub fn try_again(&self) {
        self.0.notify_one();
    }
}

/// UDP sockets to dial from, one for each address family, opened when first needed. Clones are the same sockets, so that many
/// diallers of one process can share them.
#[derive(Debug, Clone, Default)]
pub struct DialSockets(Arc<Mutex<Endpoints>>);

/// Dials a parent, again and again, for as long as it is asked to.
#[derive(Debug)]
pub struct Dialer {
    settings: DialSettings,
    clock: Arc<LinkClock>,
    config: quinn::ClientConfig,
    refusal: RefusalSlot,
    sockets: DialSockets,
    backoff: Backoff,
    rng: StdRng,
    turn: usize,
    welcomed_at: Option<Instant>,
    dialled: bool,
    state: watch::Sender<DialState>,
    hint: DialHint,
}

impl Dialer {
    /// A dialler with an identity. `seed` feeds the jitter.
    pub fn new(
        settings: DialSettings,
        identity: &Identity,
        roots: &TrustRoots,
        clock: Arc<LinkClock>,
        seed: u64,
    ) -> Result<Self, TlsError> {
        let refusal = RefusalSlot::default();
        let config = link_config(identity, roots, &clock, &refusal, settings.keep_alive)?;
        Ok(Self {
            backoff: Backoff::new(settings.backoff),
            settings,
            clock,
            config,
            refusal,
            sockets: DialSockets::default(),
            rng: StdRng::seed_from_u64(seed),
            turn: 0,
            welcomed_at: None,
            dialled: false,
            state: watch::Sender::new(DialState::Idle),
            hint: DialHint(Arc::new(Notify::new())),
        })
    }

    /// Dials from these sockets instead of from its own.
    #[must_use]
    pub fn sharing(mut self, sockets: &DialSockets) -> Self {
        self.sockets = sockets.clone();
        self
    }

    /// Takes a renewed identity for the connections to come. Session tickets of the former one are dropped with it: a
    /// resumed session would show the parent the former certificate.
    pub fn set_identity(&mut self, identity: &Identity, roots: &TrustRoots) -> Result<(), TlsError> {
        let keep_alive = self.settings.keep_alive;
        self.config = link_config(identity, roots, &self.clock, &self.refusal, keep_alive)?;
        Ok(())
    }

    /// What the dialler is doing.
    pub fn state(&self) -> watch::Receiver<DialState> {
        self.state.subscribe()
    }

    /// A handle that ends waits early.
    pub fn hint(&self) -> DialHint {
        self.hint.clone()
    }

    /// To be called when the parent's Welcome came. A connection that stays up for
    /// [`stable_after`](DialSettings::stable_after) after it lets the waits start small again.
    pub fn welcomed(&mut self) {
        self.welcomed_at = Some(Instant::now());
    }

    /// Dials until a handshake succeeds. The first call starts at once, later ones after a wait. Cancel-safe: dropping it
    /// gives the attempts under way up.
    pub async fn connect(&mut self) -> Connection {
        let mut attempts = JoinSet::new();
        let (mut last, mut patience) = (None, ANSWER_WAIT);
        if self.welcomed_at.take().is_some_and(|at| at.elapsed() >= self.settings.stable_after) {
            self.backoff.reset();
        }
        if self.dialled {
            self.pause(Duration::ZERO, &mut attempts, &mut last).await;
        }
        self.dialled = true;
        loop {
            if attempts.len() < ATTEMPTS_MAX {
                match self.start_attempt(&mut attempts).await {
                    Ok(addresses) => patience = patience_with(addresses),
                    Err(error) => last = Some(error),
                }
            }
            if let Some((connection, address)) = self.pause(patience, &mut attempts, &mut last).await {
                self.state.send_replace(DialState::Connected { address });
                return connection;
            }
        }
    }

    /// Waits one backoff, and `patience` while an attempt is under way, or less when one succeeds or a hint comes. A failed attempt
    /// does not end the backoff: who is refused at once must not come back at once.
    async fn pause(
        &mut self,
        patience: Duration,
        attempts: &mut JoinSet<Result<(Connection, SocketAddr), DialError>>,
        last: &mut Option<DialError>,
    ) -> Option<(Connection, SocketAddr)> {
        self.publish(last.clone());
        let (wait, start) = (self.backoff.next_wait(&mut self.rng), Instant::now());
        // Children that lost their parent in the same moment must not ask for it in the same moments.
        let patience = self.rng.random_range(patience / 6 * 5..=patience);
        loop {
            let most = if attempts.is_empty() { wait } else { wait.max(patience) };
            tokio::select! {
                // All three are cancel-safe; a finished attempt stays in the set until it is taken.
                Some(done) = attempts.join_next() => match done {
                    Ok(Ok(connected)) => return Some(connected),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "attempt failed");
                        *last = Some(error);
                        self.publish(last.clone());
                    }
                    Err(error) => tracing::error!(%error, "a dial task failed"),
                },
                () = self.hint.0.notified() => return None,
                () = sleep_until((start + most).into()) => return None,
            }
        }
    }

    fn publish(&self, last: Option<DialError>) {
        self.state.send_replace(DialState::Connecting { failures: self.backoff.failures(), last });
    }

    /// Dials the next address in turn, over all that the configured names resolve to at present; gives how many these are.
    async fn start_attempt(
        &mut self,
        attempts: &mut JoinSet<Result<(Connection, SocketAddr), DialError>>,
    ) -> Result<usize, DialError> {
        let resolved = resolve(&self.settings.addresses).await?;
        let address = resolved[self.turn % resolved.len()];
        self.turn = self.turn.wrapping_add(1);
        let endpoint = self
            .sockets
            .locked()
            .towards(address)
            .map_err(|source| DialError::Local { address, detail: source.to_string() })?;
        attempts.spawn(attempt(endpoint, self.config.clone(), address, self.refusal.clone()));
        Ok(resolved.len())
    }

    /// Closes all connections of this dialler, and of others on the same sockets, and waits until the parent had a chance to
    /// hear it, a second at most.
    pub async fn shut_down(&mut self) {
        let mut closed = std::mem::take(&mut *self.sockets.locked());
        closed.shut_down().await;
    }
}

impl DialSockets {
    fn locked(&self) -> MutexGuard<'_, Endpoints> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after an attempt, with so many addresses: each is asked once in the time that an answer may take.
fn patience_with(addresses: usize) -> Duration {
    let addresses = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    (ANSWER_WAIT / addresses).max(NEXT_ADDRESS)
}

fn link_config(
    identity: &Identity,
    roots: &TrustRoots,
    clock: &Arc<LinkClock>,
    refusal: &RefusalSlot,
    keep_alive: KeepAlive,
) -> Result<quinn::ClientConfig, TlsError> {
    let expected = Expected::parent_of(identity.certificate());
    let verifier = ServerChainVerifier::new(Trust::roots(roots), expected, clock.clone(), refusal.clone());
    let mut config = quinn::ClientConfig::new(Arc::new(tls::child(verifier, Some(identity), ALPN_LINK)?));
    config.transport_config(transport::child(keep_alive));
    Ok(config)
}

/// All addresses, families alternating as the resolver orders them, so that a broken family costs one attempt only.
async fn resolve(configured: &[String]) -> Result<Vec<SocketAddr>, DialError> {
    let mut found = Vec::new();
    let mut failure = DialError::NoAddress;
    for address in configured {
        let failed = |detail: String| DialError::Resolve { address: address.clone(), detail };
        match timeout(RESOLVE_WAIT, lookup_host(address)).await {
            Ok(Ok(addresses)) => found.extend(alternate(addresses.collect())),
            Ok(Err(error)) => failure = failed(error.to_string()),
            Err(_) => failure = failed(format!("no answer within {RESOLVE_WAIT:?}")),
        }
    }
    if found.is_empty() { Err(failure) } else { Ok(found) }
}

fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::new();
    while let Some(address) = one.pop_front().or_else(|| other.pop_front()) {
        ordered.push(address);
        ordered.extend(other.pop_front());
    }
    ordered
}

async fn attempt(
    endpoint: Endpoint,
    config: quinn::ClientConfig,
    address: SocketAddr,
    refusal: RefusalSlot,
) -> Result<(Connection, SocketAddr), DialError> {
    let lost = |lost| DialError::Lost { address, lost };
    let connection = handshake(&endpoint, config, address, &refusal, ANSWER_WAIT).await?;
    match peer_certificate(&connection) {
        Ok(Some(peer)) => Ok((Connection::new(connection, peer), address)),
        Ok(None) => {
            Err(lost(LinkLost::Transport { detail: "the other side showed no certificate".to_owned() }))
        }
        Err(error) => Err(lost(ServerRefusal::Unusable { detail: error.to_string() }.into())),
    }
}

/// One handshake, with the reason of a refused certificate in place of TLS's alert. The first word of an answer must come within
/// `answer_wait`.
pub(crate) async fn handshake(
    endpoint: &Endpoint,
    config: quinn::ClientConfig,
    address: SocketAddr,
    refusal: &RefusalSlot,
    answer_wait: Duration,
) -> Result<quinn::Connection, DialError> {
    let late = |wait| DialError::NoAnswer { address, wait };
    let start = Instant::now();
    let mut connecting = endpoint
        .connect_with(config, address, SERVER_NAME)
        .map_err(|error| DialError::Local { address, detail: error.to_string() })?;
    let answered = timeout(answer_wait, connecting.handshake_data()).await.map_err(|_| late(answer_wait))?;
    let done = match answered.map(drop) {
        Ok(()) => {
            timeout_at((start + ATTEMPT_WAIT).into(), connecting).await.map_err(|_| late(ATTEMPT_WAIT))?
        }
        Err(error) => Err(error),
    };
    done.map_err(|error| {
        let lost = refusal.take().map_or_else(|| LinkLost::from(error), LinkLost::from);
        DialError::Lost { address, lost }
    })
}

/// One socket per address family, opened when first needed: a machine may lack either.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Endpoints {
    pub(crate) fn towards(&mut self, address: SocketAddr) -> std::io::Result<Endpoint> {
        let (slot, any) = match address {
            SocketAddr::V4(_) => (&mut self.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&mut self.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        // A socket whose address is gone has failed for good: its endpoint is replaced.
        if let Some(endpoint) = slot.as_ref().filter(|endpoint| endpoint.local_addr().is_ok()) {
            return Ok(endpoint.clone());
        }
        Ok(slot.insert(Endpoint::client(any)?).clone())
    }

    pub(crate) async fn shut_down(&mut self) {
        for endpoint in [self.v4.take(), self.v6.take()].into_iter().flatten() {
            endpoint.close(crate::CloseReason::Done.var_int(), b"");
            farewell(&endpoint).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate() {
        let check = |given: &[&str], expect: &[&str]| {
            let parse = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
            assert_eq!(alternate(parse(given)), parse(expect));
        };
        check(&[], &[]);
        check(&["[::1]:1", "[::2]:1", "1.1.1.1:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1"]);
        check(
            &["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"],
            &["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"],
        );
    }
}
