//! The master's side.

use std::net::SocketAddr;
use std::time::Duration;

use skerry_types::{NodeName, RegionName, SiteName};
use tokio::time::timeout;

use super::protocol::{Answer, Call, Grant, MESSAGE_MAX, MESSAGE_WAIT, Refusal, RefusalKind};
use crate::admission::Parent;
use crate::certificate::{CertificateError, KeyHash, PeerCertificate, PublicKey};
use crate::close::{CloseReason, LinkLost, detail_bytes};
use crate::frame::{FrameError, FramedReceiver, FramedSender};
use crate::spiffe::SpiffeId;
use crate::token::TokenId;

/// How long a delivered answer may take to be acknowledged.
const DELIVERY_WAIT: Duration = Duration::from_secs(10);

/// Someone connected who wants a certificate.
#[derive(Debug)]
pub struct EnrollSession {
    connection: quinn::Connection,
    peer: Option<PeerCertificate>,
    parent: Parent,
}

/// Why there is no request to decide on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection or the stream failed, or the bytes were no request.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The request was refused here, before anybody had to decide.
    #[error("refused: {refusal}")]
    Refused {
        /// The answer given.
        refusal: Refusal,
        /// What was wrong with the signing request, if that was it.
        #[source]
        source: Option<CertificateError>,
    },
}

/// A well-formed request whose signing request is signed by its own key. It waits for a yes or a no.
#[derive(Debug)]
pub struct EnrollRequest {
    /// Where it comes from.
    pub remote: SocketAddr,
    /// The key that the certificate is wanted for.
    pub key: PublicKey,
    /// What is wanted.
    pub wish: Wish,
    reply: Reply,
}

/// What is wanted, and what speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A first certificate, on a token. The brain decides: whether the token is known, its secret's hash is
    /// [`secret_hash`](Self::Join::secret_hash), its time and uses are left, its site fits. An answer may get lost: the same
    /// token id with the same key hash is the same enrolment, to be granted again without counting.
    Join {
        /// The token's id.
        token: TokenId,
        /// SHA-256 of the token's secret.
        secret_hash: [u8; 32],
        /// The name wanted.
        node: NodeName,
        /// The site wanted.
        site: Option<SiteName>,
    },
    /// Another certificate for the key of the present one. The present one's signatures and key are already checked. The
    /// brain decides: whether the node is still known, and how often an expired certificate may renew.
    Renew {
        /// The present certificate: a node's of this region.
        certificate: Box<PeerCertificate>,
        /// For how long it has been over, by the master's clock; `None` if it is not.
        expired_for: Option<Duration>,
    },
    /// A region's first CA certificate, on a token; decided like [`Join`](Self::Join).
    JoinRegion {
        /// The token's id.
        token: TokenId,
        /// SHA-256 of the token's secret.
        secret_hash: [u8; 32],
        /// The name wanted.
        region: RegionName,
    },
    /// Another CA certificate for a region right below this one, for the same key. The key is the CA's, which signed the
    /// certificate of the region's master.
    RenewRegion {
        /// The certificate that the region's master showed.
        certificate: Box<PeerCertificate>,
        /// For how long any certificate of its chain has been over, by this master's clock; `None` if none is.
        expired_for: Option<Duration>,
    },
}

#[derive(Debug)]
struct Reply {
    connection: quinn::Connection,
    sender: FramedSender,
}

impl EnrollSession {
    pub(crate) fn new(connection: quinn::Connection, peer: Option<PeerCertificate>, parent: Parent) -> Self {
        Self { connection, peer, parent }
    }

    /// Reads and checks the request. Not cancel-safe: dropping it drops the session.
    pub async fn request(self) -> Result<EnrollRequest, SessionError> {
        let received =
            timeout(MESSAGE_WAIT, receive(&self.connection)).await.unwrap_or(Err(FrameError::TimedOut));
        let (call, sender) = match received {
            Ok(received) => received,
            Err(error) => {
                self.connection.close(CloseReason::Protocol.var_int(), detail_bytes(&error.to_string()));
                return Err(error.into());
            }
        };
        let reply = Reply { connection: self.connection, sender };
        match examine(call, self.peer, &self.parent) {
            Ok((key, wish)) => {
                Ok(EnrollRequest { remote: reply.connection.remote_address(), key, wish, reply })
            }
            Err((kind, source)) => {
                let detail = source.as_ref().map(ToString::to_string).unwrap_or_default();
                let refusal = Refusal { kind, detail };
                reply.answer(Answer::Refused(refusal.clone())).await?;
                Err(SessionError::Refused { refusal, source })
            }
        }
    }
}

