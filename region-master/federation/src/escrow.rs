//! A tenant's limit split among regions, so that it holds over the whole tree though each admits by itself.
//!
//! A region may charge to a tenant what its parent granted it; the parent counts all of it as used, whether it is or not. Each
//! child says what it *holds*: the grant it last heard of, or what it uses where that is more. Out of what it may charge itself,
//! the parent keeps free for each child the larger of the grant it sent last and of what the child says it holds ([`own_limit`]).
//! A child that is cut off keeps its part, for ever if need be, and the parent keeps it free for as long.
//!
//! # Why the limit is never passed
//!
//! Grants and reports cross the link in order, though not each of them does. The only danger is a grant that the parent has
//! forgotten and the child has not seen, so [`rebalance`] turns around only where no such grant can be:
//!
//! - it lowers a grant only when the child holds that grant or more (it has seen all that was ever larger);
//! - after lowering, it raises again only above what the child says it holds (so that its next report tells which it has seen).
//!
//! Between two turns the grants sent only grow, or only shrink: the largest that may be on its way is the last one, or is not
//! above what the child holds. The child in turn never holds less than it uses, and never more than it did, but by a grant
//! ([`held`]).
//!
//! What is unused flows back by being lowered, and out again by being raised; what nobody asks for is split evenly, so that each
//! region can admit a little while it is cut off.

use std::collections::BTreeMap;

use skerry_types::{
    Bandwidth, Bytes, MilliCpu, MilliGpu, Quota, RegionName, Resources, TenantName, TenantUse,
};

/// A child region's part of a tenant's limit, as the parent knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which child.
    pub region: RegionName,
    /// Whether it is heard from. One that is not keeps its part, which the parent takes for used.
    pub reachable: bool,
    /// The grant sent last; a quota of zero before the first ([`NOTHING`]).
    pub granted: Quota,
    /// What the child said last; `None` only if it never said anything since it was enrolled.
    pub heard: Option<TenantUse>,
}

/// What the region itself charges to a tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnUse {
    /// What workloads that it owns reserve.
    pub used: Resources,
    /// What was refused for want of quota and is still asked for.
    pub wanted: Resources,
}

/// A grant of nothing.
pub const NOTHING: Quota = Quota {
    cpu: Some(MilliCpu(0)),
    memory: Some(Bytes(0)),
    disk: Some(Bytes(0)),
    bandwidth: Some(Bandwidth(0)),
    gpu: Some(MilliGpu(0)),
};

/// Amounts of the five resources; the largest number where there is no bound.
type Amounts = [u64; 5];

const UNBOUNDED: u64 = u64::MAX;

/// A change of a grant that serves nobody's want and is smaller than one in so many of it is not worth a message.
const WORTHWHILE: u64 = 8;

/// The grants that children should get, for all of them; send those that differ from the last. `limit` is the tenant's limit at
/// the root, and further down what this region was granted.
///
/// However often and whenever it is called, what children may hold and `own.used` are not above `limit`, if they were not before.
pub fn rebalance(limit: &Quota, own: &OwnUse, children: &[Held]) -> BTreeMap<RegionName, Quota> {
    let limit = bounds(limit);
    let (used, wanted) = (amounts(&own.used), amounts(&own.wanted));
    let known: Vec<[Child; 5]> = children.iter().map(child).collect();
    let mut grants: Vec<Amounts> = vec![[0; 5]; children.len()];
    for at in 0..limit.len() {
        let column: Vec<Child> = known.iter().map(|child| child[at]).collect();
        let (near, away): (Vec<Child>, Vec<Child>) = column.iter().partition(|child| child.reachable);
        let kept = away.iter().map(Child::reserved).fold(used[at], u64::saturating_add);
        let mut split = split(limit[at], kept, wanted[at], &near).into_iter();
        for (grant, child) in grants.iter_mut().zip(column) {
            let granted = if child.reachable { split.next() } else { None };
            grant[at] = granted.unwrap_or(child.granted);
        }
    }
    children.iter().zip(grants).map(|(child, grant)| (child.region.clone(), quota(&grant))).collect()
}

/// What the region may charge itself: its limit without what children may hold.
pub fn own_limit(limit: &Quota, children: &[Held]) -> Quota {
    let mut left = bounds(limit);
    for child in children.iter().map(child) {
        for (left, child) in left.iter_mut().zip(child).filter(|(left, _)| **left != UNBOUNDED) {
            *left = left.saturating_sub(child.reserved());
        }
    }
    quota(&left)
}

/// What a region tells its parent that it holds: its grant, or what it and its children use or may use where that is more. Make
/// it durable before it is told, and admit nothing above `grant`.
pub fn held(grant: &Quota, own: &OwnUse, children: &[Held]) -> Quota {
    let mut held = amounts(&own.used);
    for child in children.iter().map(child) {
        for (held, child) in held.iter_mut().zip(child) {
            *held = held.saturating_add(child.reserved());
        }
    }
    for (held, grant) in held.iter_mut().zip(bounds(grant)) {
        *held = grant.max(*held);
    }
    quota(&held)
}

/// The whole report of a region to its parent. `grant` is the one it last heard of. What a child that is cut off may hold counts
/// as used.
pub fn report(tenant: TenantName, grant: &Quota, own: &OwnUse, children: &[Held]) -> TenantUse {
    let mut used = amounts(&own.used);
    let mut wanted = amounts(&own.wanted);
    for child in children.iter().map(child) {
        for ((used, wanted), child) in used.iter_mut().zip(&mut wanted).zip(child) {
            *used = used.saturating_add(if child.reachable { child.used } else { child.reserved() });
            *wanted = wanted.saturating_add(if child.reachable { child.wanted } else { 0 });
        }
    }
    TenantUse { tenant, held: held(grant, own, children), used: resources(&used), wanted: resources(&wanted) }
}

