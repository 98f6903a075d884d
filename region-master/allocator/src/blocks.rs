//! The nodes of each group in blocks, each with the most that any of its nodes has free, so that whole blocks are passed over.

use crate::cluster::Cluster;
use crate::room::Most;
use crate::standing::Group;

/// Most nodes in a block: one block's rooms are a few pages, and the blocks of 100,000 nodes are as many as 1,600 nodes.
const BLOCK: usize = 64;

/// The nodes that may take a workload, by group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks {
    order: Vec<usize>,
    all: Vec<Block>,
    /// The block of each slot; of nodes outside all groups, anything.
    of_slot: Vec<usize>,
    // How much of the cluster's journal is taken up.
    seen: u64,
}

/// Some nodes of one group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    group: usize,
    first: usize,
    last: usize,
    /// Nodes that are open.
    pub(crate) open: u32,
    /// Whether any node may hold one more allocation.
    pub(crate) takes: bool,
    /// The most that any node that takes something has free.
    pub(crate) most: Most,
    /// The largest fullness of those.
    pub(crate) fullness: u64,
}

const NONE: usize = usize::MAX;

impl Blocks {
    /// Puts all slots of which `group` says a group into blocks, and says to the groups which blocks are theirs.
    pub(crate) fn new(
        cluster: &Cluster,
        groups: &mut [Group],
        group: impl Fn(usize) -> Option<usize>,
    ) -> Self {
        let mut made = Self { of_slot: vec![NONE; cluster.slots().len()], ..Self::default() };
        // First how many there are of each group, then the next place in the order for one.
        let mut places = vec![0; groups.len()];
        for group in cluster.slots().filter_map(&group) {
            places[group] += 1;
        }
        let mut begin = 0;
        for (number, place) in places.iter_mut().enumerate() {
            let (first_block, end) = (made.all.len(), begin + *place);
            for first in (begin..end).step_by(BLOCK) {
                let last = end.min(first + BLOCK);
                made.all.push(Block { group: number, first, last, ..Block::default() });
            }
            groups[number].blocks = first_block..made.all.len();
            *place = begin;
            begin = end;
        }
        made.order = vec![0; begin];
        for slot in cluster.slots() {
            let Some(group) = group(slot) else { continue };
            let place = places[group];
            places[group] += 1;
            made.order[place] = slot;
            let first_block = groups[group].blocks.start;
            made.of_slot[slot] = first_block + (place - made.all[first_block].first) / BLOCK;
        }
        made.refresh_all(cluster);
        made
    }

    /// Takes up what changed since the last call.
    pub(crate) fn catch_up(&mut self, cluster: &Cluster) {
        let journal = cluster.journal();
        match journal.since(self.seen) {
            Some(changed) if changed.len() <= self.all.len() => {
                let mut stale: Vec<usize> = changed.iter().map(|slot| self.of_slot[*slot]).collect();
                stale.sort_unstable();
                stale.dedup();
                for block in stale.into_iter().filter(|block| *block != NONE) {
                    self.refresh(cluster, block);
                }
                self.seen = journal.end();
            }
            _ => self.refresh_all(cluster),
        }
    }

    /// The blocks of a group.
    pub(crate) fn of(&self, group: &Group) -> &[Block] {
        &self.all[group.blocks.clone()]
    }

    /// The slots of a block, by growing number.
    pub(crate) fn slots(&self, block: &Block) -> &[usize] {
        &self.order[block.first..block.last]
    }

    /// All slots of all groups.
    pub(crate) fn all_slots(&self) -> impl Iterator<Item = (usize, usize)> {
        self.all.iter().flat_map(|block| self.slots(block).iter().map(|slot| (block.group, *slot)))
    }

    fn refresh_all(&mut self, cluster: &Cluster) {
        for block in 0..self.all.len() {
            self.refresh(cluster, block);
        }
        self.seen = cluster.journal().end();
    }

    fn refresh(&mut self, cluster: &Cluster, block: usize) {
        let block = &mut self.all[block];
        let Block { group, first, last, .. } = *block;
        let mut fresh = Block { group, first, last, ..Block::default() };
        for slot in &self.order[first..last] {
            let room = cluster.room(*slot);
            fresh.open += u32::from(room.open);
            if room.takes {
                fresh.takes = true;
                fresh.most.widen(&room.most);
                fresh.fullness = fresh.fullness.max(room.fullness);
            }
        }
        *block = fresh;
    }
}
