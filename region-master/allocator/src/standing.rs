//! Which nodes may take a workload whatever room they have, and how much they are preferred: what stays the same between two
//! calls while nodes stay what they are.

use std::collections::BTreeMap;
use std::ops::Range;

use skerry_types::{Near, Place, Placement, Point, Preference, Rule, Selector, SiteName, SpreadBy, Taint};

use crate::blocks::Blocks;
use crate::classes::{Classes, index};
use crate::cluster::Cluster;
use crate::columns::{Selected, ValueId};
use crate::near;
use crate::spread::is_soft_over_nodes;

/// What the standing of all nodes depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    require: Selector,
    prefer: Vec<Preference>,
    tolerate: Vec<Taint>,
    near: Vec<Near>,
    /// The attributes by which spreads and affinities tell nodes apart, in order.
    pub(crate) keys: Vec<String>,
}

/// The standing of all nodes for some terms.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) terms: Terms,
    /// Of the cluster when this was made.
    pub(crate) generation: u64,
    pub(crate) groups: Vec<Group>,
    classes: Classes,
    /// By class.
    stands: Vec<Stand>,
    misses: Vec<Rule>,
    pub(crate) blocks: Blocks,
}

/// Nodes that only room and the workload's own instances tell apart.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// Their values of the terms' keys.
    pub(crate) values: Vec<ValueId>,
    /// What preferences and nearness earn them.
    pub(crate) points: i64,
    /// What their link costs.
    pub(crate) link: u64,
    /// Whether they have graphics processors.
    pub(crate) gpus: bool,
    /// Their places in the order of the blocks.
    pub(crate) blocks: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Stand {
    Group(u32),
    Miss(u32),
}

/// The attribute that is meant.
pub(crate) fn key(by: &SpreadBy) -> &str {
    match by {
        SpreadBy::Site => "site.name",
        SpreadBy::Node => "node.name",
        SpreadBy::Attribute(name) => name,
    }
}

impl Terms {
    pub(crate) fn of(placement: &Placement) -> Self {
        let spreads = placement.spread.iter().filter(|spread| !is_soft_over_nodes(spread));
        let wishes = placement.affinity.iter().chain(&placement.anti_affinity);
        let wishes = wishes.filter(|wish| wish.by != SpreadBy::Node);
        let by = spreads.map(|spread| &spread.by).chain(wishes.map(|wish| &wish.by));
        let mut keys: Vec<String> = by.map(|by| key(by).to_owned()).collect();
        keys.sort_unstable();
        keys.dedup();
        Self {
            require: placement.require.clone(),
            prefer: placement.prefer.clone(),
            tolerate: placement.tolerate.clone(),
            near: placement.near.clone(),
            keys,
        }
    }

    /// The place of an attribute among the keys, for one that was there when the terms were made.
    pub(crate) fn index(&self, by: &SpreadBy) -> usize {
        self.keys.binary_search_by(|known| known.as_str().cmp(key(by))).expect("the terms have this key")
    }

    /// The attributes by which nodes are selected or preferred.
    fn selected(&self) -> impl Iterator<Item = &str> {
        let preferred = self.prefer.iter().flat_map(|preference| preference.matches.keys());
        self.require.keys().chain(preferred)
    }

    /// The points of the preferences, or the place of the term that misses, for the node in `slot`.
    fn verdict(&self, selected: &Selected<'_>, slot: usize) -> Result<i64, usize> {
        let value_of = |key: &str| selected.value(key, slot);
        if let Some(place) = self.require.first_miss_by(value_of) {
            return Err(place);
        }
        let preferred = self.prefer.iter().filter(|preference| preference.matches.matches_by(value_of));
        Ok(preferred.map(|preference| i64::from(preference.weight)).sum())
    }

    fn points_near(&self, point: Option<Point>, sites: &BTreeMap<SiteName, Point>) -> i64 {
        let Some(point) = point else { return 0 };
        let earned = self.near.iter().filter_map(|near| {
            let to = match &near.to {
                Place::Point(to) => to,
                Place::Site(site) => sites.get(site)?,
            };
            Some(near::points(near.weight, point.distance_km(to)))
        });
        earned.sum()
    }
}

