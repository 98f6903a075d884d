//! Which nodes may take a workload whatever room they have, and how much they are preferred: what stays the same between two
//! calls while nodes stay what they are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use skerry_types::{Near, Place, Placement, Point, Preference, Rule, Selector, SiteName, SpreadBy, Taint};

use crate::blocks::{BLOCK, Block, Blocks};
use crate::classes::{index, number_of};
use crate::cluster::Cluster;
use crate::columns::{Selected, ValueId};
use crate::layout::{By, Class, Layout};
use crate::near;
use crate::spread::is_soft_over_nodes;

/// How many times as many blocks as its groups need a standing may have by sharing those of a layout: more take longer to look through
/// than new ones take to make.
const SCATTERED: usize = 4;

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
    /// Which nodes are alike; others that ask by the same attributes share it.
    pub(crate) layout: Layout,
    /// By class of the layout.
    stands: Vec<Stand>,
    misses: Vec<Rule>,
    /// The nodes by group, where the layout has far too many classes.
    own: Option<Blocks>,
    /// Numbers of blocks, those of a group side by side.
    order: Vec<u32>,
}

/// Nodes that only room and the workload's own instances tell apart.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// Their values of the terms' keys.
    pub(crate) values: Arc<[ValueId]>,
    /// What preferences and nearness earn them.
    pub(crate) points: i64,
    /// What their link costs.
    pub(crate) link: u64,
    /// Whether they have graphics processors.
    pub(crate) gpus: bool,
    /// The places of their blocks in the standing's order.
    blocks: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Stand {
    Group(u32),
    Miss(u32),
}

impl Stand {
    fn group(self) -> Option<usize> {
        match self {
            Self::Group(group) => Some(index(group)),
            Self::Miss(_) => None,
        }
    }
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

    /// By what nodes must be told apart.
    pub(crate) fn by(&self, cluster: &Cluster) -> By {
        let known = |key: &&str| cluster.columns().has(key);
        let mut selected: Vec<String> = self.selected().filter(known).map(str::to_owned).collect();
        selected.sort_unstable();
        selected.dedup();
        By { selected, values: self.keys.clone(), near: !self.near.is_empty() }
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
    /// Judges one node of each class of a layout, which is by [`Terms::by`].
    pub(crate) fn new(cluster: &Cluster, terms: Terms, layout: Layout) -> Self {
        let selected = cluster.columns().selected(terms.selected());
        let verdicts = layout.selected.iter().map(|slot| terms.verdict(&selected, *slot));
        let verdicts: Vec<Result<i64, usize>> = verdicts.collect();
        let kinds = layout.kinds.iter().map(|number| {
            let kind = cluster.kinds().kind(*number);
            let taint = kind.taints.iter().find(|taint| !terms.tolerate.contains(taint));
            let points = terms.points_near(kind.point, cluster.site_points());
            taint.map_or(Ok(Traits { points, link: kind.micros_per_mb, gpus: kind.gpus }), Err)
        });
        let kinds: Vec<Result<Traits, &Taint>> = kinds.collect();
        let mut sorter = Sorter::new(layout.values.len());
        let stand = |class: &Class| match (verdicts[class.selected], kinds[class.kind]) {
            (Err(place), _) => sorter.miss(Miss::Term(place), &terms),
            (_, Err(taint)) => sorter.miss(Miss::Taint(taint), &terms),
            (Ok(points), Ok(traits)) => {
                let traits = Traits { points: points + traits.points, ..traits };
                sorter.group(class.values, traits, &layout.values)
            }
        };
        let stands: Vec<Stand> = layout.all.iter().map(stand).collect();
        let Sorter { groups, misses, .. } = sorter;
        let generation = cluster.generation();
        let mut made =
            Self { terms, generation, groups, layout, stands, misses, own: None, order: Vec::new() };
        made.order_blocks(cluster);
        made
    }

    /// Finds the blocks of each group.
    fn order_blocks(&mut self, cluster: &Cluster) {
        let mut nodes = vec![0; self.groups.len()];
        let mut blocks = 0;
        for (stand, class) in self.stands.iter().zip(&self.layout.all) {
            if let Stand::Group(group) = stand {
                nodes[index(*group)] += class.nodes;
                blocks += class.nodes.div_ceil(BLOCK);
            }
        }
        let fewest: usize = nodes.iter().map(|nodes| nodes.div_ceil(BLOCK)).sum();
        if blocks > BLOCK + SCATTERED * fewest {
            let Self { layout, stands, groups, .. } = &*self;
            let own = Blocks::new(cluster, groups.len(), |slot| stands[layout.class(slot)].group());
            for (number, group) in self.groups.iter_mut().enumerate() {
                let of = own.of(number);
                group.blocks = index(of.start)..index(of.end);
            }
            self.order = (0..number_of(own.len())).collect();
            self.own = Some(own);
            return;
        }
        self.layout.ready_blocks(cluster);
        let classes = || self.stands.iter().map(|stand| stand.group()).enumerate();
        let classes = || classes().filter_map(|(class, group)| Some((self.layout.blocks.of(class), group?)));
        // First how many there are of each group, then the next place in the order for one.
        let mut places = vec![0; self.groups.len()];
        for (blocks, group) in classes() {
            places[group] += blocks.len();
        }
        let mut begin = 0;
        let mut ranges = Vec::with_capacity(places.len());
        for place in &mut places {
            let end = begin + *place;
            ranges.push(begin..end);
            *place = begin;
            begin = end;
        }
        let mut order = vec![0; begin];
        for (blocks, group) in classes() {
            for block in blocks {
                order[places[group]] = block;
                places[group] += 1;
            }
        }
        self.order = order;
        self.groups.iter_mut().zip(ranges).for_each(|(group, blocks)| group.blocks = blocks);
    }

    /// Brings the blocks up to date.
    pub(crate) fn catch_up(&mut self, cluster: &Cluster) {
        match &mut self.own {
            Some(own) => own.catch_up(cluster),
            None => self.layout.ready_blocks(cluster),
        }
    }

    /// The blocks that the groups' are among.
    pub(crate) fn blocks(&self) -> &Blocks {
        self.own.as_ref().unwrap_or(&self.layout.blocks)
    }

    /// The blocks of a group.
    pub(crate) fn blocks_of(&self, group: &Group) -> impl Iterator<Item = &Block> {
        self.order[group.blocks.clone()].iter().map(|number| self.blocks().block(*number))
    }

    /// The slots of a group.
    pub(crate) fn slots_of(&self, group: &Group) -> impl Iterator<Item = usize> {
        self.blocks_of(group).flat_map(|block| self.blocks().slots(block))
    }

    /// The group of the node in `slot`, or the rule that keeps the workload off it.
    pub(crate) fn group(&self, slot: usize) -> Result<usize, &Rule> {
        match self.stands[self.layout.class(slot)] {
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

    fn group(&mut self, class: usize, traits: Traits, values: &[Arc<[ValueId]>]) -> Stand {
        let mut at = self.last[class];
        while let Some(number) = at {
            let Group { points, link, gpus, .. } = self.groups[index(number)];
            if traits == (Traits { points, link, gpus }) {
                return Stand::Group(number);
            }
            at = self.before[index(number)];
        }
        let number = number_of(self.groups.len());
        let Traits { points, link, gpus } = traits;
        self.groups.push(Group { values: Arc::clone(&values[class]), points, link, gpus, blocks: 0..0 });
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
            number_of(misses.len() - 1)
        });
        Stand::Miss(*number)
    }
}
