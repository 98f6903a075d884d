//! Tenants: who shares the region, how much each may have, and which part of that regions below hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skerry_federation::escrow::{self, Held, NOTHING, OwnUse};
use skerry_federation::{QuotaError, QuotaTree};
use skerry_types::mutant::{self, Mutant};
use skerry_types::{
    EventLevel, EventSubject, Excess, MonoTime, Quota, RegionName, Resources, TenantGrant, TenantName,
    TenantSpec, TenantUse, WorkloadSpec,
};
use skerry_wire::{RegionRow, RowKey, TableId};

use crate::api::{ApiError, ApiReply, AppliedHow};
use crate::digests::UpKey;
use crate::ledger::{GRANT, TENANT, Value, put};
use crate::records::Origin;
use crate::regions::ChildRegion;
use crate::state::RegionState;

/// Most tenants: each costs a row for each region below.
const TENANTS_MAX: usize = 10_000;
/// Largest weight beside siblings.
const WEIGHT_MAX: u32 = 1000;
/// How long what was refused for want of quota counts as asked for: long enough for a grant to come down and the operator to try
/// again.
const WANTED_FOR: Duration = Duration::from_mins(2);
/// How long news of regions below may gather: a thousand regions that come back at once are one look at each tenant. For limits it
/// is as if the news came so much later.
const LAG: Duration = Duration::from_millis(200);

/// The accounts of tenants.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    /// As operators described them here.
    pub(crate) specs: BTreeMap<TenantName, TenantSpec>,
    /// As the region above granted them.
    pub(crate) grants: BTreeMap<TenantName, TenantGrant>,
    /// What workloads that this region owns are charged.
    quota: QuotaTree,
    /// What was refused for want of quota, and until when it counts.
    wanted: BTreeMap<TenantName, (Resources, MonoTime)>,
    /// Tenants whose accounts may have changed.
    pub(crate) stale: BTreeSet<TenantName>,
    /// Tenants of which regions below say something else, and when that is looked at.
    lagging: (BTreeSet<TenantName>, Option<MonoTime>),
}

impl Tenants {
    pub(crate) fn new(
        specs: BTreeMap<TenantName, TenantSpec>,
        grants: BTreeMap<TenantName, TenantGrant>,
    ) -> Self {
        Self { specs, grants, ..Self::default() }
    }

    /// What is asked for beyond the limit.
    pub(crate) fn wanted_of(&self, name: &TenantName) -> Resources {
        self.wanted.get(name).map(|(amount, _)| *amount).unwrap_or_default()
    }

    /// When something that was asked for does not count any more.
    pub(crate) fn next_timeout(&self) -> Option<MonoTime> {
        let wanted = self.wanted.values().map(|(_, until)| *until);
        wanted.chain(self.lagging.1).min()
    }
}

/// What a workload charges its tenant: every instance that it may have.
fn charge_of(spec: &WorkloadSpec) -> Resources {
    let count = spec.scale.as_ref().map_or(spec.instances, |scale| scale.max.max(spec.instances));
    spec.instance.resources().times(count)
}

/// A tenant that nobody described.
fn undescribed(name: &TenantName) -> TenantSpec {
    let (guarantee, limit) = (Quota::default(), Quota::default());
    TenantSpec { name: name.clone(), parent: None, weight: TenantSpec::DEFAULT_WEIGHT, guarantee, limit }
}

impl RegionState {
    /// All tenants, in order; the default one is always there.
    pub(crate) fn tenant_names(&self) -> Vec<TenantName> {
        let described = if self.config.has_parent {
            self.tenants.grants.keys().cloned().collect::<Vec<_>>()
        } else {
            self.tenants.specs.keys().cloned().collect()
        };
        let mut names = BTreeSet::from_iter(described);
        names.insert(TenantName::default());
        names.into_iter().collect()
    }

    pub(crate) fn tenant_spec(&self, name: &TenantName) -> Option<TenantSpec> {
        let known = if self.config.has_parent {
            self.tenants.grants.get(name).map(|grant| grant.spec.clone())
        } else {
            self.tenants.specs.get(name).cloned()
        };
        known.or_else(|| (*name == TenantName::default()).then(|| undescribed(name)))
    }

    /// What this region, with those below it, may charge to a tenant.
    pub(crate) fn tenant_limit(&self, name: &TenantName) -> Quota {
        if self.config.has_parent {
            let grant = self.tenants.grants.get(name).filter(|_| !mutant::is(Mutant::GrantsAreUnbounded));
            grant.map(|grant| grant.escrow).unwrap_or_default()
        } else {
            self.tenants.specs.get(name).map(|spec| spec.limit).unwrap_or_default()
        }
    }

