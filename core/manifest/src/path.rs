//! Where in a document a field is, as a person writes it: `spec.containers[0].image`.

use std::fmt;

use crate::node::{Node, Place};

/// A field's way from the document's root. Each step lives on the stack of the function that takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub(crate) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub(crate) fn field(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    pub(crate) fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// The place of what the path leads to, or of the nearest thing around it that is in the text.
    pub(crate) fn place_in(&self, document: &Node) -> Place {
        self.nearest_in(document).0.at
    }

    /// The nearest node on the way, and whether it is the end of the way.
    fn nearest_in<'d>(&self, document: &'d Node) -> (&'d Node, bool) {
        let Some(parent) = self.parent else { return (document, true) };
        let (around, whole) = parent.nearest_in(document);
        let found = match self.step {
            _ if !whole => None,
            Step::Root => None,
            Step::Field(name) => around.field(name),
            Step::Index(index) => around.element(index),
        };
        found.map_or((around, false), |node| (node, true))
    }

    /// Which element of `spec.containers` or `spec.init` the path leads through.
    pub(crate) fn container(&self) -> Option<(&'static str, usize)> {
        let mut at = self;
        loop {
            let parent = at.parent?;
            match (at.step, parent.step) {
                (Step::Index(index), Step::Field("containers")) => return Some(("containers", index)),
                (Step::Index(index), Step::Field("init")) => return Some(("init", index)),
                _ => {}
            }
            at = parent;
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if parent.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}
