//! How evenly a workload's instances lie over the values of the attributes that it spreads by.

use skerry_types::{Placement, Rule, Spread, SpreadBy};

use crate::SPREAD_POINTS;
use crate::classes::index;
use crate::columns::Columns;
use crate::standing::{Group, Standing, key};

/// The counts of one workload's instances by value, for each of its spreads but those over nodes without a bound.
#[derive(Debug)]
pub(crate) struct Evenness {
    spreads: Vec<Counted>,
}

#[derive(Debug)]
struct Counted {
    by: String,
    // Its place among the keys of the standing.
    key: usize,
    counts: Vec<u32>,
    bound: Option<Bound>,
}

#[derive(Debug)]
struct Bound {
    max_skew: u32,
    // Values of nodes that may take the workload at all, full ones included: a value that only a tainted or cut-off node
    // has would otherwise hold everything back.
    domain: Vec<bool>,
    /// The lowest count of any value of the domain.
    floor: u32,
    /// How many values of the domain have that count.
    at_floor: usize,
}

/// Whether a spread only says that a node's own instances cost it points. It needs no counts here: with them every node
/// would be a group of its own.
pub(crate) fn is_soft_over_nodes(spread: &Spread) -> bool {
    spread.by == SpreadBy::Node && spread.max_skew.is_none()
}

impl Bound {
    fn find_floor(&mut self, counts: &[u32]) {
        let inside =
            || counts.iter().zip(&self.domain).filter(|(_, inside)| **inside).map(|(count, _)| *count);
        let floor = inside().min().unwrap_or_default();
        self.at_floor = inside().filter(|count| *count == floor).count();
        self.floor = floor;
    }
}

impl Evenness {
    /// Counts `existing`, the slots of the workload's instances. `may_take` says for each group whether any of its nodes may take the
    /// workload whatever room it has. Nodes without the attribute share one value.
    pub(crate) fn new(
        columns: &Columns,
        placement: &Placement,
        standing: &Standing,
        existing: &[usize],
        may_take: impl Fn(usize) -> bool,
    ) -> Self {
        let counted = placement.spread.iter().filter(|spread| !is_soft_over_nodes(spread));
        let mut spreads: Vec<Counted> = Vec::new();
        for spread in counted {
            let at = standing.terms.index(&spread.by);
            let mut counts = vec![0; columns.numbers(key(&spread.by))];
            for slot in existing {
                counts[index(columns.id(key(&spread.by), *slot))] += 1;
            }
            let bound = spread.max_skew.map(|max_skew| {
                let mut domain = vec![false; counts.len()];
                for (number, group) in standing.groups.iter().enumerate() {
                    let value = index(group.values[at]);
                    domain[value] = domain[value] || may_take(number);
                }
                let mut bound = Bound { max_skew, domain, floor: 0, at_floor: 0 };
                bound.find_floor(&counts);
                bound
            });
            spreads.push(Counted { by: spread.by.to_string(), key: at, counts, bound });
        }
        Self { spreads }
    }

    /// Counts one more instance on a node of a group. True when a bound gave way: what was refused may fit.
    pub(crate) fn add(&mut self, group: &Group) -> bool {
        let mut gave_way = false;
        for spread in &mut self.spreads {
            let value = index(group.values[spread.key]);
            let before = spread.counts[value];
            spread.counts[value] += 1;
            let Some(bound) = &mut spread.bound else { continue };
            if bound.domain[value] && before == bound.floor {
                bound.at_floor -= 1;
                if bound.at_floor == 0 {
                    bound.find_floor(&spread.counts);
                    gave_way = true;
                }
            }
        }
        gave_way
    }

    /// What the instances there already cost a node of a group, in points.
    pub(crate) fn cost(&self, group: &Group) -> i64 {
        let counts =
            self.spreads.iter().map(|spread| i64::from(spread.counts[index(group.values[spread.key])]));
        SPREAD_POINTS * counts.sum::<i64>()
    }

    /// Each spread with the number of instances that have the value of a group.
    pub(crate) fn counts(&self, group: &Group) -> impl Iterator<Item = (&str, u32)> {
        self.spreads.iter().map(|spread| (spread.by.as_str(), spread.counts[index(group.values[spread.key])]))
    }

    /// Whether every bound holds as things are.
    pub(crate) fn holds(&self) -> bool {
        self.spreads.iter().all(|spread| {
            let Some(bound) = &spread.bound else { return true };
            let counts = spread.counts.iter().zip(&bound.domain).filter(|(_, inside)| **inside);
            counts.into_iter().all(|(count, _)| count - bound.floor <= bound.max_skew)
        })
    }

    /// Whether one more instance on a node of a group would break a bound.
    pub(crate) fn breaks(&self, group: &Group) -> bool {
        self.broken_by(group).is_some()
    }

    /// The first spread that one more instance on a node of a group would break.
    pub(crate) fn broken(&self, group: &Group) -> Option<Rule> {
        self.broken_by(group).map(|(by, max_skew, _)| Rule::MaxSkew { by: by.to_owned(), max_skew })
    }

    /// The first spread that one more instance on a node of a group would break: over what, its bound, and what it would come to.
    pub(crate) fn broken_by(&self, group: &Group) -> Option<(&str, u32, u32)> {
        self.spreads.iter().find_map(|spread| {
            let bound = spread.bound.as_ref()?;
            let skew = (spread.counts[index(group.values[spread.key])] + 1).saturating_sub(bound.floor);
            (skew > bound.max_skew).then_some((spread.by.as_str(), bound.max_skew, skew))
        })
    }
}
