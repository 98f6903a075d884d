//! Going on for a while after the word to stop, so that whoever sends traffic here notices first.

use skerry_types::{AllocationIntent, MonoTime, Now, WallTime};

use super::Lifecycle;
use crate::container::ContainerLife;
use crate::effects::Effects;

/// It is told to stop, is not ready any more, and goes on.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) since: WallTime,
    until: MonoTime,
}

impl Leaving {
    /// What an earlier process began: it takes as long as it would have.
    pub(super) fn again(since: WallTime, intent: &AllocationIntent, now: Now) -> Self {
        let left = intent.spec.stop_delay.saturating_sub(now.wall.since(since));
        Self { since, until: now.mono + left }
    }
}

impl Lifecycle {
    /// Whether its containers are left alone for now. Only what was ready has traffic to lose. Of what is exclusive, each
    /// container has its grace before the lease ends, whatever the delay.
    pub(super) fn lingers(&mut self, fx: &mut Effects) -> bool {
        let delay = self.intent.spec.stop_delay;
        if self.leaving.is_none() && self.ready_since.is_some() && !delay.is_zero() && self.serves() {
            self.leaving = Some(Leaving { since: fx.now().wall, until: fx.now().mono + delay });
            self.unsaved = true;
        }
        self.leave_timeout(fx.now()).is_some()
    }

    /// When the stop goes on.
    pub(super) fn leave_timeout(&self, now: Now) -> Option<MonoTime> {
        let until = self.leaving.as_ref()?.until;
        let until = self.last_stop_at().map_or(until, |last| until.min(last));
        (now.mono < until && self.serves()).then_some(until)
    }

    /// Whether a container runs that was not told to end.
    fn serves(&self) -> bool {
        self.containers.iter().any(|c| c.is_running() && !c.is_stopping())
            && !self.containers.iter().any(ContainerLife::is_stopping)
    }
}
