//! Where the brain's machines put what they want done.

use std::collections::VecDeque;

use skerry_types::{Event, EventLevel, EventSubject, Now, Outbox};

use crate::{Action, OpId, Operation};

/// What one input leads to.
#[derive(Debug)]
pub(crate) struct Effects {
    outbox: Outbox<Action>,
    /// Actions that depend on nothing unsaved, so that a full disk does not stop a restart.
    free: VecDeque<Action>,
    next_op: u64,
    now: Now,
    /// Whether the present input brought intent that is not on disk.
    unsaved: bool,
    events: Vec<Event>,
}

impl Effects {
    pub(crate) fn new() -> Self {
        Self {
            outbox: Outbox::default(),
            free: VecDeque::new(),
            next_op: 1,
            now: Now::default(),
            unsaved: false,
            events: Vec::new(),
        }
    }

    /// A new input is looked at.
    pub(crate) fn open(&mut self, now: Now) {
        self.now = now;
        self.unsaved = false;
    }

    pub(crate) fn now(&self) -> Now {
        self.now
    }

    pub(crate) fn outbox(&mut self) -> &mut Outbox<Action> {
        &mut self.outbox
    }

    /// From here to the end of the input, operations wait until what was written is on disk.
    pub(crate) fn wait_for_disk(&mut self) {
        self.unsaved = true;
    }

    pub(crate) fn begin(&mut self, operation: Operation) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.act(Action::Begin(op, operation));
        op
    }

    pub(crate) fn cancel(&mut self, op: OpId) {
        self.act(Action::Cancel(op));
    }

    fn act(&mut self, action: Action) {
        if self.unsaved {
            self.outbox.push(action);
        } else {
            self.free.push_back(action);
        }
    }

    /// An action that depends on nothing unsaved.
    pub(crate) fn push_free(&mut self, action: Action) {
        self.free.push_back(action);
    }

    pub(crate) fn event(&mut self, level: EventLevel, subject: EventSubject, reason: &str, message: String) {
        self.events.push(Event { at: self.now.wall, level, subject, reason: reason.to_owned(), message });
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        if let Some(action) = self.free.pop_front() {
            return Some(action);
        }
        if let Some((id, batch)) = self.outbox.poll_batch() {
            return Some(Action::Persist(id, batch));
        }
        self.outbox.poll_effect()
    }
}
