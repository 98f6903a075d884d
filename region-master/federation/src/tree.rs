//! The tree of tenants, made safe to walk whatever was written into it.

use std::collections::BTreeMap;

use skerry_types::TenantName;

/// Each tenant's parent. Where a chain of parents comes back to its beginning, or leads to nobody, a tenant stands at the top.
pub(crate) fn rooted(
    parents: &BTreeMap<TenantName, Option<TenantName>>,
) -> BTreeMap<TenantName, Option<TenantName>> {
    let stands = |tenant: &TenantName, parent: &&TenantName| {
        parents.contains_key(*parent) && !above(parents, tenant).skip(1).any(|above| above == tenant)
    };
    let safe = parents.iter().map(|(tenant, parent)| {
        let parent = parent.as_ref().filter(|parent| stands(tenant, parent));
        (tenant.clone(), parent.cloned())
    });
    safe.collect()
}

/// A tenant and all above it, nearest first; ends also where parents form a ring.
pub(crate) fn above<'a>(
    parents: &'a BTreeMap<TenantName, Option<TenantName>>,
    tenant: &'a TenantName,
) -> impl Iterator<Item = &'a TenantName> {
    let next = |tenant: &&'a TenantName| parents.get(*tenant).and_then(Option::as_ref);
    std::iter::successors(Some(tenant), next).take(parents.len() + 1)
}
