//! All about a site.

use skerry_api::v1;

use super::{Setting, add_capacity, add_events, add_labels};
use crate::age::ago;
use crate::print::sheet::Sheet;
use crate::print::table::{Cell, Tone};
use crate::rows::{Row as _, link_text, maintenance_text, node_state, of, site_state};

/// The text of `describe site`.
pub(super) fn text(site: &v1::Site, nodes: &[v1::Node], events: &[v1::Event], setting: Setting) -> String {
    let mut sheet = Sheet::new(&format!("site/{}", site.name()));
    sheet
        .field("Region", &site.region)
        .field("State", site_state(site, setting.now).0)
        .field("Last heard", ago(setting.now, site.last_seen_ms))
        .field("Nodes", format!("{} reachable", of(site.reachable, site.nodes)))
        .field("Allocations", format!("{}, {} running", site.allocations, site.running))
        .field("Time zone", if site.timezone.is_empty() { "UTC" } else { &site.timezone })
        .field("Place", &site.point)
        .field("Link", link_text(site));
    add_labels(&mut sheet, &site.labels);
    add_capacity(&mut sheet, site.capacity.as_ref(), site.reserved.as_ref(), setting);
    add_nodes(&mut sheet, nodes, setting);
    add_events(&mut sheet, events, setting);
    sheet.finish()
}

fn add_nodes(sheet: &mut Sheet, nodes: &[v1::Node], setting: Setting) {
    let row = |node: &v1::Node| {
        let tone = if node.reachable { Tone::Good } else { Tone::Bad };
        vec![
            Cell::new(&node.name),
            Cell::toned(node_state(node.reachable, node.last_seen_ms, setting.now), tone),
            Cell::new(node.allocations.to_string()),
            Cell::new(maintenance_text(node)),
        ]
    };
    let rows: Vec<Vec<Cell>> = nodes.iter().map(row).collect();
    sheet.section("Nodes").table(&["NAME", "STATE", "ALLOCATIONS", "MAINTENANCE"], &rows, setting.color);
}