/// One resource of a child.
#[derive(Debug, Clone, Copy, Default)]
struct Child {
    reachable: bool,
    granted: u64,
    held: u64,
    used: u64,
    wanted: u64,
}

impl Child {
    /// What it may hold, now or when what is on its way arrives.
    fn reserved(&self) -> u64 {
        self.granted.max(self.held)
    }

    fn may_lower(&self) -> bool {
        self.held >= self.granted
    }
}

/// The grants of one resource.
fn split(limit: u64, own_used: u64, own_wanted: u64, children: &[Child]) -> Vec<u64> {
    if limit == UNBOUNDED {
        let free = |child: &Child| if child.reserved() < UNBOUNDED { UNBOUNDED } else { child.granted };
        return children.iter().map(free).collect();
    }
    let targets = targets(limit, own_used, own_wanted, children);
    let mut grants: Vec<u64> = children.iter().map(|child| child.granted).collect();
    for ((grant, child), (target, worthwhile)) in grants.iter_mut().zip(children).zip(&targets) {
        if *target < child.granted && *worthwhile && child.may_lower() {
            *grant = *target;
        }
    }
    // What is lowered only counts as free when the child has said so.
    let reserved = children.iter().map(Child::reserved).fold(own_used, u64::saturating_add);
    let mut free = limit.saturating_sub(reserved);
    for wanting in [true, false] {
        let asked: Vec<u64> = children
            .iter()
            .zip(&targets)
            .map(|(child, (target, worthwhile))| {
                let raise = *worthwhile && *target > child.granted && (child.wanted > 0) == wanting;
                if raise { target.saturating_sub(child.reserved()) } else { 0 }
            })
            .collect();
        for ((grant, child), more) in grants.iter_mut().zip(children).zip(smallest_first(&asked, free)) {
            if more > 0 {
                // Above what it says it holds, too.
                *grant = child.reserved().saturating_add(more);
                free = free.saturating_sub(more);
            }
        }
    }
    grants
}

/// What each child should have in the end, and whether the change is worth a message.
fn targets(limit: u64, own_used: u64, own_wanted: u64, children: &[Child]) -> Vec<(u64, bool)> {
    let used = children.iter().map(|child| child.used).fold(own_used, u64::saturating_add);
    let wants: Vec<u64> = children.iter().map(|child| child.wanted).chain([own_wanted]).collect();
    let wanted = wants.iter().copied().fold(0, u64::saturating_add);
    let left = limit.saturating_sub(used);
    let (given, spare) = if wanted > left {
        (smallest_first(&wants, left), 0)
    } else {
        let regions = u64::try_from(wants.len()).unwrap_or(u64::MAX);
        (wants, (left - wanted) / regions)
    };
    let reserved = children.iter().map(Child::reserved).fold(own_used, u64::saturating_add);
    let target = |(child, given): (&Child, u64)| {
        let target = child.used.saturating_add(given).saturating_add(spare);
        let change = target.abs_diff(child.granted);
        let lacking = wanted > 0 || reserved > limit || child.used > child.granted;
        (target, lacking || change > child.granted / WORTHWHILE)
    };
    children.iter().zip(given).map(target).collect()
}

/// Splits `amount`: who asks for least is served first, and wholly. Half of what two ask for would let neither go on, because a
/// workload is admitted whole or not at all.
fn smallest_first(asked: &[u64], amount: u64) -> Vec<u64> {
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_by_key(|at| (asked[*at], *at));
    let (mut given, mut left) = (vec![0; asked.len()], amount);
    for at in order {
        given[at] = asked[at].min(left);
        left -= given[at];
    }
    given
}

fn child(held: &Held) -> [Child; 5] {
    let granted = bounds(&held.granted);
    let heard = held.heard.as_ref();
    let holds = heard.map_or([0; 5], |heard| bounds(&heard.held));
    let used = heard.map_or([0; 5], |heard| amounts(&heard.used));
    let wanted = heard.map_or([0; 5], |heard| amounts(&heard.wanted));
    let reachable = held.reachable;
    std::array::from_fn(|at| Child {
        reachable,
        granted: granted[at],
        held: holds[at],
        used: used[at],
        wanted: wanted[at],
    })
}

fn amounts(resources: &Resources) -> Amounts {
    let Resources { cpu, memory, disk, bandwidth, gpu } = resources;
    [cpu.0, memory.0, disk.0, bandwidth.0, gpu.0]
}

fn resources(amounts: &Amounts) -> Resources {
    let [cpu, memory, disk, bandwidth, gpu] = *amounts;
    Resources {
        cpu: MilliCpu(cpu),
        memory: Bytes(memory),
        disk: Bytes(disk),
        bandwidth: Bandwidth(bandwidth),
        gpu: MilliGpu(gpu),
    }
}

fn bounds(quota: &Quota) -> Amounts {
    [
        quota.cpu.map_or(UNBOUNDED, |amount| amount.0),
        quota.memory.map_or(UNBOUNDED, |amount| amount.0),
        quota.disk.map_or(UNBOUNDED, |amount| amount.0),
        quota.bandwidth.map_or(UNBOUNDED, |amount| amount.0),
        quota.gpu.map_or(UNBOUNDED, |amount| amount.0),
    ]
}

fn quota(amounts: &Amounts) -> Quota {
    let [cpu, memory, disk, bandwidth, gpu] = amounts.map(|amount| (amount != UNBOUNDED).then_some(amount));
    Quota {
        cpu: cpu.map(MilliCpu),
        memory: memory.map(Bytes),
        disk: disk.map(Bytes),
        bandwidth: bandwidth.map(Bandwidth),
        gpu: gpu.map(MilliGpu),
    }
}
