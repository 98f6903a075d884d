//! Sites and regions.

use skerry_api::v1::{Region, Site};
use skerry_types::WallTime;

use super::node::state_text;
use super::{Column, Row, Shown, amounts, of};
use crate::print::table::{Cell, Tone};

impl Row for Site {
    const COLUMNS: &'static [Column] = &[
        ("NAME", Shown::Always),
        ("STATE", Shown::Always),
        ("NODES", Shown::Always),
        ("ALLOCATIONS", Shown::Always),
        ("RUNNING", Shown::Always),
        ("CPU", Shown::Always),
        ("MEMORY", Shown::Always),
        ("DISK", Shown::Wide),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let reserved = amounts(self.reserved.as_ref());
        let capacity = amounts(self.capacity.as_ref());
        let tone = nodes_tone(self.reachable, self.nodes);
        let state = match tone {
            Tone::Warning => "partly reachable".to_owned(),
            _ => state_text(self.reachable > 0, self.last_seen_ms, now),
        };
        vec![
            Cell::new(&self.name),
            Cell::toned(state, tone).with_news(self.reachable.to_string()),
            Cell::new(of(self.reachable, self.nodes)),
            Cell::new(self.allocations.to_string()),
            Cell::new(self.running.to_string()),
            Cell::new(of(reserved.0, capacity.0)),
            Cell::new(of(reserved.1, capacity.1)),
            Cell::new(of(reserved.2, capacity.2)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for Region {
    const COLUMNS: &'static [Column] = &[
        ("NAME", Shown::Always),
        ("SITES", Shown::Always),
        ("NODES", Shown::Always),
        ("WORKLOADS", Shown::Always),
        ("ALLOCATIONS", Shown::Always),
        ("RUNNING", Shown::Always),
        ("CPU", Shown::Always),
        ("MEMORY", Shown::Always),
        ("DISK", Shown::Wide),
    ];

    fn cells(&self, _now: WallTime) -> Vec<Cell> {
        let reserved = amounts(self.reserved.as_ref());
        let capacity = amounts(self.capacity.as_ref());
        vec![
            Cell::new(&self.name),
            Cell::new(self.sites.to_string()),
            Cell::toned(of(self.reachable, self.nodes), nodes_tone(self.reachable, self.nodes)),
            Cell::new(self.workloads.to_string()),
            Cell::new(self.allocations.to_string()),
            Cell::new(self.running.to_string()),
            Cell::new(of(reserved.0, capacity.0)),
            Cell::new(of(reserved.1, capacity.1)),
            Cell::new(of(reserved.2, capacity.2)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

fn nodes_tone(reachable: u32, nodes: u32) -> Tone {
    match (reachable, nodes) {
        (0, _) => Tone::Bad,
        (reachable, nodes) if reachable < nodes => Tone::Warning,
        _ => Tone::Good,
    }
}
