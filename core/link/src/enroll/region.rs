//! The side of a region that joins another: what it gets is a CA certificate.
//!
//! A region's CA is the one thing that its parent certifies. The identity that the region's master shows on the link is
//! signed by that CA like those of its nodes, so it renews by itself, also while the parent is gone for months.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use skerry_types::{RegionName, WallTime};

use super::client::{Asker, EnrollError, check_pinned, unusable, usable_roots};
use super::protocol::{Call, Grant};
use crate::authority::AuthorityChain;
use crate::certificate::PublicKey;
use crate::clock::LinkClock;
use crate::spiffe::TrustDomain;
use crate::tls::{Expected, Identity, Trust, TrustRoots};
use crate::token::JoinToken;

/// Which region wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionWish {
    /// The name that it wants; unique in the whole tree.
    pub region: RegionName,
    /// The federation that it expects; any when `None`.
    pub domain: Option<TrustDomain>,
}

/// A CA certificate that a parent gave. It is the caller's to store.
#[derive(Debug, Clone)]
pub struct RegionGrant {
    /// The region's CA certificate and those above it.
    pub authority: AuthorityChain,
    /// The federation's roots.
    pub roots: TrustRoots,
    /// The parent's time at the answer; the clock that was passed in has already been told.
    pub parent_time: WallTime,
}

/// Gets a first CA certificate for the key that `csr_der` is signed with. Asking again with the same token and the same key
/// is the same request, so the key must be on disk before the first.
///
/// `addresses` come before those of the token; all are tried once, in order.
pub async fn join_region(
    token: &JoinToken,
    addresses: &[String],
    wish: &RegionWish,
    csr_der: &[u8],
    clock: &Arc<LinkClock>,
) -> Result<RegionGrant, EnrollError> {
    let call = Call::JoinRegion {
        token: token.id,
        secret: token.secret.clone(),
        csr_der: csr_der.to_vec(),
        region: wish.region.clone(),
    };
    let asker =
        Asker { trust: Trust::Pinned(token.root), expected: Expected::AnyMaster, identity: None, clock };
    let all: Vec<String> = addresses.iter().chain(&token.addresses).cloned().collect();
    let grant = asker.ask_any(&all, &call).await?;
    check_pinned(&grant, token)?;
    settle(grant, wish, csr_der, clock)
}

/// Gets another CA certificate for the same key. `identity` is what the region's master shows; it may have run out.
pub async fn renew_region(
    addresses: &[String],
    identity: &Identity,
    roots: &TrustRoots,
    csr_der: &[u8],
    clock: &Arc<LinkClock>,
) -> Result<RegionGrant, EnrollError> {
    let certificate = identity.certificate();
    let Some(own) = certificate.vouchers.first() else {
        return Err(unusable("the certificate that is to be renewed is not a region's"));
    };
    let wish = RegionWish { region: own.region.clone(), domain: Some(certificate.id.domain().clone()) };
    let asker = Asker {
        trust: Trust::roots(roots),
        expected: Expected::parent_of(certificate),
        identity: Some(identity),
        clock,
    };
    let call = Call::RenewRegion { csr_der: csr_der.to_vec() };
    let grant = asker.ask_any(addresses, &call).await?;
    settle(grant, &wish, csr_der, clock)
}

/// Checks that the answer is a CA certificate for our key and name that the roots stand behind, and tells the clock.
fn settle(
    grant: Grant,
    wish: &RegionWish,
    csr_der: &[u8],
    clock: &LinkClock,
) -> Result<RegionGrant, EnrollError> {
    let roots = usable_roots(&grant)?;
    let chain = grant.chain.into_iter().map(CertificateDer::from).collect();
    let authority = AuthorityChain::verified(chain, &roots).map_err(|error| unusable(&error.to_string()))?;
    let key = PublicKey::from_request(csr_der).map_err(|error| unusable(&error.to_string()))?;
    if authority.key() != key.hash() {
        return Err(unusable("the CA certificate is for another key"));
    }
    if *authority.region() != wish.region {
        return Err(unusable(&format!("the CA certificate is for '{}'", authority.id())));
    }
    if let Some(wanted) = wish.domain.as_ref().filter(|wanted| *wanted != authority.domain()) {
        let found = authority.domain();
        return Err(unusable(&format!("the parent is of the federation '{found}', not '{wanted}'")));
    }
    clock.observe(grant.master_time);
    Ok(RegionGrant { authority, roots, parent_time: grant.master_time })
}
