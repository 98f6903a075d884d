//! Manifest text as a tree that remembers where each part stood.
//!
//! A typed reader stops at the first thing it cannot take. The tree lets every fault of a file be told at once.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use crate::error::ManifestError;
use crate::limits;
use crate::problem::Problem;

/// A place in the text: both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl Place {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) kind: Kind,
    /// First byte and length in the text, for scalars that must be taken as they were written.
    span: Option<(u64, u64)>,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text, duplicates kept.
    Map(Vec<(Key, Node)>),
}

/// The name of a field and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) at: Place,
}

impl Node {
    /// Reads every document of a text; empty ones are left out.
    pub(crate) fn read_all(text: &str) -> Result<Vec<Self>, Box<ManifestError>> {
        if text.len() > limits::TEXT_BYTES_MAX {
            return Err(ManifestError::of_text(
                Place::START,
                Problem::TooLarge { bytes: text.len(), max: limits::TEXT_BYTES_MAX },
            ));
        }
        serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| {
            let error = error.without_snippet();
            let at = error.location().map_or(Place::START, Place::from);
            ManifestError::of_text(at, problem_of(error))
        })
    }

    /// The field of that name, if this is a map that has it.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Kind::Map(fields) = &self.kind else { return None };
        fields.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// The element at that index, if this is a list that has it.
    pub(crate) fn element(&self, index: usize) -> Option<&Self> {
        let Kind::List(elements) = &self.kind else { return None };
        elements.get(index)
    }

    /// The text, if this is text.
    pub(crate) fn as_text(&self) -> Option<&str> {
        let Kind::Text(text) = &self.kind else { return None };
        Some(text)
    }

    /// A number or boolean as it was written in `text`, so that `1.10` stays `1.10`.
    pub(crate) fn as_written<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (start, len) = self.span?;
        let start = usize::try_from(start).ok()?;
        text.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }

    /// What a person calls this kind of value.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// What the reader says, without the place that it ends with: every error begins with that.
fn problem_of(error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error;

    if let Error::AliasError { error, .. } = error {
        return problem_of(error);
    }
    let message = error.to_string();
    let is_budget = matches!(
        error,
        Error::Budget { .. }
            | Error::AliasReplayLimitExceeded { .. }
            | Error::AliasReplayStackDepthExceeded { .. }
    );
    // The scanner has its own bound on nesting, which it tells in words only.
    if is_budget || message.starts_with("recursion limit exceeded") {
        return Problem::TooMuch;
    }
    let message = message.split_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    Problem::Syntax { message: message.to_owned() }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: limits::DEPTH_MAX,
            flow_nesting_limit: limits::DEPTH_MAX,
            max_nodes: limits::NODES_MAX,
            max_events: 4 * limits::NODES_MAX,
            max_recorded_anchor_events: limits::NODES_MAX,
            max_recorded_anchor_bytes: limits::TEXT_BYTES_MAX,
            max_total_scalar_bytes: 4 * limits::TEXT_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: limits::NODES_MAX },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        with_snippet: false,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<Kind>::deserialize(deserializer)?;
        let span = defined.span();
        Ok(Self { at: defined.into(), kind: value, span: span.byte_offset().zip(span.byte_len()) })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { name: value, at: defined.into() })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Kind, E> {
        Ok(wide_number(Number::from_i128(value), value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Kind, E> {
        Ok(wide_number(Number::from_u128(value), value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(wide_number(Number::from_f64(value), value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Kind::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Kind::Map(fields))
    }
}

/// No field takes a number beyond 64 bits, so one is kept as its text and refused for its size later.
fn wide_number(number: Option<Number>, value: impl fmt::Display) -> Kind {
    number.map_or_else(|| Kind::Text(value.to_string()), Kind::Number)
}
