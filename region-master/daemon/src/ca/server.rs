//! The master's own certificate.

use std::sync::Arc;
use std::time::Duration;

use skerry_link::LinkClock;
use skerry_link::enroll::{RENEW_RETRY_MAX, renew_in};
use skerry_link::tls::{Identity, SharedIdentity};
use skerry_types::WallTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Ca, CaError, SERVER_LIFE};

/// Longest sleep at a time: a machine that was suspended, or whose clock jumped, looks again within this time.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// DNS names and IP addresses that clients may call the master by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerNames(Vec<String>);

impl ServerNames {
    /// These names, in order, each once.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut kept = Vec::new();
        for name in names {
            if !kept.contains(&name) {
                kept.push(name);
            }
        }
        Self(kept)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Ca {
    /// Makes the master's certificate, for the key that it always has.
    ///
    /// It is made anew at each start and not stored, because names may have changed: a signature costs less than to find out.
    pub fn server_identity(&self, names: &ServerNames, now: WallTime) -> Result<Identity, CaError> {
        let key = self.layout.server_key()?;
        let bundle = self.issue_server(&key, names, SERVER_LIFE, now)?;
        Identity::from_pem(&bundle.chain_pem, &bundle.key_pem)
            .map_err(|source| CaError::Damaged { path: self.layout.server_key_path(), source })
    }
}

/// Renews the master's certificate from half of its life, for as long as the process runs. Handshakes see the renewed one;
/// connections go on.
pub async fn keep_server_identity(
    ca: Arc<Ca>,
    names: ServerNames,
    shared: SharedIdentity,
    clock: Arc<LinkClock>,
    cancel: CancellationToken,
) {
    loop {
        let due = renew_in(shared.current().certificate().leaf, clock.now(), u8::MAX / 2);
        let wait = if due.is_zero() { renew(&ca, &names, &shared, &clock) } else { due.min(LOOK_AGAIN) };
        tokio::select! {
            // Both are cancel-safe.
            () = cancel.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

/// Renews once; returns how long to wait before looking again.
fn renew(ca: &Ca, names: &ServerNames, shared: &SharedIdentity, clock: &LinkClock) -> Duration {
    match ca.server_identity(names, clock.now()) {
        Ok(identity) => {
            tracing::info!(serial = identity.certificate().serial, "the master's certificate is renewed");
            shared.swap(identity, ca.roots());
            Duration::from_secs(1)
        }
        Err(error) => {
            tracing::error!(%error, "the master's certificate cannot be renewed");
            RENEW_RETRY_MAX
        }
    }
}
