//! The label-selector grammar, with numbers: `site.tier in (edge,metro), node.arch=amd64, node.memory_mb>=2048, !spot`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a selector is held against: attribute name to value, such as `site.tier` to `edge`.
pub type Attributes = BTreeMap<String, String>;

/// Longest selector in bytes.
const SELECTOR_MAX: usize = 1024;

/// All of a list of terms must hold. An empty selector holds for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
    Compare(Comparison, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Why a text is not a selector, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("selector '{text}': at character {position}: {problem}")]
pub struct SelectorError {
    /// The whole selector.
    pub text: String,
    /// Where it went wrong: 1 is the first character.
    pub position: usize,
    /// What was expected.
    pub problem: String,
}

impl Selector {
    /// Whether every term holds for `attributes`.
    ///
    /// A missing attribute fails `=`, `in`, and every comparison, and passes `!=` and `notin`. A value that is not a whole
    /// number fails every comparison.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        self.first_miss(attributes).is_none()
    }

    /// Whether every term holds, where `value_of` says what an attribute is: [`Self::matches`] without a map.
    pub fn matches_by<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|term| term.test.holds(value_of(&term.key)))
    }

    /// The first term that does not hold, as text, for the reason that is shown to people.
    pub fn first_miss(&self, attributes: &Attributes) -> Option<String> {
        self.terms
            .iter()
            .find(|term| !term.test.holds(attributes.get(&term.key).map(String::as_str)))
            .map(Term::to_string)
    }

    /// The place of the first term that does not hold, where `value_of` says what an attribute is.
    pub fn first_miss_by<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> Option<usize> {
        self.terms.iter().position(|term| !term.test.holds(value_of(&term.key)))
    }

    /// The term at a place, as text.
    pub fn term(&self, place: usize) -> Option<String> {
        self.terms.get(place).map(Term::to_string)
    }

    /// Whether there is no term.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The attribute names that are asked for.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| term.key.as_str())
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::Exists => value.is_some(),
            Self::Missing => value.is_none(),
            Self::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Self::Compare(comparison, bound) => value
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|number| comparison.holds(number, *bound)),
        }
    }
}

impl Comparison {
    fn holds(self, number: i64, bound: i64) -> bool {
        match self {
            Self::Less => number < bound,
            Self::AtMost => number <= bound,
            Self::More => number > bound,
            Self::AtLeast => number >= bound,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { text, at: 0 };
        if text.len() > SELECTOR_MAX {
            return Err(parser.error(format!("longer than {SELECTOR_MAX} bytes")));
        }
        let mut terms = Vec::new();
        parser.skip_space();
        while !parser.rest().is_empty() {
            terms.push(parser.term()?);
            parser.skip_space();
            if parser.rest().is_empty() {
                break;
            }
            parser.expect(',', "',' between two terms, or one of = != in notin < <= > >= after a name")?;
            parser.skip_space();
            if parser.rest().is_empty() {
                return Err(parser.error("a term after ','".to_owned()));
            }
        }
        let selector = Self { terms };
        // What is stored and sent is the written form, which may have spaces that the text had not, and must read back.
        if selector.to_string().len() > SELECTOR_MAX {
            return Err(parser.error(format!("longer than {SELECTOR_MAX} bytes when written with spaces")));
        }
        Ok(selector)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, problem: String) -> SelectorError {
        let position = self.text[..self.at].chars().count() + 1;
        SelectorError { text: self.text.chars().take(SELECTOR_MAX).collect(), position, problem }
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: char, wanted: &str) -> Result<(), SelectorError> {
        if self.rest().starts_with(token) {
            self.at += token.len_utf8();
            return Ok(());
        }
        Err(self.error(format!("expected {wanted}")))
    }

    fn word(&mut self, what: &str) -> Result<String, SelectorError> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        let rest = self.rest();
        let len = rest.find(|c| !good(c)).unwrap_or(rest.len());
        if len == 0 {
            return Err(self.error(format!("expected {what}")));
        }
        self.at += len;
        Ok(rest[..len].to_owned())
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let followed =
            self.rest().strip_prefix(keyword).is_some_and(|rest| rest.trim_start().starts_with('('));
        followed && self.take(keyword)
    }

