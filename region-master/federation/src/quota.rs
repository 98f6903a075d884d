//! What tenants may reserve, charged to a tenant and all above it, or to nobody.

use std::collections::BTreeMap;

use skerry_types::{Excess, Quota, Resources, TenantName};

use crate::tree::{above, rooted};

/// Why something is not charged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// Nobody described the tenant.
    #[error(
        "tenant {tenant} is not known here: apply it at the region where it is kept, or use another tenant"
    )]
    UnknownTenant {
        /// Which.
        tenant: TenantName,
    },
    /// A limit would be passed.
    #[error("tenant {tenant} would use {excess}: ask for less, or raise its limit")]
    Exceeded {
        /// Whose limit: the tenant's own or that of one above it.
        tenant: TenantName,
        /// Which resource, and by how much.
        excess: Excess,
    },
}

/// The accounts of all tenants in one region. The default tenant is always there.
#[derive(Debug, Clone)]
pub struct QuotaTree {
    accounts: BTreeMap<TenantName, Account>,
    /// Of each account its parent's, without rings.
    parents: BTreeMap<TenantName, Option<TenantName>>,
}

#[derive(Debug, Clone, Default)]
struct Account {
    parent: Option<TenantName>,
    limit: Quota,
    own: Resources,
    total: Resources,
}

impl Default for QuotaTree {
    fn default() -> Self {
        let accounts = BTreeMap::from([(TenantName::default(), Account::default())]);
        let parents = BTreeMap::from([(TenantName::default(), None)]);
        Self { accounts, parents }
    }
}

impl QuotaTree {
    /// Describes a tenant. `limit` is what this region may charge to it and those below it. What is charged stays charged, also
    /// where it is above the limit: then only more is refused. A parent that is not known, or a ring, puts it at the top.
    pub fn set(&mut self, tenant: TenantName, parent: Option<TenantName>, limit: Quota) {
        let account = self.accounts.entry(tenant).or_default();
        (account.parent, account.limit) = (parent, limit);
        self.rebuild();
    }

    /// Forgets a tenant and what is charged to it.
    pub fn remove(&mut self, tenant: &TenantName) {
        self.accounts.remove(tenant);
        self.accounts.entry(TenantName::default()).or_default();
        self.rebuild();
    }

    /// Whether `add` could be charged.
    pub fn check(&self, tenant: &TenantName, add: &Resources) -> Result<(), QuotaError> {
        self.check_change(tenant, &Resources::ZERO, add)
    }

    /// Whether `from`, which is charged, could become `to`. Only resources that grow are held against limits, so that a tenant
    /// above a lowered limit can still ask for less.
    pub fn check_change(
        &self,
        tenant: &TenantName,
        from: &Resources,
        to: &Resources,
    ) -> Result<(), QuotaError> {
        if !self.accounts.contains_key(tenant) {
            return Err(QuotaError::UnknownTenant { tenant: tenant.clone() });
        }
        for name in above(&self.parents, tenant) {
            let Some(account) = self.accounts.get(name) else { continue };
            let total = account.total.saturating_sub(from) + *to;
            if let Some(excess) = growing(&account.limit, from, to).first_excess(&total) {
                return Err(QuotaError::Exceeded { tenant: name.clone(), excess });
            }
        }
        Ok(())
    }

    /// Charges a tenant and all above it, or nobody.
    pub fn charge(&mut self, tenant: &TenantName, add: &Resources) -> Result<(), QuotaError> {
        self.check(tenant, add)?;
        self.change(tenant, |used| *used + *add);
        Ok(())
    }

    /// Charges whatever the limits say: for what runs already.
    pub fn charge_existing(&mut self, tenant: &TenantName, add: &Resources) {
        if !self.accounts.contains_key(tenant) {
            self.accounts.insert(tenant.clone(), Account::default());
            self.rebuild();
        }
        self.change(tenant, |used| *used + *add);
    }

    /// Takes something back from a tenant and all above it.
    pub fn release(&mut self, tenant: &TenantName, amount: &Resources) {
        self.change(tenant, |used| used.saturating_sub(amount));
    }

    /// What is charged to a tenant and those below it.
    pub fn used(&self, tenant: &TenantName) -> Resources {
        self.accounts.get(tenant).map(|account| account.total).unwrap_or_default()
    }

    fn change(&mut self, tenant: &TenantName, change: impl Fn(&Resources) -> Resources) {
        if let Some(account) = self.accounts.get_mut(tenant) {
            account.own = change(&account.own);
        }
        for name in above(&self.parents, tenant) {
            if let Some(account) = self.accounts.get_mut(name) {
                account.total = change(&account.total);
            }
        }
    }

