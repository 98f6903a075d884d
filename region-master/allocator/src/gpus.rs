//! Graphics processors of one node, whole and in parts.

use std::collections::BTreeMap;

use skerry_types::{ContainerName, ContainerSpec, GpuBinding, InstanceSpec, MilliGpu};

/// All of one processor.
const WHOLE: u64 = 1000;

/// What an instance needs of graphics processors.
#[derive(Debug, Clone, Default)]
pub(crate) struct GpuNeed {
    containers: Vec<Want>,
    init: Vec<Want>,
    // Where one container of all wants something, and whole ones or a part: what the quick check goes by.
    simple: Option<u64>,
}

#[derive(Debug, Clone)]
struct Want {
    container: ContainerName,
    share: u64,
}

/// Shares of the processors of one node that are taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct GpuBook {
    count: u16,
    // By number. May go beyond the count when a node came back with fewer, and beyond a whole one for what was promised.
    taken: Vec<u64>,
}

/// What one allocation holds: number and share.
pub(crate) type Holds = Vec<(u16, u64)>;

impl Want {
    fn all(containers: &[ContainerSpec]) -> Vec<Self> {
        let some = containers.iter().filter(|container| container.resources.gpu.0 > 0);
        some.map(|container| Self { container: container.name.clone(), share: container.resources.gpu.0 })
            .collect()
    }

    /// The shares that it is made of: whole ones, and a part of one.
    fn shares(&self) -> impl Iterator<Item = u64> + use<> {
        let part = self.share % WHOLE;
        let whole = usize::try_from(self.share / WHOLE).unwrap_or(usize::MAX);
        std::iter::repeat_n(WHOLE, whole).chain((part > 0).then_some(part))
    }
}

impl GpuNeed {
    pub(crate) fn of(spec: &InstanceSpec) -> Self {
        let (containers, init) = (Want::all(&spec.containers), Want::all(&spec.init));
        let simple = match (containers.as_slice(), init.as_slice()) {
            ([], []) => Some(0),
            ([one], []) | ([], [one]) if one.share <= WHOLE || one.share % WHOLE == 0 => Some(one.share),
            _ => None,
        };
        Self { containers, init, simple }
    }

    /// Whether nothing is needed.
    pub(crate) fn is_empty(&self) -> bool {
        self.simple == Some(0)
    }

    /// The part of one processor that is all that is needed, if so.
    pub(crate) fn part(&self) -> Option<u64> {
        self.simple.filter(|share| (1..WHOLE).contains(share))
    }

    /// The whole ones that are all that is needed, in thousandths, if so.
    pub(crate) fn whole(&self) -> Option<u64> {
        self.simple.filter(|share| *share >= WHOLE)
    }
}

/// What an allocation with these bindings holds. Init containers run before the others, so on one processor the larger of
/// both counts.
pub(crate) fn holds(spec: &InstanceSpec, bindings: &[GpuBinding]) -> Holds {
    let mut together: BTreeMap<u16, u64> = BTreeMap::new();
    let mut alone: BTreeMap<(&ContainerName, u16), u64> = BTreeMap::new();
    for binding in bindings {
        if spec.init.iter().any(|container| container.name == binding.container) {
            *alone.entry((&binding.container, binding.gpu)).or_default() += binding.share.0;
        } else {
            *together.entry(binding.gpu).or_default() += binding.share.0;
        }
    }
    for ((_, gpu), share) in alone {
        let held = together.entry(gpu).or_default();
        *held = (*held).max(share);
    }
    together.into_iter().collect()
}

/// A choice under way.
struct Choice {
    free: Vec<u64>,
    held: Vec<u64>,
    bindings: Vec<GpuBinding>,
}

impl GpuBook {
    pub(crate) fn set_count(&mut self, count: u16) {
        self.count = count;
        let count = usize::from(count);
        if self.taken.len() < count {
            self.taken.resize(count, 0);
        }
    }

