//! Which tenant is served next when there is not enough for all.
//!
//! Dominant resource fairness with weights (A. Ghodsi, M. Zaharia, B. Hindman, A. Konwinski, S. Shenker, I. Stoica: *Dominant
//! Resource Fairness: Fair Allocation of Multiple Resource Types*, NSDI 2011). A tenant's dominant share is the largest part of
//! any resource that it uses; the next instance goes to the tenant whose dominant share, divided by its weight, is the smallest
//! (progressive filling). Up to the size of one instance this gives each at least what a part of everything by weight would
//! (sharing incentive), lets nobody prefer another's part to its own (no envy), and leaves nothing idle that anybody can use
//! (Pareto efficiency).
//!
//! Tenants are a tree: at each step down, the branch with the smallest share of its whole subtree is taken, and what a tenant
//! runs itself is a branch beside the tenants below it. Use adds up on the way up. Bhattacharya et al. (*Hierarchical Scheduling
//! for Diverse Datacenter Workloads*, `SoCC` 2013) show that a branch whose tenants want different resources comes off somewhat
//! worse that way than with their rescaling, which is left out: it needs every tenant's use anew for each decision.

use std::collections::{BTreeMap, BTreeSet};

use skerry_types::{Resources, TenantName, TenantSpec};

use crate::tree::{above, rooted};

/// A tenant among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FairTenant {
    /// Its name.
    pub name: TenantName,
    /// The tenant it is a part of.
    pub parent: Option<TenantName>,
    /// Its part beside its siblings: 1 at least.
    pub weight: u32,
    /// What its own workloads reserve, without those of tenants below it.
    pub used: Resources,
}

/// Who uses how much of what.
#[derive(Debug, Clone)]
pub struct Fairness {
    capacity: Resources,
    parents: BTreeMap<TenantName, Option<TenantName>>,
    branches: BTreeMap<TenantName, Branch>,
    /// The branches below each tenant, and those at the top under `None`.
    below: BTreeMap<Option<TenantName>, Vec<TenantName>>,
}

#[derive(Debug, Clone, Copy)]
struct Branch {
    weight: u32,
    own: Resources,
    total: Resources,
}

/// A part of everything, weighted; only the order has a meaning.
type Share = u128;

impl Fairness {
    /// `capacity` is what there is for all tenants together. A parent that is not among the tenants, or a ring of parents, puts a
    /// tenant at the top.
    pub fn new(capacity: Resources, tenants: impl IntoIterator<Item = FairTenant>) -> Self {
        let tenants: BTreeMap<TenantName, FairTenant> =
            tenants.into_iter().map(|tenant| (tenant.name.clone(), tenant)).collect();
        let parents = tenants.iter().map(|(name, tenant)| (name.clone(), tenant.parent.clone())).collect();
        let parents = rooted(&parents);
        let branch = |tenant: &FairTenant| Branch {
            weight: tenant.weight,
            own: Resources::ZERO,
            total: Resources::ZERO,
        };
        let branches = tenants.iter().map(|(name, tenant)| (name.clone(), branch(tenant))).collect();
        let mut fairness = Self { capacity, parents, branches, below: BTreeMap::new() };
        for (name, parent) in &fairness.parents {
            fairness.below.entry(parent.clone()).or_default().push(name.clone());
        }
        for tenant in tenants.values() {
            fairness.charge(&tenant.name, &tenant.used);
        }
        fairness
    }

    /// Counts something more for a tenant and all above it. One that is not known comes in at the top with the default weight.
    pub fn charge(&mut self, tenant: &TenantName, amount: &Resources) {
        if !self.branches.contains_key(tenant) {
            let branch =
                Branch { weight: TenantSpec::DEFAULT_WEIGHT, own: Resources::ZERO, total: Resources::ZERO };
            self.branches.insert(tenant.clone(), branch);
            self.parents.insert(tenant.clone(), None);
            self.below.entry(None).or_default().push(tenant.clone());
        }
        self.change(tenant, |used| *used + *amount);
    }

    /// Counts something less for a tenant and all above it.
    pub fn release(&mut self, tenant: &TenantName, amount: &Resources) {
        self.change(tenant, |used| used.saturating_sub(amount));
    }

    fn change(&mut self, tenant: &TenantName, change: impl Fn(&Resources) -> Resources) {
        if let Some(branch) = self.branches.get_mut(tenant) {
            branch.own = change(&branch.own);
        }
        for above in above(&self.parents, tenant) {
            if let Some(branch) = self.branches.get_mut(above) {
                branch.total = change(&branch.total);
            }
        }
    }

    /// Who is served next among tenants that want something that could be had. Equal shares go by name. One that is not known
    /// counts as using nothing.
    pub fn next<'a>(&self, pending: impl IntoIterator<Item = &'a TenantName>) -> Option<&'a TenantName> {
        let pending: BTreeSet<&TenantName> = pending.into_iter().collect();
        if let Some(stranger) = pending.iter().find(|tenant| !self.branches.contains_key(**tenant)) {
            return Some(stranger);
        }
        let alive: BTreeSet<&TenantName> =
            pending.iter().flat_map(|tenant| above(&self.parents, tenant)).collect();
        let mut at: Option<TenantName> = None;
        loop {
            let below = self.below.get(&at).into_iter().flatten().filter(|name| alive.contains(name));
            let best = below.map(|name| (self.share(name, false), name)).min();
            let own = at.as_ref().and_then(|name| pending.get(name)).copied();
            match (best, own) {
                (None, own) => return own,
                (Some((share, _)), Some(own)) if self.share(own, true) <= share => return Some(own),
                (Some((_, name)), _) => at = Some(name.clone()),
            }
        }
    }

    /// The part of the scarcest resource that a tenant and those below it use, in millionths, not weighted.
    pub fn dominant_share(&self, tenant: &TenantName) -> u64 {
        let used = self.branches.get(tenant).map(|branch| branch.total).unwrap_or_default();
        u64::try_from(self.dominant(&used, 1_000_000)).unwrap_or(u64::MAX)
    }

    /// The weighted share of a subtree, or of what a tenant runs itself, which has the default weight beside the tenants below.
    fn share(&self, tenant: &TenantName, own: bool) -> Share {
        let Some(branch) = self.branches.get(tenant) else { return 0 };
        let (used, weight) =
            if own { (branch.own, TenantSpec::DEFAULT_WEIGHT) } else { (branch.total, branch.weight) };
        self.dominant(&used, 1 << 60) / u128::from(weight.max(1))
    }

    /// The largest part of any resource that there is, in parts of `whole`.
    fn dominant(&self, used: &Resources, whole: u128) -> Share {
        let capacity = &self.capacity;
        let pairs = [
            (used.cpu.0, capacity.cpu.0),
            (used.memory.0, capacity.memory.0),
            (used.disk.0, capacity.disk.0),
            (used.bandwidth.0, capacity.bandwidth.0),
            (used.gpu.0, capacity.gpu.0),
        ];
        let parts = pairs.into_iter().filter(|(_, capacity)| *capacity > 0);
        parts
            .map(|(used, capacity)| u128::from(used) * whole / u128::from(capacity))
            .max()
            .unwrap_or_default()
    }
}
