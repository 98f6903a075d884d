//! Selectors held against classes of nodes of which not everything is known.

use skerry_types::{Labels, Selector};

use crate::roster::{Roster, Site};
use crate::sketch::UNKNOWN;
use crate::table::Kind;

/// Whether a selector holds for the nodes of a class. The least of what its terms say is what all of it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holds {
    /// For none of them, because of this term.
    No(usize),
    /// Nobody here can say: this term asks for an attribute that differs among them.
    Unknown(usize),
    /// For all of them.
    Yes,
}

/// A selector, taken apart, with its answers: one for each kind of nodes, each set of labels, each region, each site.
#[derive(Debug)]
pub(crate) struct Selecting {
    terms: Vec<Selector>,
    /// Each empty where no term asks for it.
    by_kind: Vec<Holds>,
    by_labels: Vec<Holds>,
    by_region: Vec<Holds>,
    by_site: Vec<Holds>,
    everywhere: Holds,
}

impl Selecting {
    pub(crate) fn new(selector: &Selector, roster: &Roster<'_>) -> Self {
        // Terms are written with a comma and a space between them, and lists in them without the space.
        let text = selector.to_string();
        let terms = text.split(", ").filter(|term| !term.is_empty());
        let terms =
            terms.map(|term| term.parse().expect("a term of a selector reads back as it was written"));
        let mut made = Self {
            terms: terms.collect(),
            by_kind: Vec::new(),
            by_labels: Vec::new(),
            by_region: Vec::new(),
            by_site: Vec::new(),
            everywhere: Holds::Yes,
        };
        for at in 0..made.terms.len() {
            made.answer(at, roster);
        }
        made
    }

    /// Holds one term against all that it may ask for.
    fn answer(&mut self, at: usize, roster: &Roster<'_>) {
        let Some(term) = self.terms.get(at) else { return };
        let asked = Asked::new(term.keys().next().unwrap_or_default());
        let say = |value: Option<&str>| match value {
            Some(UNKNOWN) => Holds::Unknown(at),
            value if term.matches_by(|_| value) => Holds::Yes,
            _ => Holds::No(at),
        };
        match &asked {
            Asked::NodeName => self.everywhere = self.everywhere.min(Holds::Unknown(at)),
            Asked::SiteName => lower(&mut self.by_site, roster.site_names().map(|name| say(Some(name)))),
            Asked::RegionName => {
                lower(&mut self.by_region, roster.regions.iter().map(|name| say(Some(name.as_str()))));
            }
            Asked::SiteLabel(name) => {
                lower(&mut self.by_labels, roster.labels.iter().map(|labels| say(label(labels, name))));
            }
            Asked::Node(name) => {
                lower(&mut self.by_kind, roster.kinds.iter().map(|kind| say(attribute(kind, name))));
            }
        }
    }

    /// A term as text.
    pub(crate) fn term(&self, at: usize) -> String {
        self.terms.get(at).map(Selector::to_string).unwrap_or_default()
    }

    /// Whether the terms that ask for what all nodes of a site have hold there.
    pub(crate) fn at_site(&self, site: &Site<'_>) -> Holds {
        let labels = told(&self.by_labels, crate::index(site.labels));
        let region = told(&self.by_region, crate::index(site.region));
        labels.min(region).min(told(&self.by_site, site.at)).min(self.everywhere)
    }

    /// Whether the other terms hold for a kind of nodes.
    pub(crate) fn for_kind(&self, kind: u32) -> Holds {
        told(&self.by_kind, crate::index(kind))
    }
}

fn told(answers: &[Holds], at: usize) -> Holds {
    answers.get(at).copied().unwrap_or(Holds::Yes)
}

/// Joins the answers to one more term.
fn lower(answers: &mut Vec<Holds>, more: impl Iterator<Item = Holds>) {
    if answers.is_empty() {
        answers.extend(more);
    } else {
        answers.iter_mut().zip(more).for_each(|(known, more)| *known = (*known).min(more));
    }
}

/// The name of an attribute, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    SiteName,
    RegionName,
    NodeName,
    /// A label of the site, by its own name.
    SiteLabel(String),
    /// Anything that the sketch tells of nodes.
    Node(String),
}

impl Asked {
    const SITE: &str = "site.";

    pub(crate) fn new(name: &str) -> Self {
        match name {
            "site.name" => Self::SiteName,
            "region.name" => Self::RegionName,
            "node.name" => Self::NodeName,
            name => match name.strip_prefix(Self::SITE) {
                Some(label) => Self::SiteLabel(label.to_owned()),
                None => Self::Node(name.to_owned()),
            },
        }
    }
}

/// A label of a site.
pub(crate) fn label<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    labels.get(name).map(String::as_str)
}

/// What nodes of a kind have, by the names that level 2 gives it; [`UNKNOWN`] where it is not told.
pub(crate) fn attribute<'a>(kind: &'a Kind, name: &str) -> Option<&'a str> {
    let told = kind.attributes.get(name).map(String::as_str);
    told.or_else(|| kind.attributes.contains_key(UNKNOWN).then_some(UNKNOWN))
}
