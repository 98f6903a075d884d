//! All about a node.

use skerry_api::v1;

use super::{Setting, add_allocations, add_events};
use crate::age::{ago, ahead};
use crate::print::sheet::Sheet;
use crate::print::table::Cell;
use crate::rows::{Row as _, amounts, node_state};

/// The text of `describe node`.
pub(super) fn text(
    node: &v1::Node,
    allocations: &[v1::Allocation],
    events: &[v1::Event],
    setting: Setting,
) -> String {
    let now = setting.now;
    let mut sheet = Sheet::new(&format!("node/{}", node.name()));
    sheet
        .field("Site", &node.site)
        .field("State", node_state(node.reachable, node.last_seen_ms, now))
        .field("Last heard", ago(now, node.last_seen_ms))
        .field("Joined", ago(now, node.joined_at_ms))
        .field("Address", &node.address)
        .field("Machine", [&node.arch, &node.os, &node.kernel].map(String::as_str).join(" ").trim())
        .field("Cgroups", &node.cgroup)
        .field("Agent", &node.agent_version);
    if node.certificate_expires_ms > 0 {
        sheet.field("Certificate", format!("ends {}", ahead(now, node.certificate_expires_ms)));
    }
    add_resources(&mut sheet, node, setting);
    if !node.labels.is_empty() {
        sheet.section("Labels");
        for (key, value) in &node.labels {
            sheet.field(key, value);
        }
    }
    if !node.taints.is_empty() {
        sheet.section("Taints");
        node.taints.iter().for_each(|taint| {
            sheet.line(taint);
        });
    }
    add_allocations(&mut sheet, allocations, setting);
    add_events(&mut sheet, events, setting);
    sheet.finish()
}

fn add_resources(sheet: &mut Sheet, node: &v1::Node, setting: Setting) {
    let of = |part: &Option<v1::Resources>| amounts(part.as_ref());
    let (machine, capacity, reserved, used) =
        (of(&node.machine), of(&node.capacity), of(&node.reserved), of(&node.used));
    let row = |name: &str, texts: [String; 4]| {
        let mut cells = vec![Cell::new(name)];
        cells.extend(texts.iter().map(Cell::new));
        cells
    };
    let rows = [
        row("cpu", [machine.0, capacity.0, reserved.0, used.0].map(|amount| amount.to_string())),
        row("memory", [machine.1, capacity.1, reserved.1, used.1].map(|amount| amount.to_string())),
        row("disk", [machine.2, capacity.2, reserved.2, used.2].map(|amount| amount.to_string())),
    ];
    sheet.section("Resources");
    sheet.table(&["RESOURCE", "MACHINE", "FOR WORKLOADS", "RESERVED", "IN USE"], &rows, setting.color);
}
