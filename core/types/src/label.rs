//! Labels and taints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Labels of a workload, node or site: key to value, in order.
pub type Labels = BTreeMap<String, String>;

/// Longest label key or value in bytes: room for a DNS name, as in Kubernetes' prefix form.
const LABEL_TEXT_MAX: usize = 253;

/// Why a text is not a label or taint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' must be 1 to {LABEL_TEXT_MAX} of letters, digits, '-', '_', '.' and '/', and begin and end with a letter or digit"
)]
pub struct LabelError {
    text: String,
}

fn check_label_text(text: &str) -> Result<(), LabelError> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let good = bytes.len() <= LABEL_TEXT_MAX
        && bytes.iter().copied().all(inner)
        && end(bytes.first())
        && end(bytes.last());
    if good { Ok(()) } else { Err(LabelError { text: text.chars().take(LABEL_TEXT_MAX).collect() }) }
}

/// Checks a set of labels: keys and values of the label alphabet; a value may be empty.
pub fn check_labels(labels: &Labels) -> Result<(), LabelError> {
    labels.iter().try_for_each(|(key, value)| {
        check_label_text(key)?;
        if value.is_empty() { Ok(()) } else { check_label_text(value) }
    })
}

/// A mark on a node that keeps away every workload that does not tolerate it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Taint(String);

impl Taint {
    /// Checks and wraps a taint's name.
    pub fn new(text: impl Into<String>) -> Result<Self, LabelError> {
        let text = text.into();
        check_label_text(&text)?;
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Taint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Taint {
    type Error = LabelError;
    fn try_from(text: String) -> Result<Self, LabelError> {
        Self::new(text)
    }
}

impl From<Taint> for String {
    fn from(taint: Taint) -> Self {
        taint.0
    }
}
