//! All about a workload.

use serde_json::Value;
use skerry_api::v1;

use super::{Setting, add_allocations, add_events};
use crate::age::ago;
use crate::print::document::yaml;
use crate::print::sheet::Sheet;
use crate::rows::{Row as _, labels_text, running_text, workload_state};

/// The text of `describe workload`.
pub(super) fn text(
    workload: &v1::Workload,
    allocations: &[v1::Allocation],
    events: &[v1::Event],
    setting: Setting,
) -> String {
    let manifest: Value = serde_json::from_str(&workload.manifest).unwrap_or(Value::Null);
    let mut sheet = Sheet::new(&format!("workload/{}", workload.name()));
    sheet
        .field("Tenant", &workload.tenant)
        .field("Kind", &workload.kind)
        .field("Labels", labels_text(&workload.labels))
        .field("State", workload_state(workload).0)
        .field("Running", format!("{} of generation {}", running_text(workload), workload.generation))
        .field("Created", ago(setting.now, workload.created_at_ms))
        .field("Changed", ago(setting.now, workload.changed_at_ms));
    add_part(&mut sheet, "Placement", &manifest["spec"]["placement"]);
    add_containers(&mut sheet, &manifest["spec"]["containers"]);
    add_pending(&mut sheet, workload);
    add_allocations(&mut sheet, allocations, setting);
    add_events(&mut sheet, events, setting);
    sheet.finish()
}

/// A part of the manifest as it is written there.
fn add_part(sheet: &mut Sheet, heading: &str, part: &Value) {
    let is_empty = part.as_object().is_none_or(serde_json::Map::is_empty);
    if let Some(text) = yaml(part).ok().filter(|_| !is_empty) {
        sheet.section(heading).laid_out(&text);
    }
}

fn add_containers(sheet: &mut Sheet, containers: &Value) {
    let Some(containers) = containers.as_array() else { return };
    sheet.section("Containers");
    for container in containers {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resources = &container["resources"];
        let amounts: Vec<String> = ["cpu", "memory", "disk"]
            .iter()
            .filter_map(|name| resources[*name].as_str().map(|amount| format!("{name} {amount}")))
            .collect();
        sheet.field(
            &text(&container["name"]),
            format!("{}   {}", text(&container["image"]), amounts.join(", ")),
        );
    }
}

/// Instances that are not placed, with every rule's reason.
fn add_pending(sheet: &mut Sheet, workload: &v1::Workload) {
    if workload.pending.is_empty() {
        return;
    }
    sheet.section("Not placed");
    for pending in &workload.pending {
        sheet.line(&instances_text(&pending.instances));
        for reason in &pending.reasons {
            sheet.line(&format!("  - {reason}"));
        }
    }
}

/// `instance 2`, or `instances 0 to 4, 7` for many.
pub(super) fn instances_text(instances: &[u32]) -> String {
    let mut sorted = instances.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for instance in sorted {
        match runs.last_mut() {
            Some((_, end)) if instance == end.saturating_add(1) => *end = instance,
            _ => runs.push((instance, instance)),
        }
    }
    let texts: Vec<String> = runs
        .iter()
        .map(|(start, end)| if start == end { start.to_string() } else { format!("{start} to {end}") })
        .collect();
    let word = if instances.len() == 1 { "instance" } else { "instances" };
    format!("{word} {}", texts.join(", "))
}
