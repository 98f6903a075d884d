//! Tenants: who shares the region, and how much each may have.

use skerry_types::{TenantGrant, TenantName, TenantUse};

use crate::state::RegionState;

impl RegionState {
    pub(crate) fn take_grant(&mut self, _grant: TenantGrant) {}

    pub(crate) fn drop_grant(&mut self, _text: &str) {}

    /// A region below charges something else to a tenant.
    pub(crate) fn use_changed(&mut self, _name: &TenantName) {}

    pub(crate) fn tenant_names(&self) -> Vec<TenantName> {
        Vec::new()
    }

    pub(crate) fn tenant_use(&self, _name: &TenantName) -> Option<TenantUse> {
        None
    }
}