    pub(crate) fn apply_tenant(&mut self, spec: TenantSpec, dry_run: bool) -> Result<ApiReply, ApiError> {
        self.check_tenants_here()?;
        self.check_tenant(&spec)?;
        let how = match self.tenants.specs.get(&spec.name) {
            Some(known) if *known == spec => AppliedHow::Unchanged,
            Some(_) => AppliedHow::Changed,
            None if self.tenants.specs.len() >= TENANTS_MAX => {
                return Err(ApiError::Full { what: "tenants", count: self.tenants.specs.len() });
            }
            None => AppliedHow::Created,
        };
        if how != AppliedHow::Unchanged && !dry_run {
            put(self.outbox.batch(), &Value::TenantV1(spec.clone()));
            self.tenants.stale.insert(spec.name.clone());
            self.warn_of_excess(&spec.name, &spec.limit);
            self.tenants.specs.insert(spec.name.clone(), spec);
            self.changed = true;
        }
        Ok(ApiReply::Described(how))
    }

    fn check_tenants_here(&self) -> Result<(), ApiError> {
        if !self.config.has_parent {
            return Ok(());
        }
        Err(ApiError::TenantsElsewhere { root: self.root() })
    }

    /// The region at the top, as far as is known.
    fn root(&self) -> RegionName {
        self.above().into_iter().next().unwrap_or_else(|| self.config.region.clone())
    }

    fn check_tenant(&self, spec: &TenantSpec) -> Result<(), ApiError> {
        let bad = |why: String| Err(ApiError::BadTenant { tenant: spec.name.clone(), why });
        if !(1..=WEIGHT_MAX).contains(&spec.weight) {
            return bad(format!("has the weight {}: give it 1 to {WEIGHT_MAX}", spec.weight));
        }
        let mut above = spec.parent.clone();
        for _ in 0..=self.tenants.specs.len() {
            let Some(name) = above else { return Ok(()) };
            if name == spec.name {
                return bad("would be above itself: choose another parent".to_owned());
            }
            let Some(parent) = self.tenant_spec(&name) else {
                return bad(format!(
                    "is to be part of '{name}', which is not there: describe that one first"
                ));
            };
            above = parent.parent;
        }
        bad("would be above itself: choose another parent".to_owned())
    }

    fn warn_of_excess(&mut self, name: &TenantName, limit: &Quota) {
        if let Some(excess) = limit.first_excess(&self.tenant_used(name)) {
            let message =
                format!("tenant {name} uses {excess}: nothing runs less, and nothing more is admitted");
            self.tell(EventLevel::Warning, EventSubject::Tenant(name.clone()), "QuotaBelowUse", message);
        }
    }

    pub(crate) fn delete_tenant(&mut self, name: &TenantName) -> Result<ApiReply, ApiError> {
        self.check_tenants_here()?;
        if !self.tenants.specs.contains_key(name) {
            return Err(ApiError::NotFound { what: "tenant", name: name.to_string() });
        }
        let bad = |why: String| Err(ApiError::BadTenant { tenant: name.clone(), why });
        let part = self.tenants.specs.values().find(|spec| spec.parent.as_ref() == Some(name));
        if let Some(part) = part {
            return bad(format!("has the part '{}': delete that one first", part.name));
        }
        let stays = *name == TenantName::default();
        let used = self.tenant_used(name) != Resources::ZERO || self.own_workloads(name) > 0;
        if used && !stays {
            return bad("still has workloads: delete those first, in all regions".to_owned());
        }
        self.tenants.specs.remove(name);
        self.outbox.batch().delete(TENANT, name.as_str());
        self.tenants.stale.insert(name.clone());
        self.changed = true;
        Ok(ApiReply::Forgotten)
    }

    pub(crate) fn own_workloads(&self, tenant: &TenantName) -> u32 {
        let own = self
            .workloads
            .iter()
            .filter(|(key, workload)| key.tenant == *tenant && workload.record.origin == Origin::Own);
        u32::try_from(own.count()).unwrap_or(u32::MAX)
    }

    /// What is charged to a tenant here and in the regions below.
    pub(crate) fn tenant_used(&self, name: &TenantName) -> Resources {
        let below = self.regions.values().filter_map(|region| region.uses.get(name));
        below.fold(self.tenants.quota.used(name), |sum, used| sum + used.used)
    }

