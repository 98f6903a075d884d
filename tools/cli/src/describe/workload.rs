//! All about a workload.

use serde_json::Value;
use skerry_api::v1;

use super::{Setting, add_allocations, add_events, due};
use crate::age::ago;
use crate::print::document::yaml;
use crate::print::sheet::Sheet;
use crate::print::table::{Cell, Tone};
use crate::rows::{Row as _, labels_text, node_state, running_text, workload_state};
use crate::verbs::rollout_sentence;

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
        .field("Region", &workload.region)
        .field("Kind", &workload.kind)
        .field("Labels", labels_text(&workload.labels))
        .field("State", workload_state(workload).0)
        .field(running_label(workload), running(workload))
        .field("Update", update(workload, setting))
        .field("Last run", due(workload.last_due_ms, setting))
        .field("Next run", due(workload.next_due_ms, setting))
        .field("Created", ago(setting.now, workload.created_at_ms))
        .field("Changed", ago(setting.now, workload.changed_at_ms));
    add_part(&mut sheet, "Placement", &manifest["spec"]["placement"]);
    add_containers(&mut sheet, &manifest["spec"]["containers"]);
    add_pending(&mut sheet, workload);
    add_shares(&mut sheet, workload, setting);
    add_allocations(&mut sheet, allocations, setting);
    add_events(&mut sheet, events, setting);
    sheet.finish()
}

fn running_label(workload: &v1::Workload) -> &'static str {
    if workload.kind == "job" { "Progress" } else { "Running" }
}

fn running(workload: &v1::Workload) -> String {
    let text = running_text(workload);
    match workload.kind.as_str() {
        "job" => format!("{text}, {} going on", workload.active),
        _ => format!("{text} of generation {}", workload.generation),
    }
}

/// Where the update to the present generation stands, unless that is all there is to say.
fn update(workload: &v1::Workload, setting: Setting) -> String {
    let rollout = workload.rollout.as_ref().filter(|rollout| rollout.state != "done");
    rollout.map(|rollout| rollout_sentence(rollout, setting.now)).unwrap_or_default()
}

/// What other regions do for it.
fn add_shares(sheet: &mut Sheet, workload: &v1::Workload, setting: Setting) {
    if workload.shares.is_empty() {
        return;
    }
    let row = |share: &v1::Share| {
        let instances = share.instances.as_ref().map_or("", |instances| instances.text.as_str());
        let back = share.handed_back.as_ref().filter(|instances| instances.count > 0);
        let note = match back {
            _ if !share.refused.is_empty() => format!("refused: {}", share.refused),
            Some(instances) => format!("no place for {}", instances.text),
            None => String::new(),
        };
        let tone = if share.reachable { Tone::Good } else { Tone::Bad };
        vec![
            Cell::new(&share.region),
            Cell::toned(node_state(share.reachable, share.last_seen_ms, setting.now), tone),
            Cell::new(instances),
            Cell::new(share.placed.to_string()),
            Cell::new(if share.reachable {
                share.running.to_string()
            } else {
                format!("was {}", share.running)
            }),
            Cell::new(note),
        ]
    };
    let rows: Vec<Vec<Cell>> = workload.shares.iter().map(row).collect();
    let titles = ["REGION", "STATE", "INSTANCES", "PLACED", "RUNNING", "NOTE"];
    sheet.section("In other regions").table(&titles, &rows, setting.color);
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
        let amounts: Vec<String> = ["cpu", "memory", "disk", "bandwidth", "gpu"]
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