    fn term(&mut self) -> Result<Term, SelectorError> {
        if self.take("!") {
            self.skip_space();
            return Ok(Term { key: self.word("a name after '!'")?, test: Test::Missing });
        }
        let key = self.word("a name, as in 'site.tier'")?;
        self.skip_space();
        let test = self.test()?;
        Ok(Term { key, test })
    }

    fn test(&mut self) -> Result<Test, SelectorError> {
        if self.keyword("notin") {
            return self.list().map(Test::NotIn);
        }
        if self.keyword("in") {
            return self.list().map(Test::In);
        }
        if self.take("!=") {
            return self.value().map(|value| Test::NotIn(vec![value]));
        }
        if self.take("==") || self.take("=") {
            return self.value().map(|value| Test::In(vec![value]));
        }
        let comparisons = [Comparison::AtLeast, Comparison::AtMost, Comparison::More, Comparison::Less];
        match comparisons.into_iter().find(|comparison| self.take(comparison.symbol())) {
            Some(comparison) => self.number().map(|bound| Test::Compare(comparison, bound)),
            None => Ok(Test::Exists),
        }
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        self.skip_space();
        self.word("a value")
    }

    fn number(&mut self) -> Result<i64, SelectorError> {
        self.skip_space();
        let start = self.at;
        let word = self.word("a whole number")?;
        word.parse().map_err(|_| {
            self.at = start;
            self.error(format!("expected a whole number, found '{word}'"))
        })
    }

    fn list(&mut self) -> Result<Vec<String>, SelectorError> {
        self.skip_space();
        self.expect('(', "'('")?;
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            self.skip_space();
            if self.take(")") {
                return Ok(values);
            }
            self.expect(',', "',' or ')'")?;
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.test {
            Test::Exists => write!(f, "{key}"),
            Test::Missing => write!(f, "!{key}"),
            Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0]),
            Test::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Test::Compare(comparison, bound) => write!(f, "{key}{}{bound}", comparison.symbol()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<String> = self.terms.iter().map(Term::to_string).collect();
        f.write_str(&terms.join(", "))
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;
    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes {
        let pairs =
            [("site.tier", "edge"), ("node.arch", "amd64"), ("node.memory_mb", "4096"), ("index", "x")];
        pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn terms_hold_or_not() {
        let check = |text: &str, holds: bool| {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches(&attributes()), holds, "{text}");
            assert_eq!(selector.to_string().parse(), Ok(selector), "{text} reads back");
        };
        check("", true);
        check("site.tier in (edge,metro), node.arch=amd64, node.memory_mb>=2048", true);
        check("site.tier notin ( core , metro )", true);
        check("site.tier in (core)", false);
        check("node.arch == arm64", false);
        check("node.arch != arm64", true);
        check("absent != x", true);
        check("absent = x", false);
        check("absent", false);
        check("!absent", true);
        check("! site.tier", false);
        check("node.memory_mb > 4096", false);
        check("node.memory_mb < 5000", true);
        check("node.memory_mb <= 4096", true);
        check("node.arch > 1", false);
        check("index = x", true);
        check("index", true);
    }

    #[test]
    fn the_first_miss_is_named() {
        let selector: Selector = "node.arch=amd64, node.memory_mb>=9000, site.tier=core".parse().unwrap();
        assert_eq!(selector.first_miss(&attributes()).as_deref(), Some("node.memory_mb>=9000"));
    }

    #[test]
    fn errors_say_where() {
        let check = |text: &str, position: usize, problem: &str| {
            let error = text.parse::<Selector>().unwrap_err();
            assert_eq!((error.position, error.problem.contains(problem)), (position, true), "{error}");
        };
        check("a=", 3, "a value");
        check("a b", 3, "','");
        check("a=1,", 5, "a term");
        check("a in (b", 8, "',' or ')'");
        check("a>=x", 4, "whole number");
        check("=b", 1, "a name");
        check("å=b", 1, "a name");
        check(&"a".repeat(1025), 1, "longer than");
        check(&vec!["a"; 500].join(","), 1000, "when written");
    }
}
