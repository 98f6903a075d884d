//! Leases of what is exclusive: which nodes were heard, and when a replacement may start.

use skerry_wire::{Cursor, ToChild};

use crate::input::{Action, LinkId};
use crate::records::ChildName;
use crate::state::RegionState;

impl RegionState {
    /// A node asks for its leases.
    pub(crate) fn renew_leases(&mut self, id: LinkId, name: &ChildName, round: u64) {
        let Some(child) = self.child_mut(name) else { return };
        let cursor = Cursor { epoch: child.writer.epoch(), revision: child.writer.newest() };
        self.act(Action::Send(id, ToChild::Renewed { round, cursor }));
    }
}
