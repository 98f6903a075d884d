//! Nodes that want a certificate: the brain decides, the CA signs.

use std::sync::Arc;
use std::time::Duration;

use skerry_link::enroll::{EnrollRequest, EnrollSession, RefusalKind, Wish};
use skerry_link::{PeerCertificate, PublicKey, SpiffeId};
use skerry_region_state::{ChildIdentity, EnrollRefusal, EnrollWish, Enrolled, NodeIdentity, SecretHash};

use crate::brain::{BrainHandle, Certify};
use crate::ca::{Ca, CaError};
use crate::clock;

/// Answers wishes for certificates.
#[derive(Debug)]
pub(crate) struct Enroller {
    pub(crate) ca: Arc<Ca>,
    pub(crate) brain: BrainHandle,
    pub(crate) node_life: Duration,
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
                tracing::warn!(%remote, %refusal, "a node was refused a certificate");
                request.refuse(kind(&refusal), detail(&refusal)).await
            }
            Err(Unable(why)) => request.refuse(RefusalKind::Unavailable, why).await,
        };
        if let Err(error) = result {
            tracing::info!(%remote, %error, "an answer about a certificate did not arrive; the node asks again");
        }
    }

    async fn decide(&self, key: &PublicKey, wish: Wish) -> Result<Result<Enrolled, EnrollRefusal>, Unable> {
        let certify = match wish {
            Wish::Join { token, secret_hash, node, site } => {
                let Ok(id) = token.to_string().parse() else { return Ok(Err(EnrollRefusal::TokenUnknown)) };
                let secret = SecretHash(secret_hash);
                Certify::Enroll { token: id, secret, wish: EnrollWish::Node { node, site }, key: key.hash().0 }
            }
            Wish::Renew { certificate, expired_for } => {
                if let Some(expired) = expired_for {
                    let (id, hours) = (&certificate.id, expired.as_secs() / 3600);
                    tracing::warn!(%id, hours, "an expired certificate renews with its key");
                }
                Certify::Renew(ChildIdentity::Node(identity(&certificate)?))
            }
        };
        self.brain.certify(certify).await.map_err(|error| Unable(error.to_string()))
    }

    async fn grant(
        &self,
        request: EnrollRequest,
        key: &PublicKey,
        enrolled: &Enrolled,
    ) -> Result<(), skerry_link::FrameError> {
        match self.sign(key, enrolled) {
            Ok(grant) => {
                tracing::info!(?enrolled, "a certificate is issued");
                request.grant(grant).await
            }
            Err(error) => {
                tracing::error!(%error, "the CA cannot sign");
                request.refuse(RefusalKind::Unavailable, "the CA cannot sign: see the master's log").await
            }
        }
    }

    fn sign(&self, key: &PublicKey, enrolled: &Enrolled) -> Result<skerry_link::enroll::Grant, CaError> {
        let now = clock::wall();
        let chain = match enrolled {
            Enrolled::Node { node, site } => self.ca.issue_node(key, site, node, self.node_life, now)?,
            Enrolled::Region { .. } => unreachable!("only nodes ask here"),
        };
        Ok(self.ca.grant(&chain, now))
    }
}

/// Why there is no decision.
struct Unable(String);

fn identity(certificate: &PeerCertificate) -> Result<NodeIdentity, Unable> {
    let SpiffeId::Node { site, node, .. } = certificate.id.clone() else {
        return Err(Unable("only nodes renew here".to_owned()));
    };
    Ok(NodeIdentity { node, site, expires: certificate.leaf.not_after, key: certificate.key.0 })
}

fn kind(refusal: &EnrollRefusal) -> RefusalKind {
    match refusal {
        EnrollRefusal::TokenUnknown => RefusalKind::TokenWrong,
        EnrollRefusal::TokenExpired => RefusalKind::TokenExpired,
        EnrollRefusal::TokenUsedUp { .. } => RefusalKind::TokenUsedUp,
        EnrollRefusal::OtherSite { .. }
        | EnrollRefusal::NotForRegions { .. }
        | EnrollRefusal::NotForNodes
        | EnrollRefusal::OtherRegion { .. } => RefusalKind::TokenForAnotherSite,
        EnrollRefusal::NameTaken { .. } | EnrollRefusal::RegionNameTaken { .. } => RefusalKind::NameTaken,
        EnrollRefusal::Removed { .. } | EnrollRefusal::RegionRemoved { .. } => RefusalKind::NodeUnknown,
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
