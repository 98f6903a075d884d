//! What will happen, in its order.

use std::collections::BTreeMap;

use crate::event::Event;

/// When something happens: true microseconds, and which of those at that time it is.
pub(crate) type Due = (u64, u64);

/// Events by their time, those of one time in the order in which they were put here.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    order: u64,
    /// Where in `events` it is: what is moved about in the tree is small.
    by_time: BTreeMap<Due, usize>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
}

impl Agenda {
    pub(crate) fn add(&mut self, at_us: u64, event: Event) -> Due {
        self.order += 1;
        let due = (at_us, self.order);
        let place = if let Some(place) = self.free.pop() {
            self.events[place] = Some(event);
            place
        } else {
            self.events.push(Some(event));
            self.events.len() - 1
        };
        self.by_time.insert(due, place);
        due
    }

    /// The next thing that happens.
    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        let ((at_us, _), place) = self.by_time.pop_first()?;
        self.free.push(place);
        self.events[place].take().map(|event| (at_us, event))
    }

    /// It does not happen.
    pub(crate) fn cancel(&mut self, due: Due) {
        if let Some(place) = self.by_time.remove(&due) {
            self.free.push(place);
            self.events[place] = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cancelled_does_not_happen_and_the_rest_keeps_its_order() {
        let mut agenda = Agenda::default();
        let [late, first, _] =
            [(20, 1), (10, 2), (10, 3)].map(|(at_us, node)| agenda.add(at_us, Event::BootAgent(node)));
        agenda.cancel(first);
        agenda.add(15, Event::BootAgent(4));
        agenda.cancel(late);
        let happens = std::iter::from_fn(|| agenda.pop());
        let order: Vec<(u64, usize)> = happens
            .map(|(at_us, event)| match event {
                Event::BootAgent(node) => (at_us, node),
                other => panic!("{other:?} was never put there"),
            })
            .collect();
        assert_eq!(order, [(10, 3), (15, 4)]);
    }
}