    /// Thousandths of all of them.
    pub(crate) fn whole(&self) -> u64 {
        u64::from(self.count) * WHOLE
    }

    /// What is free of each.
    pub(crate) fn free(&self) -> impl Iterator<Item = u64> {
        self.taken.iter().take(usize::from(self.count)).map(|taken| WHOLE.saturating_sub(*taken))
    }

    pub(crate) fn take(&mut self, holds: &Holds) {
        for (gpu, share) in holds {
            let gpu = usize::from(*gpu);
            if self.taken.len() <= gpu {
                self.taken.resize(gpu + 1, 0);
            }
            self.taken[gpu] += share;
        }
    }

    pub(crate) fn give_back(&mut self, holds: &Holds) {
        for (gpu, share) in holds {
            if let Some(taken) = self.taken.get_mut(usize::from(*gpu)) {
                *taken = taken.saturating_sub(*share);
            }
        }
    }

    /// Whether `need` could be had.
    pub(crate) fn fits(&self, need: &GpuNeed) -> bool {
        match need.simple {
            Some(0) => true,
            Some(part) if part < WHOLE => self.free().any(|free| free >= part),
            Some(whole) => self.whole_ones() >= whole,
            None => self.choose(need).is_ok(),
        }
    }

    /// Thousandths of processors that nobody has a part of.
    pub(crate) fn whole_ones(&self) -> u64 {
        self.free().filter(|free| *free == WHOLE).sum()
    }

    /// The largest share that one processor has free.
    pub(crate) fn largest_share(&self) -> u64 {
        self.free().max().unwrap_or_default()
    }

    /// The book with `need` taken, which must fit.
    pub(crate) fn left_with(&self, need: &GpuNeed) -> Self {
        let mut left = self.clone();
        match need.simple {
            Some(part) if part < WHOLE => {
                let fitting = (0..usize::from(self.count)).filter(|gpu| self.taken[*gpu] + part <= WHOLE);
                if let Some(fullest) = fitting.max_by_key(|gpu| self.taken[*gpu]) {
                    left.taken[fullest] += part;
                }
            }
            Some(mut whole) => {
                for taken in left.taken.iter_mut().take(usize::from(self.count)) {
                    if *taken == 0 && whole >= WHOLE {
                        *taken = WHOLE;
                        whole -= WHOLE;
                    }
                }
            }
            None => {
                for binding in self.choose(need).unwrap_or_default() {
                    left.taken[usize::from(binding.gpu)] += binding.share.0;
                }
            }
        }
        left
    }

    /// Which processors an instance would get: whole ones by number; a part of the one that has the least left, so that whole ones
    /// stay whole. Large parts choose first. An init container uses what the others will have, and more only where it must.
    /// On failure, the most that could be had.
    pub(crate) fn choose(&self, need: &GpuNeed) -> Result<Vec<GpuBinding>, MilliGpu> {
        let free: Vec<u64> = self.free().collect();
        let mut choice = Choice { held: vec![0; free.len()], free, bindings: Vec::new() };
        let mut wants: Vec<(usize, u64)> = Vec::new();
        for (at, want) in need.containers.iter().enumerate() {
            wants.extend(want.shares().map(|share| (at, share)));
        }
        wants.sort_by_key(|(_, share)| std::cmp::Reverse(*share));
        let mut given = 0;
        for (at, share) in wants {
            let none = vec![0; choice.free.len()];
            choice
                .bind(&need.containers[at].container, share, &none)
                .map_err(|most| MilliGpu(given + most))?;
            given += share;
        }
        for want in &need.init {
            choice.bind_init(want)?;
        }
        let order = |binding: &GpuBinding| {
            let mut wants = need.init.iter().chain(&need.containers);
            wants.position(|want| want.container == binding.container)
        };
        choice.bindings.sort_by_key(|binding| (order(binding), binding.gpu));
        Ok(choice.bindings)
    }
}

