//! What an instance makes useless of a node's room, written down plainly.

use skerry_allocator::NodeView;
use skerry_types::{Bytes, MilliCpu, MilliGpu, Resources};

use crate::model::{Work, World};

impl World {
    /// What instances are like with `more` of a workload: a shape, and how many of 1,024 have it.
    pub(crate) fn typical(&self, work: &Work, more: u32) -> Vec<(Resources, u64)> {
        let sixteenths = |amount: u64| {
            (amount..u64::MAX).find(|step| *step < 32 || step.trailing_zeros() + 5 > step.ilog2())
        };
        let shape = |work: &Work| {
            let need = work.spec.resources();
            Resources {
                cpu: MilliCpu(sixteenths(need.cpu.0).unwrap()),
                memory: Bytes(sixteenths(need.memory.0 >> 20).unwrap() << 20),
                gpu: MilliGpu(if need.gpu.0 < 1000 {
                    sixteenths(need.gpu.0).unwrap().min(1000)
                } else {
                    need.gpu.0
                }),
                ..Resources::ZERO
            }
        };
        let mut counts: Vec<(Resources, u64)> = vec![(shape(work), u64::from(more))];
        for held in &self.held {
            match counts.iter_mut().find(|(known, _)| *known == shape(&held.work)) {
                Some((_, count)) => *count += 1,
                None => counts.push((shape(&held.work), 1)),
            }
        }
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        counts.into_iter().map(|(shape, count)| (shape, count * 1024 / all)).collect()
    }

    /// What an instance makes useless of a node's room.
    pub(crate) fn strands(&self, view: &NodeView, work: &Work, typical: &[(Resources, u64)]) -> i64 {
        let useless = |free: Resources, gpus: &[u64]| -> i64 {
            let fits = |shape: &Resources| {
                let whole: u64 = gpus.iter().filter(|free| **free == 1000).sum();
                let share = gpus.iter().max().copied().unwrap_or_default();
                let gpu = if shape.gpu.0 < 1000 { share } else { whole };
                shape.cpu <= free.cpu && shape.memory.0 >> 20 <= free.memory.0 >> 20 && shape.gpu.0 <= gpu
            };
            let part: u64 = typical.iter().filter(|(shape, _)| !fits(shape)).map(|(_, part)| part).sum();
            let worth = free.cpu.0 * 4 + (free.memory.0 >> 20) + gpus.iter().sum::<u64>() * 32;
            i64::try_from(worth * part / 1024).unwrap()
        };
        let free = view.capacity.saturating_sub(&self.used(&view.name));
        let mut gpus = self.free_gpus(view);
        let before = useless(free, &gpus);
        let mut need = work.spec.resources().gpu.0;
        while need >= 1000 {
            *gpus.iter_mut().find(|free| **free == 1000).unwrap() = 0;
            need -= 1000;
        }
        if need > 0 {
            *gpus.iter_mut().filter(|free| **free >= need).min().unwrap() -= need;
        }
        useless(free.saturating_sub(&work.spec.resources()), &gpus) - before
    }
}
