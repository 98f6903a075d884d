//! Packers: Skerry's allocator, and the two that everybody knows.

use super::trace::{Amount, TraceNode};

/// Places pods on nodes, one at a time and for good.
pub(crate) trait Packer {
    /// The node for a pod, whose room is taken.
    fn place(&mut self, pod: usize, need: &Amount) -> Option<usize>;
    /// Gives a pod's room back.
    fn remove(&mut self, pod: usize, node: usize, need: &Amount);
    /// What is free on each node.
    fn free(&self) -> Vec<Free>;
}

/// What is free on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Free {
    pub(crate) cpu_milli: u64,
    pub(crate) memory_mib: u64,
    /// Of each graphics processor, in thousandths.
    pub(crate) gpus: Vec<u64>,
}

impl Free {
    pub(crate) fn all(room: &Amount) -> Self {
        let gpus = usize::try_from(room.gpu_milli / 1000).unwrap_or(0);
        Self { cpu_milli: room.cpu_milli, memory_mib: room.memory_mib, gpus: vec![1000; gpus] }
    }

    /// Whether a pod that needs this fits.
    pub(crate) fn fits(&self, need: &Amount) -> bool {
        self.cpu_milli >= need.cpu_milli
            && self.memory_mib >= need.memory_mib
            && self.gpus_for(need.gpu_milli).is_some()
    }

    /// The graphics processors for a pod: the fullest that has room for a part, the first whole ones for more.
    fn gpus_for(&self, need: u64) -> Option<Vec<usize>> {
        let numbers = || 0..self.gpus.len();
        match need {
            0 => Some(Vec::new()),
            1..1000 => {
                let fitting = numbers().filter(|gpu| self.gpus[*gpu] >= need);
                fitting.min_by_key(|gpu| self.gpus[*gpu]).map(|gpu| vec![gpu])
            }
            _ => {
                let count = usize::try_from(need / 1000).ok()?;
                let whole: Vec<usize> = numbers().filter(|gpu| self.gpus[*gpu] == 1000).take(count).collect();
                (whole.len() == count).then_some(whole)
            }
        }
    }

    fn take(&mut self, need: &Amount) -> Vec<usize> {
        let gpus = self.gpus_for(need.gpu_milli).unwrap_or_default();
        self.change(need, &gpus, |free, amount| *free -= amount);
        gpus
    }

    fn give_back(&mut self, need: &Amount, gpus: &[usize]) {
        self.change(need, gpus, |free, amount| *free += amount);
    }

    fn change(&mut self, need: &Amount, gpus: &[usize], by: impl Fn(&mut u64, u64)) {
        by(&mut self.cpu_milli, need.cpu_milli);
        by(&mut self.memory_mib, need.memory_mib);
        for gpu in gpus {
            by(&mut self.gpus[*gpu], need.gpu_milli.min(1000));
        }
    }
}

/// First fit or best fit over a plain list of nodes.
pub(crate) struct Plain {
    rooms: Vec<Amount>,
    free: Vec<Free>,
    best: bool,
    gpus: std::collections::BTreeMap<usize, Vec<usize>>,
}

impl Plain {
    /// The first node that fits, by its place in the list.
    pub(crate) fn first_fit(nodes: &[TraceNode]) -> Self {
        Self::new(nodes, false)
    }

    /// The node that is fullest with the pod: least free, as a sum over resources of the part of the node that is free.
    pub(crate) fn best_fit(nodes: &[TraceNode]) -> Self {
        Self::new(nodes, true)
    }

    fn new(nodes: &[TraceNode], best: bool) -> Self {
        Self {
            rooms: nodes.iter().map(|node| node.room).collect(),
            free: nodes.iter().map(|node| Free::all(&node.room)).collect(),
            best,
            gpus: std::collections::BTreeMap::new(),
        }
    }

    /// Thousandths of the node that are free with the pod on it, over its resources.
    fn left(&self, node: usize, need: &Amount) -> u64 {
        let (room, free) = (&self.rooms[node], &self.free[node]);
        let part = |free: u64, need: u64, room: u64| (free - need) * 1000 / room.max(1);
        part(free.cpu_milli, need.cpu_milli, room.cpu_milli)
            + part(free.memory_mib, need.memory_mib, room.memory_mib)
            + part(free.gpus.iter().sum(), need.gpu_milli, room.gpu_milli)
    }
}

impl Packer for Plain {
    fn place(&mut self, pod: usize, need: &Amount) -> Option<usize> {
        let mut fitting = (0..self.free.len()).filter(|node| self.free[*node].fits(need));
        let node =
            if self.best { fitting.min_by_key(|node| self.left(*node, need)) } else { fitting.next() }?;
        let gpus = self.free[node].take(need);
        self.gpus.insert(pod, gpus);
        Some(node)
    }

    fn remove(&mut self, pod: usize, node: usize, need: &Amount) {
        let gpus = self.gpus.remove(&pod).unwrap_or_default();
        self.free[node].give_back(need, &gpus);
    }

    fn free(&self) -> Vec<Free> {
        self.free.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(cpu_milli: u64, gpu_milli: u64) -> Amount {
        Amount { cpu_milli, memory_mib: 1, gpu_milli }
    }

    fn node(cpu_milli: u64, gpu_milli: u64) -> TraceNode {
        let room = Amount { cpu_milli, memory_mib: 100, gpu_milli };
        TraceNode { name: "n".to_owned(), room, model: String::new() }
    }

    #[test]
    fn parts_share_a_gpu_and_whole_ones_stay_whole() {
        let mut packer = Plain::first_fit(&[node(9000, 2000)]);
        assert_eq!(packer.place(0, &amount(1, 500)), Some(0));
        assert_eq!(packer.place(1, &amount(1, 400)), Some(0));
        assert_eq!(packer.free()[0].gpus, [100, 1000]);
        assert_eq!(packer.place(2, &amount(1, 2000)), None);
        assert_eq!(packer.place(3, &amount(1, 1000)), Some(0));
        packer.remove(0, 0, &amount(1, 500));
        assert_eq!(packer.free()[0].gpus, [600, 0]);
    }

    #[test]
    fn first_fit_takes_the_first_and_best_fit_the_fullest() {
        let nodes = [node(8000, 0), node(2000, 0)];
        assert_eq!(Plain::first_fit(&nodes).place(0, &amount(1000, 0)), Some(0));
        assert_eq!(Plain::best_fit(&nodes).place(0, &amount(1000, 0)), Some(1));
    }
}
