//! What a certificate says: whose it is, how long it holds, which key it binds.

use std::fmt;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use skerry_types::{RegionName, WallTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};

use crate::spiffe::{SpiffeError, SpiffeId, TrustDomain};

/// Regions one below the other at most, the root's own included: webpki follows no longer path of CAs.
pub const REGIONS_DEEP_MAX: u8 = 6;
/// Certificates in a chain at most: a leaf, one CA for each region on the way up, and the root.
const CHAIN_MAX: usize = 2 + REGIONS_DEEP_MAX as usize;

/// Why bytes are not a certificate, chain or signing request that this federation could have made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is no certificate at all.
    #[error("the chain holds no certificate")]
    Empty,
    /// The chain is longer than any that a federation makes.
    #[error("the chain holds {count} certificates, at most {CHAIN_MAX} are read")]
    TooMany {
        /// Certificates in the chain.
        count: usize,
    },
    /// Not DER of the expected structure.
    #[error("{what} is not readable: {detail}")]
    Unreadable {
        /// What was being read.
        what: &'static str,
        /// What the parser said.
        detail: String,
    },
    /// The subject alternative names hold no URI or several.
    #[error("the certificate names {count} URIs, it must be exactly one SPIFFE id")]
    NotOneId {
        /// URIs found.
        count: usize,
    },
    /// The URI is not an id of a federation.
    #[error(transparent)]
    Id(#[from] SpiffeError),
    /// A region's CA signed for somebody who is not of that region.
    #[error("'{id}' is signed by the CA of region '{authority}', which may not speak for it")]
    NotItsRegion {
        /// Whose certificate it is.
        id: Box<SpiffeId>,
        /// Whose CA signed it.
        authority: RegionName,
    },
    /// A certificate above the leaf is not a region's CA of the same federation.
    #[error("a certificate in the chain is of '{id}', which is no region of the leaf's federation")]
    NotARegion {
        /// Whose certificate it is.
        id: Box<SpiffeId>,
    },
    /// The certificates do not follow one another from the leaf to the root.
    #[error("the chain is out of order: each certificate must be followed by the one that signed it")]
    OutOfOrder,
    /// A certificate that must be a CA's is not.
    #[error("the certificate of '{id}' is not a CA's")]
    NotAnAuthority {
        /// Whose certificate it is.
        id: Box<SpiffeId>,
    },
    /// A signing request whose signature does not match its key.
    #[error("the signing request is not signed by the key it names")]
    Unsigned,
    /// A key of a kind that is not issued to.
    #[error("the key is neither Ed25519 nor P-256")]
    KeyKind,
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Hashes the bytes.
            pub fn of(bytes: &[u8]) -> Self {
                let mut hash = [0; 32];
                hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
                Self(hash)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

hash_type!(
    /// SHA-256 of a certificate's DER.
    Fingerprint
);
hash_type!(
    /// SHA-256 of a public key (its DER `SubjectPublicKeyInfo`): stays the same when a certificate is renewed.
    KeyHash
);
hash_type!(
    /// SHA-256 of the root CA certificate's DER: what a join token pins.
    RootHash
);

/// A public key, as DER `SubjectPublicKeyInfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Box<[u8]>);

impl PublicKey {
    /// Reads the key out of a signing request and checks that the request was signed with it. Nothing else of the request
    /// is looked at: names are the issuer's to give.
    pub fn from_request(csr_der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, csr) = X509CertificationRequest::from_der(csr_der)
            .map_err(|error| unreadable("the signing request", &error))?;
        if !rest.is_empty() {
            return Err(CertificateError::Unreadable {
                what: "the signing request",
                detail: format!("{} bytes follow it", rest.len()),
            });
        }
        let key = &csr.certification_request_info.subject_pki;
        // OIDs: 1.3.101.112 is Ed25519 (RFC 8410); an EC key is told apart from other curves by its size, 65 bytes
        // uncompressed (RFC 5480).
        let algorithm = key.algorithm.algorithm.to_id_string();
        let known = algorithm == "1.3.101.112"
            || (algorithm == "1.2.840.10045.2.1" && key.subject_public_key.data.len() == 65);
        if !known {
            return Err(CertificateError::KeyKind);
        }
        csr.verify_signature().map_err(|_| CertificateError::Unsigned)?;
        Ok(Self(key.raw.into()))
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// The key's hash.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

/// The time a certificate holds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: WallTime,
    /// Last moment.
    pub not_after: WallTime,
}

impl Validity {
    /// The time in which both hold; empty (its end before its beginning) if they never do together.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// For how long it has been over, if it is.
    pub fn expired_for(&self, now: WallTime) -> Option<Duration> {
        (now > self.not_after).then(|| now.since(self.not_after))
    }
}

/// What the other side's certificate chain says, once TLS has checked its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Whose certificate it is.
    pub id: SpiffeId,
    /// How long the leaf holds.
    pub leaf: Validity,
    /// How long the whole presented chain holds: never longer than any of its certificates, so that the key of an expired
    /// CA cannot vouch for a fresh leaf.
    pub chain: Validity,
    /// The leaf's hash.
    pub fingerprint: Fingerprint,
    /// The leaf's key.
    pub key: KeyHash,
    /// The leaf's serial number, lower-case hex.
    pub serial: String,
    /// The regions' CAs that vouch for it, nearest first. A node and a region are vouched for by the CA of their own region.
    pub vouchers: Vec<Voucher>,
}

/// A region's CA in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher {
    /// Whose CA it is.
    pub region: RegionName,
    /// Its key, which stays the same for as long as the region is there.
    pub key: KeyHash,
}

