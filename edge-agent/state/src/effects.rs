//! Where the brain's machines put what they want done.

use std::collections::VecDeque;

use skerry_types::{AllocationId, Event, EventLevel, EventSubject, MonoTime, Now, Outbox};
use skerry_wire::ToParent;

use crate::intake::Intake;
use crate::{Action, OpId, Operation};

/// What waits until everything written before it is on disk.
#[derive(Debug)]
pub(crate) enum Held {
    /// Goes to the parent, if the link is still the one of this number.
    Send(u64, ToParent),
    /// Intent comes into force.
    Intake(Intake),
    /// An event may be told.
    Event(u64, Event),
    /// An operation that must not be done twice begins.
    Begin(OpId, Operation),
}

/// What inputs lead to. Operations do not wait for the disk, as what they rest on came into force after it was saved, so a full
/// disk does not stop a restart. Only what must not be done twice waits until the ledger knows of it.
#[derive(Debug)]
pub(crate) struct Effects {
    outbox: Outbox<Held>,
    ready: VecDeque<Action>,
    next_op: u64,
    now: Now,
    /// Counts links, so that what was due on one is never sent on the next.
    link: u64,
    events: VecDeque<Event>,
    /// Operations that wait for what the present input writes.
    saved: Vec<(OpId, Operation)>,
}

impl Effects {
    pub(crate) fn new() -> Self {
        Self {
            outbox: Outbox::default(),
            ready: VecDeque::new(),
            next_op: 1,
            now: Now::default(),
            link: 0,
            events: VecDeque::new(),
            saved: Vec::new(),
        }
    }

    /// A new input is looked at.
    pub(crate) fn open(&mut self, now: Now) {
        self.now = now;
    }

    pub(crate) fn now(&self) -> Now {
        self.now
    }

    pub(crate) fn outbox(&mut self) -> &mut Outbox<Held> {
        &mut self.outbox
    }

    pub(crate) fn begin(&mut self, operation: Operation) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.ready.push_back(Action::Begin(op, operation));
        op
    }

    /// Begins an operation once everything that the present input writes is on disk.
    pub(crate) fn begin_saved(&mut self, operation: Operation) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.saved.push((op, operation));
        op
    }

    /// Everything of the present input is in the open batch: it is closed, and what must wait for it does.
    pub(crate) fn seal(&mut self) {
        for (op, operation) in std::mem::take(&mut self.saved) {
            self.outbox.push(Held::Begin(op, operation));
        }
        self.outbox.seal();
    }

    /// Begins what waited for the disk.
    pub(crate) fn release_begin(&mut self, op: OpId, operation: Operation) {
        self.ready.push_back(Action::Begin(op, operation));
    }

    pub(crate) fn cancel(&mut self, op: OpId) {
        self.ready.push_back(Action::Cancel(op));
    }

    /// The containers of an exclusive allocation may run up to then.
    pub(crate) fn extend(&mut self, allocation: &AllocationId, deadline: MonoTime) {
        self.ready.push_back(Action::Extend { allocation: allocation.clone(), deadline });
    }

    /// The link came or went: what was due on the last one is void.
    pub(crate) fn another_link(&mut self) {
        self.link += 1;
    }

    pub(crate) fn close_link(&mut self, reason: String) {
        self.ready.push_back(Action::CloseLink { reason });
    }

    /// Sends something that depends on nothing unsaved.
    pub(crate) fn send(&mut self, message: ToParent) {
        self.ready.push_back(Action::Send(message));
    }

    /// Sends something once everything written so far is on disk.
    pub(crate) fn send_saved(&mut self, message: ToParent) {
        self.outbox.push(Held::Send(self.link, message));
    }

    /// Sends what waited for the disk, unless its link is gone.
    pub(crate) fn release(&mut self, link: u64, message: ToParent) {
        if link == self.link {
            self.send(message);
        }
    }

    pub(crate) fn event(&mut self, level: EventLevel, subject: EventSubject, reason: &str, message: String) {
        self.events.push_back(Event {
            at: self.now.wall,
            level,
            subject,
            reason: reason.to_owned(),
            message,
        });
    }

    pub(crate) fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        if let Some(action) = self.ready.pop_front() {
            return Some(action);
        }
        self.outbox.poll_batch().map(|(id, batch)| Action::Persist(id, batch))
    }
}
