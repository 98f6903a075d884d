//! Selectors held against classes of nodes of which not everything is known.

use std::collections::HashMap;

use skerry_types::{Attributes, Selector, SiteDigest, SketchClass};

use crate::sketch::UNKNOWN;

/// Whether a selector holds for the nodes of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holds {
    /// For none of them, because of this term.
    No(usize),
    /// Nobody here can say: this term asks for an attribute that differs among them.
    Unknown(usize),
    /// For all of them.
    Yes,
}

/// A selector, taken apart, with the answers it gave. Thousands of sites have the same few values.
#[derive(Debug)]
pub(crate) struct Selecting<'a> {
    terms: Vec<Term<'a>>,
}

#[derive(Debug)]
struct Term<'a> {
    selector: Selector,
    key: Asked,
    /// The first answers, which are all there are for most attributes: looked through faster than hashed.
    few: Vec<(Option<&'a str>, bool)>,
    many: HashMap<Option<&'a str>, bool>,
}

impl<'a> Selecting<'a> {
    pub(crate) fn new(selector: &Selector) -> Self {
        // Terms are written with a comma and a space between them, and lists in them without the space.
        let text = selector.to_string();
        let terms = text.split(", ").filter(|term| !term.is_empty()).map(|term| {
            let selector: Selector = term.parse().expect("a term of a selector reads back as it was written");
            let key = Asked::new(selector.keys().next().unwrap_or_default());
            Term { selector, key, few: Vec::new(), many: HashMap::new() }
        });
        Self { terms: terms.collect() }
    }

    /// A term as text.
    pub(crate) fn term(&self, at: usize) -> String {
        self.terms.get(at).map(|term| term.selector.to_string()).unwrap_or_default()
    }

    /// Whether it holds for the nodes of `class` at `site`.
    pub(crate) fn holds(&mut self, site: &'a SiteDigest, class: &'a SketchClass) -> Holds {
        let mut answer = Holds::Yes;
        for (at, term) in self.terms.iter_mut().enumerate() {
            let value = term.key.value(site, class);
            if value == Some(UNKNOWN) {
                answer = answer.min(Holds::Unknown(at));
            } else if !term.holds(value) {
                return Holds::No(at);
            }
        }
        answer
    }
}

impl<'a> Term<'a> {
    const FEW: usize = 4;

    fn holds(&mut self, value: Option<&'a str>) -> bool {
        if let Some((_, answer)) = self.few.iter().find(|(known, _)| *known == value) {
            return *answer;
        }
        if let Some(answer) = self.many.get(&value) {
            return *answer;
        }
        let known = value.map(|value| (self.key.name().to_owned(), value.to_owned()));
        let answer = self.selector.matches(&known.into_iter().collect::<Attributes>());
        if self.few.len() < Self::FEW {
            self.few.push((value, answer));
        } else {
            self.many.insert(value, answer);
        }
        answer
    }
}

/// The name of an attribute, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    SiteName,
    RegionName,
    NodeName,
    /// A label of the site; the name with `site.`.
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
            name if name.starts_with(Self::SITE) => Self::SiteLabel(name.to_owned()),
            name => Self::Node(name.to_owned()),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::SiteName => "site.name",
            Self::RegionName => "region.name",
            Self::NodeName => "node.name",
            Self::SiteLabel(name) | Self::Node(name) => name,
        }
    }

    /// The value that the nodes of a class have, by the names that level 2 gives them; [`UNKNOWN`] where it is not told.
    pub(crate) fn value<'a>(&self, site: &'a SiteDigest, class: &'a SketchClass) -> Option<&'a str> {
        match self {
            Self::SiteName => Some(site.spec.name.as_str()),
            Self::RegionName => Some(site.region.as_str()),
            Self::NodeName => Some(UNKNOWN),
            Self::SiteLabel(name) => site.spec.labels.get(name.strip_prefix(Self::SITE)?).map(String::as_str),
            Self::Node(name) => {
                let told = class.attributes.get(name).map(String::as_str);
                told.or_else(|| class.attributes.contains_key(UNKNOWN).then_some(UNKNOWN))
            }
        }
    }
}
