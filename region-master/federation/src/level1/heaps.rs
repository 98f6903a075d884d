//! Many small heaps in one piece of memory.

/// Heaps that never grow beyond what they were made with, the greatest of each on top.
#[derive(Debug)]
pub(crate) struct Heaps<T> {
    items: Vec<T>,
    /// For each heap, where it begins and how many it has.
    heaps: Vec<(usize, usize)>,
}

impl<T: Ord + Copy> Heaps<T> {
    /// `count` heaps of these items, each with the number of its heap.
    pub(crate) fn new(count: usize, items: impl Iterator<Item = (usize, T)> + Clone) -> Self {
        let mut heaps = vec![(0, 0); count];
        items.clone().for_each(|(heap, _)| heaps[heap].1 += 1);
        let mut start = 0;
        for (first, len) in &mut heaps {
            *first = start;
            start += std::mem::take(len);
        }
        let mut sorted = Vec::new();
        if let Some((_, any)) = items.clone().next() {
            sorted.resize(start, any);
        }
        for (heap, item) in items {
            let (first, len) = &mut heaps[heap];
            sorted[*first + *len] = item;
            *len += 1;
        }
        for (first, len) in &heaps {
            let items = &mut sorted[*first..first + len];
            (0..len / 2).rev().for_each(|at| sink(items, at));
        }
        Self { items: sorted, heaps }
    }

    /// How many heaps.
    pub(crate) fn count(&self) -> usize {
        self.heaps.len()
    }

    /// The greatest of a heap.
    pub(crate) fn top(&self, heap: usize) -> Option<T> {
        let (first, len) = self.heaps[heap];
        (len > 0).then(|| self.items[first])
    }

    /// Puts another in the place of the greatest.
    pub(crate) fn replace(&mut self, heap: usize, item: T) {
        let (first, len) = self.heaps[heap];
        let items = &mut self.items[first..first + len];
        items[0] = item;
        sink(items, 0);
    }

    /// Takes the greatest out.
    pub(crate) fn pop(&mut self, heap: usize) {
        let (first, len) = &mut self.heaps[heap];
        *len -= 1;
        let items = &mut self.items[*first..=*first + *len];
        let last = items.len() - 1;
        items.swap(0, last);
        sink(&mut items[..last], 0);
    }

    /// Puts one back that was taken out.
    pub(crate) fn push(&mut self, heap: usize, item: T) {
        let (first, len) = &mut self.heaps[heap];
        *len += 1;
        let items = &mut self.items[*first..*first + *len];
        let mut at = items.len() - 1;
        items[at] = item;
        while at > 0 && items[(at - 1) / 2] < items[at] {
            items.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }
}

/// Moves an item down until nothing below it is greater.
fn sink<T: Ord + Copy>(items: &mut [T], mut at: usize) {
    let Some(item) = items.get(at).copied() else { return };
    loop {
        let left = 2 * at + 1;
        let Some(child) = items.get(left) else { break };
        let right = usize::from(items.get(left + 1).is_some_and(|right| right > child));
        let greater = items[left + right];
        if greater <= item {
            break;
        }
        items[at] = greater;
        at = left + right;
    }
    items[at] = item;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn heaps_are_what_sorting_makes(
            items in prop::collection::vec((0..3usize, any::<u8>()), 0..60),
            lowered in prop::collection::vec((0..3usize, any::<u8>()), 0..20),
        ) {
            let mut heaps = Heaps::new(3, items.iter().copied());
            let mut plain = vec![Vec::new(); 3];
            for (heap, item) in &items {
                plain[*heap].push(*item);
            }
            for (heap, item) in lowered {
                plain[heap].sort_unstable();
                prop_assert_eq!(heaps.top(heap), plain[heap].last().copied());
                if let Some(last) = plain[heap].last_mut() {
                    let lower = item.min(*last);
                    *last = lower;
                    heaps.replace(heap, lower);
                }
            }
            for (heap, plain) in plain.iter_mut().enumerate() {
                plain.sort_unstable();
                if let Some(greatest) = plain.last().copied() {
                    heaps.pop(heap);
                    heaps.push(heap, greatest);
                }
                while let Some(greatest) = plain.pop() {
                    prop_assert_eq!(heaps.top(heap), Some(greatest));
                    heaps.pop(heap);
                }
                prop_assert_eq!(heaps.top(heap), None);
            }
        }
    }
}
