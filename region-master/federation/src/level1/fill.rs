//! Deals instances out to candidates, the best first.
//!
//! Candidates of one group have the same values of all spreads, so what the instances there cost is the same for all of them:
//! each group is a heap of its own, and a heap of groups stands above. Placing an instance makes nothing better: room and free
//! part shrink, counts grow. So a key in the upper heap is never too low, and is looked at again only when it comes to the top.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::candidates::{Candidate, Candidates, Grouping, index, number};
use super::score::MILLI;
use crate::SPREAD_POINTS;

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
}

/// What a candidate has left.
#[derive(Debug, Clone, Copy)]
struct Left {
    room: u32,
    /// How much of the free part one instance takes.
    step: u32,
}

/// How many instances have each value of a spread.
#[derive(Debug)]
struct Counted {
    max_skew: Option<u32>,
    counts: Vec<u32>,
    occurs: Vec<bool>,
    floor: u32,
    /// How many values have as few as the floor.
    at_floor: usize,
}

impl Counted {
    fn measure(&mut self) {
        let values = || self.counts.iter().zip(&self.occurs).filter(|(_, occurs)| **occurs);
        let floor = values().map(|(count, _)| *count).min().unwrap_or_default();
        self.at_floor = values().filter(|(count, _)| **count == floor).count();
        self.floor = floor;
    }

    /// Counts one more. True when the lowest count grew.
    fn add(&mut self, value: u32) -> bool {
        let count = &mut self.counts[index(value)];
        let was_floor = *count == self.floor;
        *count += 1;
        if self.max_skew.is_none() || !was_floor {
            return false;
        }
        self.at_floor -= 1;
        let grew = self.at_floor == 0;
        if grew {
            self.measure();
        }
        grew
    }

    fn breaks(&self, value: u32) -> bool {
        self.max_skew.is_some_and(|most| self.counts[index(value)] + 1 - self.floor > most)
    }
}

/// The state of dealing out.
pub(crate) struct Fill<'a> {
    grouping: &'a Grouping<'a>,
    all: &'a [Candidate<'a>],
    local: Option<usize>,
    spreads: Vec<Counted>,
    /// How many instances each candidate got.
    pub(crate) given: Vec<u32>,
}

impl<'a> Fill<'a> {
    /// `existing`: how many instances each region has. `local`: which region is the master's own nodes.
    pub(crate) fn new(candidates: &'a Candidates<'a>, existing: &[u32], local: Option<usize>) -> Self {
        let grouping = &candidates.grouping;
        let spreads = grouping.spreads.iter().enumerate().map(|(at, (_, max_skew))| {
            let groups = (0..grouping.groups()).filter(|group| grouping.occurs(*group));
            let values: Vec<u32> = groups.map(|group| grouping.values(group)[at]).collect();
            let width = values.iter().max().map_or(0, |most| index(*most) + 1);
            let mut occurs = vec![false; width];
            for value in values {
                occurs[index(value)] = true;
            }
            Counted { max_skew: *max_skew, counts: vec![0; width], occurs, floor: 0, at_floor: 0 }
        });
        let spreads = spreads.collect();
        let given = vec![0; candidates.all.len()];
        let mut fill = Self { grouping, all: &candidates.all, local, spreads, given };
        fill.seed(existing);
        fill
    }

    /// Counts the instances that are there, evenly over the candidates of their region.
    fn seed(&mut self, existing: &[u32]) {
        for region in self.all.chunk_by(|a, b| a.region == b.region) {
            let Some(region_at) = region.first().map(|candidate| candidate.region) else { continue };
            let count = existing.get(region_at).copied().unwrap_or_default();
            let width = u32::try_from(region.len()).unwrap_or(u32::MAX);
            for (candidate, at) in region.iter().zip(0u32..) {
                let part = count / width + u32::from(at < count % width);
                let values = self.grouping.values(index(candidate.group));
                for (spread, value) in self.spreads.iter_mut().zip(values) {
                    spread.counts[index(*value)] += part;
                }
            }
        }
        self.spreads.iter_mut().for_each(Counted::measure);
    }

