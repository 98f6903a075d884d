//! Sets of a workload's instances.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::InstanceIndex;

/// A set of instances, kept as ranges: ten thousand in a row cost as much as one. Ranges are sorted, disjoint and never touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct InstanceSet {
    /// First and last of each range.
    ranges: Vec<(u32, u32)>,
}

impl InstanceSet {
    /// The instances 0 to `count`, without the last.
    pub fn first(count: u32) -> Self {
        Self { ranges: count.checked_sub(1).map(|last| (0, last)).into_iter().collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.ranges.iter().fold(0, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// Whether this one is in it.
    pub fn contains(&self, instance: InstanceIndex) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < instance.0);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= instance.0)
    }

    /// All of them, by growing number.
    pub fn iter(&self) -> impl Iterator<Item = InstanceIndex> {
        self.ranges.iter().flat_map(|(first, last)| (*first..=*last).map(InstanceIndex))
    }

    /// The ranges, by growing number.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u32>> {
        self.ranges.iter().map(|(first, last)| *first..=*last)
    }

    /// Adds one. False when it was there.
    pub fn insert(&mut self, instance: InstanceIndex) -> bool {
        let fresh = !self.contains(instance);
        if fresh {
            *self = self.union(&Self { ranges: vec![(instance.0, instance.0)] });
        }
        fresh
    }

    /// Takes one out. False when it was not there.
    pub fn remove(&mut self, instance: InstanceIndex) -> bool {
        let known = self.contains(instance);
        if known {
            *self = self.difference(&Self { ranges: vec![(instance.0, instance.0)] });
        }
        known
    }

    /// Those of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.ranges.iter().chain(&other.ranges).copied().collect::<Vec<_>>().into()
    }

    /// Those of this that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut taken = other.ranges.iter().peekable();
        for &(mut first, last) in &self.ranges {
            while let Some(&&(from, to)) = taken.peek() {
                if to < first {
                    taken.next();
                    continue;
                }
                if from > last {
                    break;
                }
                if from > first {
                    left.push((first, from - 1));
                }
                if to >= last {
                    first = u32::MAX;
                    break;
                }
                first = to + 1;
            }
            if first <= last {
                left.push((first, last));
            }
        }
        Self { ranges: left }
    }

    /// Those of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.difference(&self.difference(other))
    }

    /// Takes the first `count` out, or all when there are fewer.
    #[must_use]
    pub fn split_first(&mut self, count: u32) -> Self {
        let mut taken = Vec::new();
        let mut missing = count;
        for (first, last) in &self.ranges {
            let Some(more) = missing.checked_sub(1) else { break };
            let end = first.saturating_add(more).min(*last);
            taken.push((*first, end));
            missing -= end - first + 1;
        }
        let taken = Self { ranges: taken };
        *self = self.difference(&taken);
        taken
    }
}

impl From<Vec<(u32, u32)>> for InstanceSet {
    /// Sorts and joins ranges of a first and a last; a range whose last comes before its first is none. The last number of all
    /// is no instance, so that every set can be counted.
    fn from(ranges: Vec<(u32, u32)>) -> Self {
        let bounded = ranges.into_iter().map(|(first, last)| (first, last.min(u32::MAX - 1)));
        let mut sorted: Vec<(u32, u32)> = bounded.filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match joined.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = (*end).max(last),
                _ => joined.push((first, last)),
            }
        }
        Self { ranges: joined }
    }
}

impl From<InstanceSet> for Vec<(u32, u32)> {
    fn from(set: InstanceSet) -> Self {
        set.ranges
    }
}

impl FromIterator<InstanceIndex> for InstanceSet {
    fn from_iter<I: IntoIterator<Item = InstanceIndex>>(instances: I) -> Self {
        instances.into_iter().map(|instance| (instance.0, instance.0)).collect::<Vec<_>>().into()
    }
}

impl fmt::Display for InstanceSet {
    /// `0-4,7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn model(set: &InstanceSet) -> BTreeSet<u32> {
        set.iter().map(|instance| instance.0).collect()
    }

    fn sets() -> impl Strategy<Value = InstanceSet> {
        proptest::collection::vec((0u32..40, 0u32..40), 0..6).prop_map(InstanceSet::from)
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(a in sets(), b in sets(), one in 0u32..40, count in 0u32..50) {
            let (ma, mb) = (model(&a), model(&b));
            prop_assert_eq!(a.len() as usize, ma.len());
            prop_assert_eq!(model(&a.union(&b)), &ma | &mb);
            prop_assert_eq!(model(&a.difference(&b)), &ma - &mb);
            prop_assert_eq!(model(&a.intersection(&b)), &ma & &mb);
            prop_assert_eq!(a.contains(InstanceIndex(one)), ma.contains(&one));
            let mut more = a.clone();
            prop_assert_eq!(more.insert(InstanceIndex(one)), !ma.contains(&one));
            prop_assert!(more.remove(InstanceIndex(one)));
            prop_assert!(!more.contains(InstanceIndex(one)));
            let mut rest = a.clone();
            let taken = rest.split_first(count);
            prop_assert_eq!(taken.len(), count.min(a.len()));
            prop_assert_eq!(taken.union(&rest), a.clone());
            prop_assert!(taken.iter().max() < rest.iter().min() || rest.is_empty() || taken.is_empty());
            prop_assert_eq!(a.iter().collect::<InstanceSet>(), a);
        }
    }

    #[test]
    fn reads_as_ranges() {
        let set = InstanceSet::from(vec![(7, 7), (0, 2), (3, 4), (9, 8)]);
        assert_eq!(set.to_string(), "0-4,7");
        assert_eq!(InstanceSet::first(3).to_string(), "0-2");
        assert_eq!(InstanceSet::first(0), InstanceSet::default());
        assert_eq!(InstanceSet::from(vec![(0, u32::MAX)]).len(), u32::MAX);
    }
}
