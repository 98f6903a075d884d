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
use super::heaps::Heaps;
use crate::{index, number};

/// What speaks for a candidate, in the order in which it counts. Small, because thousands of them are moved about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    points: i64,
    link: Reverse<u64>,
    /// The part that is free, in 2^-32.
    free: u32,
    rank: Rank,
}

/// What decides among equals: the own nodes, then the order of candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u32);

impl Rank {
    const OWN: u32 = 1 << 31;

    fn new(candidate: usize, own: bool) -> Self {
        let first = Self::OWN - 1 - number(candidate);
        Self(if own { first | Self::OWN } else { first })
    }

    fn candidate(self) -> usize {
        index(Self::OWN - 1 - (self.0 & !Self::OWN))
    }
}

impl Key {
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
    groups: Heaps<Key>,
    /// The groups of each cluster, by the best of each as it was, less what it costs apart from the cluster.
    clusters: Heaps<(Key, u32)>,
    /// Groups where one more would break a bound.
    parked: Vec<(Key, u32)>,
}

impl Fill<'_> {
    /// Deals up to `missing` instances out to candidates with the room that `room` gives them.
    pub(crate) fn deal(&mut self, mut missing: u32, room: impl Fn(&Candidate) -> u32) {
        if missing == 0 {
            return;
        }
        let mut stock = self.stock(room);
        let mut heap: BinaryHeap<(Key, u32)> =
            (0..stock.clusters.count()).filter_map(|cluster| self.entry(&stock, cluster)).collect();
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
            self.given[key.rank.candidate()] += 1;
            missing -= 1;
            stock.take_one(group);
            if self.add(group) {
                heap.extend(self.unpark(&mut stock));
            }
        }
    }

    fn stock(&self, room: impl Fn(&Candidate) -> u32) -> Stock {
        let left = self.all.iter().map(|candidate| {
            let room = room(candidate);
            Left { room, step: free(candidate).checked_div(room).unwrap_or_default() }
        });
        let left: Vec<Left> = left.collect();
        let members = self.all.iter().zip(&left).enumerate().filter(|(_, (_, left))| left.room > 0);
        let members = members.map(|(at, (candidate, _))| {
            let own = self.local == Some(index(candidate.region));
            let (link, rank) = (Reverse(candidate.link), Rank::new(at, own));
            (index(candidate.group), Key { points: candidate.points, link, free: free(candidate), rank })
        });
        let groups = Heaps::new(self.grouping.groups(), members);
        let best = (0..groups.count()).filter_map(|group| Some((group, groups.top(group)?)));
        let best = best
            .map(|(group, best)| (self.cluster(group), (best.less(self.inner_cost(group)), number(group))));
        let clusters = Heaps::new(self.clusters(), best);
        Stock { left, groups, clusters, parked: Vec::new() }
    }

    /// What stands for a cluster in the uppermost heap: its best group as it was.
    fn entry(&self, stock: &Stock, cluster: usize) -> Option<(Key, u32)> {
        let (key, _) = stock.clusters.top(cluster)?;
        Some((key.less(self.cluster_cost(cluster)), number(cluster)))
    }

    /// The best group of a cluster as it is, with its key. Groups that are empty or at a bound leave the heap.
    fn best(&self, stock: &mut Stock, cluster: usize) -> Option<(Key, usize)> {
        loop {
            let (known, at) = stock.clusters.top(cluster)?;
            let group = index(at);
            let Some(member) = stock.groups.top(group) else {
                stock.clusters.pop(cluster);
                continue;
            };
            let key = member.less(self.inner_cost(group));
            if key != known {
                stock.clusters.replace(cluster, (key, at));
            } else if self.breaks(group) {
                stock.parked.push((known, at));
                stock.clusters.pop(cluster);
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
            stock.clusters.push(cluster, (key, group));
            clusters.insert(cluster);
        }
        clusters.into_iter().filter_map(|cluster| self.entry(stock, cluster)).collect()
    }
}

fn free(candidate: &Candidate) -> u32 {
    u32::try_from(candidate.free).unwrap_or(u32::MAX)
}

impl Stock {
    /// Takes room for one instance from the best candidate of a group.
    fn take_one(&mut self, group: usize) {
        let Some(best) = self.groups.top(group) else { return };
        let left = &mut self.left[best.rank.candidate()];
        left.room -= 1;
        if left.room == 0 {
            self.groups.pop(group);
        } else {
            self.groups.replace(group, Key { free: best.free.saturating_sub(left.step), ..best });
        }
    }
}
