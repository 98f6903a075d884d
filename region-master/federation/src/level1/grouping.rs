//! Which candidates have the same values of all spreads.

use std::collections::HashMap;

use skerry_types::SpreadBy;

use super::Demand;
use super::score::spread_key;
use crate::roster::{Roster, Site};
use crate::selecting::{Asked, attribute, label};
use crate::table::Numbers;
use crate::{index, number};

/// Spreads beyond these are left to level 2; nobody writes as many.
const SPREADS_MAX: usize = 8;

/// Numbers the values of each spread, and the combinations that occur.
pub(crate) struct Grouping {
    spreads: Vec<Values>,
    /// For each spread but the first: the group so far and the value of this one, to the group.
    joined: Vec<Joined>,
    /// For each group one value for each spread, all in a row; [`Grouping::NONE`] for a group that does not occur.
    values: Vec<u32>,
}

/// The values of one spread.
struct Values {
    max_skew: Option<u32>,
    over: Over,
}

/// What is counted over, with the number of each value.
enum Over {
    /// Sites and regions have numbers already.
    Site,
    Region,
    /// For each set of labels.
    Labels(Vec<u32>),
    /// For each kind of nodes.
    Kind(Vec<u32>),
    /// Names of sites, in the order of the sites. Regions may give their sites the same names.
    Name(Vec<u32>),
    /// What no sketch tells is the same everywhere.
    Nothing,
}

/// Groups by two numbers each.
#[derive(Default)]
struct Joined {
    known: HashMap<(u32, u32), u32>,
    last: Option<((u32, u32), u32)>,
}

impl Joined {
    fn group(&mut self, pair: (u32, u32)) -> u32 {
        if let Some((_, group)) = self.last.filter(|(last, _)| *last == pair) {
            return group;
        }
        let next = number(self.known.len());
        let group = *self.known.entry(pair).or_insert(next);
        self.last = Some((pair, group));
        group
    }
}

impl Over {
    fn new(by: &SpreadBy, roster: &Roster<'_>) -> Self {
        if *by == SpreadBy::Site {
            return Self::Site;
        }
        match Asked::new(spread_key(by)) {
            Asked::RegionName => Self::Region,
            Asked::NodeName => Self::Nothing,
            Asked::SiteName => Self::Name(numbers(roster.site_names().map(Some))),
            Asked::SiteLabel(name) => {
                Self::Labels(numbers(roster.labels.iter().map(|labels| label(labels, &name))))
            }
            Asked::Node(name) => Self::Kind(numbers(roster.kinds.iter().map(|kind| attribute(kind, &name)))),
        }
    }

    fn number(&self, site: &Site<'_>, kind: u32) -> u32 {
        match self {
            Self::Site => number(site.at),
            Self::Region => site.region,
            Self::Labels(numbers) => numbers[index(site.labels)],
            Self::Kind(numbers) => numbers[index(kind)],
            Self::Name(numbers) => numbers[site.at],
            Self::Nothing => 0,
        }
    }
}

/// The same number for the same value.
fn numbers<'v>(values: impl Iterator<Item = Option<&'v str>>) -> Vec<u32> {
    let (mut known, mut all) = (Numbers::default(), Vec::new());
    values.map(|value| known.index_of(value, &mut all, || ())).collect()
}

impl Grouping {
    const NONE: u32 = u32::MAX;

    pub(crate) fn new(demand: &Demand<'_>, roster: &Roster<'_>) -> Self {
        let counted = demand.placement.spread.iter().filter(|spread| spread.by != SpreadBy::Node);
        let values = counted
            .take(SPREADS_MAX)
            .map(|spread| Values { max_skew: spread.max_skew, over: Over::new(&spread.by, roster) });
        let spreads: Vec<_> = values.collect();
        let joined = spreads.iter().map(|_| Joined::default()).collect();
        Self { spreads, joined, values: Vec::new() }
    }

    /// The bound of each spread that level 1 counts.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = Option<u32>> {
        self.spreads.iter().map(|spread| spread.max_skew)
    }

    /// How many groups there may be.
    pub(crate) fn groups(&self) -> usize {
        self.values.len().checked_div(self.spreads.len()).unwrap_or(1)
    }

    /// The values of a group, one for each spread.
    pub(crate) fn values(&self, group: usize) -> &[u32] {
        let width = self.spreads.len();
        self.values.get(group * width..(group + 1) * width).unwrap_or_default()
    }

    /// Whether any candidate is in it.
    pub(crate) fn occurs(&self, group: usize) -> bool {
        self.values(group).first().is_none_or(|value| *value != Self::NONE)
    }

    /// The group of a kind of nodes at a site.
    pub(crate) fn group(&mut self, site: &Site<'_>, kind: u32) -> u32 {
        let mut group = 0;
        let width = self.spreads.len();
        let mut found = [Self::NONE; SPREADS_MAX];
        for (at, spread) in self.spreads.iter().enumerate() {
            found[at] = spread.over.number(site, kind);
            group = if at == 0 { found[at] } else { self.joined[at].group((group, found[at])) };
        }
        let start = index(group) * width;
        if self.values.len() < start + width {
            self.values.resize(start + width, Self::NONE);
        }
        self.values[start..start + width].copy_from_slice(&found[..width]);
        group
    }
}
