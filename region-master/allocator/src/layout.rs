//! Nodes that only room tells apart for all workloads that ask by the same attributes, whatever they ask of them: what of a
//! standing the next selector finds ready.

use std::sync::Arc;

use crate::blocks::Blocks;
use crate::classes::{Classes, index};
use crate::cluster::Cluster;
use crate::columns::ValueId;

/// By what a layout tells nodes apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct By {
    /// The attributes by which nodes are selected or preferred, in order; those that some node has.
    pub(crate) selected: Vec<String>,
    /// The attributes by which spreads and affinities tell nodes apart, in order.
    pub(crate) values: Vec<String>,
    /// Whether it counts where nodes lie.
    pub(crate) near: bool,
}

/// All nodes in classes of those that are alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    pub(crate) by: By,
    /// Of the cluster when this was made.
    pub(crate) generation: u64,
    classes: Classes,
    /// By number, what the nodes of a class have in common.
    pub(crate) all: Vec<Class>,
    /// By class of selected attributes: the first slot that is of it.
    pub(crate) selected: Vec<usize>,
    /// By class of values: the values.
    pub(crate) values: Vec<Arc<[ValueId]>>,
    /// By class of kinds: the number of a kind that is of it.
    pub(crate) kinds: Vec<u32>,
    /// The nodes by class; empty until somebody asks.
    pub(crate) blocks: Blocks,
}

/// What the nodes of a class have in common, by the numbers of narrower classes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Class {
    pub(crate) selected: usize,
    pub(crate) values: usize,
    pub(crate) kind: usize,
    /// How many nodes.
    pub(crate) nodes: usize,
}

impl Layout {
    pub(crate) fn new(cluster: &Cluster, by: By) -> Self {
        let (columns, kinds) = (cluster.columns(), cluster.kinds());
        let by_selectors = columns.classes(&columns.selected(by.selected.iter().map(String::as_str)));
        let valued = columns.selected(by.values.iter().map(String::as_str));
        let by_values = columns.classes(&valued);
        let by_kinds = kinds.alike(by.near);
        let classes = kinds.split(by_values.clone().and(&by_selectors), &by_kinds);
        let class = |slot: &usize| Class {
            selected: by_selectors.of(*slot),
            values: by_values.of(*slot),
            kind: index(by_kinds.of(kinds, *slot)),
            nodes: 0,
        };
        let mut all: Vec<Class> = classes.firsts().iter().map(class).collect();
        for slot in cluster.slots() {
            all[classes.of(slot)].nodes += 1;
        }
        let values = |slot: &usize| valued.ids(&by.values, *slot).into();
        Self {
            generation: cluster.generation(),
            classes,
            all,
            selected: by_selectors.firsts().to_vec(),
            values: by_values.firsts().iter().map(values).collect(),
            kinds: by_kinds.firsts,
            blocks: Blocks::default(),
            by,
        }
    }

    /// The class of the node in `slot`.
    pub(crate) fn class(&self, slot: usize) -> usize {
        self.classes.of(slot)
    }

    /// Puts the nodes of each class into blocks, if nobody has asked for that before, or brings them up to date.
    pub(crate) fn ready_blocks(&mut self, cluster: &Cluster) {
        if self.blocks.is_empty() {
            let Self { classes, all, .. } = self;
            self.blocks = Blocks::new(cluster, all.len(), |slot| Some(classes.of(slot)));
        } else {
            self.blocks.catch_up(cluster);
        }
    }
}
