//! The master's side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skerry_types::{NodeName, SiteName, WallTime};
use tokio::time::timeout;

use super::protocol::{Answer, Call, Grant, MESSAGE_MAX, MESSAGE_WAIT, Refusal, RefusalKind};
use crate::certificate::{CertificateError, PeerCertificate, PublicKey};
use crate::clock::LinkClock;
use crate::close::{CloseReason, LinkLost, detail_bytes};
use crate::frame::{FrameError, FramedReceiver, FramedSender};
use crate::token::TokenId;

/// How long a delivered answer may take to be acknowledged.
const DELIVERY_WAIT: Duration = Duration::from_secs(10);

/// Someone connected who wants a certificate.
#[derive(Debug)]
pub struct EnrollSession {
    connection: quinn::Connection,
    peer: Option<PeerCertificate>,
    clock: Arc<LinkClock>,
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
        /// The present certificate: a node's of some region of this federation.
        certificate: Box<PeerCertificate>,
        /// For how long it has been over, by the master's clock; `None` if it is not.
        expired_for: Option<Duration>,
    },
}

#[derive(Debug)]
struct Reply {
    connection: quinn::Connection,
    sender: FramedSender,
}

impl EnrollSession {
    pub(crate) fn new(
        connection: quinn::Connection,
        peer: Option<PeerCertificate>,
        clock: Arc<LinkClock>,
    ) -> Self {
        Self { connection, peer, clock }
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
        match examine(call, self.peer, self.clock.now()) {
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
    now: WallTime,
) -> Result<(PublicKey, Wish), (RefusalKind, Option<CertificateError>)> {
    let malformed = |error| (RefusalKind::Malformed, Some(error));
    match call {
        Call::Join { token, secret, csr_der, node, site } => {
            let key = PublicKey::from_request(&csr_der).map_err(malformed)?;
            let secret_hash = secret.hash();
            Ok((key, Wish::Join { token, secret_hash, node, site }))
        }
        Call::Renew { csr_der } => {
            let key = PublicKey::from_request(&csr_der).map_err(malformed)?;
            let certificate = peer.ok_or((RefusalKind::NotANode, None))?;
            if !matches!(certificate.id, crate::SpiffeId::Node { .. }) {
                return Err((RefusalKind::NotANode, None));
            }
            if key.hash() != certificate.key {
                return Err((RefusalKind::KeyChanged, None));
            }
            let expired_for = certificate.chain.expired_for(now);
            let certificate = Box::new(certificate);
            Ok((key, Wish::Renew { certificate, expired_for }))
        }
    }
}