    /// Admits a workload that becomes another, or says whose limit is in the way. All above its tenant are charged, or nobody.
    pub(crate) fn admit(
        &mut self,
        old: Option<&WorkloadSpec>,
        spec: &WorkloadSpec,
        dry_run: bool,
    ) -> Result<(), ApiError> {
        let tenant = &spec.key.tenant;
        if self.tenant_spec(tenant).is_none() {
            let root = self.config.has_parent.then(|| self.root());
            return Err(ApiError::TenantUnknown { tenant: tenant.clone(), root });
        }
        let (from, to) = (old.map(charge_of).unwrap_or_default(), charge_of(spec));
        self.settle_tenants();
        match self.tenants.quota.check_change(tenant, &from, &to) {
            Ok(()) => {}
            Err(QuotaError::Exceeded { tenant: whose, excess }) => {
                let more = to.saturating_sub(&from);
                if !dry_run {
                    self.want(&whose, more);
                }
                let excess = self.excess_words(&whose, &more, &excess);
                return Err(ApiError::Quota { tenant: whose, excess });
            }
            Err(QuotaError::UnknownTenant { tenant }) => {
                return Err(ApiError::TenantUnknown { tenant, root: None });
            }
        }
        if !dry_run {
            self.tenants.wanted.remove(tenant);
        }
        Ok(())
    }

    /// Charges a workload that becomes another, or that is there no more.
    pub(crate) fn charge(&mut self, old: Option<&WorkloadSpec>, new: Option<&WorkloadSpec>) {
        let Some(tenant) = old.or(new).map(|spec| spec.key.tenant.clone()) else { return };
        let (from, to) = (old.map(charge_of).unwrap_or_default(), new.map(charge_of).unwrap_or_default());
        if from != to {
            self.tenants.quota.release(&tenant, &from);
            self.tenants.quota.charge_existing(&tenant, &to);
            self.account_changed(&tenant);
        }
    }

    /// Whether what a tenant lacks here may come from a region beside or above that does not use its part of the limit.
    pub(crate) fn may_flow_back(&self, name: &TenantName, more: &Resources) -> bool {
        if self.config.has_parent {
            return self.is_parent_connected();
        }
        self.regions.values().any(ChildRegion::is_reachable) && self.whole_excess(name, more).is_none()
    }

    /// What would be used of how much: of what an operator wrote when that is passed, else of this region's part of it.
    fn excess_words(&self, name: &TenantName, more: &Resources, excess: &Excess) -> String {
        let written = self.tenant_spec(name).unwrap_or_else(|| undescribed(name)).limit;
        if let Some(excess) = written.first_excess(&(self.tenant_used(name) + *more)) {
            return excess.to_string();
        }
        let away = self.regions.iter().find(|(_, below)| !below.is_reachable()).map(|(name, _)| name);
        let cut_off = match away {
            _ if self.config.has_parent && !self.is_parent_connected() => {
                " (the region above is not connected)".to_owned()
            }
            Some(away) => format!(" (region '{away}' is not connected)"),
            None => String::new(),
        };
        let region = &self.config.region;
        format!(
            "{excess}, the part of its limit that region '{region}' may use while other regions hold the rest{cut_off}"
        )
    }

    /// By how much the whole of what this region was given would be passed, with what regions below use.
    fn whole_excess(&self, name: &TenantName, more: &Resources) -> Option<String> {
        let (limit, below) = (self.tenant_limit(name), self.held_below(name));
        let used = escrow::report(name.clone(), &limit, &self.own_use(name), &below).used;
        limit.first_excess(&(used + *more)).map(|excess| excess.to_string())
    }

    /// Whether a limit is in the way of a workload that becomes another; what is lacking is asked for.
    pub(crate) fn lacks(&mut self, old: Option<&WorkloadSpec>, spec: &WorkloadSpec) -> bool {
        let (from, to) = (old.map(charge_of).unwrap_or_default(), charge_of(spec));
        self.settle_tenants();
        match self.tenants.quota.check_change(&spec.key.tenant, &from, &to) {
            Err(QuotaError::Exceeded { tenant, .. }) => {
                if !self.tenants.wanted.contains_key(&tenant) {
                    self.want(&tenant, to.saturating_sub(&from));
                    self.settle_tenants();
                }
                true
            }
            Ok(()) | Err(QuotaError::UnknownTenant { .. }) => false,
        }
    }

    /// Something is asked for beyond what the region holds: the region above is told.
    fn want(&mut self, tenant: &TenantName, amount: Resources) {
        let until = self.now.mono + WANTED_FOR;
        self.tenants.wanted.insert(tenant.clone(), (amount, until));
        self.tenants.stale.insert(tenant.clone());
    }

    /// What is charged to a tenant is charged to all above it.
    fn account_changed(&mut self, tenant: &TenantName) {
        let mut name = Some(tenant.clone());
        for _ in 0..=TENANTS_MAX {
            let Some(at) = name else { return };
            name = self.tenant_spec(&at).and_then(|spec| spec.parent);
            self.tenants.stale.insert(at);
        }
    }

