//! An explanation as people read it. Pure.

use std::collections::BTreeMap;

use skerry_api::v1;

use crate::print::report::Looks;
use crate::print::sheet::Sheet;
use crate::print::table::{Cell, Tone};

/// More places than this are told by site, unless everything is asked for.
const PLACES_SHOWN: usize = 20;

/// A heading, then places, refusals, and what the regions below say.
pub(crate) fn explanation_text(heading: &str, found: &v1::Explanation, looks: Looks) -> String {
    let mut sheet = Sheet::new(heading);
    add_body(&mut sheet, found, looks);
    for child in &found.below {
        add_below(&mut sheet, child, looks);
    }
    sheet.finish()
}

/// How many instances have a place: `2 placed, 1 would be placed, 1 without a place`.
pub(crate) fn standing(found: &v1::Explanation) -> String {
    if !found.unknown.is_empty() {
        return format!("cannot be asked: {}", found.unknown);
    }
    let placed = |present: bool| {
        let those = found.placed.iter().filter(|one| one.present == present);
        those.map(|one| count(one.instances.as_ref())).sum::<u64>()
    };
    let refused: u64 = found.refused.iter().map(|one| count(one.instances.as_ref())).sum();
    let parts = [(placed(true), "placed"), (placed(false), "would be placed"), (refused, "without a place")];
    let told: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    if told.is_empty() { "no instances".to_owned() } else { told.join(", ") }
}

/// What a region below says, and what those below it say.
fn add_below(sheet: &mut Sheet, found: &v1::Explanation, looks: Looks) {
    sheet.section(&format!("Region '{}': {}", found.region, standing(found)));
    add_body(sheet, found, looks);
    for child in &found.below {
        add_below(sheet, child, looks);
    }
}

fn add_body(sheet: &mut Sheet, found: &v1::Explanation, looks: Looks) {
    if !found.placed.is_empty() {
        let rows = if found.placed.len() > PLACES_SHOWN && !looks.wide {
            by_site(&found.placed)
        } else {
            found.placed.iter().map(place_row).collect()
        };
        let titles = ["INSTANCES", "WHERE", "SITE", "STATE", "SCORE", "BECAUSE"];
        sheet.table(&titles, &rows, looks.color);
    }
    for refused in &found.refused {
        add_refused(sheet, refused);
    }
}

fn place_row(place: &v1::PlacedWhy) -> Vec<Cell> {
    let because: Vec<String> =
        place.score.iter().map(|part| format!("{} {:+}", part.what, part.points)).collect();
    vec![
        Cell::new(place.instances.as_ref().map_or("", |instances| instances.text.as_str())),
        Cell::new(where_text(place)),
        Cell::new(&place.site),
        state_cell(place.present),
        Cell::new(if place.score.is_empty() { String::new() } else { points(place).to_string() }),
        Cell::new(because.join(", ")),
    ]
}

fn where_text(place: &v1::PlacedWhy) -> String {
    if place.node.is_empty() { format!("region {}", place.region) } else { format!("node {}", place.node) }
}

fn state_cell(present: bool) -> Cell {
    if present { Cell::toned("is there", Tone::Good) } else { Cell::toned("would go", Tone::Warning) }
}

fn points(place: &v1::PlacedWhy) -> i64 {
    place.score.iter().fold(0, |sum, part| sum.saturating_add(part.points))
}

/// Places of one site, counted.
struct SiteSum {
    instances: u64,
    nodes: usize,
    least: i64,
    most: i64,
}

/// One row for each site, or region below, with how many instances and nodes of it.
fn by_site(places: &[v1::PlacedWhy]) -> Vec<Vec<Cell>> {
    let mut sums: BTreeMap<(&str, &str, bool), SiteSum> = BTreeMap::new();
    for place in places {
        let points = points(place);
        let empty = SiteSum { instances: 0, nodes: 0, least: points, most: points };
        let sum = sums.entry((&place.region, &place.site, place.present)).or_insert(empty);
        sum.instances += count(place.instances.as_ref());
        sum.nodes += 1;
        sum.least = sum.least.min(points);
        sum.most = sum.most.max(points);
    }
    let row = |((region, site, present), sum): ((&str, &str, bool), SiteSum)| {
        let place =
            if region.is_empty() { format!("{} nodes", sum.nodes) } else { format!("region {region}") };
        let score = if sum.least == sum.most {
            sum.most.to_string()
        } else {
            format!("{} to {}", sum.least, sum.most)
        };
        vec![
            Cell::new(format!("{} in all", sum.instances)),
            Cell::new(place),
            Cell::new(site),
            state_cell(present),
            Cell::new(score),
            Cell::new("-o wide tells for each"),
        ]
    };
    sums.into_iter().map(row).collect()
}

