//! What a verb did, thing by thing, in the form that was asked for.

use serde_json::Value;

use super::{document, has_color, out};
use crate::args::Output;
use crate::failure::Failure;

/// How text for people is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looks {
    /// Whether everything is shown, however long it gets.
    pub(crate) wide: bool,
    pub(crate) color: bool,
}

impl Looks {
    pub(crate) fn of(output: Output) -> Self {
        Self { wide: output == Output::Wide, color: has_color() }
    }
}

/// What was done to several things. Lines are printed as they come, documents together at the end.
#[derive(Debug)]
pub(crate) struct Report {
    output: Output,
    documents: Vec<Value>,
}

impl Report {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, documents: Vec::new() }
    }

    /// Tells of one thing: `name` as `KIND/NAME`, and `text` with its line end for people.
    pub(crate) fn add(
        &mut self,
        name: &str,
        text: &str,
        document: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        match self.output {
            Output::Table | Output::Wide => out(text)?,
            Output::Name => out(&format!("{name}\n"))?,
            Output::Json | Output::Yaml => self.documents.push(document()),
        }
        Ok(())
    }

    /// Prints the documents as a list.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let documents = std::mem::take(&mut self.documents);
        match self.output {
            Output::Json => Ok(out(&document::json(&Value::Array(documents))?)?),
            Output::Yaml => Ok(out(&document::yaml_all(&documents)?)?),
            Output::Table | Output::Wide | Output::Name => Ok(()),
        }
    }
}

/// Tells what was done to one thing, which stands alone and not in a list.
pub(crate) fn one(
    output: Output,
    name: &str,
    text: &str,
    document: impl FnOnce() -> Value,
) -> Result<(), Failure> {
    let text = match output {
        Output::Table | Output::Wide => text.to_owned(),
        Output::Name => format!("{name}\n"),
        Output::Json => document::json(&document())?,
        Output::Yaml => document::yaml(&document())?,
    };
    Ok(out(&text)?)
}
