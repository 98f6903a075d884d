//! From what is written to what is meant: every value is read into its type and held against its bounds.

mod amount;
mod container;
mod life;
mod placement;
mod probe;
mod site;
mod tenant;
mod update;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use skerry_schedule::Zone;
use skerry_types::{Labels, check_labels, parse_duration, show_duration};

use crate::faults::Faults;
use crate::path::Path;
use crate::problem::Problem;
use crate::{raw, words};

pub(crate) use site::site;
pub(crate) use tenant::tenant;
pub(crate) use workload::workload;

fn labels(labels: &BTreeMap<String, raw::Scalar>, path: &Path<'_>, faults: &mut Faults<'_>) -> Labels {
    let mut checked = Labels::new();
    for (name, value) in labels {
        let one = Labels::from([(name.clone(), value.0.clone())]);
        if faults.take(&path.field(name), check_labels(&one)).is_some() {
            checked.extend(one);
        }
    }
    checked
}

/// The value, or a fault added and nothing when it is out of its bounds.
fn within<T: Ord + fmt::Display>(
    value: T,
    bounds: &RangeInclusive<T>,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<T> {
    if bounds.contains(&value) {
        return Some(value);
    }
    faults.add(
        path,
        Problem::OutOfBounds {
            found: value.to_string(),
            min: bounds.start().to_string(),
            max: bounds.end().to_string(),
        },
    );
    None
}

/// A duration within its bounds.
fn span(
    text: &str,
    bounds: &RangeInclusive<Duration>,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<Duration> {
    let span = faults.take(path, parse_duration(text))?;
    if bounds.contains(&span) {
        return Some(span);
    }
    faults.add(
        path,
        Problem::OutOfBounds {
            found: text.to_owned(),
            min: show_duration(*bounds.start()),
            max: show_duration(*bounds.end()),
        },
    );
    None
}

/// A name of a time zone that exists.
fn zone(name: &str, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<String> {
    if Zone::named(name).is_ok() {
        return Some(name.to_owned());
    }
    let zones = Zone::names();
    let city = |zone: &&String| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
    let nearest = match zones.iter().find(city) {
        Some(zone) => format!("; did you mean '{zone}'?"),
        None => words::did_you_mean(name, zones.iter().map(String::as_str)),
    };
    faults.add(path, Problem::TimeZone { name: name.chars().take(64).collect(), nearest });
    None
}

/// The one field that is there, or a fault when it is none or several.
fn exactly_one<'f, const N: usize>(
    fields: [(&'f str, bool); N],
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<&'f str> {
    let there: Vec<&str> = fields.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    if let [only] = there.as_slice() {
        return Some(only);
    }
    if faults.touch(path) {
        // One that is wrong itself is not among those that are there.
        return None;
    }
    let list = |names: &[&str]| names.join(", ");
    let found = if there.is_empty() { "none of them".to_owned() } else { list(&there) };
    let choices = list(&fields.map(|(name, _)| name));
    faults.add(path, Problem::ExactlyOne { found, choices });
    None
}
