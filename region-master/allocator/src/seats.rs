//! Numbers of nodes that stay when other nodes come and go.

use crate::classes::{index, number_of};
use crate::footprints::Seat;

/// Which node has which number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seats {
    of_slot: Vec<Seat>,
    // The slot of each seat; of an empty one, anything.
    slots: Vec<usize>,
    empty: Vec<Seat>,
}

impl Seats {
    /// The number of the node in `slot`.
    pub(crate) fn of(&self, slot: usize) -> Seat {
        self.of_slot[slot]
    }

    /// The slot of a node that is known.
    pub(crate) fn slot(&self, seat: Seat) -> usize {
        self.slots[index(seat)]
    }

    /// Gives a number to a node at `slot`; those from there on move up.
    pub(crate) fn insert(&mut self, slot: usize) {
        let seat = self.empty.pop().unwrap_or_else(|| {
            self.slots.push(slot);
            number_of(self.slots.len() - 1)
        });
        self.of_slot.insert(slot, seat);
        self.renumber(slot);
    }

    /// Takes the number of the node at `slot` back; those after it move down.
    pub(crate) fn remove(&mut self, slot: usize) -> Seat {
        let seat = self.of_slot.remove(slot);
        self.empty.push(seat);
        self.renumber(slot);
        seat
    }

    fn renumber(&mut self, from: usize) {
        for (slot, seat) in self.of_slot.iter().enumerate().skip(from) {
            self.slots[index(*seat)] = slot;
        }
    }
}
