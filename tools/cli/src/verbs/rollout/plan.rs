//! The waves of an update that has not begun. Pure.

use skerry_api::v1;
use skerry_types::{Bytes, show_duration};

use crate::print::counted;
use crate::print::report::Looks;
use crate::print::sheet::Sheet;
use crate::print::table::Cell;

/// More nodes of a site than this are counted, unless everything is asked for.
const NODES_SHOWN: usize = 4;

/// A heading, and a block for each wave with a row for each site.
pub(super) fn text(shown: &str, plan: &v1::RolloutPlanResponse, looks: Looks) -> String {
    let members: usize = plan.waves.iter().map(|wave| wave.members.len()).sum();
    let mut heading =
        format!("{shown}: {} in {}", counted(members, "member"), counted(plan.waves.len(), "wave"));
    if plan.waves.is_empty() {
        heading = format!("{shown}: nothing would change");
    }
    let mut sheet = Sheet::new(&heading);
    for wave in &plan.waves {
        add_wave(&mut sheet, wave, looks);
    }
    if !plan.deferred.is_empty() {
        let count = counted(plan.deferred.len(), "member");
        sheet.section(&format!(
            "Deferred: {count} on nodes that are not heard from; they follow when they return"
        ));
        sheet.line(&nodes_text(names(plan.deferred.iter()), looks));
    }
    sheet.finish()
}

fn add_wave(sheet: &mut Sheet, wave: &v1::PlannedWave, looks: Looks) {
    let selects = if wave.selects.is_empty() { String::new() } else { format!(" ({})", wave.selects) };
    let bytes: u64 = wave.sites.iter().fold(0, |sum, site| sum.saturating_add(site.bytes_to_pull));
    let unknown = wave.sites.iter().flat_map(|site| &site.unknown_nodes);
    let mut heading = format!(
        "Wave {}{selects}: {} on {}, {}",
        wave.number,
        counted(wave.members.len(), "member"),
        counted(wave.sites.len(), "site"),
        pull_text(bytes, " to pull", unknown, looks)
    );
    if wave.healthy_for_ms > 0 {
        let time = show_duration(std::time::Duration::from_millis(wave.healthy_for_ms));
        heading = format!("{heading}; goes on when all are well for {time}");
    }
    let row = |site: &v1::PlannedSite| {
        let here = |member: &&v1::PlannedMember| member.site == site.site && member.region == site.region;
        vec![
            Cell::new(&site.site),
            Cell::new(&site.region),
            Cell::new(site.members.to_string()),
            Cell::new(nodes_text(names(wave.members.iter().filter(here)), looks)),
            Cell::new(pull_text(site.bytes_to_pull, "", site.unknown_nodes.iter(), looks)),
        ]
    };
    let rows: Vec<Vec<Cell>> = wave.sites.iter().map(row).collect();
    sheet.section(&heading);
    sheet.table(&["SITE", "REGION", "MEMBERS", "NODES", "TO PULL"], &rows, looks.color);
}

/// What is known of it, and of which nodes nothing is.
fn pull_text<'m>(
    bytes: u64,
    to_pull: &str,
    unknown: impl Iterator<Item = &'m String>,
    looks: Looks,
) -> String {
    let known = format!("{}{to_pull}", Bytes(bytes));
    match nodes_text(unknown.map(String::as_str), looks) {
        none if none.is_empty() => known,
        nodes if bytes == 0 => format!("not known for {nodes}"),
        nodes => format!("{known}, not known for {nodes}"),
    }
}

fn names<'m>(members: impl Iterator<Item = &'m v1::PlannedMember>) -> impl Iterator<Item = &'m str> {
    members.map(|member| member.node.as_str())
}

/// Names of nodes, each once; of many the first few and how many more.
fn nodes_text<'m>(nodes: impl Iterator<Item = &'m str>, looks: Looks) -> String {
    let mut nodes: Vec<&str> = nodes.collect();
    nodes.dedup();
    if looks.wide || nodes.len() <= NODES_SHOWN + 1 {
        return nodes.join(", ");
    }
    format!("{} and {} more", nodes[..NODES_SHOWN].join(", "), nodes.len() - NODES_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKS: Looks = Looks { wide: false, color: false };

    fn member(instance: u32, site: &str) -> v1::PlannedMember {
        v1::PlannedMember {
            instance,
            node: format!("n{instance}"),
            site: site.to_owned(),
            region: "north".to_owned(),
        }
    }

    fn site(name: &str, members: u32, bytes_to_pull: u64) -> v1::PlannedSite {
        v1::PlannedSite {
            site: name.to_owned(),
            region: "north".to_owned(),
            members,
            bytes_to_pull,
            unknown_nodes: Vec::new(),
        }
    }

    #[test]
    fn waves_are_blocks_with_a_row_for_each_site() {
        let first = v1::PlannedWave {
            number: 1,
            selects: "site.tier=canary, 10%".to_owned(),
            healthy_for_ms: 300_000,
            members: vec![member(0, "oslo")],
            sites: vec![site("oslo", 1, 3 << 20)],
        };
        let rest = v1::PlannedWave {
            number: 2,
            members: (1..9).map(|at| member(at, "bergen")).collect(),
            sites: vec![v1::PlannedSite { unknown_nodes: vec!["n8".to_owned()], ..site("bergen", 8, 0) }],
            ..v1::PlannedWave::default()
        };
        let plan = v1::RolloutPlanResponse {
            waves: vec![first, rest],
            deferred: vec![member(9, "bergen")],
            warnings: Vec::new(),
            movables: Vec::new(),
        };
        let expect = "\
workload/web: 9 members in 2 waves

Wave 1 (site.tier=canary, 10%): 1 member on 1 site, 3Mi to pull; goes on when all are well for 5m
  SITE   REGION   MEMBERS   NODES   TO PULL
  oslo   north    1         n0      3Mi

Wave 2: 8 members on 1 site, not known for n8
  SITE     REGION   MEMBERS   NODES                       TO PULL
  bergen   north    8         n1, n2, n3, n4 and 4 more   not known for n8

Deferred: 1 member on nodes that are not heard from; they follow when they return
  n9
";
        let found = text("workload/web", &plan, LOOKS);
        assert_eq!(found, expect, "\n{found}");
        let nothing = text("workload/web", &v1::RolloutPlanResponse::default(), LOOKS);
        assert_eq!(nothing, "workload/web: nothing would change\n");
    }
}
