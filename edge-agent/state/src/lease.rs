//! The leases of the node: what is exclusive runs only while the node holds one.
//!
//! The node asks its parent anew three times before a stop would begin, at once on a new link, and at once when an exclusive
//! allocation comes that has none. An answer counts from when the question was *asked*, by the clock that never jumps and
//! goes on while the machine sleeps: the parent cannot have heard it earlier, and from when it heard it it waits a whole
//! lease before it starts a replacement.
//!
//! An answer says up to where the parent had decided by then. It counts when the rows up to there are in force here, so that
//! what the parent gave up meanwhile is told to stop before it could get another lease. Whatever comes into force later gets
//! what is left of the lease: the parent decided it when it had heard the question, or later.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use skerry_types::{AllocationId, MonoTime};
use skerry_wire::{Cursor, ToParent};

use crate::AgentState;

/// Questions that are remembered: more than that without an answer are three leases.
const ASKED_MAX: usize = 9;

/// What the node holds.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// The allocations here that need one.
    pub(crate) members: BTreeSet<AllocationId>,
    /// The number of the last question.
    round: u64,
    /// Questions on this link that have no answer, and when each was asked.
    asked: VecDeque<(u64, MonoTime)>,
    /// Answers that speak of rows which are not in force yet.
    early: VecDeque<(MonoTime, Cursor)>,
    /// When the newest question was asked whose answer counts.
    granted: Option<MonoTime>,
    /// When to ask again, while the parent is there.
    ask_at: Option<MonoTime>,
}

impl AgentState {
    /// An allocation is here: it may need a lease.
    pub(crate) fn join_leases(&mut self, id: &AllocationId) {
        let Some(lifecycle) = self.lifecycles.get_mut(id).filter(|l| l.intent().spec.exclusive.is_some())
        else {
            return;
        };
        self.leases.members.insert(id.clone());
        if let Some(asked) = self.leases.granted {
            lifecycle.lease_from(asked);
        }
        if !lifecycle.holds_lease(self.fx.now().mono) && self.is_connected() {
            self.ask_for_leases();
        }
    }

    /// The parent is there, or knows more of what is here.
    pub(crate) fn ask_once_known(&mut self) {
        let is_due = self.leases.ask_at.is_none_or(|at| self.fx.now().mono >= at);
        if self.is_connected() && is_due && !self.leases.members.is_empty() {
            self.ask_for_leases();
        }
    }

    /// The parent is away: what it was asked will not be answered.
    pub(crate) fn leases_disconnected(&mut self) {
        self.leases.asked.clear();
        self.leases.early.clear();
        self.leases.ask_at = None;
    }

    /// Whether the parent knows every allocation that is here. Of an orphan that it has not heard of it may have started
    /// another copy, so its answer would grant what it does not know.
    fn is_known_above(&self) -> bool {
        self.copy.is_of_this_life() && self.report.has_told_orphans()
    }

    fn ask_every(&self) -> Option<Duration> {
        let of = |id| self.lifecycles.get(id)?.renew_every();
        self.leases.members.iter().filter_map(of).min()
    }

    fn ask_for_leases(&mut self) {
        let Some(every) = self.ask_every().filter(|_| self.is_known_above()) else { return };
        let now = self.fx.now().mono;
        let leases = &mut self.leases;
        leases.round += 1;
        leases.asked.push_back((leases.round, now));
        if leases.asked.len() > ASKED_MAX {
            leases.asked.pop_front();
        }
        leases.ask_at = Some(now + every);
        self.fx.send(ToParent::Renew { round: leases.round });
    }

    /// When the parent is asked again.
    pub(crate) fn leases_timeout(&self) -> Option<MonoTime> {
        let asks = self.is_connected() && !self.leases.members.is_empty() && self.is_known_above();
        self.leases.ask_at.filter(|_| asks)
    }

    pub(crate) fn ask_again(&mut self) {
        if self.leases_timeout().is_some_and(|at| self.fx.now().mono >= at) {
            self.ask_for_leases();
        }
    }

    /// The parent answered a question of this link.
    pub(crate) fn leases_renewed(&mut self, round: u64, cursor: Cursor) {
        let leases = &mut self.leases;
        let Some(at) = leases.asked.iter().position(|(asked, _)| *asked == round) else { return };
        let (_, asked) = leases.asked[at];
        leases.asked.drain(..=at);
        leases.early.push_back((asked, cursor));
        if leases.early.len() > ASKED_MAX {
            // The one before says less of what is granted and of what it waits for.
            leases.early.remove(ASKED_MAX - 1);
        }
        self.count_answers();
    }

    /// Answers whose rows are in force count.
    pub(crate) fn count_answers(&mut self) {
        let saved = self.copy.saved();
        let mut granted = None;
        while let Some((asked, cursor)) = self.leases.early.front()
            && cursor.epoch == saved.epoch
            && cursor.revision <= saved.revision
        {
            granted = Some(*asked);
            self.leases.early.pop_front();
        }
        let Some(asked) = granted else { return };
        self.leases.granted = self.leases.granted.max(Some(asked));
        let members: Vec<AllocationId> = self.leases.members.iter().cloned().collect();
        for id in &members {
            if let Some(lifecycle) = self.lifecycles.get_mut(id) {
                let was_lacking = lifecycle.lacks_lease();
                lifecycle.lease_from(asked);
                lifecycle.extend(&mut self.fx);
                // What goes on as before only has to stop later.
                if was_lacking {
                    self.advance(id);
                } else {
                    self.arm(id);
                }
            }
        }
    }
}
