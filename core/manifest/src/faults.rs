//! Collects everything that is wrong with one document.

use crate::document::DocumentKind;
use crate::error::{ManifestError, Object};
use crate::limits;
use crate::node::{Node, Place};
use crate::path::Path;
use crate::problem::Problem;

/// One document and what was found wrong in it so far.
pub(crate) struct Faults<'d> {
    /// The text that the document is part of.
    pub(crate) text: &'d str,
    /// What the document is held against.
    pub(crate) kind: DocumentKind,
    root: &'d Node,
    found: Vec<ManifestError>,
}

impl<'d> Faults<'d> {
    pub(crate) fn new(text: &'d str, root: &'d Node, kind: DocumentKind) -> Self {
        Self { text, kind, root, found: Vec::new() }
    }

    /// Adds a fault of the field at `path`, unless something around it is wrong: what stands there then is a placeholder.
    pub(crate) fn add(&mut self, path: &Path<'_>, problem: impl Into<Problem>) {
        if !self.are_full() && !self.hide(path) {
            self.add_at(path.place_in(self.root), path, problem);
        }
    }

    /// Adds a fault whose place is not that of its value, such as a field's name.
    pub(crate) fn add_at(&mut self, at: Place, path: &Path<'_>, problem: impl Into<Problem>) {
        if self.are_full() {
            return;
        }
        self.found.push(ManifestError {
            line: at.line,
            column: at.column,
            object: self.object(),
            container: path
                .container()
                .and_then(|(list, index)| self.container(list, index))
                .map(str::to_owned),
            path: path.to_string(),
            problem: problem.into(),
        });
    }

    /// Whether so much is wrong that nothing more is told: looking on costs time that a hostile text would like to take.
    pub(crate) fn are_full(&self) -> bool {
        self.found.len() >= limits::ERRORS_MAX
    }

    /// The value, or its error added and nothing.
    pub(crate) fn take<T, E: Into<Problem>>(&mut self, path: &Path<'_>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(path, error)).ok()
    }

    /// Whether anything at or below `path` is wrong, so that no conclusion may be drawn from it.
    pub(crate) fn touch(&self, path: &Path<'_>) -> bool {
        let path = path.to_string();
        self.found.iter().any(|error| is_at_or_below(&error.path, &path))
    }

    fn hide(&self, path: &Path<'_>) -> bool {
        let path = path.to_string();
        self.found.iter().any(|error| is_at_or_below(&path, &error.path))
    }

    /// Line of the field at `path`.
    pub(crate) fn line_of(&self, path: &Path<'_>) -> u64 {
        path.place_in(self.root).line
    }

    pub(crate) fn into_found(self) -> Vec<ManifestError> {
        self.found
    }

    fn object(&self) -> Option<Object> {
        let name = self.root.field("metadata")?.field("name")?.as_text()?.to_owned();
        Some(Object { kind: self.kind, name })
    }

    fn container(&self, list: &str, index: usize) -> Option<&'d str> {
        let containers = self.root.field("spec")?.field(list)?;
        containers.element(index)?.field("name")?.as_text()
    }
}

fn is_at_or_below(path: &str, around: &str) -> bool {
    path.strip_prefix(around)
        .is_some_and(|rest| rest.is_empty() || around.is_empty() || rest.starts_with(['.', '[']))
}
