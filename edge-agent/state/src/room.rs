//! Room on the node, where its master takes something for gone that is still here.
//!
//! In the usual order a master learns that an allocation is gone before it gives its room to another. Where a node's ledger went
//! back to an older state, or another machine spoke in its name, the rows that come do not know of what is here: it is on its
//! way out, and what its room was given to waits for it.

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
        let awaits = !mutant::is(Mutant::TakesRoomBlindly) && (self.awaits_strangers() || is_crowded());
        if let Some(lifecycle) = self.lifecycles.get_mut(id) {
            lifecycle.set_room(if awaits { Room::Taken } else { Room::There });
        }
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
