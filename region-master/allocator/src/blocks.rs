//! Nodes in blocks by class, each with the most that any of its nodes has free, so that whole blocks are passed over.

use std::ops::Range;

use crate::classes::{index, number_of};
use crate::cluster::Cluster;
use crate::room::{Most, Room};

/// Most nodes in a block: one block's rooms are a few pages, and the blocks of 100,000 nodes are as many as 1,600 nodes.
pub(crate) const BLOCK: usize = 64;

/// All nodes that are of some class.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks {
    /// Slots, those of a block side by side.
    order: Vec<u32>,
    all: Vec<Block>,
    /// By class: its first block; and an end.
    firsts: Vec<u32>,
    /// The block of each slot; [`NONE`] for nodes outside all classes.
    of_slot: Vec<u32>,
    // How much of the cluster's journal is taken up.
    seen: u64,
}

/// Some nodes of one class.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    first: u32,
    last: u32,
    /// Nodes that are open.
    pub(crate) open: u32,
    /// Whether any node may hold one more allocation.
    pub(crate) takes: bool,
    /// The most that any node that takes something has free.
    pub(crate) most: Most,
    /// The largest fullness of those.
    pub(crate) fullness: u64,
}

const NONE: u32 = u32::MAX;

impl Blocks {
    /// Puts all slots of which `class` says one of `classes` into blocks.
    pub(crate) fn new(cluster: &Cluster, classes: usize, class: impl Fn(usize) -> Option<usize>) -> Self {
        let mut made = Self { of_slot: vec![NONE; cluster.slots().len()], ..Self::default() };
        // First how many there are of each class, then the next place in the order for one.
        let mut places = vec![0; classes];
        for class in cluster.slots().filter_map(&class) {
            places[class] += 1;
        }
        let mut begin = 0;
        for place in &mut places {
            made.firsts.push(number_of(made.all.len()));
            let end = begin + *place;
            for first in (begin..end).step_by(BLOCK) {
                let last = end.min(first + BLOCK);
                made.all.push(Block { first: number_of(first), last: number_of(last), ..Block::default() });
            }
            *place = begin;
            begin = end;
        }
        made.firsts.push(number_of(made.all.len()));
        made.order = vec![0; begin];
        for slot in cluster.slots() {
            let Some(class) = class(slot) else { continue };
            let place = places[class];
            places[class] += 1;
            made.order[place] = number_of(slot);
            let first_block = made.firsts[class];
            let before = (place - index(made.all[index(first_block)].first)) / BLOCK;
            made.of_slot[slot] = first_block + number_of(before);
        }
        made.refresh_all(cluster);
        made
    }

    /// Whether there is nothing here.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes up what changed since the last call.
    pub(crate) fn catch_up(&mut self, cluster: &Cluster) {
        let journal = cluster.journal();
        match journal.since(self.seen) {
            Some(changed) if changed.len() <= self.all.len() => {
                let mut stale: Vec<u32> = changed.iter().map(|slot| self.of_slot[*slot]).collect();
                stale.sort_unstable();
                stale.dedup();
                for block in stale.into_iter().filter(|block| *block != NONE) {
                    self.refresh(cluster, index(block));
                }
                self.seen = journal.end();
            }
            _ => self.refresh_all(cluster),
        }
    }

    /// The numbers of the blocks of a class.
    pub(crate) fn of(&self, class: usize) -> Range<u32> {
        self.firsts[class]..self.firsts[class + 1]
    }

    /// A block by its number.
    pub(crate) fn block(&self, number: u32) -> &Block {
        &self.all[index(number)]
    }

    /// The slots of a block, by growing number.
    pub(crate) fn slots(&self, block: &Block) -> impl Iterator<Item = usize> {
        self.order[index(block.first)..index(block.last)].iter().map(|slot| index(*slot))
    }

    /// The first slot of a block.
    pub(crate) fn first_slot(&self, block: &Block) -> usize {
        index(self.order[index(block.first)])
    }

    /// In the order of slots, in which rooms lie in memory.
    fn refresh_all(&mut self, cluster: &Cluster) {
        for block in &mut self.all {
            *block = block.emptied();
        }
        let mut slot = 0;
        for run in self.of_slot.chunk_by(|one, next| one == next) {
            let slots = slot..slot + run.len();
            slot = slots.end;
            if run[0] != NONE {
                let block = &mut self.all[index(run[0])];
                let mut widened = block.clone();
                slots.for_each(|slot| widened.widen(cluster.room(slot)));
                *block = widened;
            }
        }
        self.seen = cluster.journal().end();
    }

    fn refresh(&mut self, cluster: &Cluster, block: usize) {
        let mut fresh = self.all[block].emptied();
        for slot in &self.order[index(fresh.first)..index(fresh.last)] {
            fresh.widen(cluster.room(index(*slot)));
        }
        self.all[block] = fresh;
    }
}

impl Block {
    /// The same nodes, before anything is known of their rooms.
    fn emptied(&self) -> Self {
        Self { first: self.first, last: self.last, ..Self::default() }
    }

    fn widen(&mut self, room: &Room) {
        self.open += u32::from(room.open);
        if room.takes {
            self.takes = true;
            self.most.widen(&room.most);
            self.fullness = self.fullness.max(room.fullness);
        }
    }
}
