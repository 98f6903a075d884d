//! What is free on each node, in the shape in which many nodes are looked through fast.

use skerry_types::Resources;

use crate::cluster::Side;
use crate::fit::{Load, Need};

/// Thousandths of a core as MiB of memory: a core is worth 4 GiB, what machines have for each other.
const CPU_ROOM: u64 = 4;
/// Thousandths of a graphics processor as MiB: one is worth eight cores.
const GPU_ROOM: u64 = 32;

/// What is free on one node, derived from its [`Load`] and kept in step with it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    /// Whether the node is connected and not cordoned.
    pub(crate) open: bool,
    /// Whether it is open, not barred, and may hold one more allocation.
    pub(crate) takes: bool,
    pub(crate) most: Most,
    /// The larger, the sooner it is filled: see [`fullness`].
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

/// What some room is worth, in MiB of memory: a node's resources as one number ([`CPU_ROOM`], [`GPU_ROOM`]).
pub(crate) fn worth(cpu: u64, memory_mib: u64, gpu: u64) -> u64 {
    let cpu = cpu.saturating_mul(CPU_ROOM);
    cpu.saturating_add(memory_mib).saturating_add(gpu.saturating_mul(GPU_ROOM))
}

/// The order in which nodes are filled: those that hold something first, then the larger ones, and among those of about one size the one
/// with the least free.
///
/// It does not depend on what is to be placed, so that nodes can be kept in order: what an instance takes is the same on every
/// node. That large nodes come first is measured: with pods that come and go as in the openb trace fewer nodes are in use than with the
/// least free first, and more of the graphics processors can be had when nobody leaves.
fn fullness(load: &Load) -> u64 {
    let worth = |part: &Resources, gpu: u64| worth(part.cpu.0, part.memory.0 >> 20, gpu);
    let all = worth(&load.capacity, load.gpus.whole());
    let free = worth(&load.free(), load.gpus.free().sum());
    let in_use = u64::from(!load.held.is_empty());
    (in_use << IN_USE_SHIFT) + (size(all) << SIZE_SHIFT) + ROOM_MAX.saturating_sub(free)
}

/// Whether a node of this fullness holds something.
pub(crate) fn in_use(fullness: u64) -> bool {
    fullness >> IN_USE_SHIFT > 0
}

/// Where the size begins in a fullness, above the room: rooms up to 2^52 MiB. A size has nine bits.
const SIZE_SHIFT: u32 = 52;
const IN_USE_SHIFT: u32 = 62;
const ROOM_MAX: u64 = (1 << SIZE_SHIFT) - 1;

/// The size of a node in steps of a quarter of a power of two, so that machines of one make are of one size whatever their systems keep
/// for themselves.
fn size(room: u64) -> u64 {
    let bits = u64::from(u64::BITS - room.leading_zeros());
    let quarter = if bits > 2 { (room >> (bits - 3)) & 3 } else { 0 };
    bits * 4 + quarter
}
