//! Events.

use skerry_api::v1::Event;
use skerry_types::WallTime;

use super::{Column, Row, Shown};
use crate::age::age;
use crate::print::table::{Cell, Tone};

impl Row for Event {
    const COLUMNS: &'static [Column] = &[
        ("NUMBER", Shown::Wide),
        ("AGE", Shown::Always),
        ("LEVEL", Shown::Always),
        ("SUBJECT", Shown::Always),
        ("REGION", Shown::Regions),
        ("SEEN BY", Shown::Wide),
        ("REASON", Shown::Always),
        ("MESSAGE", Shown::Always),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let tone = if self.level == "warning" { Tone::Warning } else { Tone::Plain };
        let seen_by = if self.node.is_empty() { "master" } else { &self.node };
        vec![
            Cell::new(self.number.to_string()),
            Cell::age(age(now, self.at_ms)),
            Cell::toned(&self.level, tone),
            Cell::new(&self.subject),
            Cell::new(&self.region),
            Cell::new(seen_by),
            Cell::new(&self.reason),
            Cell::new(&self.message),
        ]
    }

    fn name(&self) -> String {
        self.number.to_string()
    }
}
