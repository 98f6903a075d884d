//! What mistakes do to rows on their way between regions.

use skerry_region_state::{ApiCall, Input};
use skerry_wire::{DigestRow, RegionRow, Row, RowsFrame, TableId, ToChild, ToParent};

use crate::Mutation;
use crate::event::MasterAt;
use crate::world::World;

impl World {
    /// What a region gets of what was sent down to it.
    pub(crate) fn tamper_down(&self, mut message: ToChild) -> ToChild {
        if let ToChild::Rows(RowsFrame::Delta { rows, .. }) = &mut message {
            if self.is(Mutation::WithdrawalsAreLost) && rows.len() > 1 {
                rows.retain(|row| row.key.table != TableId::SHARE || row.value.is_some());
            } else if self.is(Mutation::WithdrawalsAreLost) {
                // A frame is never empty: its revision is its last row's.
                rows.iter_mut()
                    .filter(|row| row.value.is_none())
                    .for_each(|row| row.key.table = TableId(999));
            }
            if self.is(Mutation::GrantsAreUnbounded) {
                rows.iter_mut().for_each(unbound);
            }
        }
        message
    }

    /// What a master gets of what a region sent up to it.
    pub(crate) fn tamper_up(&self, mut message: ToParent) -> ToParent {
        if let ToParent::Rows(RowsFrame::Delta { rows, .. } | RowsFrame::Snapshot { rows, .. }) = &mut message
            && self.is(Mutation::HandBacksAreLost)
        {
            rows.iter_mut().for_each(hush);
        }
        message
    }

    /// Takes a region out of the tree.
    pub(crate) fn remove_region(&mut self, at: MasterAt) {
        let Some(parent) = self.masters[at].parent else { return };
        let (call, name) = (self.masters[parent].next_call(), self.masters[at].name.clone());
        self.tell_master(parent, Input::Call(call, ApiCall::RemoveRegion(name)));
    }
}

fn unbound(row: &mut Row) {
    let read = row.value.as_deref().map(RegionRow::decode);
    if let Some(Ok(RegionRow::Tenant(mut grant))) = read {
        grant.escrow.cpu = None;
        row.value = Some(RegionRow::Tenant(grant).encode());
    }
}

fn hush(row: &mut Row) {
    let read = row.value.as_deref().map(DigestRow::decode);
    if let Some(Ok(DigestRow::Share(mut status))) = read {
        status.handed_back.clear();
        row.value = Some(DigestRow::Share(status).encode());
    }
}
