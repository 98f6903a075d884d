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
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
        for slot in cluster.slots() {
            if let Some(group) = group(slot) {
                members[group].push(slot);
            }
        }
        let mut made = Self { of_slot: vec![NONE; cluster.slots().len()], ..Self::default() };
        for (group, slots) in members.iter().enumerate() {
            let begin = made.all.len();
            for part in slots.chunks(BLOCK) {
                let first = made.order.len();
                made.order.extend(part);
                for slot in part {
                    made.of_slot[*slot] = made.all.len();
                }
                made.all.push(Block { group, first, last: made.order.len(), ..Block::default() });
            }
            groups[group].blocks = begin..made.all.len();
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
