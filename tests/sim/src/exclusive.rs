//! What never runs twice: the keeper that ends it in time, and the judge that goes by true time.

use skerry_agent_state::{Fence, Input};
use skerry_types::{AllocationId, AllocationIntent, ExitKind, MonoTime};
use skerry_wire::{ToChild, ToParent};

use crate::Carrier;
use crate::event::{Event, NodeAt};
use crate::world::World;

impl World {
    /// The keeper starts nothing whose time has come.
    pub(crate) fn is_too_late(&self, at: NodeAt, fence: Option<Fence>) -> bool {
        let now = self.hosts[at].now(self.now_us).mono;
        fence.is_some_and(|fence| now >= fence.deadline)
    }

    /// The keeper will look at a container when its time has come.
    pub(crate) fn watch_lease(&mut self, at: NodeAt, pid: u32) {
        let host = &self.hosts[at];
        let its = host.containers.get(&pid).filter(|container| container.runs());
        if let Some(fence) = its.and_then(|container| container.fence) {
            let ends_us = host.clock.true_us(fence.deadline);
            self.at(ends_us, Event::LeaseEnds { node: at, pid });
        }
    }

    /// The agent says how long an allocation may run. A keeper that is away does not hear it.
    pub(crate) fn extend(&mut self, at: NodeAt, allocation: &AllocationId, deadline: MonoTime) {
        let now = self.hosts[at].now(self.now_us).mono;
        if !self.hosts[at].keeper_is_up {
            return;
        }
        let its = self.hosts[at].containers.values_mut().filter(|c| c.intent.id == *allocation && c.runs());
        let fences = its.filter_map(|container| container.fence.as_mut());
        for fence in fences.filter(|f| f.deadline > now && f.deadline < deadline) {
            fence.deadline = deadline;
        }
    }

    /// What was a container's deadline has come; it may have another since.
    pub(crate) fn lease_may_end(&mut self, at: NodeAt, pid: u32) {
        let host = &self.hosts[at];
        let deadline = host.containers.get(&pid).and_then(|c| c.fence).map(|fence| fence.deadline);
        if deadline.is_some_and(|deadline| host.now(self.now_us).mono < deadline) {
            return self.watch_lease(at, pid);
        }
        self.lease_ends(at, pid);
    }

    fn lease_ends(&mut self, at: NodeAt, pid: u32) {
        let host = &self.hosts[at];
        let now = host.now(self.now_us).mono;
        let runs = host.containers.get(&pid).filter(|container| container.runs());
        let late = runs.and_then(|container| container.fence).is_some_and(|fence| now >= fence.deadline);
        if late && host.keeper_is_up {
            self.end_container(at, pid, ExitKind::Signal(9));
        }
    }

    /// A keeper that comes late ends what is late.
    pub(crate) fn end_late(&mut self, at: NodeAt) {
        let pids: Vec<u32> = self.hosts[at].containers.keys().copied().collect();
        for pid in pids {
            self.lease_ends(at, pid);
        }
    }

    /// By mistake, a link answers what only a master may.
    pub(crate) fn grant_by_itself(&mut self, at: NodeAt, message: &ToParent) {
        let ToParent::Renew { round } = message else { return };
        let cursor = self.hosts[at].way.acked_by_child;
        let now = self.hosts[at].now(self.now_us);
        if self.is(Carrier::LinksGrantLeases)
            && let Some((cursor, agent)) = cursor.zip(self.hosts[at].agent.as_mut())
        {
            agent.handle(now, Input::Received(ToChild::Renewed { round: *round, cursor }));
        }
    }

    /// Of an exclusive instance nothing else runs anywhere when a container of it starts, and no token is given again.
    pub(crate) fn judge_exclusive(&mut self, at: NodeAt, intent: &AllocationIntent, fence: Option<Fence>) {
        let Some(fence) = fence else { return };
        // A copy that got in while the first was away has its leases: this is what the token is for.
        let strict = |at: NodeAt| !self.hosts[at].past.was_shared;
        for (other, host) in self.hosts.iter().enumerate().filter(|(other, _)| strict(at) && strict(*other)) {
            let now = host.now(self.now_us).mono;
            let twin = host.containers.values().find(|container| {
                let is_twin = container.runs()
                    && container.intent.workload == intent.workload
                    && container.intent.instance == intent.instance
                    && (container.intent.id != intent.id || other != at);
                // Nobody is there to end what is late: this is what the token is for.
                let is_fenced_off = !host.keeper_is_up && container.fence.is_some_and(|f| now >= f.deadline);
                // A store that nobody said to be a copy wants again what it knows while the next one runs on elsewhere, until its
                // lease ends. The guide asks for the word, and for a wait, where something exclusive was placed.
                let is_given_up = self.now_us < self.judge.restored.leases_over_us
                    && (self.was_orphan(other, &container.intent.id) || self.was_orphan(at, &intent.id));
                is_twin && !is_fenced_off && !is_given_up
            });
            if let Some(twin) = twin {
                let what = format!("{} starts on n{at} while {} runs on n{other}", intent.id, twin.intent.id);
                return self.fail(what);
            }
        }
        // With a copy of a machine, an older disk or an older store the order of tokens is not promised.
        let past = &self.hosts[at].past;
        if past.was_shared || past.was_restored || self.judge.restored.any {
            return;
        }
        let key = (intent.workload.clone(), intent.instance);
        let last = self.judge.tokens.insert(key, (fence.token, intent.id.clone()));
        // A start whose answer was lost with the keeper is done again.
        if let Some((last, id)) = last
            && (fence.token < last || fence.token == last && id != intent.id)
        {
            self.fail(format!("{} starts with token {} after {last} of {id}", intent.id, fence.token));
        }
    }
}
