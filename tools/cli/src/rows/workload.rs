//! Workloads.

use serde_json::{Value, json};
use skerry_api::v1::Workload;
use skerry_types::WallTime;

use super::{Column, Row, Shown, labels_text, qualified};
use crate::age::age;
use crate::print::table::{Cell, Tone};

impl Row for Workload {
    const COLUMNS: &'static [Column] = &[
        ("TENANT", Shown::Tenants),
        ("NAME", Shown::Always),
        ("KIND", Shown::Always),
        ("STATE", Shown::Always),
        ("RUNNING", Shown::Always),
        ("GENERATION", Shown::Always),
        ("AGE", Shown::Always),
        ("CHANGED", Shown::Wide),
        ("LABELS", Shown::Wide),
        ("WHY PENDING", Shown::Wide),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let (state, tone) = state(self);
        let why = self.pending.first().and_then(|pending| pending.reasons.first());
        vec![
            Cell::new(&self.tenant),
            Cell::new(&self.name),
            Cell::new(&self.kind),
            Cell::toned(state, tone),
            Cell::new(running_text(self)),
            Cell::new(self.generation.to_string()),
            Cell::age(age(now, self.created_at_ms)),
            Cell::age(age(now, self.changed_at_ms)),
            Cell::new(labels_text(&self.labels)),
            Cell::new(why.map_or("", String::as_str)),
        ]
    }

    fn name(&self) -> String {
        qualified(&self.tenant, &self.name)
    }

    /// The manifest, which can be applied again without its `status`.
    fn document(&self) -> Value {
        let mut status = serde_json::to_value(self).unwrap_or(Value::Null);
        let mut manifest: Value = serde_json::from_str(&self.manifest).unwrap_or(Value::Null);
        if let Some(status) = status.as_object_mut() {
            for field in ["manifest", "tenant", "name", "labels", "kind"] {
                status.remove(field);
            }
        }
        match manifest.as_object_mut() {
            Some(fields) => {
                fields.insert("status".to_owned(), status);
                manifest
            }
            // A manifest of a later release that is not JSON: what is known of it is still worth having.
            None => json!({"metadata": {"name": self.name, "tenant": self.tenant}, "status": status}),
        }
    }

    /// The manifest alone, in the order of the documentation, as it could be applied.
    fn yaml(&self) -> Option<String> {
        let documents = skerry_manifest::parse(&self.manifest).ok()?;
        documents.first().map(|document| skerry_manifest::to_yaml(&document.spec))
    }
}

/// One word for where a workload is. Running is said only of what is heard from.
pub(crate) fn state(workload: &Workload) -> (&'static str, Tone) {
    let heard = workload.running.saturating_sub(workload.unreachable);
    if workload.deleting {
        ("deleting", Tone::Warning)
    } else if heard >= workload.instances {
        ("running", Tone::Good)
    } else if !workload.pending.is_empty() {
        ("pending", Tone::Bad)
    } else if workload.running >= workload.instances {
        ("unreachable", Tone::Warning)
    } else {
        ("starting", Tone::Warning)
    }
}

/// How many run of how many wanted, and how many of those are not heard from.
pub(crate) fn running_text(workload: &Workload) -> String {
    let counts = format!("{}/{}", workload.running, workload.instances);
    if workload.unreachable == 0 {
        return counts;
    }
    format!("{counts} ({} not heard from)", workload.unreachable)
}

/// How far a workload has come, for progress: counts, and why it does not get further.
pub(crate) fn step(workload: &Workload) -> String {
    let mut text =
        format!("{}: {} running, {} placed", workload.name(), running_text(workload), workload.placed);
    if let Some(pending) = workload.pending.first() {
        let reason = pending.reasons.first().map_or("no reason given", String::as_str);
        text = format!("{text}, {} not placed: {reason}", pending.instances.len());
    }
    text
}
