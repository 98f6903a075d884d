//! All about a region.

use skerry_api::v1;

use super::{Setting, add_capacity, add_events};
use crate::age::ago;
use crate::print::sheet::Sheet;
use crate::print::table::Cell;
use crate::rows::{Row as _, of, region_state, site_state};

/// The text of `describe region`.
pub(super) fn text(
    region: &v1::Region,
    sites: &[v1::Site],
    children: &[v1::Region],
    events: &[v1::Event],
    setting: Setting,
) -> String {
    let now = setting.now;
    let mut sheet = Sheet::new(&format!("region/{}", region.name()));
    sheet
        .field("State", region_state(region, now).0)
        .field("Parent", if region.parent.is_empty() { "none: it is a root" } else { &region.parent })
        .field("Way there", way(region))
        .field("Nodes", format!("{} reachable", of(region.reachable, region.nodes)))
        .field("Allocations", format!("{}, {} running", region.allocations, region.running))
        .field("Workloads", format!("{} that it owns", region.workloads));
    if region.last_seen_ms > 0 {
        sheet.field("Last heard", ago(now, region.last_seen_ms));
    }
    if !region.connected {
        sheet.field("Note", "it goes on by itself; what is told of it is as it was when last heard from");
    }
    add_capacity(&mut sheet, region.capacity.as_ref(), region.reserved.as_ref(), setting);
    add_sites(&mut sheet, sites, setting);
    add_children(&mut sheet, children, setting);
    add_events(&mut sheet, events, setting);
    sheet.finish()
}

/// The regions that lie between, from the asked one on.
fn way(region: &v1::Region) -> String {
    if region.path.is_empty() {
        return String::new();
    }
    format!("through {}", region.path.join(", "))
}

fn add_sites(sheet: &mut Sheet, sites: &[v1::Site], setting: Setting) {
    let row = |site: &v1::Site| {
        let (state, tone) = site_state(site, setting.now);
        vec![
            Cell::new(&site.name),
            Cell::toned(state, tone),
            Cell::new(of(site.reachable, site.nodes)),
            Cell::new(site.allocations.to_string()),
        ]
    };
    let rows: Vec<Vec<Cell>> = sites.iter().map(row).collect();
    sheet.section("Sites").table(&["NAME", "STATE", "NODES", "ALLOCATIONS"], &rows, setting.color);
}

fn add_children(sheet: &mut Sheet, children: &[v1::Region], setting: Setting) {
    if children.is_empty() {
        return;
    }
    let row = |child: &v1::Region| {
        let (state, tone) = region_state(child, setting.now);
        vec![
            Cell::new(&child.name),
            Cell::toned(state, tone),
            Cell::new(child.sites.to_string()),
            Cell::new(of(child.reachable, child.nodes)),
        ]
    };
    let rows: Vec<Vec<Cell>> = children.iter().map(row).collect();
    sheet.section("Regions below").table(&["NAME", "STATE", "SITES", "NODES"], &rows, setting.color);
}
