//! Renews the node's certificate, in-process, from half of its life, and also after it ran out.

use std::sync::Arc;
use std::time::Duration;

use skerry_link::enroll::{EnrollError, RENEW_RETRY_MAX, RefusalKind, renew, renew_in};
use skerry_link::tls::{Identity, TrustRoots};
use skerry_link::{Credentials, LinkClock};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use skerry_types::chain;

/// First wait after a renewal that failed; it doubles up to [`RENEW_RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// A refusal sooner than this after a renewal is of a connection that showed the former certificate.
const REFUSAL_SETTLES: Duration = Duration::from_mins(1);

/// What the link tells the renewal.
#[derive(Debug, Default)]
pub(crate) struct RenewalSignals {
    refused: Notify,
    told_time: Notify,
}

impl RenewalSignals {
    /// The master does not take the certificate any more because it ran out.
    pub(crate) fn refused(&self) {
        self.refused.notify_one();
    }

    /// The master told the time, so a wait that was measured by a wrong clock is measured again.
    pub(crate) fn told_time(&self) {
        self.told_time.notify_one();
    }
}

/// Keeps the certificate fresh.
pub(crate) struct Renewal {
    pub(crate) identity: Identity,
    pub(crate) roots: TrustRoots,
    pub(crate) masters: Vec<String>,
    pub(crate) credentials: Credentials,
    pub(crate) clock: Arc<LinkClock>,
    pub(crate) signals: Arc<RenewalSignals>,
    /// Where renewed certificates go: to the link.
    pub(crate) renewed: mpsc::Sender<(Identity, TrustRoots)>,
}

impl Renewal {
    /// Runs until `cancel`.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        tokio::select! {
            // A renewal that is cut off is done again by the next process, with the same key.
            () = cancel.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&mut self) {
        let mut renewed_at = None;
        loop {
            self.wait_until_due(renewed_at).await;
            self.renew_at_last().await;
            renewed_at = Some(Instant::now());
            let both = (self.identity.clone(), self.roots.clone());
            if self.renewed.send(both).await.is_err() {
                return;
            }
        }
    }

    async fn wait_until_due(&self, renewed_at: Option<Instant>) {
        let certificate = self.identity.certificate();
        // Fixed for this node and different from others', so that nodes enrolled together do not come together.
        let spread = certificate.key.0[0];
        loop {
            let wait = renew_in(certificate.leaf, self.clock.now(), spread);
            tokio::select! {
                // All are cancel-safe: a notice is kept until it is taken.
                () = sleep(wait) => return,
                () = self.signals.refused.notified() => {
                    if renewed_at.is_none_or(|at| at.elapsed() >= REFUSAL_SETTLES) {
                        return;
                    }
                }
                () = self.signals.told_time.notified() => {}
            }
        }
    }

    /// Tries until it succeeds. A link that came up and was refused is a sign that the master is there: then at once.
    async fn renew_at_last(&mut self) {
        let mut pause = RETRY_FIRST;
        let mut said = false;
        loop {
            match renew(&self.masters, &self.identity, &self.roots, &self.credentials, &self.clock).await {
                Ok(enrolled) => {
                    (self.identity, self.roots) = (enrolled.identity, enrolled.roots);
                    let id = &self.identity.certificate().id;
                    return tracing::info!(%id, "the certificate is renewed");
                }
                Err(error) => say(&error, &mut said),
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.signals.refused.notified() => sleep(RETRY_FIRST).await,
            }
            pause = (pause * 2).min(RENEW_RETRY_MAX);
        }
    }
}

/// Once for each renewal: it is tried for ever.
fn say(error: &EnrollError, said: &mut bool) {
    if std::mem::replace(said, true) {
        return tracing::debug!(error = chain(error), "the certificate is not renewed yet");
    }
    if error.is_passing() {
        return tracing::info!(
            error = chain(error),
            "the certificate cannot be renewed yet; it is tried again"
        );
    }
    let next = match error {
        EnrollError::Refused(refusal) if refusal.kind == RefusalKind::NodeUnknown => {
            "this node was removed from the region; what it runs goes on. Join again with a new token to bring it back"
        }
        _ => "what it runs goes on; see the reason, and join again with a new token if it does not pass",
    };
    tracing::error!(error = chain(error), next, "the certificate cannot be renewed");
}
