//! What nodes have in common beside their attributes.

use std::collections::BTreeMap;

use skerry_types::{Point, Taint};

use crate::classes::{Classes, index, number_of};

/// What tells a node from others, whatever it has room for, beside its attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) taints: Vec<Taint>,
    pub(crate) point: Option<Point>,
    pub(crate) micros_per_mb: u64,
    /// Whether it has graphics processors.
    pub(crate) gpus: bool,
}

/// The kind of each node, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kinds {
    of_slot: Vec<u32>,
    all: Vec<Kind>,
    numbers: BTreeMap<Kind, u32>,
}

/// Which kinds are alike.
#[derive(Debug)]
pub(crate) struct Alike {
    /// By kind: the class.
    classes: Vec<u32>,
    /// By class: the first kind that is of it.
    pub(crate) firsts: Vec<u32>,
}

impl Alike {
    /// The class of the kind of the node in `slot`.
    pub(crate) fn of(&self, kinds: &Kinds, slot: usize) -> u32 {
        self.classes[index(kinds.of_slot[slot])]
    }
}

impl Kinds {
    /// Makes room for a node at `slot`; those from there on move up.
    pub(crate) fn insert(&mut self, slot: usize) {
        let number = self.number(Kind::default());
        self.of_slot.insert(slot, number);
    }

    /// Takes the node at `slot` out; those after it move down.
    pub(crate) fn remove(&mut self, slot: usize) {
        self.of_slot.remove(slot);
    }

    /// Says of what kind a node is. False when that was known.
    pub(crate) fn set(&mut self, slot: usize, kind: Kind) -> bool {
        if *self.of(slot) == kind {
            return false;
        }
        if self.all.len() > 2 * self.of_slot.len() {
            self.forget_unused();
        }
        self.of_slot[slot] = self.number(kind);
        true
    }

    /// The kind of the node in `slot`.
    pub(crate) fn of(&self, slot: usize) -> &Kind {
        &self.all[index(self.of_slot[slot])]
    }

    /// Kinds that workloads cannot tell apart unless they want to be `near` to some place.
    pub(crate) fn alike(&self, near: bool) -> Alike {
        let mut known: BTreeMap<Kind, u32> = BTreeMap::new();
        let mut alike = Alike { classes: Vec::with_capacity(self.all.len()), firsts: Vec::new() };
        for (number, kind) in (0..).zip(&self.all) {
            let told = Kind { point: kind.point.filter(|_| near), ..kind.clone() };
            let class = *known.entry(told).or_insert_with(|| {
                alike.firsts.push(number);
                number_of(alike.firsts.len() - 1)
            });
            alike.classes.push(class);
        }
        alike
    }

    /// Tells nodes apart that are of kinds that are not alike.
    pub(crate) fn split(&self, classes: Classes, alike: &Alike) -> Classes {
        match alike.firsts.len() {
            0 | 1 => classes,
            width => {
                let numbers: Vec<u32> = self.of_slot.iter().map(|kind| alike.classes[index(*kind)]).collect();
                classes.split(&numbers, width)
            }
        }
    }

    /// A kind by its number.
    pub(crate) fn kind(&self, number: u32) -> &Kind {
        &self.all[index(number)]
    }

    fn number(&mut self, kind: Kind) -> u32 {
        let all = &mut self.all;
        *self.numbers.entry(kind).or_insert_with_key(|kind| {
            all.push(kind.clone());
            number_of(all.len() - 1)
        })
    }

    fn forget_unused(&mut self) {
        let known = std::mem::take(self);
        self.of_slot =
            known.of_slot.iter().map(|number| self.number(known.all[index(*number)].clone())).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_gone_are_forgotten() {
        let mut kinds = Kinds::default();
        kinds.insert(0);
        kinds.insert(0);
        let kind = |micros_per_mb| Kind { micros_per_mb, ..Kind::default() };
        for cost in 1..100 {
            assert!(kinds.set(1, kind(cost)));
            assert!(!kinds.set(1, kind(cost)));
            assert_eq!((kinds.of(0), kinds.of(1)), (&kind(0), &kind(cost)));
        }
        assert!(kinds.all.len() <= 6, "{kinds:?}");
    }
}
