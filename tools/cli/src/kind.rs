//! The kinds of things that the command shows, and how they are named when typed.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use clap::builder::{PossibleValue, TypedValueParser};

/// A kind of thing that a master shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Workload,
    Allocation,
    Node,
    Site,
    Region,
    Tenant,
    Event,
    Token,
}

impl Kind {
    /// Every kind with the words for it: singular, plural, short.
    const WORDS: [(Self, &'static [&'static str]); 8] = [
        (Self::Workload, &["workload", "workloads", "wl"]),
        (Self::Allocation, &["allocation", "allocations", "alloc", "allocs"]),
        (Self::Node, &["node", "nodes", "no"]),
        (Self::Site, &["site", "sites"]),
        (Self::Region, &["region", "regions"]),
        (Self::Tenant, &["tenant", "tenants"]),
        (Self::Event, &["event", "events", "ev"]),
        (Self::Token, &["token", "tokens"]),
    ];

    /// Whether things of this kind belong to tenants.
    pub(crate) fn has_tenant(self) -> bool {
        matches!(self, Self::Workload | Self::Allocation | Self::Event)
    }

    /// Whether two of its things in different regions may have one name.
    pub(crate) fn is_in_regions(self) -> bool {
        !matches!(self, Self::Region | Self::Token)
    }

    /// Whether a selector means anything to it.
    pub(crate) fn has_labels(self) -> bool {
        matches!(self, Self::Workload | Self::Allocation | Self::Node)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Self::WORDS.iter().find(|(kind, _)| kind == self).map(|(_, words)| words[0]);
        f.write_str(words.unwrap_or("thing"))
    }
}

/// Why a text is not a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a kind: write workload, allocation, node, site, region, tenant, event or token")]
pub(crate) struct KindError {
    text: String,
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        Self::WORDS
            .iter()
            .find(|(_, words)| words.contains(&text))
            .map(|(kind, _)| *kind)
            .ok_or_else(|| KindError { text: text.to_owned() })
    }
}

/// What a verb is about: `KIND`, or one thing as `KIND/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
}

/// Reads a [`Target`] and lists the kinds for help texts and completion.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetParser;

impl TypedValueParser for TargetParser {
    type Value = Target;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Target, clap::Error> {
        Target::from_str.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let of = |(_, words): &(Kind, &'static [&'static str])| {
            let mut words = words.iter().copied();
            words.next().map(|word| PossibleValue::new(word).aliases(words))
        };
        Some(Box::new(Kind::WORDS.iter().filter_map(of)))
    }
}

impl FromStr for Target {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let (kind, name) = text.split_once('/').map_or((text, None), |(kind, name)| (kind, Some(name)));
        Ok(Self { kind: kind.parse()?, name: name.filter(|name| !name.is_empty()).map(ToOwned::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_singular_plural_and_short_words() {
        let check = |text: &str, kind: Option<Kind>| assert_eq!(text.parse().ok(), kind, "{text}");
        check("workloads", Some(Kind::Workload));
        check("workload", Some(Kind::Workload));
        check("wl", Some(Kind::Workload));
        check("alloc", Some(Kind::Allocation));
        check("no", Some(Kind::Node));
        check("regions", Some(Kind::Region));
        check("pods", None);
        check("", None);
    }

    #[test]
    fn a_target_may_name_one_thing() {
        let check = |text: &str, kind: Kind, name: Option<&str>| {
            assert_eq!(text.parse(), Ok(Target { kind, name: name.map(ToOwned::to_owned) }));
        };
        check("wl/web", Kind::Workload, Some("web"));
        check("nodes", Kind::Node, None);
        check("node/", Kind::Node, None);
        assert!("pod/web".parse::<Target>().is_err());
    }
}
