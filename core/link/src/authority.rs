//! The certificate of a region's CA, and those above it.

use rustls::pki_types::CertificateDer;
use skerry_types::RegionName;
use x509_parser::prelude::X509Certificate;

use crate::certificate::{
    CertificateError, KeyHash, REGIONS_DEEP_MAX, Validity, Voucher, id_of, parse, unreadable, validity_of,
    voucher,
};
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::tls::TrustRoots;

/// A region's CA certificate, followed by those of the regions above it; the root is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityChain {
    certificates: Vec<CertificateDer<'static>>,
    id: SpiffeId,
    own: Voucher,
    above: Vec<Voucher>,
    validity: Validity,
    whole: Validity,
    path_len: u8,
}

impl AuthorityChain {
    /// Reads a chain and checks that each certificate is signed by the next and the last by one of the roots. The time is
    /// not looked at.
    pub fn verified(
        certificates: Vec<CertificateDer<'static>>,
        roots: &TrustRoots,
    ) -> Result<Self, CertificateError> {
        if certificates.len() > usize::from(REGIONS_DEEP_MAX) {
            return Err(CertificateError::TooMany { count: certificates.len() });
        }
        let parsed = certificates.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let first = parsed.first().ok_or(CertificateError::Empty)?;
        let id = id_of(first)?;
        let own = region_of(first, id.domain())?;
        let above = parsed[1..].iter().map(|one| region_of(one, id.domain())).collect::<Result<_, _>>()?;
        let path_len = path_len(first, &id)?;
        check_signatures(&parsed, roots)?;
        let validity = validity_of(first);
        let whole = parsed.iter().map(validity_of).fold(validity, Validity::intersect);
        drop(parsed);
        Ok(Self { certificates, id, own, above, validity, whole, path_len })
    }

    /// Whose CA it is: a region's id.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The federation.
    pub fn domain(&self) -> &TrustDomain {
        self.id.domain()
    }

    /// The region whose CA it is.
    pub fn region(&self) -> &RegionName {
        &self.own.region
    }

    /// The CA's key.
    pub fn key(&self) -> KeyHash {
        self.own.key
    }

    /// The region that signed it; `None` if the root did.
    pub fn parent(&self) -> Option<&Voucher> {
        self.above.first()
    }

    /// This region and those above it, nearest first, each with its CA's key.
    pub fn regions(&self) -> impl Iterator<Item = &Voucher> {
        std::iter::once(&self.own).chain(&self.above)
    }

    /// How long its own certificate holds.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// How long the whole chain holds.
    pub fn whole(&self) -> Validity {
        self.whole
    }

    /// How many CAs may stand below it, one under the other.
    pub fn path_len(&self) -> u8 {
        self.path_len
    }

    /// The certificates, its own first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

fn region_of(
    certificate: &X509Certificate<'_>,
    federation: &TrustDomain,
) -> Result<Voucher, CertificateError> {
    voucher(certificate, federation)?.ok_or(CertificateError::NotOneId { count: 0 })
}

fn path_len(certificate: &X509Certificate<'_>, id: &SpiffeId) -> Result<u8, CertificateError> {
    let constraints = certificate
        .basic_constraints()
        .map_err(|error| unreadable("the certificate's constraints", &error))?
        .filter(|constraints| constraints.value.ca)
        .ok_or_else(|| CertificateError::NotAnAuthority { id: Box::new(id.clone()) })?;
    let most = u32::from(REGIONS_DEEP_MAX);
    let allowed = constraints.value.path_len_constraint.unwrap_or(most).min(most);
    Ok(u8::try_from(allowed).unwrap_or(REGIONS_DEEP_MAX))
}

fn check_signatures(chain: &[X509Certificate<'_>], roots: &TrustRoots) -> Result<(), CertificateError> {
    let signed = |by: &X509Certificate<'_>, what: &X509Certificate<'_>| {
        what.issuer() == by.subject() && what.verify_signature(Some(by.public_key())).is_ok()
    };
    let in_order = chain.windows(2).all(|pair| signed(&pair[1], &pair[0]));
    let roots = roots.certificates().iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let rooted = chain.last().is_some_and(|last| roots.iter().any(|root| signed(root, last)));
    if in_order && rooted { Ok(()) } else { Err(CertificateError::OutOfOrder) }
}
