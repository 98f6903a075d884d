//! Which nodes may take a workload whatever room they have, and how much they are preferred: what stays the same between two
//! calls while nodes stay what they are.

use std::collections::BTreeMap;
use std::ops::Range;

use skerry_types::{Near, Place, Placement, Point, Preference, Rule, Selector, SiteName, SpreadBy, Taint};

use crate::blocks::Blocks;
use crate::cluster::Cluster;
use crate::columns::{Columns, ValueId};
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
    of_slot: Vec<Stand>,
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

    fn selected(&self) -> Vec<&str> {
        let preferred = self.prefer.iter().flat_map(|preference| preference.matches.keys());
        let mut keys: Vec<&str> =
            preferred.chain(self.require.keys()).chain(self.keys.iter().map(String::as_str)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The points of the preferences, or the term that misses, for nodes with these values of the `selected` keys.
    fn verdict(&self, columns: &Columns, selected: &[&str], values: &[ValueId]) -> Result<i64, String> {
        let attributes = columns.attributes(selected, values);
        if let Some(term) = self.require.first_miss(&attributes) {
            return Err(term);
        }
        let preferred = self.prefer.iter().filter(|preference| preference.matches.matches(&attributes));
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
    /// Looks at every node once.
    pub(crate) fn new(cluster: &Cluster, terms: Terms) -> Self {
        let selected = terms.selected();
        let classes = cluster.columns().classes(&selected);
        let verdicts: Vec<Result<i64, String>> =
            classes.values.iter().map(|values| terms.verdict(cluster.columns(), &selected, values)).collect();
        let at: Vec<usize> = terms
            .keys
            .iter()
            .map(|key| selected.binary_search(&key.as_str()).expect("the keys are selected"))
            .collect();
        // Classes are by everything that is selected by; what matters beyond the verdict is the values of the keys.
        let mut shapes: BTreeMap<Vec<ValueId>, usize> = BTreeMap::new();
        let shape_of_class: Vec<usize> = classes
            .values
            .iter()
            .map(|values| {
                let fresh = shapes.len();
                *shapes.entry(at.iter().map(|at| values[*at]).collect()).or_insert(fresh)
            })
            .collect();
        let mut sorter = Sorter::default();
        let mut nearness: BTreeMap<Point, i64> = BTreeMap::new();
        let mut of_slot = Vec::with_capacity(classes.values.len());
        for slot in cluster.slots() {
            let side = cluster.side(slot);
            let class = classes.of(slot);
            of_slot.push(
                match (&verdicts[class], side.taints.iter().find(|taint| !terms.tolerate.contains(taint))) {
                    (Err(term), _) => sorter.miss(Rule::Require { term: term.clone() }),
                    (Ok(_), Some(taint)) => sorter.miss(Rule::Taint { taint: taint.clone() }),
                    (Ok(points), None) => {
                        let near = match side.point {
                            Some(point) if !terms.near.is_empty() => *nearness
                                .entry(point)
                                .or_insert_with(|| terms.points_near(Some(point), cluster.site_points())),
                            _ => 0,
                        };
                        let traits = (
                            shape_of_class[class],
                            points + near,
                            side.micros_per_mb,
                            cluster.slot_load(slot).gpus.count() > 0,
                        );
                        sorter.group(traits, || at.iter().map(|at| classes.values[class][*at]).collect())
                    }
                },
            );
        }
        let Sorter { mut groups, misses, .. } = sorter;
        let group = |slot: usize| match of_slot[slot] {
            Stand::Group(group) => Some(index(group)),
            Stand::Miss(_) => None,
        };
        let blocks = Blocks::new(cluster, &mut groups, group);
        Self { terms, generation: cluster.generation(), groups, of_slot, misses, blocks }
    }

    /// The group of the node in `slot`, or the rule that keeps the workload off it.
    pub(crate) fn group(&self, slot: usize) -> Result<usize, &Rule> {
        match self.of_slot[slot] {
            Stand::Group(group) => Ok(index(group)),
            Stand::Miss(miss) => Err(&self.misses[index(miss)]),
        }
    }
}

/// What tells the nodes of two groups apart: their values, points, cost of the link, whether they have graphics processors.
type Traits = (usize, i64, u64, bool);

/// Sorts nodes into groups.
#[derive(Debug, Default)]
struct Sorter {
    groups: Vec<Group>,
    misses: Vec<Rule>,
    known: BTreeMap<Traits, u32>,
    known_misses: BTreeMap<Rule, u32>,
    last: Option<(Traits, u32)>,
}

impl Sorter {
    fn group(&mut self, traits: Traits, values: impl FnOnce() -> Vec<ValueId>) -> Stand {
        // Neighbours by name are often of one site and make.
        if let Some((last, group)) = self.last
            && last == traits
        {
            return Stand::Group(group);
        }
        let (_, points, link, gpus) = traits;
        let groups = &mut self.groups;
        let group = *self.known.entry(traits).or_insert_with(|| {
            groups.push(Group { values: values(), points, link, gpus, blocks: 0..0 });
            number(groups.len() - 1)
        });
        self.last = Some((traits, group));
        Stand::Group(group)
    }

    fn miss(&mut self, rule: Rule) -> Stand {
        let misses = &mut self.misses;
        let miss = self.known_misses.entry(rule).or_insert_with_key(|rule| {
            misses.push(rule.clone());
            number(misses.len() - 1)
        });
        Stand::Miss(*miss)
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a region has fewer than 2^32 nodes")
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("a 32-bit number fits")
}
