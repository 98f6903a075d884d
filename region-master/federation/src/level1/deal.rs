//! Deals instances out to candidates, the best first.
//!
//! Candidates of one group have the same values of all spreads, so what the instances there cost is the same for all of them:
//! each group is a heap of its own. Groups stand in heaps, one for each value of the spread that has the fewest (a cluster), and
//! clusters stand in one. Placing an instance makes nothing better: room and free part shrink, counts grow. So a key in an upper
//! heap is never too low, and is looked at again only when it comes to the top; clusters keep a count that many groups share
//! from sending each of them there.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeSet, BinaryHeap};

use super::candidates::Candidate;
use super::fill::Fill;
use super::grouping::{index, number};

/// What speaks for a candidate, in the order in which it counts. Small, because thousands of them are moved about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    points: i64,
    link: Reverse<u64>,
    /// The part that is free, in 2^-32.
    free: u32,
    own: bool,
    first: Reverse<u32>,
}

impl Key {
    fn candidate(&self) -> usize {
        index(self.first.0)
    }

    fn less(self, cost: i64) -> Self {
        Self { points: self.points - cost, ..self }
    }
}

/// What a candidate has left.
#[derive(Debug, Clone, Copy)]
struct Left {
    room: u32,
    /// How much of the free part one instance takes.
    step: u32,
}

/// Candidates with room, in heaps.
struct Stock {
    left: Vec<Left>,
    /// The candidates of each group.
    groups: Vec<BinaryHeap<Key>>,
    /// The groups of each cluster, by the best of each as it was, less what it costs apart from the cluster.
    clusters: Vec<BinaryHeap<(Key, u32)>>,
    /// Groups where one more would break a bound.
    parked: Vec<(Key, u32)>,
}

impl Fill<'_> {
    /// Deals up to `missing` instances out to candidates with the room that `room` gives them.
    pub(crate) fn deal(&mut self, mut missing: u32, room: impl Fn(&Candidate<'_>) -> u32) {
        let mut stock = self.stock(room);
        let mut heap: BinaryHeap<(Key, u32)> =
            (0..stock.clusters.len()).filter_map(|cluster| self.entry(&stock, cluster)).collect();
        while missing > 0 {
            let Some(mut top) = heap.peek_mut() else { break };
            let cluster = index(top.1);
            let Some((key, group)) = self.best(&mut stock, cluster) else {
                PeekMut::pop(top);
                continue;
            };
            let key = key.less(self.cluster_cost(cluster));
            if key != top.0 {
                top.0 = key;
                continue;
            }
            drop(top);
            self.given[key.candidate()] += 1;
            missing -= 1;
            stock.take_one(group);
            if self.add(group) {
                heap.extend(self.unpark(&mut stock));
            }
        }
    }

    fn stock(&self, room: impl Fn(&Candidate<'_>) -> u32) -> Stock {
        let mut groups: Vec<Vec<Key>> = Vec::new();
        groups.resize_with(self.grouping.groups(), Vec::new);
        let mut left = Vec::with_capacity(self.all.len());
        for (at, candidate) in self.all.iter().enumerate() {
            let room = room(candidate);
            let free = u32::try_from(candidate.free).unwrap_or(u32::MAX);
            left.push(Left { room, step: free.checked_div(room).unwrap_or_default() });
            if room > 0 {
                let (link, own) = (Reverse(candidate.link), self.local == Some(candidate.region));
                let key = Key { points: candidate.points, link, free, own, first: Reverse(number(at)) };
                groups[index(candidate.group)].push(key);
            }
        }
        let groups: Vec<BinaryHeap<Key>> = groups.into_iter().map(BinaryHeap::from).collect();
        let mut clusters: Vec<Vec<(Key, u32)>> = vec![Vec::new(); self.clusters()];
        for (group, members) in groups.iter().enumerate() {
            if let Some(best) = members.peek() {
                clusters[self.cluster(group)].push((best.less(self.inner_cost(group)), number(group)));
            }
        }
        let clusters = clusters.into_iter().map(BinaryHeap::from).collect();
        Stock { left, groups, clusters, parked: Vec::new() }
    }

    /// What stands for a cluster in the uppermost heap: its best group as it was.
    fn entry(&self, stock: &Stock, cluster: usize) -> Option<(Key, u32)> {
        let (key, _) = stock.clusters.get(cluster)?.peek()?;
        Some((key.less(self.cluster_cost(cluster)), number(cluster)))
    }

    /// The best group of a cluster as it is, with its key. Groups that are empty or at a bound leave the heap.
    fn best(&self, stock: &mut Stock, cluster: usize) -> Option<(Key, usize)> {
        let Stock { groups, clusters, parked, .. } = stock;
        loop {
            let mut top = clusters.get_mut(cluster)?.peek_mut()?;
            let group = index(top.1);
            let Some(member) = groups[group].peek() else {
                PeekMut::pop(top);
                continue;
            };
            let key = member.less(self.inner_cost(group));
            if key != top.0 {
                top.0 = key;
            } else if self.breaks(group) {
                parked.push(PeekMut::pop(top));
            } else {
                return Some((key, group));
            }
        }
    }

    /// Puts the parked groups back, and says which clusters are to be looked at again.
    fn unpark(&self, stock: &mut Stock) -> Vec<(Key, u32)> {
        let mut clusters = BTreeSet::new();
        for (key, group) in stock.parked.drain(..) {
            let cluster = self.cluster(index(group));
            stock.clusters[cluster].push((key, group));
            clusters.insert(cluster);
        }
        clusters.into_iter().filter_map(|cluster| self.entry(stock, cluster)).collect()
    }
}

impl Stock {
    /// Takes room for one instance from the best candidate of a group.
    fn take_one(&mut self, group: usize) {
        let Some(mut member) = self.groups[group].peek_mut() else { return };
        let left = &mut self.left[member.candidate()];
        left.room -= 1;
        if left.room == 0 {
            PeekMut::pop(member);
        } else {
            member.free = member.free.saturating_sub(left.step);
        }
    }
}
