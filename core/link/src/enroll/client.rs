//! The side of those who ask, and of a node in particular.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName};
use rustls::pki_types::CertificateDer;
use skerry_types::{NodeName, SiteName, WallTime};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::protocol::{Answer, Call, Grant, MESSAGE_MAX, MESSAGE_WAIT, Refusal};
use crate::ALPN_ENROLL;
use crate::certificate::{CertificateError, PeerCertificate, RootHash};
use crate::clock::LinkClock;
use crate::close::{CloseReason, LinkLost};
use crate::credentials::{Credentials, CredentialsError, NodeKey};
use crate::dial::{ATTEMPT_WAIT, DialError, Endpoints, handshake};
use crate::frame::{FrameError, FramedReceiver, FramedSender};
use crate::spiffe::SpiffeId;
use crate::tls::{self, Expected, Identity, RefusalSlot, ServerChainVerifier, TlsError, Trust, TrustRoots};
use crate::token::JoinToken;
use crate::transport::{self, KeepAlive};

/// Who wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinWish {
    /// The name that the node wants; unique in the region.
    pub node: NodeName,
    /// The site that the node stands in, if the token leaves it open. One that differs from the token's is refused.
    pub site: Option<SiteName>,
}

/// A certificate that was just obtained and stored.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The node's identity.
    pub identity: Identity,
    /// The federation's roots.
    pub roots: TrustRoots,
    /// The master's time at the answer; the clock that was passed in has already been told.
    pub master_time: WallTime,
}

/// Why a node or a region got no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The master could not be reached or authenticated; the reason for the last address tried.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection was lost before the answer came.
    #[error(transparent)]
    Lost(#[from] FrameError),
    /// The master said no.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The node's files could not be read or written.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The TLS configuration could not be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The signing request could not be made.
    #[error("cannot make a signing request")]
    Request(#[source] rcgen::Error),
    /// The master's answer is not a certificate for who asked.
    #[error("the master's answer cannot be used: {detail}")]
    Answer {
        /// What is wrong with it.
        detail: String,
    },
}

impl EnrollError {
    /// Whether asking again later can help without anybody doing something.
    pub fn is_passing(&self) -> bool {
        use super::protocol::RefusalKind as Kind;
        match self {
            Self::Dial(DialError::Lost { lost, .. }) | Self::Lost(FrameError::Lost(lost)) => {
                !matches!(lost, LinkLost::TheirCertificate(_) | LinkLost::OurCertificate { .. })
            }
            Self::Dial(_) | Self::Lost(_) => true,
            Self::Refused(refusal) => matches!(refusal.kind, Kind::TooOften | Kind::Unavailable),
            _ => false,
        }
    }
}

/// Gets a first certificate and stores it. The key is made before anything is sent and is kept when the answer is lost, so
/// that calling again with the same token and the same `credentials` is the same request.
///
/// `addresses` come before those of the token; all are tried once, in order.
pub async fn join(
    token: &JoinToken,
    addresses: &[String],
    wish: &JoinWish,
    credentials: &Credentials,
    clock: &Arc<LinkClock>,
) -> Result<Enrolled, EnrollError> {
    let key = credentials.key()?;
    let call = Call::Join {
        token: token.id,
        secret: token.secret.clone(),
        csr_der: signing_request(&key)?,
        node: wish.node.clone(),
        site: wish.site.clone(),
    };
    let asker =
        Asker { trust: Trust::Pinned(token.root), expected: Expected::AnyMaster, identity: None, clock };
    let all: Vec<String> = addresses.iter().chain(&token.addresses).cloned().collect();
    let grant = asker.ask_any(&all, &call).await?;
    let roots = usable_roots(&grant)?;
    check_pinned(&grant, token)?;
    let id_fits = |id: &SpiffeId| matches!(id, SpiffeId::Node { node, .. } if *node == wish.node);
    settle(grant, &roots, &key, id_fits, credentials, clock)
}

/// Gets another certificate for the same key and stores it. `identity` may have run out.
pub async fn renew(
    addresses: &[String],
    identity: &Identity,
    roots: &TrustRoots,
    credentials: &Credentials,
    clock: &Arc<LinkClock>,
) -> Result<Enrolled, EnrollError> {
    let key = credentials.key()?;
    let id = identity.certificate().id.clone();
    let asker = Asker {
        trust: Trust::roots(roots),
        expected: Expected::parent_of(identity.certificate()),
        identity: Some(identity),
        clock,
    };
    let call = Call::Renew { csr_der: signing_request(&key)? };
    let grant = asker.ask_any(addresses, &call).await?;
    let roots = usable_roots(&grant)?;
    settle(grant, &roots, &key, |granted| *granted == id, credentials, clock)
}

/// A request that names nothing: names are the master's to give.
fn signing_request(key: &NodeKey) -> Result<Vec<u8>, EnrollError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key.pair()).map_err(EnrollError::Request)?;
    Ok(request.der().to_vec())
}

