//! Where instances may and should go.

use std::collections::BTreeMap;

use skerry_types::{Placement, Preference, Selector, Spread, SpreadBy, Taint};

use crate::error::Problem;
use crate::faults::Faults;
use crate::path::Path;
use crate::raw;

pub(super) fn placement(placement: &raw::Placement, path: &Path<'_>, faults: &mut Faults<'_>) -> Placement {
    Placement {
        require: faults.take(&path.field("require"), placement.require.parse()).unwrap_or_default(),
        prefer: preferences(&placement.prefer, &path.field("prefer"), faults),
        spread: spreads(&placement.spread, &path.field("spread"), faults),
        tolerate: tolerate(&placement.tolerate, &path.field("tolerate"), faults),
        near: Vec::new(),
        affinity: Vec::new(),
        anti_affinity: Vec::new(),
    }
}

fn preferences(wishes: &[raw::Preference], path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<Preference> {
    let mut checked = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        let path = path.index(index);
        let path = path.field("match");
        let Some(matches) = faults.take(&path, wish.matches.parse::<Selector>()) else { continue };
        if matches.is_empty() {
            let advice = "say which nodes are preferred, as in 'site.country=no'";
            faults.add(&path, Problem::Empty { advice });
        }
        checked.push(Preference { matches, weight: wish.weight });
    }
    checked
}

fn spreads(spreads: &[raw::Spread], path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<Spread> {
    let mut checked = Vec::new();
    let mut lines = BTreeMap::new();
    for (index, spread) in spreads.iter().enumerate() {
        let path = path.index(index);
        let path = path.field("by");
        if let Some(first_line) = lines.insert(spread.by.as_str(), faults.line_of(&path)) {
            let what = format!("a spread by '{}'", spread.by);
            let advice = "keep one";
            faults.add(&path, Problem::Taken { what, first_line, advice });
        }
        let Some(by) = spread_by(&spread.by, &path, faults) else { continue };
        checked.push(Spread { by, max_skew: spread.max_skew });
    }
    checked
}

fn spread_by(text: &str, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<SpreadBy> {
    match text {
        "site" => Some(SpreadBy::Site),
        "node" => Some(SpreadBy::Node),
        _ if is_attribute(text) => Some(SpreadBy::Attribute(text.to_owned())),
        _ => {
            let name = text.to_owned();
            faults.add(path, Problem::SpreadBy { name });
            None
        }
    }
}

/// Attributes have the node or its site before a dot; any other word is a slip of the pen that would spread over nothing.
fn is_attribute(text: &str) -> bool {
    let name = text.strip_prefix("node.").or_else(|| text.strip_prefix("site."));
    name.is_some_and(|name| Taint::new(name).is_ok())
}

fn tolerate(taints: &[String], path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<Taint> {
    let mut checked = Vec::new();
    for (index, taint) in taints.iter().enumerate() {
        checked.extend(faults.take(&path.index(index), Taint::new(taint.as_str())));
    }
    checked
}
