//! Who is believed. The signatures are checked by webpki; what is added is the federation's own idea of names and of time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use skerry_types::{RegionName, WallTime};
use webpki::KeyUsage;

use super::path::{fault, verify_path};
use super::{TrustRoots, provider};
use crate::certificate::{KeyHash, PeerCertificate, RootHash};
use crate::clock::{CLOCK_TOLERANCE, LinkClock};
use crate::spiffe::{SpiffeId, TrustDomain};

/// Why a master's certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerRefusal {
    /// The chain does not lead to a root that we hold.
    #[error(
        "the master's certificate is from another CA than ours: check the address, or enroll again with a new token"
    )]
    AnotherCa,
    /// The chain does not lead to the root that the join token names.
    #[error(
        "the join token is from another CA than the master that answers (token: {pinned}): check the address, or create a \
         token at that master"
    )]
    TokenOfAnotherCa {
        /// The root that the token names.
        pinned: RootHash,
    },
    /// The certificate was over before any time that our clock may mean.
    #[error("the master's certificate ran out {} hours ago by this machine's clock: check the clock of both", .over.as_secs() / 3600)]
    Expired {
        /// For how long, by this machine's clock.
        over: Duration,
    },
    /// A valid certificate, but of someone else.
    #[error("the answer came from '{id}', which is not the master that is expected")]
    NotTheMaster {
        /// Who answered.
        id: SpiffeId,
    },
    /// The certificate cannot be read or used.
    #[error("the master's certificate cannot be used: {detail}")]
    Unusable {
        /// What is wrong with it.
        detail: String,
    },
}

/// Which master is expected to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// The first contact: any region's master under the root that the token pins.
    AnyMaster,
    /// The master of this region, whatever its CA's key: for operators, who know names only.
    Region {
        /// The federation.
        domain: TrustDomain,
        /// The region.
        region: RegionName,
    },
    /// The master of this region, under the very CA that certified us.
    Authority {
        /// The federation.
        domain: TrustDomain,
        /// The region.
        region: RegionName,
        /// Its CA's key.
        key: KeyHash,
    },
    /// There is none: the region that is asked for has no parent.
    Nobody,
}

impl Expected {
    /// The parent of whoever has this certificate: for a node the master of its region, for a region the master of the one
    /// above, for a user any.
    pub fn parent_of(certificate: &PeerCertificate) -> Self {
        let above = match &certificate.id {
            SpiffeId::User { .. } => return Self::AnyMaster,
            SpiffeId::Node { .. } => certificate.vouchers.first(),
            SpiffeId::Region { .. } => certificate.vouchers.get(1),
        };
        above.map_or(Self::Nobody, |parent| Self::Authority {
            domain: certificate.id.domain().clone(),
            region: parent.region.clone(),
            key: parent.key,
        })
    }

    fn admits(&self, peer: &PeerCertificate) -> bool {
        let SpiffeId::Region { domain: peer_domain, region: peer_region } = &peer.id else { return false };
        match self {
            Self::AnyMaster => true,
            Self::Region { domain, region } => domain == peer_domain && region == peer_region,
            Self::Authority { domain, region, key } => {
                let authority = peer.vouchers.first().map(|nearest| nearest.key);
                domain == peer_domain && region == peer_region && authority == Some(*key)
            }
            Self::Nobody => false,
        }
    }
}

/// Where a verifier leaves its reason: TLS itself only passes an alert and a text on.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefusalSlot(Arc<Mutex<Option<ServerRefusal>>>);

impl RefusalSlot {
    fn put(&self, refusal: ServerRefusal) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    pub(crate) fn take(&self) -> Option<ServerRefusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a chain must lead to.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    Roots(Arc<RootCertStore>),
    Pinned(RootHash),
}

impl Trust {
    pub(crate) fn roots(roots: &TrustRoots) -> Self {
        Self::Roots(roots.store())
    }
}

/// Judges a master's chain on the child's side.
pub(crate) struct ServerChainVerifier {
    trust: Trust,
    expected: Expected,
    clock: Arc<LinkClock>,
    refusal: RefusalSlot,
    provider: Arc<CryptoProvider>,
}

impl ServerChainVerifier {
    pub(crate) fn new(trust: Trust, expected: Expected, clock: Arc<LinkClock>, refusal: RefusalSlot) -> Self {
        Self { trust, expected, clock, refusal, provider: provider() }
    }

