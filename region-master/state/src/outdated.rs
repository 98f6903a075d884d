//! What regions said when they handed instances back, without what is so no more.

use std::sync::Arc;

use skerry_federation::level1::HandBack;
use skerry_types::{Refusal, RegionName, Rule, SiteDigest};

use crate::records::SplitRecord;
use crate::state::RegionState;

/// In place of a reason that has gone.
const IS_GONE: &str = "what stood in the way then is gone, it is asked again";

impl RegionState {
    /// What a region handed back, in words that its digests do not contradict. What the own nodes handed back was decided with each of
    /// them in sight: to hold it against a digest could be to ask them again in the same look, for ever.
    pub(crate) fn handed_back(&self, split: &SplitRecord, name: &RegionName) -> Option<HandBack> {
        let (count, reasons) = split.back.get(name)?;
        let below = self.regions.get(name).filter(|_| reasons.iter().any(is_of_nodes));
        let reasons = match below {
            Some(region) => still_so(reasons, region.sites.values()),
            None => reasons.clone(),
        };
        Some(HandBack { count: *count, reasons })
    }

    /// Regions below whose reason for handing back was gone before it was heard of, or is since.
    pub(crate) fn outdated(&self, split: &SplitRecord) -> Vec<RegionName> {
        let is_outdated = |(name, (_, said)): (&RegionName, &(u32, Vec<Refusal>))| {
            let kept = self.handed_back(split, name)?;
            (kept.reasons != *said).then(|| name.clone())
        };
        split.back.iter().filter_map(is_outdated).collect()
    }

    /// Why nobody takes a workload's instances, a line for each region that handed some back.
    pub(crate) fn why_handed_back(&self, split: &SplitRecord) -> Vec<Refusal> {
        let backs = split.back.keys().filter_map(|name| self.handed_back(split, name));
        let why = |back: HandBack| back.reasons.first().map(Refusal::to_string).unwrap_or_default();
        backs.map(|back| Refusal { rule: Rule::HandedBack { why: why(back) }, nodes: 1 }).collect()
    }
}

/// The reasons without those about nodes that take nothing, or are not heard from, where there are no such nodes any more.
fn still_so<'a>(reasons: &[Refusal], sites: impl Iterator<Item = &'a Arc<SiteDigest>>) -> Vec<Refusal> {
    let (mut closed, mut away) = (0_u32, 0_u32);
    for site in sites {
        closed = closed.saturating_add(site.reachable.saturating_sub(site.sketch.nodes()));
        away = away.saturating_add(site.nodes.saturating_sub(site.reachable));
    }
    // A cordoned node that is away is told as cordoned here, and as away there.
    let cordoned = closed > 0 || away > 0;
    let is_so = |reason: &&Refusal| {
        (cordoned || !says(reason, &Rule::Cordoned)) && (away > 0 || !says(reason, &Rule::Unreachable))
    };
    let kept: Vec<Refusal> = reasons.iter().filter(is_so).cloned().collect();
    if kept.is_empty() && !reasons.is_empty() {
        return vec![Refusal { rule: Rule::HandedBack { why: IS_GONE.to_owned() }, nodes: 1 }];
    }
    kept
}

/// Whether a reason is what nodes are like at present, which digests tell.
fn is_of_nodes(reason: &Refusal) -> bool {
    says(reason, &Rule::Cordoned) || says(reason, &Rule::Unreachable)
}

/// Whether a reason is this rule, or what a region further down said of it.
fn says(reason: &Refusal, rule: &Rule) -> bool {
    match &reason.rule {
        Rule::HandedBack { why } => why.ends_with(&rule.to_string()),
        own => own == rule,
    }
}