impl Choice {
    /// Binds `share` of the processor on which it takes the least that nobody has yet, and of those the one that has the least
    /// left. `usable` is what the allocation holds already and the container may use.
    fn bind(&mut self, container: &ContainerName, share: u64, usable: &[u64]) -> Result<(), u64> {
        let fitting = (0..self.free.len()).filter(|gpu| self.free[*gpu] + usable[*gpu] >= share);
        let best = fitting.min_by_key(|gpu| (share.saturating_sub(usable[*gpu]), self.free[*gpu], *gpu));
        let Some(gpu) = best else {
            return Err((0..self.free.len())
                .map(|gpu| self.free[gpu] + usable[gpu])
                .max()
                .unwrap_or_default());
        };
        let more = share.saturating_sub(usable[gpu]);
        self.free[gpu] -= more;
        self.held[gpu] += more;
        let number = u16::try_from(gpu).expect("a book has fewer than 2^16 processors");
        self.bindings.push(GpuBinding { container: container.clone(), gpu: number, share: MilliGpu(share) });
        Ok(())
    }

    fn bind_init(&mut self, want: &Want) -> Result<(), MilliGpu> {
        let mut usable = self.held.clone();
        let mut given = 0;
        for share in want.shares() {
            self.bind(&want.container, share, &usable).map_err(|most| MilliGpu(given + most))?;
            given += share;
            let gpu = usize::from(self.bindings.last().expect("one was bound").gpu);
            usable[gpu] = usable[gpu].saturating_sub(share);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(containers: &[u64], init: &[u64]) -> GpuNeed {
        let wants = |name: &str, shares: &[u64]| -> Vec<Want> {
            let each = shares.iter().enumerate().map(|(at, share)| Want {
                container: ContainerName::new(format!("{name}{at}")).unwrap(),
                share: *share,
            });
            each.collect()
        };
        GpuNeed { containers: wants("c", containers), init: wants("i", init), simple: None }
    }

    /// The numbers and shares that are bound on a node of three processors with so much taken.
    fn choose(taken: [u64; 3], need: &GpuNeed) -> Result<Vec<(u16, u64)>, u64> {
        let book = GpuBook { count: 3, taken: taken.to_vec() };
        let found = book.choose(need).map_err(|most| most.0)?;
        Ok(found.into_iter().map(|binding| (binding.gpu, binding.share.0)).collect())
    }

    #[test]
    fn whole_ones_stay_whole() {
        let check = |taken, containers: &[u64], init: &[u64], expect: Result<Vec<(u16, u64)>, u64>| {
            assert_eq!(choose(taken, &need(containers, init)), expect, "{taken:?} {containers:?} {init:?}");
        };
        check([0, 300, 600], &[400], &[], Ok(vec![(2, 400)]));
        check([0, 300, 600], &[500], &[], Ok(vec![(1, 500)]));
        check([0, 300, 600], &[1000], &[], Ok(vec![(0, 1000)]));
        check([0, 300, 0], &[2000], &[], Ok(vec![(0, 1000), (2, 1000)]));
        check([0, 300, 600], &[2000], &[], Err(1700));
        check([700, 300, 600], &[800], &[], Err(700));
        check([1000, 1000, 0], &[300, 700], &[], Ok(vec![(2, 300), (2, 700)]));
        check([0, 500, 1000], &[500, 1000], &[], Ok(vec![(1, 500), (0, 1000)]));
        check([0, 0, 0], &[300], &[400], Ok(vec![(0, 400), (0, 300)]));
        check([0, 0, 0], &[2000], &[1000, 500], Ok(vec![(0, 1000), (0, 500), (0, 1000), (1, 1000)]));
        check([500, 500, 0], &[500], &[1000], Ok(vec![(2, 1000), (0, 500)]));
        check([500, 500, 500], &[500], &[1000], Err(500));
    }
}
