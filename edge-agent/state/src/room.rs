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

    /// Tells an allocation whether it has to wait for room.
    pub(crate) fn look_for_room(&mut self, id: &AllocationId) {
        let is_crowded = || {
            !self.leaving.is_empty()
                && self.lifecycles.get(id).is_some_and(|lifecycle| !self.has_room(lifecycle.intent()))
        };
        let awaits = !mutant::is(Mutant::TakesRoomBlindly)
            && (self.awaits_strangers() || is_crowded() || self.was_given_twice(id));
        if let Some(lifecycle) = self.lifecycles.get_mut(id) {
            lifecycle.set_room(if awaits { Room::Taken } else { Room::There });
        }
    }

    /// Whether what an allocation would take is in use, though nothing is on its way out.
    fn was_given_twice(&self, id: &AllocationId) -> bool {
        let Some(lifecycle) = self.lifecycles.get(id).filter(|lifecycle| !lifecycle.holds_room()) else {
            return false;
        };
        let intent = lifecycle.intent();
        let others = || self.lifecycles.values().filter(|other| *other.id() != *id && other.holds_room());
        let sum = others().fold(intent.spec.resources(), |sum, other| sum + other.intent().spec.resources());
        let fits = self.capacity.is_none_or(|capacity| capacity.fits(&sum));
        // Alone it is what the master gave it, whatever the node has.
        others().next().is_some() && (!fits || others().any(|other| shares_port(other, intent)))
    }

    /// Whether it fits beside everything that is here, and nothing that leaves has a host port of its.
    fn has_room(&self, intent: &AllocationIntent) -> bool {
        let others = || self.lifecycles.values().filter(|other| *other.id() != intent.id && !other.is_gone());
        let sum = others().fold(intent.spec.resources(), |sum, other| sum + other.intent().spec.resources());
        let fits = self.capacity.is_none_or(|capacity| capacity.fits(&sum));
        fits && !others().any(|other| other.is_disowned() && shares_port(other, intent))
    }
}

fn shares_port(other: &Lifecycle, intent: &AllocationIntent) -> bool {
    let ports = &other.intent().ports;
    ports
        .iter()
        .any(|port| intent.ports.iter().any(|mine| (mine.protocol, mine.host) == (port.protocol, port.host)))
}
