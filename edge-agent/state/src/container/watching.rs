//! A container under the eyes of its probes.

use std::net::Ipv4Addr;
use std::time::Duration;

use skerry_types::{AllocationIntent, MonoTime, Now};

use super::{ContainerLife, News, Step, Stop};
use crate::effects::Effects;
use crate::probe::{Judgement, Purpose, Watch};
use crate::{Failure, OpId, Outcome};

impl ContainerLife {
    /// Whether it runs and all its probes say that it is well.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.step, Step::Running { stop: Stop::No, .. })
            && self.watches.iter().all(|watch| watch.judgement == Judgement::Well)
    }

    /// Why it runs and is not ready, when a probe says so.
    pub(crate) fn why_unready(&self) -> Option<&str> {
        self.watches.iter().find_map(|watch| match &watch.judgement {
            Judgement::Unwell(why) => Some(why.as_str()),
            _ => None,
        })
    }

    pub(crate) fn has_probes(&self) -> bool {
        self.probes.health.is_some() || self.probes.ready.is_some()
    }

    /// When it is looked at again.
    pub(crate) fn look_timeout(&self) -> Option<MonoTime> {
        match self.step {
            Step::Running { stop: Stop::No, .. } => self.watches.iter().filter_map(Watch::timeout).min(),
            _ => None,
        }
    }

    /// It runs, for this long.
    pub(super) fn runs(&mut self, intent: &AllocationIntent, ran: Duration, now: Now) {
        self.came_up = true;
        let watch = |purpose, probe: &Option<_>, was_well, what: &str| {
            let seed = format!("{}/{}/{what}", intent.id, self.name);
            probe.as_ref().map(|p| Watch::new(purpose, p, &intent.spec, (was_well, ran), (now, seed)))
        };
        let health = watch(Purpose::Health, &self.probes.health, self.history.healthy, "health");
        let ready = watch(Purpose::Ready, &self.probes.ready, self.history.ready, "ready");
        self.watches = health.into_iter().chain(ready).collect();
    }

    /// Goes on while it should run: ends it when it is not well, looks at it when it is time to.
    pub(crate) fn attend(&mut self, intent: &AllocationIntent, address: Option<Ipv4Addr>, fx: &mut Effects) {
        self.remove_again(intent, fx);
        if self.is_stopping() || self.unwell.is_some() {
            return self.stop(intent, fx);
        }
        let Step::Running { pid, .. } = self.step else { return };
        let container = self.reference(intent);
        for watch in &mut self.watches {
            watch.look(container.clone(), (pid, address), fx);
        }
        self.judge();
        if self.unwell.is_some() {
            self.stop(intent, fx);
        }
    }

    fn judge(&mut self) {
        for watch in &self.watches {
            let well = watch.judgement == Judgement::Well;
            match (watch.purpose, &watch.judgement) {
                (Purpose::Health, Judgement::Unwell(why)) => {
                    self.history.healthy = false;
                    self.unwell.get_or_insert_with(|| why.clone());
                }
                (Purpose::Health, _) => self.history.healthy = well,
                (Purpose::Ready, _) => self.history.ready = well,
            }
        }
    }

    /// Takes an operation's end for a look, if it is one's.
    pub(super) fn looked(&mut self, op: OpId, result: &Result<Outcome, Failure>, now: Now) -> News {
        let Some(watch) = self.watches.iter_mut().find(|watch| watch.awaits(op)) else {
            return News::NotMine;
        };
        if !watch.answered(result, now) {
            return News::Good;
        }
        self.judge();
        News::Judged
    }
}
