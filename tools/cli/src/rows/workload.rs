//! Workloads.

use serde_json::{Value, json};
use skerry_api::v1::Workload;
use skerry_types::WallTime;

use super::{Column, Row, Shown, labels_text, manifest_yaml, qualified, with_status};
use crate::age::{age, ahead};
use crate::print::table::{Cell, Tone};

impl Row for Workload {
    const COLUMNS: &'static [Column] = &[
        ("TENANT", Shown::Tenants),
        ("NAME", Shown::Always),
        ("REGION", Shown::Regions),
        ("KIND", Shown::Always),
        ("STATE", Shown::Always),
        ("RUNNING", Shown::Always),
        ("GENERATION", Shown::Always),
        ("AGE", Shown::Always),
        ("CHANGED", Shown::Wide),
        ("LAST RUN", Shown::Wide),
        ("NEXT RUN", Shown::Wide),
        ("LABELS", Shown::Wide),
        ("WHY PENDING", Shown::Wide),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let (state, tone) = state(self);
        let why = self.pending.first().and_then(|pending| pending.reasons.first());
        vec![
            Cell::new(&self.tenant),
            Cell::new(&self.name),
            Cell::new(&self.region),
            Cell::new(&self.kind),
            Cell::toned(state, tone),
            Cell::new(running_text(self)),
            Cell::new(self.generation.to_string()),
            Cell::age(age(now, self.created_at_ms)),
            Cell::age(age(now, self.changed_at_ms)),
            Cell::age(due(self.last_due_ms, now)),
            Cell::age(due(self.next_due_ms, now)),
            Cell::new(labels_text(&self.labels)),
            Cell::new(why.map_or("", String::as_str)),
        ]
    }

    fn name(&self) -> String {
        qualified(&self.tenant, &self.name)
    }

    /// The manifest, which can be applied again without its `status`.
    fn document(&self) -> Value {
        let bare = || json!({"metadata": {"name": self.name, "tenant": self.tenant}});
        with_status(&self.manifest, self, &["manifest", "tenant", "name", "labels", "kind"], bare)
    }

    /// The manifest alone, in the order of the documentation, as it could be applied.
    fn yaml(&self) -> Option<String> {
        manifest_yaml(&self.manifest)
    }
}

/// When a cron workload ran or runs; empty when that is not known or it is none.
fn due(at_ms: u64, now: WallTime) -> String {
    if at_ms == 0 { String::new() } else { ahead(now, at_ms) }
}

/// How many instances there are to be, as far as the asked region goes.
pub(crate) fn wanted(workload: &Workload) -> u32 {
    workload.here.unwrap_or(workload.instances)
}

/// A word or two for where a workload is. Running is said only of what is heard from.
pub(crate) fn state(workload: &Workload) -> (&'static str, Tone) {
    if workload.deleting {
        return ("deleting", Tone::Warning);
    }
    match workload.kind.as_str() {
        "job" => job_state(workload),
        "cron" if workload.active == 0 && workload.pending.is_empty() => ("waiting", Tone::Good),
        "cron" if workload.active > workload.unreachable => ("running", Tone::Good),
        _ => service_state(workload),
    }
}

fn service_state(workload: &Workload) -> (&'static str, Tone) {
    let heard = workload.running.saturating_sub(workload.unreachable);
    let update = workload.rollout.as_ref().and_then(|rollout| update_state(&rollout.state));
    match update {
        Some(update) if workload.pending.is_empty() => update,
        _ if heard >= wanted(workload) => ("running", Tone::Good),
        _ if !workload.pending.is_empty() => ("pending", Tone::Bad),
        _ if workload.running >= wanted(workload) => ("unreachable", Tone::Warning),
        _ if workload.rollout.as_ref().is_some_and(|rollout| rollout.state == "failed") => {
            ("update failed", Tone::Bad)
        }
        _ => ("starting", Tone::Warning),
    }
}

/// What there is to say of an update that goes on.
fn update_state(state: &str) -> Option<(&'static str, Tone)> {
    match state {
        "running" => Some(("updating", Tone::Warning)),
        "paused" => Some(("update paused", Tone::Warning)),
        "waiting_promotion" => Some(("canary waits", Tone::Warning)),
        "reverting" => Some(("reverting", Tone::Warning)),
        _ => None,
    }
}

fn job_state(workload: &Workload) -> (&'static str, Tone) {
    match workload {
        _ if workload.completed >= wanted(workload) => ("completed", Tone::Good),
        _ if !workload.pending.is_empty() => ("pending", Tone::Bad),
        _ if workload.active > 0 && workload.active <= workload.unreachable => ("unreachable", Tone::Warning),
        _ if workload.active > 0 && workload.failed > 0 => ("failing", Tone::Bad),
        _ if workload.active > 0 => ("running", Tone::Good),
        _ if workload.failed > 0 => ("failed", Tone::Bad),
        _ => ("starting", Tone::Warning),
    }
}

/// How many run of how many wanted, and how many of those are not heard from; of a job how many have completed, of a cron
/// workload how many run.
pub(crate) fn running_text(workload: &Workload) -> String {
    let counts = match workload.kind.as_str() {
        "job" => {
            let failed =
                if workload.failed == 0 { String::new() } else { format!(", {} failed", workload.failed) };
            format!("{}/{} completed{failed}", workload.completed, wanted(workload))
        }
        "cron" => workload.active.to_string(),
        _ => format!("{}/{}", workload.running, wanted(workload)),
    };
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
