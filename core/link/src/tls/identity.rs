//! Keys, certificates and roots in the forms that TLS needs.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::provider;
use crate::ALPN_ENROLL;
use crate::certificate::{CertificateError, PeerCertificate, RootHash};

/// Why PEM text is not an identity or a set of roots.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The PEM text holds no certificate or key, or is damaged.
    #[error("{what}: not readable as PEM: {detail}")]
    Pem {
        /// What was being read.
        what: &'static str,
        /// What the parser said.
        detail: String,
    },
    /// A certificate that is not one of a federation's.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key does not belong to the certificate, or is of an unknown kind.
    #[error("the key does not go with the certificate")]
    Key(#[source] rustls::Error),
    /// A root that cannot be used as one.
    #[error("the root certificate cannot be used")]
    Root(#[source] rustls::Error),
}

/// A certificate chain (leaf first, root left out) and its key.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    key: Arc<PrivateKeyDer<'static>>,
    certificate: PeerCertificate,
}

impl Identity {
    /// From DER. Checks that the key belongs to the leaf.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, IdentityError> {
        let certificate = PeerCertificate::from_chain(&chain)?;
        let certified =
            CertifiedKey::from_der(chain, key.clone_key(), &provider()).map_err(IdentityError::Key)?;
        Ok(Self { certified: Arc::new(certified), key: Arc::new(key), certificate })
    }

    /// From PEM text.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| IdentityError::Pem { what: "private key", detail: error.to_string() })?;
        Self::new(certificates(chain)?, key)
    }

    /// What the certificate says.
    pub fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The root certificates of the federation. Usually one; two while a root is being replaced.
#[derive(Debug, Clone)]
pub struct TrustRoots {
    certificates: Vec<CertificateDer<'static>>,
    store: Arc<RootCertStore>,
}

impl TrustRoots {
    /// From DER.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, IdentityError> {
        if certificates.is_empty() {
            return Err(CertificateError::Empty.into());
        }
        let mut store = RootCertStore::empty();
        for root in &certificates {
            store.add(root.clone()).map_err(IdentityError::Root)?;
        }
        Ok(Self { certificates, store: Arc::new(store) })
    }

    /// From PEM text.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        Self::new(certificates(text)?)
    }

    /// The roots as DER.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// What a join token pins: the hash of the first root.
    pub fn hash(&self) -> RootHash {
        // `new` refuses an empty list.
        self.certificates.first().map_or(RootHash([0; 32]), |root| RootHash::of(root))
    }

    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        self.store.clone()
    }
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let all = all.map_err(|error| IdentityError::Pem { what: "certificate", detail: error.to_string() })?;
    if all.is_empty() {
        return Err(CertificateError::Empty.into());
    }
    Ok(all)
}

/// PEM text of certificates, one after the other.
pub fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for der in certificates {
        let body = STANDARD.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        // RFC 7468: lines of 64 characters; base64 is ASCII, so any byte is a boundary.
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// A server's identity that can be replaced while it is in use: handshakes after [`swap`](Self::swap) see the replacement,
/// established connections go on.
#[derive(Debug, Clone)]
pub struct SharedIdentity(Arc<RwLock<Shown>>);

#[derive(Debug)]
struct Shown {
    identity: Identity,
    usual: Arc<CertifiedKey>,
    with_root: Arc<CertifiedKey>,
}

impl SharedIdentity {
    /// Shares an identity. The roots are shown in full to those who enroll: a join token holds only a hash.
    pub fn new(identity: Identity, roots: &TrustRoots) -> Self {
        Self(Arc::new(RwLock::new(Shown::new(identity, roots))))
    }

    /// Replaces the identity.
    pub fn swap(&self, identity: Identity, roots: &TrustRoots) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Shown::new(identity, roots);
    }

    /// The identity in use.
    pub fn current(&self) -> Identity {
        self.0.read().unwrap_or_else(PoisonError::into_inner).identity.clone()
    }
}

impl Shown {
    fn new(identity: Identity, roots: &TrustRoots) -> Self {
        let usual = identity.certified.clone();
        let mut with_root = (*usual).clone();
        with_root.cert.extend(roots.certificates().iter().cloned());
        Self { identity, usual, with_root: Arc::new(with_root) }
    }
}

impl ResolvesServerCert for SharedIdentity {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let enrolls = hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ALPN_ENROLL));
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(if enrolls { shown.with_root.clone() } else { shown.usual.clone() })
    }
}
