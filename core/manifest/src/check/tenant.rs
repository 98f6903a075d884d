//! A tenant.

use std::fmt;
use std::str::FromStr;

use skerry_types::{QuantityError, Quota, TenantName, TenantSpec};

use crate::faults::Faults;
use crate::path::Path;
use crate::problem::Problem;
use crate::raw;

/// The tenant, or nothing when `faults` say why.
pub(crate) fn tenant(manifest: &raw::Tenant, faults: &mut Faults<'_>) -> Option<TenantSpec> {
    let root = Path::ROOT;
    let metadata = root.field("metadata");
    let path = root.field("spec");
    let name = faults.take(&metadata.field("name"), TenantName::new(manifest.metadata.name.as_str()));
    let parent_path = path.field("parent");
    let parent = match &manifest.spec.parent {
        Some(parent) => Some(faults.take(&parent_path, TenantName::new(parent.as_str()))?),
        None => None,
    };
    if parent.is_some() && parent == name {
        faults.add(&parent_path, Problem::OwnParent);
    }
    let guarantee_path = path.field("guarantee");
    let guarantee = quota(&manifest.spec.guarantee, &guarantee_path, faults);
    let limit = quota(&manifest.spec.limit, &path.field("limit"), faults);
    if !faults.touch(&path) {
        guaranteed_within(&guarantee, &limit, &guarantee_path, faults);
    }
    Some(TenantSpec { name: name?, parent, weight: manifest.spec.weight, guarantee, limit })
}

fn quota(quota: &raw::Quota, path: &Path<'_>, faults: &mut Faults<'_>) -> Quota {
    Quota {
        cpu: amount(quota.cpu.as_deref(), &path.field("cpu"), faults),
        memory: amount(quota.memory.as_deref(), &path.field("memory"), faults),
        disk: amount(quota.disk.as_deref(), &path.field("disk"), faults),
        bandwidth: amount(quota.bandwidth.as_deref(), &path.field("bandwidth"), faults),
        gpu: amount(quota.gpu.as_deref(), &path.field("gpu"), faults),
    }
}

fn amount<T: FromStr<Err = QuantityError>>(
    text: Option<&str>,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<T> {
    text.and_then(|text| faults.take(path, text.parse()))
}

fn guaranteed_within(guarantee: &Quota, limit: &Quota, path: &Path<'_>, faults: &mut Faults<'_>) {
    let mut check = |what, guarantee: Option<(u64, String)>, limit: Option<(u64, String)>| {
        if let (Some((least, guarantee)), Some((most, limit))) = (guarantee, limit)
            && least > most
        {
            faults.add(&path.field(what), Problem::GuaranteeOverLimit { what, guarantee, limit });
        }
    };
    check("cpu", both(guarantee.cpu, |cpu| cpu.0), both(limit.cpu, |cpu| cpu.0));
    check("memory", both(guarantee.memory, |memory| memory.0), both(limit.memory, |memory| memory.0));
    check("disk", both(guarantee.disk, |disk| disk.0), both(limit.disk, |disk| disk.0));
    check("bandwidth", both(guarantee.bandwidth, |rate| rate.0), both(limit.bandwidth, |rate| rate.0));
    check("gpu", both(guarantee.gpu, |gpu| gpu.0), both(limit.gpu, |gpu| gpu.0));
}

/// An amount to compare and to show.
fn both<T: fmt::Display + Copy>(amount: Option<T>, units: impl Fn(T) -> u64) -> Option<(u64, String)> {
    amount.map(|amount| (units(amount), amount.to_string()))
}
