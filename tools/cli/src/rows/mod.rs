//! What a table shows of each kind, and how each stands as a document.

mod allocation;
mod event;
mod node;
mod place;
mod token;
mod workload;

pub(crate) use allocation::{exit_text, phase_text, phase_tone, ports_text};
pub(crate) use node::state_text as node_state;
pub(crate) use workload::{running_text, state as workload_state, step as workload_step};

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

#[cfg(test)]
mod tests;
