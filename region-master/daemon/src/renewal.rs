//! Renews the certificate of a region's CA, by the region above, from half of its life and also after it ran out.

use std::sync::Arc;

use skerry_link::LinkClock;
use skerry_link::enroll::{EnrollError, RefusalKind, RenewalSignals, RetryPace, due, renew_region};
use skerry_link::tls::SharedIdentity;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ca::Ca;
use skerry_types::chain;

/// Keeps the CA's certificate fresh. A root's has no parent to ask: it is never renewed.
pub(crate) struct CaRenewal {
    pub(crate) ca: Arc<Ca>,
    pub(crate) parents: Vec<String>,
    pub(crate) shared: SharedIdentity,
    pub(crate) clock: Arc<LinkClock>,
    pub(crate) signals: Arc<RenewalSignals>,
    /// Told after each renewal: the master's own certificate must carry the CA's.
    pub(crate) again: Arc<Notify>,
}

impl CaRenewal {
    /// Runs until `cancel`.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        tokio::select! {
            // A renewal that is cut off is done again by the next process, with the same key.
            () = cancel.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&self) {
        // Fixed for this region and different from others', so that regions that joined together do not come together.
        let spread = self.shared.current().certificate().key.0[0];
        let mut renewed_at = None;
        loop {
            due(self.ca.validity(), spread, &self.clock, &self.signals, renewed_at).await;
            self.renew_at_last().await;
            renewed_at = Some(Instant::now());
            self.again.notify_one();
        }
    }

    async fn renew_at_last(&self) {
        let mut pace = RetryPace::default();
        let mut said = false;
        while let Err(error) = self.renew().await {
            say(&error, &mut said);
            pace.wait(&self.signals).await;
        }
    }

    async fn renew(&self) -> anyhow::Result<()> {
        let request = self.ca.signing_request()?;
        let identity = self.shared.current();
        let grant = renew_region(&self.parents, &identity, self.ca.roots(), &request, &self.clock).await?;
        let until = grant.authority.validity().not_after.0;
        self.ca.renewed(grant.authority)?;
        tracing::info!(until_ms = until, "the certificate of the region's CA is renewed");
        Ok(())
    }
}

/// Once for each renewal: it is tried for ever.
fn say(error: &anyhow::Error, said: &mut bool) {
    let words = chain(error.as_ref());
    if std::mem::replace(said, true) {
        return tracing::debug!(error = words, "the certificate of the region's CA is not renewed yet");
    }
    match error.downcast_ref::<EnrollError>() {
        Some(error) if error.is_passing() => {
            tracing::info!(error = words, "the region's CA cannot be renewed yet; it is tried again");
        }
        Some(EnrollError::Refused(refusal)) if refusal.kind == RefusalKind::RegionUnknown => {
            let next = "this region was removed from the one above; what it runs goes on. To bring it back, move the data \
                        directory's ca away and join again with a new token; its nodes join again too";
            tracing::error!(error = words, next, "the region's CA cannot be renewed");
        }
        _ => tracing::error!(error = words, "the region's CA cannot be renewed; what it runs goes on"),
    }
}
