//! How evenly a workload's instances lie over the values of the attributes that it spreads by.

use std::ops::Range;

use skerry_types::{Placement, Rule, Spread, SpreadBy};

use crate::SPREAD_POINTS;
use crate::columns::{Classes, Columns, ValueId};

/// The counts of one workload's instances by value, for each of its spreads but those over nodes without a bound.
#[derive(Debug)]
pub(crate) struct Evenness {
    spreads: Vec<Counted>,
    classes: Classes,
}

#[derive(Debug)]
struct Counted {
    by: String,
    max_skew: Option<u32>,
    counts: Vec<u32>,
    // Values of nodes that may take the workload at all, full ones included: a value that only a tainted or cut-off node
    // has would otherwise hold everything back.
    domain: Vec<usize>,
}

fn key(spread: &Spread) -> &str {
    match &spread.by {
        SpreadBy::Site => "site.name",
        SpreadBy::Node => "node.name",
        SpreadBy::Attribute(name) => name,
    }
}

fn index(value: ValueId) -> usize {
    usize::try_from(value).expect("a 32-bit number fits")
}

/// Whether a spread only says that a node's own instances cost it points. It needs no counts here: with them every node
/// would be a class of its own.
pub(crate) fn is_soft_over_nodes(spread: &Spread) -> bool {
    spread.by == SpreadBy::Node && spread.max_skew.is_none()
}

impl Evenness {
    /// Counts `existing`, the slots of the workload's instances. `may_take` says for each of all `slots` whether the node may take the
    /// workload as far as connection, `require` and taints go. Nodes without the attribute share one value.
    pub(crate) fn new(
        columns: &Columns,
        placement: &Placement,
        existing: &[usize],
        slots: Range<usize>,
        may_take: impl Fn(usize) -> bool,
    ) -> Self {
        let counted: Vec<&Spread> =
            placement.spread.iter().filter(|spread| !is_soft_over_nodes(spread)).collect();
        let keys: Vec<&str> = counted.iter().map(|spread| key(spread)).collect();
        let classes = columns.classes(&keys);
        let mut spreads: Vec<Counted> = counted
            .iter()
            .map(|spread| Counted {
                by: spread.by.to_string(),
                max_skew: spread.max_skew,
                counts: vec![0; columns.numbers(key(spread))],
                domain: Vec::new(),
            })
            .collect();
        let mut in_domain = vec![false; classes.values.len()];
        // Without a spread to count there is nothing to ask every node for.
        let asked = if counted.is_empty() { 0..0 } else { slots };
        for slot in asked {
            let class = classes.of(slot);
            in_domain[class] = in_domain[class] || may_take(slot);
        }
        for (values, _) in classes.values.iter().zip(in_domain).filter(|(_, inside)| *inside) {
            for (spread, value) in spreads.iter_mut().zip(values) {
                spread.domain.push(index(*value));
            }
        }
        for spread in &mut spreads {
            spread.domain.sort_unstable();
            spread.domain.dedup();
        }
        let mut evenness = Self { spreads, classes };
        for slot in existing {
            evenness.add(evenness.class(*slot));
        }
        evenness
    }

    /// How many classes there are: nodes of one class have the same value of every spread.
    pub(crate) fn classes(&self) -> usize {
        self.classes.values.len()
    }

    /// The class of the node in `slot`.
    pub(crate) fn class(&self, slot: usize) -> usize {
        self.classes.of(slot)
    }

    /// Counts one more instance on a node of `class`.
    pub(crate) fn add(&mut self, class: usize) {
        for (spread, value) in self.spreads.iter_mut().zip(&self.classes.values[class]) {
            spread.counts[index(*value)] += 1;
        }
    }

    /// What the instances there already cost a node of `class`, in points.
    pub(crate) fn cost(&self, class: usize) -> i64 {
        let counts = self
            .spreads
            .iter()
            .zip(&self.classes.values[class])
            .map(|(spread, value)| i64::from(spread.counts[index(*value)]));
        SPREAD_POINTS * counts.sum::<i64>()
    }

    /// For each spread, the lowest count of any value; only for those with a bound.
    pub(crate) fn floors(&self) -> Vec<u32> {
        let floor = |spread: &Counted| {
            let counts = spread.domain.iter().map(|value| spread.counts[*value]);
            counts.min().unwrap_or_default()
        };
        let bounded = |spread: &Counted| spread.max_skew.map_or(0, |_| floor(spread));
        self.spreads.iter().map(bounded).collect()
    }

    /// The first spread that one more instance on a node of `class` would break.
    pub(crate) fn broken(&self, class: usize, floors: &[u32]) -> Option<Rule> {
        let values = &self.classes.values[class];
        let spreads = self.spreads.iter().zip(values).zip(floors);
        spreads.into_iter().find_map(|((spread, value), floor)| {
            let max_skew = spread.max_skew?;
            let skew = spread.counts[index(*value)] + 1 - floor;
            (skew > max_skew).then(|| Rule::MaxSkew { by: spread.by.clone(), max_skew })
        })
    }
}
