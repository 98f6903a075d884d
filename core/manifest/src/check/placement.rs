//! Where instances may and should go.

use std::collections::BTreeMap;

use skerry_types::{
    Affinity, Near, Place, Placement, Point, Preference, Selector, SiteName, Spread, SpreadBy, Taint,
};

use super::exactly_one;

use crate::faults::Faults;
use crate::path::Path;
use crate::problem::Problem;
use crate::raw::{self, Life};

pub(super) fn placement(
    placement: &raw::Placement,
    kind: Life,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Placement {
    let spread_path = path.field("spread");
    if kind == Life::Daemon && !placement.spread.is_empty() {
        let reason = "it is on every node that matches, so there is nothing to spread; leave it out";
        faults.add(&spread_path, Problem::WrongType { kind: kind.word(), reason });
    }
    Placement {
        require: faults.take(&path.field("require"), placement.require.parse()).unwrap_or_default(),
        prefer: preferences(&placement.prefer, &path.field("prefer"), faults),
        spread: spreads(&placement.spread, &spread_path, faults),
        tolerate: tolerate(&placement.tolerate, &path.field("tolerate"), faults),
        near: near(&placement.near, &path.field("near"), faults),
        affinity: affinities(&placement.affinity, &path.field("affinity"), faults),
        anti_affinity: affinities(&placement.anti_affinity, &path.field("anti_affinity"), faults),
    }
}

fn near(wishes: &[raw::Near], path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<Near> {
    let mut checked = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        let path = path.index(index);
        let to = place(wish, &path, faults);
        checked.extend(to.map(|to| Near { to, weight: wish.weight }));
    }
    checked
}

fn place(wish: &raw::Near, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Place> {
    exactly_one([("point", wish.point.is_some()), ("site", wish.site.is_some())], path, faults)?;
    if let Some(point) = &wish.point {
        return faults.take(&path.field("point"), point.parse::<Point>()).map(Place::Point);
    }
    faults.take(&path.field("site"), SiteName::new(wish.site.as_deref()?)).map(Place::Site)
}

fn affinities(wishes: &[raw::Affinity], path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<Affinity> {
    let mut checked = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        let path = path.index(index);
        let advice = "say which workloads are meant, as in 'app=web'";
        let matches = some_selector(&wish.matches, advice, &path.field("match"), faults);
        let by = spread_by(&wish.by, &path.field("by"), faults);
        checked.extend(matches.zip(by).map(|(matches, by)| Affinity { matches, by, weight: wish.weight }));
    }
    checked
}

/// A selector that leaves something out.
fn some_selector(
    text: &str,
    advice: &'static str,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<Selector> {
    let selector = faults.take(path, text.parse::<Selector>())?;
    if selector.is_empty() {
        faults.add(path, Problem::Empty { advice });
        return None;
    }
    Some(selector)
}

fn preferences(wishes: &[raw::Preference], path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<Preference> {
    let mut checked = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        let path = path.index(index);
        let advice = "say which nodes are preferred, as in 'site.country=no'";
        let matches = some_selector(&wish.matches, advice, &path.field("match"), faults);
        checked.extend(matches.map(|matches| Preference { matches, weight: wish.weight }));
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

/// Attributes have the node, its site or its region before a dot; any other word is a slip of the pen that would spread over
/// nothing. Of regions there are only the names.
fn is_attribute(text: &str) -> bool {
    if text == "region.name" {
        return true;
    }
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
