//! What is free on each node, in the shape in which many nodes are looked through fast.

use skerry_types::Resources;

use crate::cluster::Side;
use crate::fit::{Load, Need};

/// Thousandths of a core as MiB of memory: a core is worth 4 GiB, what machines have for each other.
const CPU_ROOM: u64 = 4;
/// Thousandths of a graphics processor as MiB: one is worth eight cores.
const GPU_ROOM: u64 = 32;
/// Set in the fullness of a node that holds something, so that it is taken before any empty one.
const USED: u64 = 1 << 63;

/// What is free on one node, derived from its [`Load`] and kept in step with it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    /// Whether the node is connected and not cordoned.
    pub(crate) open: bool,
    /// Whether it is open, not barred, and may hold one more allocation.
    pub(crate) takes: bool,
    pub(crate) most: Most,
    /// The larger, the less is free: see [`fullness`].
    pub(crate) fullness: u64,
}

/// What a node, or any of some nodes, has free at most.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Most {
    free: Resources,
    whole_gpus: u64,
    gpu_share: u64,
}

impl Room {
    pub(crate) fn of(side: &Side, load: &Load) -> Self {
        let open = side.reachable && side.schedulable;
        let most = Most {
            free: load.free(),
            whole_gpus: load.gpus.whole_ones(),
            gpu_share: load.gpus.largest_share(),
        };
        Self { open, takes: open && !side.barred && load.room_for_one(), most, fullness: fullness(load) }
    }
}

impl Most {
    /// Whether `need` may fit; if not, it does not.
    pub(crate) fn may_fit(&self, need: &Need) -> bool {
        self.free.fits(&need.resources)
            && self.gpu_share >= need.gpus.part().unwrap_or_default()
            && self.whole_gpus >= need.gpus.whole().unwrap_or_default()
    }

    /// The larger of both, in each part.
    pub(crate) fn widen(&mut self, other: &Self) {
        self.free = self.free.max(&other.free);
        self.whole_gpus = self.whole_gpus.max(other.whole_gpus);
        self.gpu_share = self.gpu_share.max(other.gpu_share);
    }
}

/// How little a node has free: one that holds something before any empty one, then the one with the least free cpu, memory and
/// graphics processors, each in terms of memory ([`CPU_ROOM`], [`GPU_ROOM`]). Does not depend on what is to be placed, so that nodes can
/// be kept in order: what an instance takes is the same on every node.
pub(crate) fn fullness(load: &Load) -> u64 {
    let free = load.free();
    let gpus: u64 = load.gpus.free().sum();
    let room = free.cpu.0.saturating_mul(CPU_ROOM);
    let room = room.saturating_add(free.memory.0 >> 20).saturating_add(gpus.saturating_mul(GPU_ROOM));
    let used = if load.held.is_empty() { 0 } else { USED };
    used + (USED - 1).saturating_sub(room)
}
