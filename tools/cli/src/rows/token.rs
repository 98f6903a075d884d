//! Join tokens.

use skerry_api::v1::{RegionScope, Token};
use skerry_types::WallTime;

use super::{Column, Row, Shown, of};
use crate::age::{age, ahead};
use crate::print::table::{Cell, Tone};

impl Row for Token {
    const COLUMNS: &'static [Column] = &[
        ("ID", Shown::Always),
        ("LETS JOIN", Shown::Always),
        ("USED", Shown::Always),
        ("EXPIRES", Shown::Always),
        ("AGE", Shown::Always),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let spent = self.used >= self.uses || self.expires_at_ms <= now.0;
        let tone = if spent { Tone::Warning } else { Tone::Plain };
        vec![
            Cell::new(&self.id),
            Cell::new(scope_text(&self.site, self.region.as_ref())),
            Cell::toned(of(self.used, self.uses), tone),
            Cell::age(ahead(now, self.expires_at_ms)),
            Cell::age(age(now, self.created_at_ms)),
        ]
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

/// Whom a token lets in: `site oslo`, `region north`, or `any region`.
pub(crate) fn scope_text(site: &str, region: Option<&RegionScope>) -> String {
    match region {
        None => format!("site {site}"),
        Some(scope) if scope.name.is_empty() => "any region".to_owned(),
        Some(scope) => format!("region {}", scope.name),
    }
}
