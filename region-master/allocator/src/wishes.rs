//! Affinities: being beside other workloads of the tenant, or apart from them.

use std::collections::{BTreeMap, BTreeSet};

use skerry_types::{Affinity, Rule, SpreadBy};

use crate::cluster::Cluster;
use crate::columns::MISSING;
use crate::demand::Demand;
use crate::standing::{Group, Standing, key};

/// The affinities of one demand, held against where the other workloads are. Nothing of it is made for a demand without any.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    // By values that whole groups have in common.
    of_groups: Vec<Wish>,
    // By single nodes.
    of_nodes: Vec<Wish>,
    // Nodes that a wish by nodes finds something on.
    marked: BTreeMap<usize, Vec<bool>>,
}

#[derive(Debug)]
struct Wish {
    // What is told when a must is not met; `None` when it is no must.
    must: Option<Rule>,
    // What it adds when something is there: negative to be apart.
    weight: i64,
    apart: bool,
    words: String,
    // Its place among the keys of the standing; unused by nodes.
    key: usize,
    // By value: whether something is there.
    there: Vec<bool>,
}

/// What wishes make of a node or group: points, or the must that is not met.
pub(crate) type Outcome<'a> = Result<i64, &'a Rule>;

impl Wish {
    fn new(affinity: &Affinity, apart: bool) -> Self {
        let (matches, by) = (affinity.matches.to_string(), affinity.by.to_string());
        let weight = i64::from(affinity.weight.unwrap_or_default());
        let words = if apart { "apart from" } else { "beside" };
        Self {
            words: format!("{words} '{matches}' by {by}"),
            must: affinity.weight.is_none().then_some(if apart {
                Rule::AntiAffinity { matches, by }
            } else {
                Rule::Affinity { matches, by }
            }),
            weight: if apart { -weight } else { weight },
            apart,
            key: 0,
            there: Vec::new(),
        }
    }

    fn outcome(&self, there: bool) -> Outcome<'_> {
        match &self.must {
            Some(rule) if there == self.apart => Err(rule),
            _ => Ok(if there { self.weight } else { 0 }),
        }
    }
}

impl Wishes {
    /// Finds the workloads that are meant: those of the same tenant, never the workload itself, by the labels that their
    /// instances were placed with. Cordoned and cut-off nodes count like others.
    pub(crate) fn new(cluster: &Cluster, standing: &Standing, demand: &Demand<'_>) -> Self {
        let mut wishes = Self::default();
        let beside = demand.placement.affinity.iter().map(|affinity| (affinity, false));
        let apart = demand.placement.anti_affinity.iter().map(|affinity| (affinity, true));
        let mut found: Vec<BTreeSet<usize>> = Vec::new();
        for (affinity, is_apart) in beside.chain(apart) {
            let mut wish = Wish::new(affinity, is_apart);
            let slots = slots_of(cluster, demand, affinity);
            if affinity.by == SpreadBy::Node {
                found.push(slots);
                wishes.of_nodes.push(wish);
                continue;
            }
            wish.key = standing.terms.index(&affinity.by);
            wish.there = vec![false; cluster.columns().numbers(key(&affinity.by))];
            for slot in slots {
                let value = cluster.columns().id(key(&affinity.by), slot);
                // Nodes without the attribute have nothing in common.
                if value != MISSING {
                    wish.there[usize::try_from(value).expect("a 32-bit number fits")] = true;
                }
            }
            wishes.of_groups.push(wish);
        }
        for (at, slots) in found.into_iter().enumerate() {
            for slot in slots {
                wishes.marked.entry(slot).or_insert_with(|| vec![false; wishes.of_nodes.len()])[at] = true;
            }
        }
        wishes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.of_groups.is_empty() && self.of_nodes.is_empty()
    }

    /// What holds for all nodes of a group.
    pub(crate) fn group(&self, group: &Group) -> Outcome<'_> {
        let there =
            |wish: &Wish| wish.there[usize::try_from(group.values[wish.key]).expect("a 32-bit number fits")];
        self.of_groups.iter().try_fold(0, |sum, wish| Ok(sum + wish.outcome(there(wish))?))
    }

    /// What holds for one node beyond its group.
    pub(crate) fn node(&self, slot: usize) -> Outcome<'_> {
        match self.marked.get(&slot) {
            Some(there) => {
                let wishes = self.of_nodes.iter().zip(there);
                wishes.into_iter().try_fold(0, |sum, (wish, there)| Ok(sum + wish.outcome(*there)?))
            }
            None => self.others(),
        }
    }

    /// What holds for all nodes that are not marked.
    pub(crate) fn others(&self) -> Outcome<'_> {
        self.of_nodes.iter().try_fold(0, |sum, wish| Ok(sum + wish.outcome(false)?))
    }

    /// Nodes for which something else holds than for the others.
    pub(crate) fn marked(&self) -> impl Iterator<Item = usize> {
        self.marked.keys().copied()
    }

    pub(crate) fn is_marked(&self, slot: usize) -> bool {
        self.marked.contains_key(&slot)
    }

    /// The wishes that add points to a node, with what they add.
    pub(crate) fn parts(&self, group: &Group, slot: usize) -> Vec<(&str, i64)> {
        let of_groups = self.of_groups.iter().map(|wish| {
            (wish, wish.there[usize::try_from(group.values[wish.key]).expect("a 32-bit number fits")])
        });
        let marks = self.marked.get(&slot);
        let of_nodes =
            self.of_nodes.iter().enumerate().map(|(at, wish)| (wish, marks.is_some_and(|there| there[at])));
        let parts = of_groups.chain(of_nodes).filter(|(wish, there)| *there && wish.weight != 0);
        parts.map(|(wish, _)| (wish.words.as_str(), wish.weight)).collect()
    }
}

fn slots_of(cluster: &Cluster, demand: &Demand<'_>, affinity: &Affinity) -> BTreeSet<usize> {
    let others = cluster.footprints().others(demand.key);
    let meant = others.filter(|other| affinity.matches.matches(&other.labels));
    meant.flat_map(|other| other.seats.keys()).map(|seat| cluster.seats().slot(*seat)).collect()
}
