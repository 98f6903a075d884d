//! A plan in words.

use skerry_types::{Explanation, InstanceSet, PlacedWhy, Refusal, RefusedWhy, Rule, ScorePart, Target};

use super::offer::{Dealing, Dealt};
use super::score::MILLI;
use super::{Demand, Part, RegionView};

/// What [`plan`](super::plan) would do, with the parts of each region's score and what would have to change for the rest.
///
/// The score shown for a region is that of its best class of nodes.
pub fn explain(demand: &Demand<'_>, regions: &[RegionView]) -> Explanation {
    let dealing = Dealing::new(demand, regions);
    let dealt = dealing.deal(true);
    let mut explanation = Explanation::default();
    for (at, region) in regions.iter().enumerate() {
        let Some(part) = dealt.plan.parts.get(&region.name) else { continue };
        explanation.placed.extend(placed(&dealing, &dealt, at, part));
    }
    if !dealt.plan.unplaced.is_empty() {
        let remedies = remedies(&dealt.plan.reasons);
        let (instances, reasons) = (dealt.plan.unplaced, dealt.plan.reasons);
        explanation.refused.push(RefusedWhy { instances, reasons, remedies });
    }
    explanation
}

fn placed(dealing: &Dealing<'_>, dealt: &Dealt, at: usize, part: &Part) -> Vec<PlacedWhy> {
    let name = dealing.regions[at].name.clone();
    let score = score(dealing, dealt, at);
    let certain = part.added.difference(&part.speculative);
    let entry = |instances: &InstanceSet, present: bool, score: Vec<ScorePart>| PlacedWhy {
        instances: instances.clone(),
        target: Target::Region(name.clone()),
        present,
        score,
    };
    let mut tried = score.clone();
    tried.push(ScorePart { what: "a try: its digests show no room".to_owned(), points: 0 });
    let entries = [
        entry(&part.kept, true, score.clone()),
        entry(&certain, false, score),
        entry(&part.speculative, false, tried),
    ];
    entries.into_iter().filter(|entry| !entry.instances.is_empty()).collect()
}

/// The parts of the score of a region's best candidate: the one that got most, else the one with most points.
fn score(dealing: &Dealing<'_>, dealt: &Dealt, region_at: usize) -> Vec<ScorePart> {
    let all = dealing.candidates.all.iter().enumerate();
    let own = all.filter(|(_, candidate)| crate::index(candidate.region) == region_at);
    let best = own.max_by_key(|(at, candidate)| {
        (dealt.given[*at], candidate.points - dealt.costs[*at].0, std::cmp::Reverse(*at))
    });
    let Some((at, candidate)) = best else { return Vec::new() };
    let mut sites = dealing.roster.sites(region_at);
    let Some(site) = sites.find(|site| site.at == crate::index(candidate.site)) else { return Vec::new() };
    let mut parts = dealing.scoring.parts(&dealing.regions[region_at], &site, candidate.kind);
    let (before, after) = (dealt.costs[at].0 / MILLI, dealt.costs[at].1 / MILLI);
    let mut say = |what: String, points: i64| parts.push(ScorePart { what, points });
    if before != 0 {
        say("instances that had the same value of a spread".to_owned(), -before);
    }
    if after != before {
        say("instances of this plan with the same value of a spread".to_owned(), before - after);
    }
    let link = site.digest.spec.link;
    if link.metered || link.micros_per_mb > 0 {
        let metered = if link.metered { "metered link" } else { "link" };
        say(format!("{metered} at {} millionths for a megabyte", link.micros_per_mb), 0);
    }
    say(format!("{} % of site {} free", (candidate.free * 100) >> 32, site.digest.spec.name), 0);
    if candidate.certain {
        say(format!("room for {} of it there", candidate.room), 0);
    }
    parts
}

/// What would have to change for one more to fit, the smallest change first.
fn remedies(reasons: &[Refusal]) -> Vec<String> {
    let mut remedies: Vec<(u64, String)> =
        reasons.iter().filter_map(|one| remedy(&one.rule, one.nodes)).collect();
    remedies.sort();
    remedies.into_iter().map(|(_, text)| text).collect()
}

/// A sentence, and how large a change it is: hundredths of what is asked for, then changes that are no amounts.
fn remedy(rule: &Rule, nodes: u32) -> Option<(u64, String)> {
    const WORDS: u64 = 1_000;
    let amount = |what: &str, need: u64, free: u64, shown: (String, String)| {
        let part = u128::from(need.saturating_sub(free)) * 100 / u128::from(need.max(1));
        let sentence = if free == 0 {
            format!("free {} of {what} on a node", shown.0)
        } else {
            format!("ask for {} of {what} at most, not {}", shown.1, shown.0)
        };
        Some((u64::try_from(part).unwrap_or(WORDS), sentence))
    };
    let shown = |need: &dyn ToString, free: &dyn ToString| (need.to_string(), free.to_string());
    match rule {
        Rule::Cpu { need, most_free } => amount("cpu", need.0, most_free.0, shown(need, most_free)),
        Rule::Memory { need, most_free } => amount("memory", need.0, most_free.0, shown(need, most_free)),
        Rule::Disk { need, most_free } => amount("disk", need.0, most_free.0, shown(need, most_free)),
        Rule::Bandwidth { need, most_free } => {
            amount("bandwidth", need.0, most_free.0, shown(need, most_free))
        }
        Rule::Gpu { need, most_free } => amount("gpu", need.0, most_free.0, shown(need, most_free)),
        Rule::RegionUnreachable if nodes == 1 => Some((WORDS, "bring the link of 1 region back".to_owned())),
        Rule::RegionUnreachable => Some((WORDS, format!("bring the links of {nodes} regions back"))),
        Rule::Unreachable => Some((WORDS + 1, format!("bring the links of {nodes} nodes back"))),
        Rule::Taint { taint } => Some((WORDS + 2, format!("tolerate '{taint}'"))),
        Rule::Require { term } => {
            Some((WORDS + 3, format!("take '{term}' out of placement.require, or widen it")))
        }
        Rule::MaxSkew { by, max_skew } => {
            Some((WORDS + 4, format!("raise max_skew over {by} above {max_skew}")))
        }
        Rule::NoNodes => Some((WORDS + 5, "join nodes".to_owned())),
        _ => None,
    }
}
