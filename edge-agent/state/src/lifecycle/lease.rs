//! What is exclusive runs while its node holds a lease for it, and stops in time before it ends.

use std::time::Duration;

use skerry_types::{AllocationIntent, EventLevel, FencingToken, Lease, MonoTime, Reason, ReasonCode};

use super::Lifecycle;
use crate::Fence;
use crate::container::ContainerLife;
use crate::effects::Effects;

/// The lease of an exclusive allocation.
#[derive(Debug)]
pub(super) struct Hold {
    lease: Lease,
    /// When it ends.
    until: Option<MonoTime>,
    /// Whether nothing may run for want of it.
    is_lost: bool,
    /// How many of its containers were started, each start counted.
    pub(super) starts: u32,
}

impl Hold {
    pub(super) fn new(intent: &AllocationIntent, starts: u32) -> Option<Self> {
        intent.spec.exclusive.map(|lease| Self { lease, until: None, is_lost: true, starts })
    }

    /// When a stop has to begin so that every container has its grace before the lease ends.
    fn stop_at(&self, intent: &AllocationIntent) -> Option<MonoTime> {
        let before = intent.spec.longest_stop().saturating_add(Lease::STOP_MARGIN);
        self.until.map(|until| MonoTime(until.0.saturating_sub(before)))
    }

    /// When the keeper ends what still runs.
    fn deadline(&self) -> Option<MonoTime> {
        self.until.map(|until| MonoTime(until.0.saturating_sub(Lease::KILL_MARGIN)))
    }
}

impl Lifecycle {
    /// The node holds the lease that it asked for then.
    pub(crate) fn lease_from(&mut self, asked: MonoTime) {
        if self.wants_stop() {
            return;
        }
        if let Some(hold) = &mut self.hold {
            hold.until = hold.until.max(Some(hold.lease.ends(asked)));
        }
    }

    /// How often the node asks for its lease; `None` when it needs none.
    pub(crate) fn renew_every(&self) -> Option<Duration> {
        let hold = self.hold.as_ref()?;
        Some(hold.lease.renew_every(self.intent.spec.longest_stop()))
    }

    /// An earlier process left this deadline with the keeper: the lease that it held.
    pub(super) fn lease_found(&mut self, deadline: Option<MonoTime>) {
        if let (Some(hold), Some(deadline)) = (&mut self.hold, deadline) {
            hold.until = hold.until.max(Some(deadline + Lease::KILL_MARGIN));
        }
    }

    /// Whether it may run as far as its lease goes.
    pub(crate) fn holds_lease(&self, now: MonoTime) -> bool {
        let Some(hold) = &self.hold else { return true };
        hold.stop_at(&self.intent).is_some_and(|at| now < at)
    }

    /// Whether nothing may run for want of a lease.
    pub(crate) fn lacks_lease(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.is_lost)
    }

    /// When it has to stop if the lease is not renewed.
    pub(super) fn lease_timeout(&self) -> Option<MonoTime> {
        self.hold.as_ref().filter(|hold| !hold.is_lost)?.stop_at(&self.intent)
    }

    /// When a stop has to be under way, whatever it would wait for.
    pub(super) fn last_stop_at(&self) -> Option<MonoTime> {
        self.hold.as_ref()?.stop_at(&self.intent)
    }

    pub(super) fn look_at_lease(&mut self, fx: &mut Effects) {
        let holds = self.holds_lease(fx.now().mono);
        if self.wants_stop() || holds != self.lacks_lease() {
            return;
        }
        let Some(hold) = &mut self.hold else { return };
        hold.is_lost = !holds;
        if holds {
            self.containers.iter_mut().for_each(ContainerLife::resume);
            if self.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::NoLease) {
                self.reason = None;
                self.tell(
                    EventLevel::Info,
                    "LeaseRenewed",
                    "the lease is renewed; it goes on".to_owned(),
                    fx,
                );
            }
        } else if !self.is_over() {
            let message =
                "the lease ran out and the master did not renew it: stopped, and waits for the master";
            self.rest_for(ReasonCode::NoLease, message.to_owned(), fx);
        }
    }

    /// Why nothing runs, before it ever had a lease.
    pub(super) fn awaits_lease(&self) -> Option<Reason> {
        let awaits = self.lacks_lease() && !self.wants_stop() && !self.is_over();
        let message = "it is exclusive and waits for the master to grant its lease";
        awaits.then(|| Reason::new(ReasonCode::NoLease, message))
    }

    /// Lets the keeper know how long what runs may go on.
    pub(crate) fn extend(&self, fx: &mut Effects) {
        let deadline = self.hold.as_ref().and_then(Hold::deadline).filter(|_| !self.wants_stop());
        if let Some(deadline) = deadline
            && self.containers.iter().any(ContainerLife::is_running)
        {
            fx.extend(&self.intent.id, deadline);
        }
    }

    /// Counts a start, and says what it is given; `None` for what is not exclusive.
    pub(super) fn fence(&mut self) -> Option<Fence> {
        let hold = self.hold.as_mut()?;
        hold.starts = hold.starts.saturating_add(1);
        // Without a lease nothing is started; if it were, the keeper would end it at once.
        let deadline = hold.deadline().unwrap_or_default();
        Some(Fence { token: self.token()?, deadline })
    }

    /// The token of the last start.
    pub(super) fn token(&self) -> Option<FencingToken> {
        let starts = self.hold.as_ref()?.starts;
        (starts > 0).then(|| FencingToken::new(self.intent.id.serial().unwrap_or_default(), starts))
    }

    /// Whether it is kept from running by something that passes: the link, or the want of a lease.
    pub(super) fn is_held_back(&self) -> bool {
        self.tether.is_cut_off || self.lacks_lease()
    }
}