pub(super) struct Asker<'a> {
    pub(super) trust: Trust,
    pub(super) expected: Expected,
    pub(super) identity: Option<&'a Identity>,
    pub(super) clock: &'a Arc<LinkClock>,
}

impl Asker<'_> {
    /// Asks at each address until one answers. Being refused is an answer.
    pub(super) async fn ask_any(&self, addresses: &[String], call: &Call) -> Result<Grant, EnrollError> {
        let mut endpoints = Endpoints::default();
        let mut failure = EnrollError::Dial(DialError::NoAddress);
        for address in addresses {
            match self.ask_host(&mut endpoints, address, call).await {
                Err(error @ (EnrollError::Dial(_) | EnrollError::Lost(_))) => failure = error,
                done => {
                    endpoints.shut_down().await;
                    return done;
                }
            }
        }
        endpoints.shut_down().await;
        Err(failure)
    }

    async fn ask_host(
        &self,
        endpoints: &mut Endpoints,
        address: &str,
        call: &Call,
    ) -> Result<Grant, EnrollError> {
        let unresolved = |detail: String| DialError::Resolve { address: address.to_owned(), detail };
        let found = lookup_host(address).await.map_err(|error| unresolved(error.to_string()))?;
        let mut failure = EnrollError::Dial(unresolved("it has no address".to_owned()));
        for socket in found {
            let endpoint = endpoints
                .towards(socket)
                .map_err(|error| DialError::Local { address: socket, detail: error.to_string() })?;
            let refusal = RefusalSlot::default();
            let config = self.config(&refusal)?;
            match handshake(&endpoint, config, socket, &refusal, ATTEMPT_WAIT).await {
                Ok(connection) => return ask(&connection, call).await,
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    fn config(&self, refusal: &RefusalSlot) -> Result<quinn::ClientConfig, TlsError> {
        let verifier = ServerChainVerifier::new(
            self.trust.clone(),
            self.expected.clone(),
            self.clock.clone(),
            refusal.clone(),
        );
        let mut config =
            quinn::ClientConfig::new(Arc::new(tls::child(verifier, self.identity, ALPN_ENROLL)?));
        config.transport_config(transport::child(KeepAlive::default()));
        Ok(config)
    }
}

async fn ask(connection: &quinn::Connection, call: &Call) -> Result<Grant, EnrollError> {
    let answer = match timeout(MESSAGE_WAIT, exchange(connection, call)).await {
        Ok(answer) => answer?,
        Err(_) => return Err(FrameError::TimedOut.into()),
    };
    connection.close(CloseReason::Done.var_int(), b"");
    match answer {
        Answer::Granted(grant) => Ok(grant),
        Answer::Refused(refusal) => Err(EnrollError::Refused(refusal)),
    }
}

async fn exchange(connection: &quinn::Connection, call: &Call) -> Result<Answer, FrameError> {
    let (send, receive) = connection.open_bi().await.map_err(LinkLost::from)?;
    let mut sender = FramedSender::new(send);
    sender.send(call).await?;
    sender.finish()?;
    FramedReceiver::new(receive).recv(MESSAGE_MAX).await?.ok_or(FrameError::Cut)
}

pub(super) fn check_pinned(grant: &Grant, token: &JoinToken) -> Result<(), EnrollError> {
    if grant.roots.iter().any(|root| RootHash::of(root) == token.root) {
        return Ok(());
    }
    Err(unusable("the root that the token names is not among the roots"))
}

pub(super) fn usable_roots(grant: &Grant) -> Result<TrustRoots, EnrollError> {
    let roots = grant.roots.iter().cloned().map(CertificateDer::from).collect();
    TrustRoots::new(roots).map_err(|error| unusable(&error.to_string()))
}

/// Checks that the answer is a certificate for our key and name, stores it and tells the clock.
fn settle(
    grant: Grant,
    roots: &TrustRoots,
    key: &NodeKey,
    id_fits: impl Fn(&SpiffeId) -> bool,
    credentials: &Credentials,
    clock: &LinkClock,
) -> Result<Enrolled, EnrollError> {
    let chain: Vec<CertificateDer<'static>> = grant.chain.into_iter().map(CertificateDer::from).collect();
    let certificate = PeerCertificate::from_chain(&chain)
        .map_err(|error: CertificateError| unusable(&error.to_string()))?;
    if certificate.key != key.hash() {
        return Err(unusable("the certificate is for another key"));
    }
    if !id_fits(&certificate.id) {
        return Err(unusable(&format!("the certificate is for '{}'", certificate.id)));
    }
    credentials.store(&chain, roots.certificates())?;
    clock.observe(grant.master_time);
    let (identity, roots) = credentials.load()?.ok_or_else(|| unusable("what was stored is not there"))?;
    Ok(Enrolled { identity, roots, master_time: grant.master_time })
}

pub(super) fn unusable(detail: &str) -> EnrollError {
    EnrollError::Answer { detail: detail.to_owned() }
}