fn add_refused(sheet: &mut Sheet, refused: &v1::RefusedWhy) {
    let many = count(refused.instances.as_ref()) != 1;
    let text = refused.instances.as_ref().map_or("", |instances| instances.text.as_str());
    let who = if many { format!("instances {text} have") } else { format!("instance {text} has") };
    sheet.line(&format!("{who} no place:"));
    for reason in &refused.reasons {
        sheet.line(&format!("  - {reason}"));
    }
    if !refused.remedies.is_empty() {
        sheet.line("one of these would let it fit:");
        for remedy in &refused.remedies {
            sheet.line(&format!("  - {remedy}"));
        }
    }
}

fn count(instances: Option<&v1::Instances>) -> u64 {
    instances.map_or(0, |instances| instances.count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKS: Looks = Looks { wide: false, color: false };

    fn instances(text: &str, count: u32) -> v1::Instances {
        v1::Instances { text: text.to_owned(), count, list: Vec::new() }
    }

    fn on_node(text: &str, count: u32, node: &str, present: bool) -> v1::PlacedWhy {
        let score = [("prefers site.tier=edge", 50), ("2 of its own on this site", -10)];
        let part = |(what, points): (&str, i64)| v1::ScorePart { what: what.to_owned(), points };
        v1::PlacedWhy {
            instances: Some(instances(text, count)),
            site: "oslo".to_owned(),
            node: node.to_owned(),
            present,
            score: score.into_iter().map(part).collect(),
            ..v1::PlacedWhy::default()
        }
    }

    fn check(found: &v1::Explanation, expect: &str) {
        let text = explanation_text(&format!("workload/web: {}", standing(found)), found, LOOKS);
        assert_eq!(text, expect.trim_start_matches('\n'), "\n{text}");
    }

    #[test]
    fn places_and_refusals_read_as_a_text() {
        let refused = v1::RefusedWhy {
            instances: Some(instances("3", 1)),
            reasons: vec!["memory: 64Mi wanted, 12Mi free at most on 3 nodes".to_owned()],
            remedies: vec!["52Mi more free memory on n1".to_owned()],
        };
        let to_south = v1::PlacedWhy {
            instances: Some(instances("4-5", 2)),
            region: "south".to_owned(),
            ..v1::PlacedWhy::default()
        };
        let child = v1::Explanation {
            region: "south".to_owned(),
            placed: vec![on_node("4-5", 2, "s1", false)],
            below: vec![v1::Explanation {
                region: "far".to_owned(),
                unknown: "it is not heard from for 3h".to_owned(),
                ..v1::Explanation::default()
            }],
            ..v1::Explanation::default()
        };
        let found = v1::Explanation {
            placed: vec![on_node("0-2", 3, "n1", true), to_south],
            refused: vec![refused],
            below: vec![child],
            ..v1::Explanation::default()
        };
        check(
            &found,
            "
workload/web: 3 placed, 2 would be placed, 1 without a place
  INSTANCES   WHERE          SITE   STATE      SCORE   BECAUSE
  0-2         node n1        oslo   is there   40      prefers site.tier=edge +50, 2 of its own on this site -10
  4-5         region south   -      would go   -       -
  instance 3 has no place:
    - memory: 64Mi wanted, 12Mi free at most on 3 nodes
  one of these would let it fit:
    - 52Mi more free memory on n1

Region 'south': 2 would be placed
  INSTANCES   WHERE     SITE   STATE      SCORE   BECAUSE
  4-5         node s1   oslo   would go   40      prefers site.tier=edge +50, 2 of its own on this site -10

Region 'far': cannot be asked: it is not heard from for 3h
",
        );
    }

    #[test]
    fn many_places_are_told_by_site() {
        let place = |at: u32| on_node(&at.to_string(), 1, &format!("n{at}"), false);
        let found = v1::Explanation { placed: (0..300).map(place).collect(), ..v1::Explanation::default() };
        check(
            &found,
            "
workload/web: 300 would be placed
  INSTANCES    WHERE       SITE   STATE      SCORE   BECAUSE
  300 in all   300 nodes   oslo   would go   40      -o wide tells for each
",
        );
        let all = explanation_text("web", &found, Looks { wide: true, color: false });
        assert_eq!(all.lines().count(), 302);
    }

    #[test]
    fn nothing_to_place_is_said() {
        assert_eq!(standing(&v1::Explanation::default()), "no instances");
    }
}