impl Standing {
    /// Sorts all nodes into classes by what is asked for, and judges one of each.
    pub(crate) fn new(cluster: &Cluster, terms: Terms) -> Self {
        let (columns, kinds) = (cluster.columns(), cluster.kinds());
        let selected = columns.selected(terms.selected());
        let by_selectors = columns.classes(&selected);
        let verdicts: Vec<Result<i64, usize>> =
            by_selectors.firsts().iter().map(|slot| terms.verdict(&selected, *slot)).collect();
        let valued = columns.selected(terms.keys.iter().map(String::as_str));
        let by_values = columns.classes(&valued);
        let classes = kinds.split(by_values.clone().and(&by_selectors));
        let mut sorter = Sorter::new(by_values.firsts().len());
        let stand = |slot: &usize| {
            let kind = kinds.of(*slot);
            let points = match verdicts[by_selectors.of(*slot)] {
                Ok(points) => points,
                Err(place) => return sorter.miss(Miss::Term(place), &terms),
            };
            if let Some(taint) = kind.taints.iter().find(|taint| !terms.tolerate.contains(taint)) {
                return sorter.miss(Miss::Taint(taint), &terms);
            }
            let traits = Traits {
                points: points + terms.points_near(kind.point, cluster.site_points()),
                link: kind.micros_per_mb,
                gpus: kind.gpus,
            };
            sorter.group(by_values.of(*slot), traits, || valued.ids(&terms.keys, *slot))
        };
        let stands: Vec<Stand> = classes.firsts().iter().map(stand).collect();
        let Sorter { mut groups, misses, .. } = sorter;
        let group = |slot: usize| match stands[classes.of(slot)] {
            Stand::Group(group) => Some(index(group)),
            Stand::Miss(_) => None,
        };
        let blocks = Blocks::new(cluster, &mut groups, group);
        Self { generation: cluster.generation(), groups, classes, stands, misses, blocks, terms }
    }

    /// The group of the node in `slot`, or the rule that keeps the workload off it.
    pub(crate) fn group(&self, slot: usize) -> Result<usize, &Rule> {
        match self.stands[self.classes.of(slot)] {
            Stand::Group(group) => Ok(index(group)),
            Stand::Miss(miss) => Err(&self.misses[index(miss)]),
        }
    }
}

/// What tells the nodes of two groups of the same values apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traits {
    points: i64,
    link: u64,
    gpus: bool,
}

/// Why nodes may not take a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Miss<'a> {
    Term(usize),
    Taint(&'a Taint),
}

/// Sorts classes of nodes into groups. Of one set of values there are few groups, so they stand in a list that is gone through.
#[derive(Debug)]
struct Sorter<'a> {
    groups: Vec<Group>,
    /// By class of values: its last group.
    last: Vec<Option<u32>>,
    /// By group: the group of the same values before it.
    before: Vec<Option<u32>>,
    misses: Vec<Rule>,
    known_misses: BTreeMap<Miss<'a>, u32>,
}

impl<'a> Sorter<'a> {
    fn new(classes: usize) -> Self {
        Self {
            groups: Vec::new(),
            last: vec![None; classes],
            before: Vec::new(),
            misses: Vec::new(),
            known_misses: BTreeMap::new(),
        }
    }

    fn group(&mut self, class: usize, traits: Traits, values: impl FnOnce() -> Vec<ValueId>) -> Stand {
        let mut at = self.last[class];
        while let Some(number) = at {
            let Group { points, link, gpus, .. } = self.groups[index(number)];
            if traits == (Traits { points, link, gpus }) {
                return Stand::Group(number);
            }
            at = self.before[index(number)];
        }
        let number = number(self.groups.len());
        let Traits { points, link, gpus } = traits;
        self.groups.push(Group { values: values(), points, link, gpus, blocks: 0..0 });
        self.before.push(self.last[class].replace(number));
        Stand::Group(number)
    }

    fn miss(&mut self, miss: Miss<'a>, terms: &Terms) -> Stand {
        let misses = &mut self.misses;
        let number = self.known_misses.entry(miss).or_insert_with(|| {
            misses.push(match miss {
                Miss::Term(place) => Rule::Require { term: terms.require.term(place).unwrap_or_default() },
                Miss::Taint(taint) => Rule::Taint { taint: taint.clone() },
            });
            number(misses.len() - 1)
        });
        Stand::Miss(*number)
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a region has fewer than 2^32 nodes")
}