    fn rebuild(&mut self) {
        let parents = self.accounts.iter().map(|(name, account)| (name.clone(), account.parent.clone()));
        self.parents = rooted(&parents.collect());
        let owned: Vec<(TenantName, Resources)> =
            self.accounts.iter().map(|(name, account)| (name.clone(), account.own)).collect();
        for account in self.accounts.values_mut() {
            account.total = Resources::ZERO;
        }
        for (tenant, own) in owned {
            for name in above(&self.parents, &tenant) {
                if let Some(account) = self.accounts.get_mut(name) {
                    account.total += own;
                }
            }
        }
    }
}

/// The limit on resources of which `to` is more than `from`.
fn growing(limit: &Quota, from: &Resources, to: &Resources) -> Quota {
    Quota {
        cpu: limit.cpu.filter(|_| to.cpu > from.cpu),
        memory: limit.memory.filter(|_| to.memory > from.memory),
        disk: limit.disk.filter(|_| to.disk > from.disk),
        bandwidth: limit.bandwidth.filter(|_| to.bandwidth > from.bandwidth),
        gpu: limit.gpu.filter(|_| to.gpu > from.gpu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_types::MilliCpu;

    fn name(text: &str) -> TenantName {
        TenantName::new(text).unwrap()
    }

    fn cores(cpu: u64) -> Resources {
        Resources { cpu: MilliCpu(cpu), ..Resources::ZERO }
    }

    fn limit(cpu: u64) -> Quota {
        Quota { cpu: Some(MilliCpu(cpu)), ..Quota::default() }
    }

    fn tree() -> QuotaTree {
        let mut tree = QuotaTree::default();
        tree.set(name("leaf"), Some(name("middle")), Quota::default());
        tree.set(name("middle"), Some(name("top")), limit(60));
        tree.set(name("other"), Some(name("top")), limit(90));
        tree.set(name("top"), None, limit(100));
        tree
    }

    #[test]
    fn all_above_are_charged_or_nobody() {
        let mut tree = tree();
        assert_eq!(tree.charge(&name("leaf"), &cores(50)), Ok(()));
        assert_eq!(tree.charge(&name("other"), &cores(40)), Ok(()));
        let error = tree.charge(&name("leaf"), &cores(11)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tenant middle would use 61m of 60m cpu: ask for less, or raise its limit"
        );
        let refused = tree.charge(&name("other"), &cores(20)).unwrap_err();
        assert!(matches!(refused, QuotaError::Exceeded { tenant, .. } if tenant == name("top")));
        let used = ["leaf", "middle", "other", "top"].map(|tenant| tree.used(&name(tenant)).cpu.0);
        assert_eq!(used, [50, 50, 40, 90]);
        tree.release(&name("leaf"), &cores(50));
        assert_eq!(tree.charge(&name("other"), &cores(50)), Ok(()));
    }

    #[test]
    fn a_limit_below_use_refuses_only_more() {
        let mut tree = tree();
        tree.charge(&name("leaf"), &cores(50)).unwrap();
        tree.set(name("top"), None, limit(10));
        assert!(tree.check(&name("leaf"), &cores(1)).is_err());
        assert_eq!(tree.check_change(&name("leaf"), &cores(50), &cores(40)), Ok(()));
        let memory = Resources { memory: skerry_types::Bytes(1), ..cores(50) };
        assert_eq!(tree.check_change(&name("leaf"), &cores(50), &memory), Ok(()));
        assert!(tree.check_change(&name("leaf"), &cores(40), &cores(50)).is_err());
    }

    #[test]
    fn strangers_and_rings_are_met() {
        let mut tree = tree();
        let error = tree.charge(&name("nobody"), &cores(1)).unwrap_err();
        assert_eq!(error, QuotaError::UnknownTenant { tenant: name("nobody") });
        tree.set(name("top"), Some(name("leaf")), limit(100));
        assert!(tree.charge(&name("leaf"), &cores(70)).is_ok(), "in a ring each stands for itself");
        tree.set(name("top"), None, limit(100));
        assert_eq!(tree.used(&name("top")), cores(70), "use moves with the tree");
        tree.remove(&name("middle"));
        assert_eq!(tree.used(&name("top")), cores(0));
        assert_eq!(tree.charge(&TenantName::default(), &cores(1)), Ok(()));
    }
}
