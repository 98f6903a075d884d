//! Room on the node, where its master takes something for gone that is still here, or gave the same room twice.
//!
//! In the usual order a master learns that an allocation is gone before it gives its room to another. Where a node's ledger went
//! back to an older state, or another machine spoke in its name, the rows that come do not know of what is here: it is on its
//! way out, and what its room was given to waits for it. Where the master's store went back to an older copy, it tells the node of
//! what was deleted since, and does not know what has its room: what is here goes on, and what is told waits until there is room.

use skerry_types::mutant::{self, Mutant};
use skerry_types::{AllocationId, AllocationIntent};

use crate::lifecycle::Room;
use crate::{AgentState, Lifecycle};

impl AgentState {
    /// The row of an allocation is gone: its room may have been given away.
    pub(crate) fn leaves_room(&mut self, id: &AllocationId) {
        self.leaving.insert(id.clone());
    }

    /// Tells an allocation that is about to be made whether it has to wait for room.
    pub(crate) fn look_for_room(&mut self, id: &AllocationId) {
        let Some(lifecycle) = self.lifecycles.get(id).filter(|lifecycle| lifecycle.is_before_room()) else {
            return;
        };
        let awaits = !mutant::is(Mutant::TakesRoomBlindly)
            && (self.awaits_strangers() || self.is_crowded(lifecycle) || self.was_given_twice(lifecycle));
        if let Some(lifecycle) = self.lifecycles.get_mut(id) {
            lifecycle.set_room(if awaits { Room::Taken } else { Room::There });
        }
    }

    /// Whether something leaves, and either it has a host port of this one's or not all that is here fits beside this one.
    fn is_crowded(&self, mine: &Lifecycle) -> bool {
        let others = || self.others(mine, |other| !other.is_gone());
        !self.leaving.is_empty()
            && (!self.fits_beside(mine, others())
                || others().any(|other| other.is_disowned() && shares_port(other, mine.intent())))
    }

    /// Whether what an allocation would take is in use, though nothing is on its way out.
    fn was_given_twice(&self, mine: &Lifecycle) -> bool {
        let others = || self.others(mine, Lifecycle::holds_room);
        // Alone it is what the master gave it, whatever the node has.
        !mine.holds_room()
            && others().next().is_some()
            && (!self.fits_beside(mine, others()) || others().any(|other| shares_port(other, mine.intent())))
    }

    fn others(&self, mine: &Lifecycle, count: fn(&Lifecycle) -> bool) -> impl Iterator<Item = &Lifecycle> {
        self.lifecycles.values().filter(move |other| other.id() != mine.id() && count(other))
    }

    fn fits_beside<'a>(&self, mine: &Lifecycle, others: impl Iterator<Item = &'a Lifecycle>) -> bool {
        let need = |lifecycle: &Lifecycle| lifecycle.intent().spec.resources();
        let sum = others.fold(need(mine), |sum, other| sum + need(other));
        self.capacity.is_none_or(|capacity| capacity.fits(&sum))
    }
}

fn shares_port(other: &Lifecycle, intent: &AllocationIntent) -> bool {
    let ports = &other.intent().ports;
    ports
        .iter()
        .any(|port| intent.ports.iter().any(|mine| (mine.protocol, mine.host) == (port.protocol, port.host)))
}
