//! The link: the one mutually authenticated QUIC connection from a child (a node, later a region) to its parent, and the
//! identities it stands on.
//!
//! What is here: SPIFFE ids and the certificates that carry them, TLS 1.3 configurations whose verifiers forgive a wrong
//! clock, framed typed streams, the server's endpoint, the child's endless dialling, join tokens, and the exchange by
//! which a node enrolls and renews. What is deliberately not here: the messages of the link (they are `skerry-wire`'s;
//! this crate moves any `serde` type), the issuing of certificates (the master's CA) and the decision who may join (the
//! master's brain).
//!
//! Start from [`LinkServer`] on the parent's side, [`Dialer`] on the child's, [`Connection`] on both, and
//! [`enroll::join`] for a node that has no certificate yet.

mod admission;
mod authority;
mod backoff;
mod certificate;
mod clock;
mod close;
mod connection;
mod credentials;
mod dial;
pub mod enroll;
mod frame;
mod recall;
mod server;
mod spiffe;
pub mod tls;
mod token;
mod transport;

pub use authority::AuthorityChain;
pub use backoff::{Backoff, BackoffSettings};
pub use certificate::{
    CertificateError, Fingerprint, KeyHash, PeerCertificate, PublicKey, REGIONS_DEEP_MAX, RootHash, Validity,
    Voucher,
};
pub use clock::{CLOCK_TOLERANCE, LinkClock, Reading};
pub use close::{CloseReason, LinkLost};
pub use connection::{BulkStream, Connection, IncomingBulk};
pub use credentials::{Credentials, CredentialsError};
pub use dial::{DialError, DialHint, DialSettings, DialSockets, DialState, Dialer};
pub use frame::{FrameError, FramedReceiver, FramedSender, MAX_FRAME_BYTES};
pub use server::{Arrival, BindError, LinkServer, ServerSettings};
pub use spiffe::{SpiffeError, SpiffeId, TrustDomain, UserName};
pub use token::{JoinToken, TokenError, TokenId, TokenSecret};
pub use transport::{KeepAlive, KeepAliveError};

/// Protocol name of links in the TLS handshake.
pub const ALPN_LINK: &[u8] = b"skerry-link/1";
/// Protocol name of enrolment and renewal, on the same port.
pub const ALPN_ENROLL: &[u8] = b"skerry-enroll/1";
