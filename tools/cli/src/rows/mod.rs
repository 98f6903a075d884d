//! What a table shows of each kind, and how each stands as a document.

mod allocation;
mod event;
mod node;
mod place;
mod tenant;
mod token;
mod workload;

pub(crate) use allocation::{exit_text, phase_text, phase_tone, ports_text};
pub(crate) use node::{maintenance_text, state_text as node_state};
pub(crate) use place::{link_text, region_state, site_state};
pub(crate) use tenant::{Line as TenantLine, lines as tenant_lines};
pub(crate) use token::scope_text;
pub(crate) use workload::{running_text, state as workload_state, step as workload_step, wanted};

use serde::Serialize;
use serde_json::Value;
use skerry_api::v1;
use skerry_types::{Bytes, MilliCpu, WallTime};

use crate::fetch::Listed;
use crate::print::table::Cell;

/// When a column is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Always,
    /// With `-o wide`.
    Wide,
    /// When things of several tenants are listed.
    Tenants,
    /// With `-o wide`, and when things of several regions are listed.
    Regions,
}

/// A column's title and when it is shown.
pub(crate) type Column = (&'static str, Shown);

/// A thing as a row of a table.
pub(crate) trait Row: Listed {
    /// All columns, in order.
    const COLUMNS: &'static [Column];

    /// One cell for each column.
    fn cells(&self, now: WallTime) -> Vec<Cell>;

    /// What tells it from others of its kind, as it is typed: `web`, or `acme/web` outside of the default tenant.
    fn name(&self) -> String;

    /// All of it, for programs.
    fn document(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// All of it as YAML, where that is another text than the document's.
    fn yaml(&self) -> Option<String> {
        None
    }
}

/// `NAME`, or `TENANT/NAME` outside of the default tenant.
pub(crate) fn qualified(tenant: &str, name: &str) -> String {
    if tenant.is_empty() || tenant == "default" { name.to_owned() } else { format!("{tenant}/{name}") }
}

/// `KEY=VALUE` for each, with commas.
pub(crate) fn labels_text<'l>(labels: impl IntoIterator<Item = (&'l String, &'l String)>) -> String {
    let labels: Vec<String> = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.join(",")
}

/// `RESERVED/CAPACITY` of one resource.
pub(crate) fn of(reserved: impl std::fmt::Display, capacity: impl std::fmt::Display) -> String {
    format!("{reserved}/{capacity}")
}

/// cpu, memory and disk of an amount that may be absent.
pub(crate) fn amounts(resources: Option<&v1::Resources>) -> (MilliCpu, Bytes, Bytes) {
    resources.map_or((MilliCpu(0), Bytes(0), Bytes(0)), |amount| {
        (MilliCpu(amount.cpu_milli), Bytes(amount.memory_bytes), Bytes(amount.disk_bytes))
    })
}

/// A manifest with what is known of its thing as `status`, without the fields that the manifest says already. `bare` is what
/// stands there when there is no manifest, or one of a later release that is not JSON.
fn with_status<T: Serialize>(manifest: &str, thing: &T, said: &[&str], bare: impl Fn() -> Value) -> Value {
    let mut status = serde_json::to_value(thing).unwrap_or(Value::Null);
    let mut whole: Value = serde_json::from_str(manifest).ok().filter(Value::is_object).unwrap_or_else(bare);
    if let Some(status) = status.as_object_mut() {
        for field in said {
            status.remove(*field);
        }
    }
    if let Some(fields) = whole.as_object_mut() {
        fields.insert("status".to_owned(), status);
    }
    whole
}

/// A manifest alone in the order of the documentation, as it could be applied.
fn manifest_yaml(manifest: &str) -> Option<String> {
    let documents = skerry_manifest::documents(manifest).ok()?;
    documents.first().map(|one| one.document.to_yaml())
}

#[cfg(test)]
mod tests;
