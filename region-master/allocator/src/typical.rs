//! What instances are like here, and how much of a node's room one more instance makes useless for others like them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use skerry_types::Resources;

use crate::fit::{Load, Need};
use crate::room::worth;

/// Most shapes that a node is held against: those of which there are most. The openb trace packs as well with these as with all, and
/// a little worse with 16.
const SHAPES: usize = 64;
/// What the parts of all shapes add up to.
const WHOLE: u64 = 1024;

/// What an instance needs, in steps of a sixteenth of a power of two, so that instances that hardly differ are of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    cpu: u64,
    memory_mib: u64,
    gpu: u64,
}

/// How many allocations of each shape there are. Allocations alone decide it, so that it is the same when state is loaded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shapes {
    counts: BTreeMap<Shape, u32>,
}

/// The shapes of which there are most, and which part of them all each one is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Typical {
    shapes: Vec<(Shape, u64)>,
}

/// What is free on a node.
#[derive(Debug, Clone, Copy)]
struct Free {
    cpu: u64,
    memory_mib: u64,
    /// Over all graphics processors, in thousandths.
    gpu: u64,
    /// On those that nobody has a part of.
    whole_gpus: u64,
    /// On the one that has most.
    gpu_share: u64,
}

impl Shape {
    fn of(need: &Resources) -> Self {
        let (gpu, memory_mib) = (need.gpu.0, need.memory.0 >> 20);
        let gpu = if gpu < 1000 { stepped(gpu).min(1000) } else { gpu };
        Self { cpu: stepped(need.cpu.0), memory_mib: stepped(memory_mib), gpu }
    }

    fn fits(&self, free: &Free) -> bool {
        let gpu = if self.gpu < 1000 { free.gpu_share } else { free.whole_gpus };
        free.cpu >= self.cpu && free.memory_mib >= self.memory_mib && gpu >= self.gpu
    }
}

/// The next step of a sixteenth of a power of two.
fn stepped(amount: u64) -> u64 {
    let step = 1 << (u64::BITS - amount.leading_zeros()).saturating_sub(5);
    amount.checked_next_multiple_of(step).unwrap_or(u64::MAX)
}

impl Shapes {
    /// Counts an allocation.
    pub(crate) fn add(&mut self, need: &Resources) {
        *self.counts.entry(Shape::of(need)).or_default() += 1;
    }

    /// Takes an allocation away.
    pub(crate) fn remove(&mut self, need: &Resources) {
        let shape = Shape::of(need);
        if let Some(count) = self.counts.get_mut(&shape) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&shape);
            }
        }
    }

    /// What is typical when `more` instances that need `need` come to those that are here.
    pub(crate) fn typical(&self, need: &Resources, more: u32) -> Typical {
        let own = Shape::of(need);
        let known = self.counts.get(&own).copied().unwrap_or_default();
        let others = self.counts.iter().filter(|(shape, _)| **shape != own);
        let mut all: Vec<(Reverse<u32>, Shape)> =
            others.map(|(shape, count)| (Reverse(*count), *shape)).collect();
        all.push((Reverse(known.saturating_add(more)), own));
        if all.len() > SHAPES {
            all.select_nth_unstable(SHAPES);
            all.truncate(SHAPES);
        }
        let total: u64 = all.iter().map(|(count, _)| u64::from(count.0)).sum();
        let part = |count: u32| u64::from(count) * WHOLE / total.max(1);
        Typical { shapes: all.into_iter().map(|(count, shape)| (shape, part(count.0))).collect() }
    }
}

impl Typical {
    /// How much more of a node's room is useless with an instance on it than without, at the worth of [`worth`]; negative when the
    /// instance takes what was useless. Room is useless to a shape that does not fit, all of it; to the shapes together in their
    /// proportions. This is the gradient of fragmentation of Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads
    /// with Fragmentation Gradient Descent" (USENIX ATC 2023), over all resources and not graphics processors alone. The instance must fit.
    pub(crate) fn strands(&self, need: &Need, load: &Load) -> i64 {
        let free = Free::of(load);
        self.useless(&free.with(need, load)) - self.useless(&free)
    }

    fn useless(&self, free: &Free) -> i64 {
        let missed = self.shapes.iter().filter(|(shape, _)| !shape.fits(free));
        let part: u64 = missed.map(|(_, part)| part).sum();
        let all = worth(free.cpu, free.memory_mib, free.gpu);
        i64::try_from(u128::from(all) * u128::from(part) / u128::from(WHOLE)).unwrap_or(i64::MAX / 2)
    }
}

impl Free {
    fn of(load: &Load) -> Self {
        let free = load.free();
        Self {
            cpu: free.cpu.0,
            memory_mib: free.memory.0 >> 20,
            gpu: load.gpus.free().sum(),
            whole_gpus: load.gpus.whole_ones(),
            gpu_share: load.gpus.largest_share(),
        }
    }

    /// What is left with an instance on the node.
    fn with(self, need: &Need, load: &Load) -> Self {
        let free = load.free().saturating_sub(&need.resources);
        let left = Self { cpu: free.cpu.0, memory_mib: free.memory.0 >> 20, ..self };
        if need.gpus.is_empty() {
            return left;
        }
        let gpus = load.gpus.left_with(&need.gpus);
        Self {
            gpu: gpus.free().sum(),
            whole_gpus: gpus.whole_ones(),
            gpu_share: gpus.largest_share(),
            ..left
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_types::{Bytes, MilliCpu, MilliGpu};

    fn resources(cpu: u64, memory_mib: u64, gpu: u64) -> Resources {
        Resources {
            cpu: MilliCpu(cpu),
            memory: Bytes(memory_mib << 20),
            gpu: MilliGpu(gpu),
            ..Resources::ZERO
        }
    }

    #[test]
    fn steps_are_a_sixteenth_of_a_power_of_two() {
        let check = |amount, expect| assert_eq!(stepped(amount), expect, "{amount}");
        check(0, 0);
        check(31, 31);
        check(32, 32);
        check(33, 34);
        check(11_264, 11_264);
        check(11_265, 11_776);
        check(u64::MAX, u64::MAX);
    }

    #[test]
    fn the_shapes_of_which_there_are_most_are_typical() {
        let mut shapes = Shapes::default();
        let need = |many: u32| resources(1 << (many % 40), 1 << (many / 40), 0);
        for many in 1..=70 {
            (0..many).for_each(|_| shapes.add(&need(many)));
        }
        let typical = shapes.typical(&need(1), 30);
        let part = |many: u32| {
            let shape = Shape::of(&need(many));
            typical.shapes.iter().find(|(known, _)| *known == shape).map(|(_, part)| *part)
        };
        let all = 31 + (8..=70).sum::<u64>();
        assert_eq!(typical.shapes.len(), SHAPES);
        assert_eq!((part(1), part(7), part(70)), (Some(31 * WHOLE / all), None, Some(70 * WHOLE / all)));
        (0..70).for_each(|_| shapes.remove(&need(70)));
        assert_eq!(shapes.counts.len(), 69);
    }
}
