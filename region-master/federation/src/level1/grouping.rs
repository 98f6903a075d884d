//! Which candidates have the same values of all spreads.

use std::collections::HashMap;

use skerry_types::{SiteDigest, SketchClass, SpreadBy};

use super::Demand;
use super::score::spread_key;
use crate::selecting::Asked;

/// Spreads beyond these are left to level 2; nobody writes as many.
const SPREADS_MAX: usize = 8;

/// Numbers the values of each spread, and the combinations that occur.
pub(crate) struct Grouping<'a> {
    spreads: Vec<Values<'a>>,
    /// For each spread but the first: the group so far and the value of this one, to the group.
    joined: Vec<HashMap<(u32, u32), u32>>,
    /// For each group one value for each spread, all in a row; [`Grouping::NONE`] for a group that does not occur.
    values: Vec<u32>,
}

/// The values of one spread.
struct Values<'a> {
    max_skew: Option<u32>,
    /// What is counted over; `None` for sites, which have numbers already.
    over: Option<Asked>,
    /// The last one: candidates come region by region.
    last: Option<(Option<&'a str>, u32)>,
    known: HashMap<Option<&'a str>, u32>,
}

impl<'a> Values<'a> {
    fn number(&mut self, site: &'a SiteDigest, class: &'a SketchClass, site_at: usize) -> u32 {
        let Some(over) = &self.over else { return number(site_at) };
        let value = over.value(site, class);
        if let Some((_, known)) = self.last.filter(|(last, _)| *last == value) {
            return known;
        }
        let next = number(self.known.len());
        let known = *self.known.entry(value).or_insert(next);
        self.last = Some((value, known));
        known
    }
}

impl<'a> Grouping<'a> {
    const NONE: u32 = u32::MAX;

    pub(crate) fn new(demand: &Demand<'a>) -> Self {
        let counted = demand.placement.spread.iter().filter(|spread| spread.by != SpreadBy::Node);
        let values = counted.take(SPREADS_MAX).map(|spread| Values {
            max_skew: spread.max_skew,
            over: (spread.by != SpreadBy::Site).then(|| Asked::new(spread_key(&spread.by))),
            last: None,
            known: HashMap::new(),
        });
        let spreads: Vec<_> = values.collect();
        let joined = vec![HashMap::new(); spreads.len()];
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

    /// The group of a class of nodes; `site_at` is the number of its site.
    pub(crate) fn group(&mut self, site: &'a SiteDigest, class: &'a SketchClass, site_at: usize) -> u32 {
        let mut group = 0;
        let width = self.spreads.len();
        let mut found = [Self::NONE; SPREADS_MAX];
        for (at, spread) in self.spreads.iter_mut().enumerate() {
            found[at] = spread.number(site, class, site_at);
            let next = number(self.joined[at].len());
            group =
                if at == 0 { found[at] } else { *self.joined[at].entry((group, found[at])).or_insert(next) };
        }
        let start = index(group) * width;
        if self.values.len() < start + width {
            self.values.resize(start + width, Self::NONE);
        }
        self.values[start..start + width].copy_from_slice(&found[..width]);
        group
    }
}

pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).expect("a 32-bit number fits")
}

pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a federation has fewer than 2^32 sites and classes")
}
