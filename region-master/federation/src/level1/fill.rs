//! How many instances have each value of each spread, and what that costs.

use super::candidates::{Candidate, Candidates};
use super::grouping::Grouping;
use super::score::MILLI;
use crate::{SPREAD_POINTS, index};

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
    pub(crate) grouping: &'a Grouping,
    pub(crate) all: &'a [Candidate],
    pub(crate) local: Option<usize>,
    spreads: Vec<Counted>,
    /// Which spread's values are the clusters, where there are several spreads.
    clustering: Option<usize>,
    /// How many instances each candidate got.
    pub(crate) given: Vec<u32>,
}

impl<'a> Fill<'a> {
    /// `existing`: how many instances each region has. `local`: which region is the master's own nodes.
    pub(crate) fn new(candidates: &'a Candidates, existing: &[u32], local: Option<usize>) -> Self {
        let grouping = &candidates.grouping;
        let spreads = grouping.bounds().enumerate().map(|(at, max_skew)| {
            let groups = (0..grouping.groups()).filter(|group| grouping.occurs(*group));
            let values: Vec<u32> = groups.map(|group| grouping.values(group)[at]).collect();
            let width = values.iter().max().map_or(0, |most| index(*most) + 1);
            let mut occurs = vec![false; width];
            for value in values {
                occurs[index(value)] = true;
            }
            Counted { max_skew, counts: vec![0; width], occurs, floor: 0, at_floor: 0 }
        });
        let spreads: Vec<Counted> = spreads.collect();
        let values = |at: &usize| spreads[*at].occurs.iter().filter(|occurs| **occurs).count();
        let clustering = (0..spreads.len()).min_by_key(values).filter(|_| spreads.len() > 1);
        let given = vec![0; candidates.all.len()];
        let mut fill = Self { grouping, all: &candidates.all, local, spreads, clustering, given };
        fill.seed(existing);
        fill
    }

    /// Counts the instances that are there, evenly over the candidates of their region.
    fn seed(&mut self, existing: &[u32]) {
        for region in self.all.chunk_by(|a, b| a.region == b.region) {
            let Some(region_at) = region.first().map(|candidate| candidate.region) else { continue };
            let count = existing.get(index(region_at)).copied().unwrap_or_default();
            if count == 0 {
                continue;
            }
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
        self.inner_cost(group) + self.cluster_cost(self.cluster(group))
    }

    /// The value of the clustering spread that a group has.
    pub(crate) fn cluster(&self, group: usize) -> usize {
        self.clustering.map_or(0, |at| index(self.grouping.values(group)[at]))
    }

    /// How many clusters there may be.
    pub(crate) fn clusters(&self) -> usize {
        self.clustering.map_or(1, |at| self.spreads[at].counts.len())
    }

    /// What the clustering spread costs all groups of a cluster.
    pub(crate) fn cluster_cost(&self, cluster: usize) -> i64 {
        self.clustering.map_or(0, |at| MILLI * SPREAD_POINTS * i64::from(self.spreads[at].counts[cluster]))
    }

    /// What the other spreads cost a group.
    pub(crate) fn inner_cost(&self, group: usize) -> i64 {
        let spreads = self.spreads.iter().zip(self.grouping.values(group)).enumerate();
        let others = spreads.filter(|(at, _)| Some(*at) != self.clustering);
        let counts = others.map(|(_, (spread, value))| i64::from(spread.counts[index(*value)]));
        MILLI * SPREAD_POINTS * counts.sum::<i64>()
    }

    /// Whether one more instance in a group would break a `max_skew`.
    pub(crate) fn breaks(&self, group: usize) -> bool {
        self.spreads.iter().zip(self.grouping.values(group)).any(|(spread, value)| spread.breaks(*value))
    }

    /// Counts one more instance of a group. True when the lowest count of a bounded spread grew.
    pub(crate) fn add(&mut self, group: usize) -> bool {
        let mut grew = false;
        for (spread, value) in self.spreads.iter_mut().zip(self.grouping.values(group)) {
            grew |= spread.add(*value);
        }
        grew
    }
}
