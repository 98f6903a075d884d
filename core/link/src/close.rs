//! Why a connection ended, in a form that the other side can print and act on.

use std::fmt;
use std::time::Duration;

use quinn::{ConnectionError, VarInt};

use crate::tls::ServerRefusal;

/// Bytes of free text sent with a close: a sentence. Longer texts are cut.
const DETAIL_MAX: usize = 512;

/// How long an endpoint that closes waits for its peers. The close goes out at once; what is waited for is that it may be sent
/// again, and a peer behind a cut would be waited for until its timer ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Waits until the peers of a closed endpoint had a chance to hear it.
pub(crate) async fn farewell(endpoint: &quinn::Endpoint) {
    if tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await.is_err() {
        tracing::debug!("some peers may not have heard the farewell; they find out by themselves");
    }
}

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why one side closed the connection. The codes are part of the wire: they are only ever added to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseReason {
            $($(#[$doc])* $name,)*
            /// A code that this version does not know.
            Other(u64),
        }

        impl CloseReason {
            /// The number on the wire.
            pub fn code(self) -> u64 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }

            /// The reason of a number on the wire.
            pub fn from_code(code: u64) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }

        impl fmt::Display for CloseReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Other(code) => write!(f, "reason {code}, which this version does not know"),
                }
            }
        }

        #[cfg(test)]
        const ALL_REASONS: &[CloseReason] = &[$(CloseReason::$name,)*];
    };
}

close_reasons! {
    /// All that was wanted is done.
    Done = 0, "done";
    /// The process is going down; the child should come back.
    ShuttingDown = 1, "shutting down";
    /// The same identity connected again, and the later connection holds.
    Superseded = 2, "superseded by a later connection of the same identity";
    /// The parent does not want this child.
    Refused = 3, "refused";
    /// The other side broke the protocol.
    Protocol = 4, "protocol error";
    /// No client certificate was presented.
    CertificateRequired = 5, "a certificate is required: enroll with a join token";
    /// The certificate ran out; it is still good for renewal.
    CertificateExpired = 6, "certificate expired: renew it with the same key";
    /// The certificate is someone's who has no business here.
    WrongIdentity = 7, "wrong identity";
    /// Too much to do at the moment; come back later.
    Overloaded = 8, "overloaded";
    /// No protocol version in common.
    Version = 9, "no protocol version in common";
}

impl CloseReason {
    pub(crate) fn var_int(self) -> VarInt {
        VarInt::from_u64(self.code()).unwrap_or(VarInt::MAX)
    }
}

pub(crate) fn detail_bytes(detail: &str) -> &[u8] {
    let mut end = detail.len().min(DETAIL_MAX);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    &detail.as_bytes()[..end]
}

/// Why a connection is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkLost {
    /// The other side closed it and said why.
    #[error("closed by the other side: {reason}{}", colon(.detail))]
    ClosedByPeer {
        /// Its reason.
        reason: CloseReason,
        /// Its words, cleaned of control characters; may be empty.
        detail: String,
    },
    /// The other side's TLS refused our certificate.
    #[error(
        "the other side does not accept our certificate ({alert}): it is from another CA or damaged; enroll again"
    )]
    OurCertificate {
        /// The TLS alert, by name.
        alert: &'static str,
    },
    /// We refused the certificate of the other side.
    #[error(transparent)]
    TheirCertificate(#[from] ServerRefusal),
    /// Nothing was heard for too long.
    #[error("nothing heard from the other side for too long")]
    TimedOut,
    /// The other side does not know the connection: it restarted.
    #[error("the other side restarted")]
    Reset,
    /// This side closed it.
    #[error("closed by this side")]
    ClosedHere,
    /// The handshake found no common ground, or the other side broke QUIC.
    #[error("QUIC: {detail}")]
    Transport {
        /// What the QUIC stack said.
        detail: String,
    },
}

fn colon(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

impl From<ConnectionError> for LinkLost {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::ClosedByPeer {
                reason: CloseReason::from_code(close.error_code.into_inner()),
                detail: printable(&close.reason),
            },
            ConnectionError::ConnectionClosed(close) => {
                match certificate_alert(u64::from(close.error_code)) {
                    Some(alert) => Self::OurCertificate { alert },
                    None => {
                        Self::Transport { detail: format!("closed by the other side: {}", close.error_code) }
                    }
                }
            }
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::LocallyClosed => Self::ClosedHere,
            other => Self::Transport { detail: other.to_string() },
        }
    }
}

/// TLS alerts (RFC 8446, 6.2) that speak of a certificate, within QUIC's range of handshake errors (RFC 9001, 4.8).
fn certificate_alert(code: u64) -> Option<&'static str> {
    match code.checked_sub(0x100)? {
        42 => Some("bad certificate"),
        43 => Some("unsupported certificate"),
        44 => Some("certificate revoked"),
        45 => Some("certificate expired"),
        46 => Some("certificate unknown"),
        48 => Some("unknown CA"),
        51 => Some("signature does not match"),
        116 => Some("certificate required"),
        _ => None,
    }
}

/// A stranger's words, safe to print on a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .take(DETAIL_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_keep_their_codes() {
        for (index, reason) in ALL_REASONS.iter().enumerate() {
            assert_eq!(reason.code(), u64::try_from(index).unwrap(), "{reason}");
            assert_eq!(CloseReason::from_code(reason.code()), *reason);
        }
        assert_eq!(CloseReason::from_code(99), CloseReason::Other(99));
    }

    #[test]
    fn details_are_cut_at_a_character() {
        let long = "å".repeat(400);
        let cut = detail_bytes(&long);
        assert_eq!(cut.len(), 512);
        assert!(std::str::from_utf8(cut).is_ok());
        assert_eq!(detail_bytes("no"), b"no");
        assert_eq!(printable(b"a\x1b[31mb\xff"), "a [31mb\u{fffd}");
    }
}
