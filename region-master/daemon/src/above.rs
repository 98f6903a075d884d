//! What a region with a parent runs besides: the link to it, and the renewal of its CA by it.

use std::sync::Arc;

use anyhow::{Context, Result};
use skerry_link::enroll::RenewalSignals;
use skerry_link::{DialSettings, Dialer};
use tokio_util::sync::CancellationToken;

use crate::brain::BrainHandle;
use crate::ca::MasterIdentity;
use crate::calls::CallServer;
use crate::join;
use crate::renewal::CaRenewal;
use crate::settings::Settings;
use crate::uplink::Uplink;

/// Both.
pub(crate) struct Above {
    uplink: Uplink,
    renewal: CaRenewal,
}

impl Above {
    /// `None` for a region that has no parent.
    pub(crate) fn new(
        settings: &Settings,
        identity: &MasterIdentity,
        brain: BrainHandle,
        calls: CallServer,
    ) -> Result<Option<Self>> {
        let ca = Arc::clone(&identity.ca);
        if ca.parent().is_none() {
            return Ok(None);
        }
        let parents = join::parents(settings, &ca)?;
        let signals = Arc::new(RenewalSignals::default());
        let clock = Arc::clone(&identity.clock);
        let present = identity.shared.current();
        let mut dial = DialSettings::to(parents.clone());
        dial.keep_alive = settings.keep_alive;
        let dialer = Dialer::new(dial, &present, ca.roots(), Arc::clone(&clock), rand::random())
            .context("the link to the region above")?;
        let uplink = Uplink {
            dialer,
            keep_alive: settings.keep_alive,
            roots: ca.roots().clone(),
            clock: Arc::clone(&clock),
            brain,
            calls,
            identity: identity.changes(),
            signals: Arc::clone(&signals),
            told_time: Arc::clone(&identity.told_time),
        };
        let (shared, again) = (identity.shared.clone(), Arc::clone(&identity.again));
        Ok(Some(Self { uplink, renewal: CaRenewal { ca, parents, shared, clock, signals, again } }))
    }

    /// Runs until `cancel`.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        tokio::join!(self.uplink.run(cancel.clone()), self.renewal.run(cancel));
    }
}
