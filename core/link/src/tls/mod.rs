//! TLS 1.3 configurations: who is shown which certificate, and who is believed.

mod identity;
mod path;
mod tickets;
mod verify;

use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::version::TLS13;

pub use identity::{Identity, IdentityError, SharedIdentity, TrustRoots, pem};
pub use verify::{Expected, ServerRefusal};
pub(crate) use verify::{RefusalSlot, ServerChainVerifier, Trust};

use crate::{ALPN_ENROLL, ALPN_LINK};
use tickets::DurableTickets;
use verify::ClientChainVerifier;

/// Why a configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The TLS library refused a key, a certificate or a setting.
    #[error("TLS configuration")]
    Rustls(#[from] rustls::Error),
    /// The cipher suites do not fit QUIC.
    #[error("TLS 1.3 cipher suite for QUIC is missing")]
    NoQuicSuite,
}

impl From<quinn::crypto::rustls::NoInitialCipherSuite> for TlsError {
    fn from(_: quinn::crypto::rustls::NoInitialCipherSuite) -> Self {
        Self::NoQuicSuite
    }
}

/// AES-128 with SHA-256 goes first: most processors have instructions for it and none for SHA-384, and hashing is a good part of what a
/// resumed handshake costs.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

/// The parent's side of links and enrolment. A client certificate is asked for but not required, because a node that
/// enrolls has none, and an expired one passes, because it may renew: both are judged after the handshake, where the refusal
/// can say its reason.
pub(crate) fn parent(identity: &SharedIdentity, roots: &TrustRoots) -> Result<quinn::ServerConfig, TlsError> {
    let mut config = server(identity, ClientChainVerifier::new(roots, false))?;
    config.alpn_protocols = vec![ALPN_LINK.to_vec(), ALPN_ENROLL.to_vec()];
    // Stateless tickets: nothing is held per child, and one is enough for a child that reconnects by itself.
    config.ticketer = Arc::new(DurableTickets::new(identity.current().private_key().secret_der()));
    config.send_tls13_tickets = 1;
    let quic = quinn::crypto::rustls::QuicServerConfig::try_from(config)?;
    Ok(quinn::ServerConfig::with_crypto(Arc::new(quic)))
}

/// TLS of the operator API, for a listener that serves HTTP/2. Any certificate of the federation passes the handshake, so that a
/// node's certificate is refused with a reason by the API and not with a TLS alert; read it with
/// [`PeerCertificate::from_chain`](crate::PeerCertificate::from_chain) and check that it is an unexpired user's.
pub fn api_server(
    identity: &SharedIdentity,
    roots: &TrustRoots,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let mut config = server(identity, ClientChainVerifier::new(roots, true))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn server(
    identity: &SharedIdentity,
    verifier: ClientChainVerifier,
) -> Result<rustls::ServerConfig, rustls::Error> {
    Ok(rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(identity.clone())))
}

/// The child's side. `identity` is absent only for a first enrolment.
pub(crate) fn child(
    verifier: ServerChainVerifier,
    identity: Option<&Identity>,
    protocol: &[u8],
) -> Result<quinn::crypto::rustls::QuicClientConfig, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain().to_vec(), identity.private_key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    // The parent is known by its SPIFFE id, not by a name: sending one would cost bytes and tell watchers.
    config.enable_sni = false;
    Ok(config.try_into()?)
}

/// TLS of the operator's side of the API, for a connector that speaks HTTP/2. The server is judged by its SPIFFE id
/// (`expected`), so the context needs no name that matches the address.
pub fn api_client(
    identity: &Identity,
    roots: &TrustRoots,
    expected: Expected,
    clock: Arc<crate::LinkClock>,
) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let verifier = ServerChainVerifier::new(Trust::roots(roots), expected, clock, RefusalSlot::default());
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.chain().to_vec(), identity.private_key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
