//! How a node or a region gets its first certificate, and the ones after it.
//!
//! One request and one answer on a connection of its own (ALPN `skerry-enroll/1`, same port as the links). Who joins shows no
//! certificate but a token; who renews shows its certificate, which may have run out, and asks for the same key again. The master's chain is authenticated in both cases before anything is sent: by the root that the
//! token pins, or by the roots that the node holds.

mod client;
mod protocol;
mod region;
mod renewal;
mod session;

pub use client::{EnrollError, Enrolled, JoinWish, join, renew};
pub use protocol::{Grant, Refusal, RefusalKind};
pub use region::{RegionGrant, RegionWish, join_region, renew_region};
pub use renewal::{RENEW_RETRY_FIRST, RENEW_RETRY_MAX, RenewalSignals, RetryPace, due, renew_in};
pub use session::{EnrollRequest, EnrollSession, SessionError, Wish};
