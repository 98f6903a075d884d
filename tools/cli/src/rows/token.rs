//! Join tokens.

use skerry_api::v1::Token;
use skerry_types::WallTime;

use super::{Column, Row, Shown, of};
use crate::age::{age, ahead};
use crate::print::table::{Cell, Tone};

impl Row for Token {
    const COLUMNS: &'static [Column] = &[
        ("ID", Shown::Always),
        ("SITE", Shown::Always),
        ("USED", Shown::Always),
        ("EXPIRES", Shown::Always),
        ("AGE", Shown::Always),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let spent = self.used >= self.uses || self.expires_at_ms <= now.0;
        let tone = if spent { Tone::Warning } else { Tone::Plain };
        vec![
            Cell::new(&self.id),
            Cell::new(&self.site),
            Cell::toned(of(self.used, self.uses), tone),
            Cell::age(ahead(now, self.expires_at_ms)),
            Cell::age(age(now, self.created_at_ms)),
        ]
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}