    /// A region below charges something else to a tenant, or holds something else of its limit.
    pub(crate) fn use_changed(&mut self, name: &TenantName) {
        let due = self.now.mono + LAG;
        self.tenants.lagging.0.insert(name.clone());
        self.tenants.lagging.1.get_or_insert(due);
    }

    pub(crate) fn all_tenants_changed(&mut self) {
        for name in self.tenant_names() {
            self.use_changed(&name);
        }
    }

    pub(crate) fn take_grant(&mut self, grant: TenantGrant) {
        let name = grant.spec.name.clone();
        let known = self.tenants.grants.get(&name);
        if known == Some(&grant) {
            return;
        }
        if known.is_none_or(|known| known.escrow != grant.escrow) {
            self.warn_of_excess(&name, &grant.escrow);
        }
        put(self.outbox.batch(), &Value::GrantV1(grant.clone()));
        self.tenants.grants.insert(name.clone(), grant);
        self.tenants.stale.insert(name);
        self.changed = true;
    }

    pub(crate) fn drop_grant(&mut self, text: &str) {
        let Ok(name) = text.parse::<TenantName>() else { return };
        if self.tenants.grants.remove(&name).is_some() {
            self.outbox.batch().delete(GRANT, name.as_str());
            self.tenants.stale.insert(name);
            self.changed = true;
        }
    }

    /// Works off accounts that may have changed: the own limits, and the parts of the regions below.
    pub(crate) fn settle_tenants(&mut self) {
        let now = self.now.mono;
        let over = self.tenants.wanted.iter().filter(|(_, (_, until))| *until <= now);
        let over: Vec<TenantName> = over.map(|(name, _)| name.clone()).collect();
        for name in over {
            self.tenants.wanted.remove(&name);
            self.tenants.stale.insert(name);
        }
        if self.tenants.lagging.1.is_some_and(|due| due <= now) {
            self.tenants.lagging.1 = None;
            let lagging = std::mem::take(&mut self.tenants.lagging.0);
            self.tenants.stale.extend(lagging);
        }
        while let Some(name) = self.tenants.stale.pop_first() {
            self.settle_tenant(&name);
            self.seal_if_full();
        }
    }

    fn settle_tenant(&mut self, name: &TenantName) {
        self.mark_up(UpKey::Tenant(name.clone()));
        let Some(spec) = self.tenant_spec(name) else {
            self.tenants.quota.remove(name);
            return self.withdraw_grants(name);
        };
        let limit = self.tenant_limit(name);
        if !self.regions.is_empty() {
            let granted = escrow::rebalance(&limit, &self.own_use(name), &self.held_below(name));
            for (region, escrow) in granted {
                self.grant(&region, TenantGrant { spec: spec.clone(), escrow });
            }
        }
        let own = escrow::own_limit(&limit, &self.held_below(name));
        self.tenants.quota.set(name.clone(), spec.parent, own);
    }

    fn own_use(&self, name: &TenantName) -> OwnUse {
        OwnUse { used: self.tenants.quota.used(name), wanted: self.tenants.wanted_of(name) }
    }

    fn held_below(&self, name: &TenantName) -> Vec<Held> {
        let held = self.regions.iter().map(|(region, known)| Held {
            region: region.clone(),
            reachable: known.is_reachable(),
            granted: known.grants.get(name).map_or(NOTHING, |grant| grant.escrow),
            heard: known.uses.get(name).cloned(),
        });
        held.collect()
    }

    fn grant(&mut self, name: &RegionName, grant: TenantGrant) {
        let Some(region) = self.regions.get_mut(name) else { return };
        let tenant = grant.spec.name.clone();
        if region.grants.get(&tenant) != Some(&grant) {
            region.grants.insert(tenant, grant.clone());
            self.send_down(name, RegionRow::Tenant(grant));
        }
    }

    fn withdraw_grants(&mut self, name: &TenantName) {
        let names: Vec<RegionName> = self.regions.keys().cloned().collect();
        for region in names {
            let known = self.regions.get_mut(&region);
            if known.is_some_and(|known| known.grants.remove(name).is_some()) {
                self.withdraw(&region, RowKey::new(TableId::TENANT, name.as_str()));
            }
        }
    }

    /// What the region above is told of a tenant.
    pub(crate) fn tenant_use(&self, name: &TenantName) -> Option<TenantUse> {
        let grant = self.tenants.grants.get(name)?.escrow;
        Some(escrow::report(name.clone(), &grant, &self.own_use(name), &self.held_below(name)))
    }
}
