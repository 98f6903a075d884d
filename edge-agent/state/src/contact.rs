//! How long the parent has not been heard, for workloads that may not run without a link for long.
//!
//! While the agent runs it counts by the clock that never jumps. Across its restarts it goes by the clock on the wall and by
//! what the ledger says of the last contact, which may be older than the contact was but never newer: the node stops rather
//! too early than too late.

use std::time::Duration;

use skerry_types::{AllocationId, MonoTime, Now};

use crate::AgentState;
use crate::ledger::{CONTACT, Heard, contact_value};

/// After a link comes up, instances that were stopped for want of one wait for this long: by then the parent has said which of
/// them it still wants here.
const RESUME_AFTER: Duration = Duration::from_secs(5);
/// While a link is up, the ledger learns of it this often at most and at least: between them, four times in the shortest time
/// that any workload allows.
const WRITE_EVERY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(15));

/// When the parent was heard.
#[derive(Debug)]
pub(crate) struct Contact {
    /// How long it was away before this clock said so, and when that was; `None` while it is there.
    lost: Option<(Duration, MonoTime)>,
    /// When the ledger learns of it again.
    write_at: MonoTime,
}

impl Contact {
    /// A process begins without a link.
    pub(crate) fn new(heard: Option<&Heard>, boot: &str, now: Now) -> Self {
        let before = match heard {
            None => Duration::ZERO,
            Some(heard) if heard.at <= now.wall => now.wall.since(heard.at),
            // The clock was set back a little, while the agent was away for a moment.
            Some(heard) if heard.boot == boot => Duration::ZERO,
            Some(_) => Duration::MAX,
        };
        Self { lost: Some((before, now.mono)), write_at: now.mono }
    }

    /// When it has been away for as long as this.
    fn away_for(&self, time: Duration) -> Option<MonoTime> {
        self.lost.map(|(before, at)| at + time.saturating_sub(before))
    }
}

impl AgentState {
    /// The parent was heard: it welcomed this node.
    pub(crate) fn contact_made(&mut self) {
        self.contact.lost = None;
        self.keep_contact();
        self.watch_links();
    }

    /// The link on which the parent was heard is gone.
    pub(crate) fn contact_lost(&mut self) {
        self.keep_contact();
        self.contact.lost = Some((Duration::ZERO, self.fx.now().mono));
        self.watch_links();
    }

    fn watch_links(&mut self) {
        let watched: Vec<AllocationId> = self.watched.iter().cloned().collect();
        for id in &watched {
            self.watch_link(id);
            self.advance(id);
        }
    }

    /// Tells an allocation that may not run without a link for long how that stands.
    pub(crate) fn watch_link(&mut self, id: &AllocationId) {
        let Some(lifecycle) = self.lifecycles.get_mut(id) else { return };
        let Some(stop_after) = lifecycle.intent().spec.stop_after else { return };
        self.watched.insert(id.clone());
        lifecycle.set_link_at(match (lifecycle.is_cut_off(), self.contact.away_for(stop_after)) {
            (false, at) => at,
            (true, Some(_)) => None,
            (true, None) => Some(self.fx.now().mono + RESUME_AFTER),
        });
    }

    /// When the ledger has to learn that the parent is still heard.
    pub(crate) fn contact_timeout(&self) -> Option<MonoTime> {
        (self.contact.lost.is_none() && !self.watched.is_empty()).then_some(self.contact.write_at)
    }

    /// Lets the ledger learn that the parent is still heard, if it is time to.
    pub(crate) fn keep_contact_again(&mut self) {
        if self.contact_timeout().is_some_and(|at| self.fx.now().mono >= at) {
            self.keep_contact();
        }
    }

    fn keep_contact(&mut self) {
        let of = |id| self.lifecycles.get(id).and_then(|lifecycle| lifecycle.intent().spec.stop_after);
        let Some(shortest) = self.watched.iter().filter_map(of).min() else { return };
        let now = self.fx.now();
        self.contact.write_at = now.mono + (shortest / 4).clamp(WRITE_EVERY.0, WRITE_EVERY.1);
        let heard = Heard { at: now.wall, boot: self.config.boot.clone() };
        self.fx.outbox().batch().put(CONTACT, [], contact_value(&heard));
    }
}
