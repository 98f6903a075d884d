//! Nodes that are alike in some respects, by number.

use std::collections::BTreeMap;

/// Which nodes are alike: those of one class.
#[derive(Debug, Clone, Default)]
pub(crate) struct Classes {
    /// By slot. Empty when all nodes are of one class.
    of_slot: Vec<u32>,
    /// By class: the first slot that is of it.
    firsts: Vec<usize>,
}

/// Numbers of pairs. The numbers of classes and values are small and dense, so that as a rule a plain table holds all pairs that
/// there could be; where it would be much larger than the nodes are many, a tree holds those that there are.
enum Pairs {
    Table { numbers: Vec<u32>, width: usize },
    Tree(BTreeMap<(u32, u32), u32>),
}

const NONE: u32 = u32::MAX;

impl Classes {
    /// All of `nodes` as one class.
    pub(crate) fn one(nodes: usize) -> Self {
        Self { of_slot: Vec::new(), firsts: (nodes > 0).then_some(0).into_iter().collect() }
    }

    /// The class of the node in `slot`.
    pub(crate) fn of(&self, slot: usize) -> usize {
        index(self.number(slot))
    }

    /// By class: the first slot that is of it.
    pub(crate) fn firsts(&self) -> &[usize] {
        &self.firsts
    }

    /// Tells nodes apart that have different `numbers`, which are all below `width`.
    pub(crate) fn split(self, numbers: &[u32], width: usize) -> Self {
        if width <= 1 {
            return self;
        }
        let mut pairs = Pairs::new(self.firsts.len(), width, numbers.len());
        let mut split = Self { of_slot: Vec::with_capacity(numbers.len()), firsts: Vec::new() };
        let mut last = None;
        for (slot, number) in numbers.iter().enumerate() {
            let pair = (self.number(slot), *number);
            // Neighbours by name are often of one site and make.
            let class = match last {
                Some((known, class)) if known == pair => class,
                _ => pairs.number(pair, split.firsts.len()),
            };
            if index(class) == split.firsts.len() {
                split.firsts.push(slot);
            }
            last = Some((pair, class));
            split.of_slot.push(class);
        }
        if split.firsts.len() == 1 { self } else { split }
    }

    /// Tells nodes apart that are of different classes of `other`.
    pub(crate) fn and(self, other: &Self) -> Self {
        if self.firsts.len() <= 1 {
            return other.clone();
        }
        self.split(&other.of_slot, other.firsts.len())
    }

    fn number(&self, slot: usize) -> u32 {
        self.of_slot.get(slot).copied().unwrap_or_default()
    }
}

impl Pairs {
    fn new(height: usize, width: usize, nodes: usize) -> Self {
        match height.checked_mul(width) {
            Some(size) if size <= 1024 + 4 * nodes => Self::Table { numbers: vec![NONE; size], width },
            _ => Self::Tree(BTreeMap::new()),
        }
    }

    /// The number of a pair; `fresh` if it has none.
    fn number(&mut self, pair: (u32, u32), fresh: usize) -> u32 {
        let fresh = number_of(fresh);
        match self {
            Self::Table { numbers, width } => {
                let number = &mut numbers[index(pair.0) * *width + index(pair.1)];
                if *number == NONE {
                    *number = fresh;
                }
                *number
            }
            Self::Tree(numbers) => *numbers.entry(pair).or_insert(fresh),
        }
    }
}

pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).expect("a 32-bit number fits")
}

/// The number of what is at an index of something of which there is at most one for each node.
pub(crate) fn number_of(index: usize) -> u32 {
    u32::try_from(index).expect("a region has fewer than 2^32 nodes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_alike_in_all_respects_or_apart() {
        let check = |respects: &[&[u32]], expect: &[usize]| {
            let width = |numbers: &[u32]| index(numbers.iter().max().unwrap() + 1);
            let mut classes = Classes::one(4);
            let mut other = Classes::one(4);
            for numbers in respects {
                classes = classes.split(numbers, width(numbers));
                other = Classes::one(4).split(numbers, width(numbers)).and(&other);
            }
            let of = |classes: &Classes| (0..4).map(|slot| classes.of(slot)).collect::<Vec<_>>();
            assert_eq!(of(&classes), expect, "{respects:?}");
            assert_eq!(classes.firsts().len(), other.firsts().len(), "{respects:?}");
        };
        check(&[], &[0; 4]);
        check(&[&[7, 7, 7, 7]], &[0; 4]);
        check(&[&[3, 1, 3, 0]], &[0, 1, 0, 2]);
        check(&[&[3, 1, 3, 0], &[0, 0, 1, 0]], &[0, 1, 2, 3]);
        check(&[&[5000, 1, 5000, 0], &[0, 4000, 0, 4000]], &[0, 1, 0, 2]);
    }
}
