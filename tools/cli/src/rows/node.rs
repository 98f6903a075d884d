//! Nodes.

use skerry_api::v1::Node;
use skerry_types::WallTime;

use super::{Column, Row, Shown, amounts, labels_text, of};
use crate::age::{age, ahead};
use crate::print::table::{Cell, Tone};

impl Row for Node {
    const COLUMNS: &'static [Column] = &[
        ("NAME", Shown::Always),
        ("REGION", Shown::Regions),
        ("SITE", Shown::Always),
        ("STATE", Shown::Always),
        ("ALLOCATIONS", Shown::Always),
        ("CPU", Shown::Always),
        ("MEMORY", Shown::Always),
        ("DISK", Shown::Wide),
        ("AGE", Shown::Always),
        ("ADDRESS", Shown::Wide),
        ("ARCH", Shown::Wide),
        ("KERNEL", Shown::Wide),
        ("AGENT", Shown::Wide),
        ("CERTIFICATE", Shown::Wide),
        ("TAINTS", Shown::Wide),
        ("LABELS", Shown::Wide),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let reserved = amounts(self.reserved.as_ref());
        let capacity = amounts(self.capacity.as_ref());
        vec![
            Cell::new(&self.name),
            Cell::new(&self.region),
            Cell::new(&self.site),
            state_cell(self, now),
            allocations_cell(self),
            Cell::new(of(reserved.0, capacity.0)),
            Cell::new(of(reserved.1, capacity.1)),
            Cell::new(of(reserved.2, capacity.2)),
            // Not known of the nodes of other regions.
            Cell::age(if self.joined_at_ms == 0 { String::new() } else { age(now, self.joined_at_ms) }),
            Cell::new(&self.address),
            Cell::new(&self.arch),
            Cell::new(&self.kernel),
            Cell::new(&self.agent_version),
            Cell::age(if self.certificate_expires_ms == 0 {
                String::new()
            } else {
                ahead(now, self.certificate_expires_ms)
            }),
            Cell::new(self.taints.join(",")),
            Cell::new(labels_text(&self.labels)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// `reachable`, or `unreachable 3h`: how long it has not been heard from.
pub(crate) fn state_text(reachable: bool, last_seen_ms: u64, now: WallTime) -> String {
    match (reachable, last_seen_ms) {
        (true, _) => "reachable".to_owned(),
        (false, 0) => "never seen".to_owned(),
        (false, seen) => format!("unreachable {}", age(now, seen)),
    }
}

/// `cordoned`, `draining, 3 left` or `drained`; empty when the node takes allocations.
pub(crate) fn maintenance_text(node: &Node) -> String {
    match &node.draining {
        Some(draining) if draining.remaining > 0 => format!("draining, {} left", draining.remaining),
        Some(_) => "drained".to_owned(),
        None if node.cordoned => "cordoned".to_owned(),
        None => String::new(),
    }
}

/// How many allocations it holds, and how many of them nobody is known to want.
fn allocations_cell(node: &Node) -> Cell {
    match node.orphans {
        0 => Cell::new(node.allocations.to_string()),
        orphans => Cell::toned(format!("{}, {orphans} orphaned", node.allocations), Tone::Warning),
    }
}

/// The state as a cell: how long it has lasted is no news, that it changed is.
fn state_cell(node: &Node, now: WallTime) -> Cell {
    let maintenance = maintenance_text(node);
    let tone = match (node.reachable, maintenance.is_empty()) {
        (false, _) => Tone::Bad,
        (true, false) => Tone::Warning,
        (true, true) => Tone::Good,
    };
    let mut text = state_text(node.reachable, node.last_seen_ms, now);
    if !maintenance.is_empty() {
        text = format!("{text}, {maintenance}");
    }
    Cell::toned(text, tone).with_news(format!("{} {maintenance}", node.reachable))
}
