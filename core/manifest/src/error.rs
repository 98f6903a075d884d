//! What is wrong with a manifest, where, and what to do.

use std::fmt;

use crate::document::DocumentKind;
use crate::node::Place;
use crate::problem::Problem;

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// Line in the text, from 1.
    pub line: u64,
    /// Column in the line, in characters, from 1.
    pub column: u64,
    /// What the document describes, if its name is known.
    pub object: Option<Object>,
    /// The container, if the fault is in one and its name is known.
    pub container: Option<String>,
    /// The field, such as `spec.containers[0].image`; empty when the text as a whole is meant.
    pub path: String,
    /// What is wrong and what to do.
    pub problem: Problem,
}

impl ManifestError {
    /// An error of the text as a whole.
    pub(crate) fn of_text(at: Place, problem: Problem) -> Box<Self> {
        Box::new(Self {
            line: at.line,
            column: at.column,
            object: None,
            container: None,
            path: String::new(),
            problem,
        })
    }
}

impl fmt::Display for ManifestError {
    /// `line 7, column 5: workload 'web', container 'nginx': spec.containers[0].image: ...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        match (&self.object, &self.container) {
            (Some(object), Some(container)) => write!(f, "{object}, container '{container}': ")?,
            (Some(object), None) => write!(f, "{object}: ")?,
            (None, Some(container)) => write!(f, "container '{container}': ")?,
            (None, None) => {}
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for ManifestError {}

/// What a document describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Of which kind.
    pub kind: DocumentKind,
    /// Its name as it is written.
    pub name: String,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.kind, self.name)
    }
}