impl EnrollRequest {
    /// Gives the certificate. An error means that the node may not have it; it will ask again.
    pub async fn grant(self, grant: Grant) -> Result<(), FrameError> {
        self.reply.answer(Answer::Granted(grant)).await
    }

    /// Says no, with particulars for a person.
    pub async fn refuse(self, kind: RefusalKind, detail: impl Into<String>) -> Result<(), FrameError> {
        let detail = detail.into();
        self.reply.answer(Answer::Refused(Refusal { kind, detail })).await
    }
}

impl Reply {
    async fn answer(mut self, answer: Answer) -> Result<(), FrameError> {
        let send = async {
            self.sender.send(&answer).await?;
            self.sender.finish()?;
            self.sender.delivered().await
        };
        let delivered = timeout(DELIVERY_WAIT, send).await.unwrap_or(Err(FrameError::TimedOut));
        self.connection.close(CloseReason::Done.var_int(), b"");
        match delivered {
            // The node closes as soon as it has the answer, which may overtake the acknowledgement.
            Err(FrameError::Lost(LinkLost::ClosedByPeer { reason: CloseReason::Done, .. })) => Ok(()),
            other => other,
        }
    }
}

async fn receive(connection: &quinn::Connection) -> Result<(Call, FramedSender), FrameError> {
    let (send, receive) = connection.accept_bi().await.map_err(LinkLost::from)?;
    let call = FramedReceiver::new(receive).recv(MESSAGE_MAX).await?.ok_or(FrameError::Cut)?;
    Ok((call, FramedSender::new(send)))
}

/// What can be told without knowing the region's state.
fn examine(
    call: Call,
    peer: Option<PeerCertificate>,
    parent: &Parent,
) -> Result<(PublicKey, Wish), (RefusalKind, Option<CertificateError>)> {
    let key_in =
        |csr: Vec<u8>| PublicKey::from_request(&csr).map_err(|error| (RefusalKind::Malformed, Some(error)));
    match call {
        Call::Join { token, secret, csr_der, node, site } => {
            let secret_hash = secret.hash();
            Ok((key_in(csr_der)?, Wish::Join { token, secret_hash, node, site }))
        }
        Call::JoinRegion { token, secret, csr_der, region } => {
            let secret_hash = secret.hash();
            Ok((key_in(csr_der)?, Wish::JoinRegion { token, secret_hash, region }))
        }
        Call::Renew { csr_der } => {
            let key = key_in(csr_der)?;
            let own_key = |peer: &PeerCertificate| peer.key;
            let is_node = |id: &SpiffeId| matches!(id, SpiffeId::Node { .. });
            let peer = peer.filter(|peer| is_node(&peer.id)).ok_or((RefusalKind::NotANode, None))?;
            let (certificate, expired_for) = renewal(peer, &key, parent, own_key)?;
            Ok((key, Wish::Renew { certificate, expired_for }))
        }
        Call::RenewRegion { csr_der } => {
            let key = key_in(csr_der)?;
            let ca_key = |peer: &PeerCertificate| peer.vouchers.first().map_or(peer.key, |ca| ca.key);
            let is_region = |id: &SpiffeId| matches!(id, SpiffeId::Region { .. });
            let peer = peer.filter(|peer| is_region(&peer.id)).ok_or((RefusalKind::NotAChildRegion, None))?;
            let (certificate, expired_for) = renewal(peer, &key, parent, ca_key)?;
            Ok((key, Wish::RenewRegion { certificate, expired_for }))
        }
    }
}

type Renewed = (Box<PeerCertificate>, Option<Duration>);

/// A renewal is for the key that the present certificate proves, and for nobody but a child.
fn renewal(
    peer: PeerCertificate,
    key: &PublicKey,
    parent: &Parent,
    proven: fn(&PeerCertificate) -> KeyHash,
) -> Result<Renewed, (RefusalKind, Option<CertificateError>)> {
    parent.may_renew(&peer).map_err(|kind| (kind, None))?;
    if key.hash() != proven(&peer) {
        return Err((RefusalKind::KeyChanged, None));
    }
    let expired_for = peer.chain.expired_for(parent.clock.now());
    Ok((Box::new(peer), expired_for))
}