    /// What the instances with the same values cost a group, in thousandths of a point.
    pub(crate) fn cost(&self, group: usize) -> i64 {
        let counts = self.spreads.iter().zip(self.grouping.values(group));
        MILLI
            * SPREAD_POINTS
            * counts.map(|(spread, value)| i64::from(spread.counts[index(*value)])).sum::<i64>()
    }

    /// Whether one more instance in a group would break a `max_skew`.
    pub(crate) fn breaks(&self, group: usize) -> bool {
        self.spreads.iter().zip(self.grouping.values(group)).any(|(spread, value)| spread.breaks(*value))
    }

    /// Deals up to `missing` instances out to candidates with the room that `room` gives them.
    pub(crate) fn deal(&mut self, mut missing: u32, room: impl Fn(&Candidate<'_>) -> u32) {
        let (mut groups, mut left) = self.members(room);
        let occupied =
            groups.iter().enumerate().filter_map(|(group, members)| Some((group, members.peek()?)));
        let mut heap: BinaryHeap<(Key, u32)> =
            occupied.map(|(group, member)| (self.key(group, *member), number(group))).collect();
        let mut parked = Vec::new();
        while missing > 0 {
            let Some(mut top) = heap.peek_mut() else { break };
            let group = index(top.1);
            let Some(member) = groups[group].peek_mut() else {
                PeekMut::pop(top);
                continue;
            };
            let key = self.key(group, *member);
            if key != top.0 {
                top.0 = key;
                continue;
            }
            if self.breaks(group) {
                parked.push(PeekMut::pop(top));
                continue;
            }
            self.given[member.candidate()] += 1;
            missing -= 1;
            take_one(member, &mut left);
            let floor_grew = self.add(group);
            match groups[group].peek() {
                Some(member) => {
                    top.0 = self.key(group, *member);
                    drop(top);
                }
                None => drop(PeekMut::pop(top)),
            }
            if floor_grew {
                heap.extend(parked.drain(..));
            }
        }
    }

    fn add(&mut self, group: usize) -> bool {
        let mut grew = false;
        for (spread, value) in self.spreads.iter_mut().zip(self.grouping.values(group)) {
            grew |= spread.add(*value);
        }
        grew
    }

    fn key(&self, group: usize, member: Key) -> Key {
        Key { points: member.points - self.cost(group), ..member }
    }

    /// The candidates of each group that have room, and what each candidate has left.
    fn members(&self, room: impl Fn(&Candidate<'_>) -> u32) -> (Vec<BinaryHeap<Key>>, Vec<Left>) {
        let mut groups: Vec<Vec<Key>> = Vec::new();
        groups.resize_with(self.grouping.groups(), Vec::new);
        let mut left = Vec::with_capacity(self.all.len());
        for (at, candidate) in self.all.iter().enumerate() {
            let room = room(candidate);
            let free = u32::try_from(candidate.free).unwrap_or(u32::MAX);
            left.push(Left { room, step: free.checked_div(room).unwrap_or_default() });
            if room == 0 {
                continue;
            }
            groups[index(candidate.group)].push(Key {
                points: candidate.points,
                link: Reverse(candidate.link),
                free,
                own: self.local == Some(candidate.region),
                first: Reverse(number(at)),
            });
        }
        (groups.into_iter().map(BinaryHeap::from).collect(), left)
    }
}

/// Takes room for one instance from the best member of a group.
fn take_one(mut member: PeekMut<'_, Key>, left: &mut [Left]) {
    let left = &mut left[member.candidate()];
    left.room -= 1;
    if left.room == 0 {
        PeekMut::pop(member);
    } else {
        member.free = member.free.saturating_sub(left.step);
    }
}