    fn judge(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), ServerRefusal> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(rest).cloned().collect();
        let peer = PeerCertificate::from_chain(&chain).map_err(|error| unusable(&error))?;
        let roots = self.roots(rest)?;
        let at = self
            .clock
            .reading()
            .judge(peer.chain, CLOCK_TOLERANCE)
            .map_err(|over| ServerRefusal::Expired { over });
        // The signatures first: an expired stranger is a stranger. They are judged within the window in any case.
        let moment = at.clone().unwrap_or(peer.chain.not_after);
        let usage = KeyUsage::server_auth();
        verify_path(&chain, peer.vouchers.len(), &roots, unix(moment), usage, &self.provider)
            .map_err(|error| self.stranger(&error))?;
        at?;
        if self.expected.admits(&peer) {
            return Ok(());
        }
        Err(ServerRefusal::NotTheMaster { id: peer.id })
    }

    fn roots(&self, chain: &[CertificateDer<'_>]) -> Result<Arc<RootCertStore>, ServerRefusal> {
        let pinned = match &self.trust {
            Trust::Roots(store) => return Ok(store.clone()),
            Trust::Pinned(pinned) => *pinned,
        };
        let root = chain
            .iter()
            .find(|certificate| RootHash::of(certificate) == pinned)
            .ok_or(ServerRefusal::TokenOfAnotherCa { pinned })?;
        let mut store = RootCertStore::empty();
        store.add(root.clone().into_owned()).map_err(|error| unusable(&error))?;
        Ok(Arc::new(store))
    }

    fn stranger(&self, error: &webpki::Error) -> ServerRefusal {
        use webpki::Error as Fault;
        match (error, &self.trust) {
            (Fault::UnknownIssuer | Fault::InvalidSignatureForPublicKey, Trust::Pinned(pinned)) => {
                ServerRefusal::TokenOfAnotherCa { pinned: *pinned }
            }
            (Fault::UnknownIssuer | Fault::InvalidSignatureForPublicKey, Trust::Roots(_)) => {
                ServerRefusal::AnotherCa
            }
            _ => unusable(error),
        }
    }
}

fn unusable(error: &impl fmt::Display) -> ServerRefusal {
    ServerRefusal::Unusable { detail: error.to_string() }
}

fn unix(time: WallTime) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(time.0))
}

/// The alert that comes nearest, for the other side's log.
fn alert(refusal: &ServerRefusal) -> Error {
    use rustls::CertificateError as Fault;
    Error::InvalidCertificate(match refusal {
        ServerRefusal::AnotherCa | ServerRefusal::TokenOfAnotherCa { .. } => Fault::UnknownIssuer,
        ServerRefusal::Expired { .. } => Fault::Expired,
        ServerRefusal::NotTheMaster { .. } => Fault::ApplicationVerificationFailure,
        ServerRefusal::Unusable { .. } => Fault::BadEncoding,
    })
}

impl fmt::Debug for ServerChainVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerChainVerifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ServerChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates).map(|()| ServerCertVerified::assertion()).map_err(|refusal| {
            let alert = alert(&refusal);
            self.refusal.put(refusal);
            alert
        })
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".to_owned())
}

/// Judges a child's chain on the parent's side: the signatures, at a moment within its own validity. Whether it holds at
/// present, and whose it is, is judged after the handshake (also of a resumed session, where this is not asked).
pub(crate) struct ClientChainVerifier {
    roots: Arc<RootCertStore>,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientChainVerifier {
    pub(crate) fn new(roots: &TrustRoots, mandatory: bool) -> Self {
        Self { roots: roots.store(), mandatory, provider: provider() }
    }
}

impl fmt::Debug for ClientChainVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientChainVerifier").field("mandatory", &self.mandatory).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientChainVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A child has one certificate: naming the roots would only cost bytes.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<CertificateDer<'_>> =
            std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let peer = PeerCertificate::from_chain(&chain)
            .map_err(|_| Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        let now = WallTime(now.as_secs().saturating_mul(1000));
        let within = now.max(peer.chain.not_before).min(peer.chain.not_after);
        let usage = KeyUsage::client_auth();
        verify_path(&chain, peer.vouchers.len(), &self.roots, unix(within), usage, &self.provider)
            .map_err(fault)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
