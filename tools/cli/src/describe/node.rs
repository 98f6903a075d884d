//! All about a node.

use skerry_api::v1;

use super::{Setting, add_allocations, add_events, add_labels, amount_texts, is_shown};
use crate::age::{ago, ahead};
use crate::print::counted;
use crate::print::sheet::Sheet;
use crate::print::table::Cell;
use crate::rows::{Row as _, node_state};

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
        .field("Region", &node.region)
        .field("Site", &node.site)
        .field("State", node_state(node.reachable, node.last_seen_ms, now))
        .field("Last heard", ago(now, node.last_seen_ms))
        .field("Allocations", maintenance(node))
        .field("Holds", holds(node))
        .field("Orphans", orphans(node))
        .field("Joined", if node.joined_at_ms == 0 { String::new() } else { ago(now, node.joined_at_ms) })
        .field("Address", &node.address)
        .field("Machine", [&node.arch, &node.os, &node.kernel].map(String::as_str).join(" ").trim())
        .field("Cgroups", &node.cgroup)
        .field("Agent", &node.agent_version);
    if node.certificate_expires_ms > 0 {
        sheet.field("Certificate", format!("ends {}", ahead(now, node.certificate_expires_ms)));
    }
    if let Some(draining) = &node.draining {
        add_draining(&mut sheet, draining, setting);
    }
    add_resources(&mut sheet, node, setting);
    add_labels(&mut sheet, &node.labels);
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

/// How many allocations, of how many that it may.
fn holds(node: &v1::Node) -> String {
    match node.allocations_max {
        0 => String::new(),
        most => format!("{} of at most {}", node.allocations, counted(most, "allocation")),
    }
}

/// How many of its allocations nobody is known to want, and what to do about them.
fn orphans(node: &v1::Node) -> String {
    match node.orphans {
        0 => String::new(),
        count => format!(
            "{} from before the master's store: apply the workloads again, or delete them",
            counted(count, "allocation")
        ),
    }
}

/// Whether it takes allocations, where it does not.
fn maintenance(node: &v1::Node) -> &'static str {
    match (node.cordoned, &node.draining) {
        (_, Some(_)) => "no more are taken, and those that are here move away",
        (true, None) => "no more are taken: it is cordoned",
        (false, None) => "",
    }
}

fn add_resources(sheet: &mut Sheet, node: &v1::Node, setting: Setting) {
    let columns = [&node.machine, &node.capacity, &node.reserved, &node.used];
    let columns = columns.map(|amounts| amount_texts(amounts.as_ref()));
    let rows: Vec<Vec<Cell>> = (0..columns[0].len())
        .filter(|at| is_shown(columns[0][*at].0, columns.iter().map(|column| &column[*at].1)))
        .map(|at| {
            let mut cells = vec![Cell::new(columns[0][at].0)];
            cells.extend(columns.iter().map(|column| Cell::new(&column[at].1)));
            cells
        })
        .collect();
    sheet.section("Resources");
    sheet.table(&["RESOURCE", "MACHINE", "FOR WORKLOADS", "RESERVED", "IN USE"], &rows, setting.color);
}

/// How far a drain is, and what holds it up.
fn add_draining(sheet: &mut Sheet, draining: &v1::Draining, setting: Setting) {
    let now = setting.now;
    let heading = match draining.remaining {
        0 => "Drained: it can be switched off".to_owned(),
        left => format!("Draining: {} left", counted(left, "allocation")),
    };
    sheet.section(&heading).field("Since", ago(now, draining.started_at_ms));
    if draining.deadline_at_ms > 0 && draining.remaining > 0 {
        sheet.field("Stopped all the same", ahead(now, draining.deadline_at_ms));
    }
    for why in &draining.blocked {
        sheet.line(why);
    }
}
