//! Sites and regions.

use serde_json::{Value, json};
use skerry_api::v1::{Region, Site};
use skerry_types::WallTime;

use super::node::state_text;
use super::{Column, Row, Shown, amounts, labels_text, manifest_yaml, of, with_status};
use crate::print::table::{Cell, Tone};

impl Row for Site {
    const COLUMNS: &'static [Column] = &[
        ("NAME", Shown::Always),
        ("REGION", Shown::Regions),
        ("STATE", Shown::Always),
        ("NODES", Shown::Always),
        ("ALLOCATIONS", Shown::Always),
        ("RUNNING", Shown::Always),
        ("CPU", Shown::Always),
        ("MEMORY", Shown::Always),
        ("DISK", Shown::Wide),
        ("TIME ZONE", Shown::Wide),
        ("PLACE", Shown::Wide),
        ("LINK", Shown::Wide),
        ("LABELS", Shown::Wide),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let reserved = amounts(self.reserved.as_ref());
        let capacity = amounts(self.capacity.as_ref());
        let (state, tone) = site_state(self, now);
        vec![
            Cell::new(&self.name),
            Cell::new(&self.region),
            Cell::toned(state, tone).with_news(self.reachable.to_string()),
            Cell::new(of(self.reachable, self.nodes)),
            Cell::new(self.allocations.to_string()),
            Cell::new(self.running.to_string()),
            Cell::new(of(reserved.0, capacity.0)),
            Cell::new(of(reserved.1, capacity.1)),
            Cell::new(of(reserved.2, capacity.2)),
            Cell::new(&self.timezone),
            Cell::new(&self.point),
            Cell::new(link_text(self)),
            Cell::new(labels_text(&self.labels)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    /// The manifest, which can be applied again without its `status`.
    fn document(&self) -> Value {
        let bare = || json!({"metadata": {"name": self.name}});
        let said = ["manifest", "name", "labels", "timezone", "point", "metered", "micros_per_mb"];
        with_status(&self.manifest, self, &said, bare)
    }

    /// The manifest alone, as it could be applied; everything when nobody described it.
    fn yaml(&self) -> Option<String> {
        manifest_yaml(&self.manifest)
    }
}

/// How a site is, from how many of its nodes are heard from.
pub(crate) fn site_state(site: &Site, now: WallTime) -> (String, Tone) {
    if site.nodes == 0 {
        return ("no nodes".to_owned(), Tone::Plain);
    }
    let tone = nodes_tone(site.reachable, site.nodes);
    let state = match tone {
        Tone::Warning => "partly reachable".to_owned(),
        _ => state_text(site.reachable > 0, site.last_seen_ms, now),
    };
    (state, tone)
}

/// `metered, 0.25 per MB`, or nothing for a link that costs nothing.
pub(crate) fn link_text(site: &Site) -> String {
    let price = (site.micros_per_mb > 0).then(|| format!("{} per MB", decimal(site.micros_per_mb)));
    [site.metered.then(|| "metered".to_owned()), price]
        .into_iter()
        .flatten()
        .collect::<Vec<String>>()
        .join(", ")
}

/// Millionths as a decimal number without zeros at its end.
fn decimal(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Row for Region {
    const COLUMNS: &'static [Column] = &[
        ("NAME", Shown::Always),
        ("PARENT", Shown::Regions),
        ("STATE", Shown::Always),
        ("SITES", Shown::Always),
        ("NODES", Shown::Always),
        ("WORKLOADS", Shown::Always),
        ("ALLOCATIONS", Shown::Always),
        ("RUNNING", Shown::Always),
        ("CPU", Shown::Always),
        ("MEMORY", Shown::Always),
        ("DISK", Shown::Wide),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let reserved = amounts(self.reserved.as_ref());
        let capacity = amounts(self.capacity.as_ref());
        let (state, tone) = region_state(self, now);
        vec![
            Cell::new(&self.name),
            Cell::new(&self.parent),
            Cell::toned(state, tone).with_news(self.connected.to_string()),
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

/// Whether a region is heard from, and since when it is not.
pub(crate) fn region_state(region: &Region, now: WallTime) -> (String, Tone) {
    let tone = if region.connected { Tone::Good } else { Tone::Bad };
    (state_text(region.connected, region.last_seen_ms, now), tone)
}

fn nodes_tone(reachable: u32, nodes: u32) -> Tone {
    match (reachable, nodes) {
        (0, 0) => Tone::Plain,
        (0, _) => Tone::Bad,
        (reachable, nodes) if reachable < nodes => Tone::Warning,
        _ => Tone::Good,
    }
}
