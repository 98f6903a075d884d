//! Nodes and regions that want a certificate: the brain decides, the CA signs.

use std::sync::Arc;
use std::time::Duration;

use skerry_link::enroll::{EnrollRequest, EnrollSession, RefusalKind, Wish};
use skerry_link::{LinkClock, PeerCertificate, PublicKey, REGIONS_DEEP_MAX, SpiffeId, TokenId};
use skerry_region_state::{
    ChildIdentity, EnrollRefusal, EnrollWish, Enrolled, NodeIdentity, RegionIdentity, SecretHash,
};

use crate::brain::{BrainHandle, Certify};
use crate::ca::{Ca, CaError};

/// Answers wishes for certificates.
#[derive(Debug)]
pub(crate) struct Enroller {
    pub(crate) ca: Arc<Ca>,
    pub(crate) brain: BrainHandle,
    pub(crate) node_life: Duration,
    pub(crate) region_life: Duration,
    pub(crate) clock: Arc<LinkClock>,
}

impl Enroller {
    pub(crate) async fn serve(&self, session: EnrollSession) {
        let request = match session.request().await {
            Ok(request) => request,
            Err(error) => return tracing::info!(%error, "a wish for a certificate was not understood"),
        };
        let remote = request.remote;
        let (key, wish) = (request.key.clone(), request.wish.clone());
        let result = match self.decide(&key, wish).await {
            Ok(Ok(enrolled)) => self.grant(request, &key, &enrolled).await,
            Ok(Err(refusal)) => {
                tracing::warn!(%remote, %refusal, "a certificate was refused");
                request.refuse(kind(&refusal), detail(&refusal)).await
            }
            Err(Denied(kind, why)) => request.refuse(kind, why).await,
        };
        if let Err(error) = result {
            tracing::info!(%remote, %error, "an answer about a certificate did not arrive; it is asked for again");
        }
    }

    async fn decide(&self, key: &PublicKey, wish: Wish) -> Result<Result<Enrolled, EnrollRefusal>, Denied> {
        let key = key.hash().0;
        let certify = match wish {
            Wish::Join { token, secret_hash, node, site } => {
                enroll(token, secret_hash, EnrollWish::Node { node, site }, key)?
            }
            Wish::JoinRegion { token, secret_hash, region } => {
                self.check_depth()?;
                enroll(token, secret_hash, EnrollWish::Region { region }, key)?
            }
            Wish::Renew { certificate, expired_for } | Wish::RenewRegion { certificate, expired_for } => {
                if let Some(expired) = expired_for {
                    let (id, hours) = (&certificate.id, expired.as_secs() / 3600);
                    tracing::warn!(%id, hours, "an expired certificate renews with its key");
                }
                Certify::Renew(child(&certificate).ok_or(Denied(RefusalKind::NotANode, String::new()))?)
            }
        };
        let decided = self.brain.certify(certify).await;
        decided.map_err(|error| Denied(RefusalKind::Unavailable, error.to_string()))
    }

    /// A token is not to be used up by a region that cannot be certified.
    fn check_depth(&self) -> Result<(), Denied> {
        if self.ca.levels_below() > 0 {
            return Ok(());
        }
        let region = self.ca.region();
        Err(Denied(RefusalKind::TooDeep, format!("'{region}' is {REGIONS_DEEP_MAX} levels down")))
    }

    async fn grant(
        &self,
        request: EnrollRequest,
        key: &PublicKey,
        enrolled: &Enrolled,
    ) -> Result<(), skerry_link::FrameError> {
        match self.sign(key, enrolled) {
            Ok(grant) => {
                match enrolled {
                    Enrolled::Node { node, site } => {
                        tracing::info!(%node, %site, "a certificate is issued");
                    }
                    Enrolled::Region { region } => tracing::info!(%region, "a CA certificate is issued"),
                }
                request.grant(grant).await
            }
            Err(error) => {
                tracing::error!(%error, "the CA cannot sign");
                request.refuse(RefusalKind::Unavailable, "the CA cannot sign: see the master's log").await
            }
        }
    }

    fn sign(&self, key: &PublicKey, enrolled: &Enrolled) -> Result<skerry_link::enroll::Grant, CaError> {
        let now = self.clock.now();
        let chain = match enrolled {
            Enrolled::Node { node, site } => self.ca.issue_node(key, site, node, self.node_life, now)?,
            Enrolled::Region { region } => self.ca.issue_region(key, region, self.region_life, now)?,
        };
        Ok(self.ca.grant(&chain, now))
    }
}

/// A refusal that is not the brain's.
struct Denied(RefusalKind, String);

fn enroll(token: TokenId, secret_hash: [u8; 32], wish: EnrollWish, key: [u8; 32]) -> Result<Certify, Denied> {
    let token = token.to_string().parse().map_err(|_| Denied(RefusalKind::TokenWrong, String::new()))?;
    Ok(Certify::Enroll { token, secret: SecretHash(secret_hash), wish, key })
}

/// Who a certificate is of, as the brain knows it; `None` for a user. A region is known by its CA's key: the key of what its
/// master shows may change.
pub(crate) fn child(certificate: &PeerCertificate) -> Option<ChildIdentity> {
    let expires = certificate.leaf.not_after;
    match certificate.id.clone() {
        SpiffeId::Node { site, node, .. } => {
            Some(ChildIdentity::Node(NodeIdentity { node, site, expires, key: certificate.key.0 }))
        }
        SpiffeId::Region { region, .. } => {
            let key = certificate.vouchers.first()?.key.0;
            Some(ChildIdentity::Region(RegionIdentity { region, expires, key }))
        }
        SpiffeId::User { .. } => None,
    }
}

fn kind(refusal: &EnrollRefusal) -> RefusalKind {
    match refusal {
        EnrollRefusal::TokenUnknown => RefusalKind::TokenWrong,
        EnrollRefusal::TokenExpired => RefusalKind::TokenExpired,
        EnrollRefusal::TokenUsedUp { .. } => RefusalKind::TokenUsedUp,
        EnrollRefusal::OtherSite { .. } => RefusalKind::TokenForAnotherSite,
        EnrollRefusal::OtherRegion { .. } => RefusalKind::TokenForAnotherRegion,
        EnrollRefusal::NotForRegions { .. } => RefusalKind::TokenForNodes,
        EnrollRefusal::NotForNodes => RefusalKind::TokenForRegions,
        EnrollRefusal::NameTaken { .. } => RefusalKind::NameTaken,
        EnrollRefusal::RegionNameTaken { .. } => RefusalKind::RegionTaken,
        EnrollRefusal::Removed { .. } => RefusalKind::NodeUnknown,
        EnrollRefusal::RegionRemoved { .. } => RefusalKind::RegionUnknown,
        EnrollRefusal::Full { .. } => RefusalKind::Unavailable,
    }
}

/// The particulars that the kind alone does not say.
fn detail(refusal: &EnrollRefusal) -> String {
    match refusal {
        EnrollRefusal::TokenUnknown | EnrollRefusal::TokenExpired => String::new(),
        other => other.to_string(),
    }
}
