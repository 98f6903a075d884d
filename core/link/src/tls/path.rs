//! The signatures of a chain.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

/// Checks that a chain leads from its leaf to a root, over all of its `authorities` certificates after the leaf, in the order
/// in which it shows them.
///
/// webpki by itself looks for any path and passes over certificates that it does not need. Then a region could show the CA of
/// another region beside its own, and whoever reads the chain would take it for the one that signed.
pub(super) fn verify_path(
    chain: &[CertificateDer<'_>],
    authorities: usize,
    roots: &RootCertStore,
    at: UnixTime,
    usage: KeyUsage,
    provider: &CryptoProvider,
) -> Result<(), webpki::Error> {
    let (leaf, rest) = chain.split_first().ok_or(webpki::Error::UnknownIssuer)?;
    let shown = rest.get(..authorities).ok_or(webpki::Error::UnknownIssuer)?;
    let in_order = |path: &VerifiedPath<'_>| {
        let used = path.intermediate_certificates().map(webpki::Cert::der);
        if used.eq(shown.iter().cloned()) { Ok(()) } else { Err(webpki::Error::UnknownIssuer) }
    };
    let algorithms = provider.signature_verification_algorithms.all;
    EndEntityCert::try_from(leaf)?.verify_for_usage(
        algorithms,
        &roots.roots,
        shown,
        at,
        usage,
        None,
        Some(&in_order),
    )?;
    Ok(())
}

/// For TLS, which sends the alert that comes nearest.
pub(super) fn fault(error: webpki::Error) -> Error {
    use webpki::Error as Fault;
    Error::InvalidCertificate(match error {
        Fault::UnknownIssuer => CertificateError::UnknownIssuer,
        Fault::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Fault::BadDer | Fault::BadDerTime => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}
