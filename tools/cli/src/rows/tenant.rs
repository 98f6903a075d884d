//! Tenants.

use serde_json::{Value, json};
use skerry_api::v1::{Quota, Resources, Tenant};
use skerry_types::{Bandwidth, Bytes, MilliCpu, MilliGpu, WallTime};

use super::{Column, Row, Shown, manifest_yaml, with_status};
use crate::print::table::{Cell, Tone};

impl Row for Tenant {
    const COLUMNS: &'static [Column] = &[
        ("NAME", Shown::Always),
        ("REGION", Shown::Regions),
        ("PARENT", Shown::Always),
        ("WEIGHT", Shown::Always),
        ("CPU", Shown::Always),
        ("MEMORY", Shown::Always),
        ("DISK", Shown::Wide),
        ("BANDWIDTH", Shown::Wide),
        ("GPU", Shown::Wide),
        ("GUARANTEED", Shown::Wide),
        ("HELD HERE", Shown::Wide),
    ];

    fn cells(&self, _now: WallTime) -> Vec<Cell> {
        let mut cells = vec![
            Cell::new(&self.name),
            Cell::new(&self.region),
            Cell::new(&self.parent),
            Cell::new(self.weight.to_string()),
        ];
        cells.extend(lines(self).iter().map(use_cell));
        cells.push(Cell::new(quota_text(self.guarantee.as_ref())));
        cells.push(Cell::new(quota_text(self.held.as_ref())));
        cells
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    /// The manifest, which can be applied again without its `status`.
    fn document(&self) -> Value {
        let bare = || json!({"metadata": {"name": self.name}});
        with_status(
            &self.manifest,
            self,
            &["manifest", "name", "parent", "weight", "guarantee", "limit"],
            bare,
        )
    }

    /// The manifest alone, as it could be applied; everything when nobody described it.
    fn yaml(&self) -> Option<String> {
        manifest_yaml(&self.manifest)
    }
}

/// A resource and what a tenant may have and has of it.
pub(crate) struct Line {
    pub(crate) what: &'static str,
    pub(crate) guarantee: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) held: Option<u64>,
    pub(crate) used: u64,
    show: fn(u64) -> String,
}

impl Line {
    /// An amount with its unit, or nothing where there is no bound.
    pub(crate) fn shown(&self, amount: Option<u64>) -> String {
        amount.map(self.show).unwrap_or_default()
    }
}

/// What a tenant may have and has: cpu, memory, disk, bandwidth and gpu.
pub(crate) fn lines(tenant: &Tenant) -> [Line; 5] {
    type Bound = fn(&Quota) -> Option<u64>;
    let line = |what, of: Bound, used: fn(&Resources) -> u64, show| Line {
        what,
        guarantee: tenant.guarantee.as_ref().and_then(of),
        limit: tenant.limit.as_ref().and_then(of),
        held: tenant.held.as_ref().and_then(of),
        used: tenant.used.as_ref().map_or(0, used),
        show,
    };
    [
        line("cpu", |q| q.cpu_milli, |r| r.cpu_milli, |amount| MilliCpu(amount).to_string()),
        line("memory", |q| q.memory_bytes, |r| r.memory_bytes, |amount| Bytes(amount).to_string()),
        line("disk", |q| q.disk_bytes, |r| r.disk_bytes, |amount| Bytes(amount).to_string()),
        line("bandwidth", |q| q.bandwidth_bits, |r| r.bandwidth_bits, |amount| Bandwidth(amount).to_string()),
        line("gpu", |q| q.gpu_milli, |r| r.gpu_milli, |amount| MilliGpu(amount).to_string()),
    ]
}

/// `USED/LIMIT`, or what is used alone where there is no limit. More than the limit is in use when the limit was lowered.
fn use_cell(line: &Line) -> Cell {
    let used = (line.show)(line.used);
    let Some(limit) = line.limit else { return Cell::new(used) };
    let tone = if line.used > limit { Tone::Warning } else { Tone::Plain };
    Cell::toned(format!("{used}/{}", (line.show)(limit)), tone)
}

/// `cpu 4, memory 2Gi`: what is bounded.
fn quota_text(quota: Option<&Quota>) -> String {
    let Some(quota) = quota else { return String::new() };
    let parts = [
        quota.cpu_milli.map(|cpu| format!("cpu {}", MilliCpu(cpu))),
        quota.memory_bytes.map(|memory| format!("memory {}", Bytes(memory))),
        quota.disk_bytes.map(|disk| format!("disk {}", Bytes(disk))),
        quota.bandwidth_bits.map(|bandwidth| format!("bandwidth {}", Bandwidth(bandwidth))),
        quota.gpu_milli.map(|gpu| format!("gpu {}", MilliGpu(gpu))),
    ];
    parts.into_iter().flatten().collect::<Vec<String>>().join(", ")
}
