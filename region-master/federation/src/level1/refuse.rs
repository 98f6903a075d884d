//! Why instances fit nowhere, in a few lines however many regions there are.

use std::cmp::Reverse;

use skerry_types::{Refusal, Rule};

use super::RegionView;
use super::candidates::closed_by;
use super::offer::Dealing;
use crate::estimate::{Fit, count};
use crate::table::Buckets;

/// The rules that say no, most nodes first. Rules that speak of regions count regions.
pub(crate) fn refusals(dealing: &Dealing<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut handed_back = Vec::new();
    let mut returned = 0;
    let regions = dealing.regions;
    for (at, region) in regions.iter().enumerate() {
        if !region.reachable {
            count(&mut refusals, Rule::RegionUnreachable, 1);
        } else if let Some(hand_back) = &region.handed_back {
            returned += 1;
            hand_back.reasons.iter().for_each(|one| count(&mut handed_back, one.rule.clone(), one.nodes));
        } else {
            of_region(dealing, at, region, &mut refusals);
        }
    }
    if returned > 0 {
        sort(&mut handed_back);
        let main = match handed_back.first().map(|one| &one.rule) {
            // What a region further down said is not said once more for each region between.
            Some(Rule::HandedBack { why }) => why.clone(),
            Some(rule) => rule.to_string(),
            None => "no reason given".to_owned(),
        };
        let main = Rule::HandedBack { why: main };
        handed_back.retain(|one| one.rule != main);
        refusals.push(Refusal { rule: main, nodes: returned });
        for one in handed_back {
            count(&mut refusals, one.rule, one.nodes);
        }
    }
    if refusals.is_empty() {
        return vec![Refusal { rule: Rule::NoNodes, nodes: 0 }];
    }
    sort(&mut refusals);
    refusals
}

fn sort(refusals: &mut [Refusal]) {
    refusals.sort_by(|a, b| (Reverse(a.nodes), &a.rule).cmp(&(Reverse(b.nodes), &b.rule)));
}

fn of_region(dealing: &Dealing<'_>, at: usize, region: &RegionView, refusals: &mut Vec<Refusal>) {
    let closed = closed_by(&dealing.demand, region);
    for site in dealing.roster.sites(at) {
        let away = site.digest.nodes.saturating_sub(site.digest.reachable);
        if away > 0 {
            count(refusals, Rule::Unreachable, away);
        }
        let at_site = dealing.rules.at_site(&site);
        for class in region.sites.classes_of(site.row) {
            let buckets = region.sites.buckets_of(class);
            let nodes = buckets.rows.iter().map(|row| u32::from(row.nodes)).fold(0, u32::saturating_add);
            match (dealing.rules.judge(at_site, dealing.roster.kind(at, class)), &closed) {
                (Fit::No(why), _) => {
                    if let Some(rule) = dealing.rules.word(why) {
                        count(refusals, rule, nodes);
                    }
                }
                (Fit::Unknown(term), _) => count(refusals, dealing.rules.term(term), nodes),
                (Fit::Yes, Some(rule)) => count(refusals, rule.clone(), nodes),
                (Fit::Yes, None) => of_class(dealing, buckets, refusals),
            }
        }
    }
}

/// Nodes that match: what is left on them when they have taken what fits, or the bound that keeps them free.
fn of_class(dealing: &Dealing<'_>, buckets: Buckets<'_>, refusals: &mut Vec<Refusal>) {
    let bound = dealing.demand.placement.spread.iter().find_map(|spread| {
        let max_skew = spread.max_skew?;
        Some(Rule::MaxSkew { by: spread.by.to_string(), max_skew })
    });
    for bucket in buckets.all() {
        let fitting = dealing.need.per_node(&bucket);
        let left = dealing.need.left(&bucket);
        let rule = match &bound {
            Some(bound) if fitting > 0 => Some(bound.clone()),
            _ => dealing.need.shortage(&left, bucket.slots - fitting),
        };
        if let Some(rule) = rule {
            count(refusals, rule, bucket.nodes);
        }
    }
}