impl PeerCertificate {
    /// Reads a chain, leaf first; a root at its end is passed over. Signatures are not checked here.
    pub fn from_chain(chain: &[CertificateDer<'_>]) -> Result<Self, CertificateError> {
        if chain.len() > CHAIN_MAX {
            return Err(CertificateError::TooMany { count: chain.len() });
        }
        let (leaf_der, rest) = chain.split_first().ok_or(CertificateError::Empty)?;
        let leaf = parse(leaf_der)?;
        let validity = validity_of(&leaf);
        let id = id_of(&leaf)?;
        let mut whole = validity;
        let mut vouchers = Vec::new();
        let mut roots = 0;
        for issuer in rest {
            let issuer = parse(issuer)?;
            whole = whole.intersect(validity_of(&issuer));
            match voucher(&issuer, id.domain())? {
                Some(_) if roots > 0 => return Err(CertificateError::OutOfOrder),
                Some(voucher) => vouchers.push(voucher),
                None => roots += 1,
            }
        }
        check_region(&id, vouchers.first())?;
        Ok(Self {
            id,
            vouchers,
            leaf: validity,
            chain: whole,
            fingerprint: Fingerprint::of(leaf_der),
            key: KeyHash::of(leaf.public_key().raw),
            serial: hex(leaf.raw_serial()),
        })
    }
}

/// A region speaks for itself, its nodes and its users, and for nobody else.
fn check_region(id: &SpiffeId, nearest: Option<&Voucher>) -> Result<(), CertificateError> {
    match (id, nearest) {
        (SpiffeId::Node { region, .. } | SpiffeId::Region { region, .. }, Some(nearest))
            if *region != nearest.region =>
        {
            let authority = nearest.region.clone();
            Err(CertificateError::NotItsRegion { id: Box::new(id.clone()), authority })
        }
        _ => Ok(()),
    }
}

/// The region whose CA a certificate is; `None` for a root, which carries no id.
pub(crate) fn voucher(
    certificate: &X509Certificate<'_>,
    federation: &TrustDomain,
) -> Result<Option<Voucher>, CertificateError> {
    match uris(certificate)?[..] {
        [] => Ok(None),
        [uri] => match uri.parse()? {
            SpiffeId::Region { domain, region } if domain == *federation => {
                Ok(Some(Voucher { region, key: KeyHash::of(certificate.public_key().raw) }))
            }
            other => Err(CertificateError::NotARegion { id: Box::new(other) }),
        },
        ref all => Err(CertificateError::NotOneId { count: all.len() }),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| unreadable("the certificate", &error))?;
    if rest.is_empty() {
        return Ok(certificate);
    }
    Err(CertificateError::Unreadable {
        what: "the certificate",
        detail: format!("{} bytes follow it", rest.len()),
    })
}

pub(crate) fn unreadable(what: &'static str, error: &impl fmt::Display) -> CertificateError {
    CertificateError::Unreadable { what, detail: error.to_string() }
}

pub(crate) fn validity_of(certificate: &X509Certificate<'_>) -> Validity {
    // Before 1970 counts as 1970: no certificate of ours is that old.
    let millis = |seconds: i64| WallTime(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
    Validity {
        not_before: millis(certificate.validity().not_before.timestamp()),
        not_after: millis(certificate.validity().not_after.timestamp()),
    }
}

pub(crate) fn id_of(certificate: &X509Certificate<'_>) -> Result<SpiffeId, CertificateError> {
    match uris(certificate)?[..] {
        [uri] => Ok(uri.parse()?),
        ref all => Err(CertificateError::NotOneId { count: all.len() }),
    }
}

fn uris<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, CertificateError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| unreadable("the certificate's alternative names", &error))?;
    let all = names.iter().flat_map(|extension| &extension.value.general_names);
    Ok(all
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect())
}
