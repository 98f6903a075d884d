//! The canonical form of a document: every field written out, so that it reads back as the same anywhere.

mod life;
mod workload;

use serde::Serialize;
use serde_json::Value;
use skerry_types::{Bytes, Quota, SiteSpec, TenantSpec, WorkloadSpec};

use crate::raw;

/// The manifest of a workload as JSON. Image digests are not part of a manifest.
///
/// Reading it back gives the same workload, if that came from a manifest and before a digest was put into it.
pub fn to_manifest(spec: &WorkloadSpec) -> Value {
    json(&workload::manifest(spec))
}

/// The manifest of a workload as YAML, with fields in the order that the documentation has them in.
pub fn to_yaml(spec: &WorkloadSpec) -> String {
    yaml(&workload::manifest(spec))
}

/// The manifest of a tenant as JSON.
pub fn tenant_to_manifest(spec: &TenantSpec) -> Value {
    json(&tenant(spec))
}

/// The manifest of a tenant as YAML.
pub fn tenant_to_yaml(spec: &TenantSpec) -> String {
    yaml(&tenant(spec))
}

/// The manifest of a site as JSON.
pub fn site_to_manifest(spec: &SiteSpec) -> Value {
    json(&site(spec))
}

/// The manifest of a site as YAML.
pub fn site_to_yaml(spec: &SiteSpec) -> String {
    yaml(&site(spec))
}

/// Any data as YAML, with long text on one line, where people and `grep` expect an image or a message to be.
pub fn yaml_text(value: &impl Serialize) -> Result<String, serde_saphyr::ser::Error> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options)
}

fn json(manifest: &impl Serialize) -> Value {
    serde_json::to_value(manifest).expect("a manifest has text keys only, which JSON can always hold")
}

fn yaml(manifest: &impl Serialize) -> String {
    yaml_text(manifest)
        .expect("a manifest holds text, numbers, lists and maps only, which YAML can always hold")
}

fn tenant(spec: &TenantSpec) -> raw::Tenant {
    raw::Tenant {
        api_version: raw::API_VERSION.to_owned(),
        kind: "Tenant".to_owned(),
        metadata: raw::TenantMetadata { name: spec.name.to_string() },
        spec: raw::TenantSpec {
            parent: spec.parent.as_ref().map(ToString::to_string),
            weight: spec.weight,
            guarantee: quota(&spec.guarantee),
            limit: quota(&spec.limit),
        },
    }
}

fn quota(quota: &Quota) -> raw::Quota {
    raw::Quota {
        cpu: quota.cpu.map(|cpu| cpu.to_string()),
        memory: quota.memory.map(bytes_text),
        disk: quota.disk.map(bytes_text),
        bandwidth: quota.bandwidth.map(|rate| rate.to_string()),
        gpu: quota.gpu.map(|gpu| gpu.to_string()),
    }
}

fn site(spec: &SiteSpec) -> raw::Site {
    raw::Site {
        api_version: raw::API_VERSION.to_owned(),
        kind: "Site".to_owned(),
        metadata: raw::SiteMetadata {
            name: spec.name.to_string(),
            labels: workload::scalars(spec.labels.iter()),
        },
        spec: raw::SiteSpec {
            timezone: spec.timezone.clone(),
            point: spec.point.map(|point| point.to_string()),
            link: raw::Link {
                metered: spec.link.metered,
                cost_per_mb: decimal_text(spec.link.micros_per_mb, 6),
            },
        },
    }
}

/// Bytes in the largest unit that loses nothing, unlike what people are shown.
pub(crate) fn bytes_text(bytes: Bytes) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    units
        .into_iter()
        .find(|(_, shift)| bytes.0 != 0 && bytes.0.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.0.to_string(), |(unit, shift)| format!("{}{unit}", bytes.0 >> shift))
}

/// A number in units of its last place as a decimal one, without zeros at its end.
fn decimal_text(units: u64, places: u32) -> String {
    let one = 10_u64.pow(places);
    let (whole, rest) = (units / one, units % one);
    let width = places as usize;
    let text = format!("{whole}.{rest:0width$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
