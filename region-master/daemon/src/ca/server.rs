//! The master's own certificate.

use std::sync::Arc;
use std::time::Duration;

use skerry_link::LinkClock;
use skerry_link::enroll::{RENEW_RETRY_MAX, renew_in};
use skerry_link::tls::{Identity, SharedIdentity};
use skerry_types::WallTime;
use tokio::sync::{Notify, watch};
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

/// What the master shows on its listeners and on the link to the region above.
#[derive(Debug, Clone)]
pub struct MasterIdentity {
    /// Who signs it.
    pub ca: Arc<Ca>,
    /// The names in it.
    pub names: ServerNames,
    /// Where the listeners look.
    pub shared: SharedIdentity,
    /// Tells when it is to be renewed.
    pub clock: Arc<LinkClock>,
    /// To be notified when the CA's own certificate is another, which this one must carry.
    pub again: Arc<Notify>,
    /// To be notified when the region above has told the time.
    pub told_time: Arc<Notify>,
    shown: watch::Sender<Identity>,
}

impl MasterIdentity {
    /// Makes the first certificate of this process.
    pub fn new(ca: Arc<Ca>, names: ServerNames, clock: Arc<LinkClock>) -> Result<Self, CaError> {
        let identity = ca.server_identity(&names, clock.now())?;
        let shared = SharedIdentity::new(identity.clone(), ca.roots());
        let shown = watch::Sender::new(identity);
        Ok(Self { ca, names, shared, clock, again: Arc::default(), told_time: Arc::default(), shown })
    }

    /// Each certificate that comes after the present one.
    pub fn changes(&self) -> watch::Receiver<Identity> {
        self.shown.subscribe()
    }

    /// Renews the certificate from half of its life, when the CA's own is another, and when it was made by a clock that turns out
    /// to be ahead, for as long as the process runs. Handshakes see the renewed one; connections go on.
    pub async fn keep(self, cancel: CancellationToken) {
        loop {
            let (leaf, now) = (self.shared.current().certificate().leaf, self.clock.now());
            let due = if now < leaf.not_before { Duration::ZERO } else { renew_in(leaf, now, u8::MAX / 2) };
            let wait = if due.is_zero() { self.renew() } else { due.min(LOOK_AGAIN) };
            tokio::select! {
                // All are cancel-safe: a notice is kept until it is taken.
                () = cancel.cancelled() => return,
                () = sleep(wait) => {}
                () = self.told_time.notified() => {}
                () = self.again.notified() => {
                    self.renew();
                }
            }
        }
    }

    /// Renews once; returns how long to wait before looking again.
    fn renew(&self) -> Duration {
        match self.ca.server_identity(&self.names, self.clock.now()) {
            Ok(identity) => {
                let certificate = identity.certificate();
                tracing::info!(serial = certificate.serial, "the master's certificate is renewed");
                // One under a CA that has run out is over as soon as it is made, and one under a CA of the future is early for long.
                let now = self.clock.now();
                let over = certificate.leaf.expired_for(now).is_some() || now < certificate.leaf.not_before;
                self.shared.swap(identity.clone(), self.ca.roots());
                self.shown.send_replace(identity);
                if over { RENEW_RETRY_MAX } else { Duration::from_secs(1) }
            }
            Err(error) => {
                tracing::error!(%error, "the master's certificate cannot be renewed");
                RENEW_RETRY_MAX
            }
        }
    }
}
