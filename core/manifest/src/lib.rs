//! Manifests: what an operator writes, read into [`WorkloadSpec`], and written back.
//!
//! [`parse`] takes YAML or JSON with any number of documents and gives every workload, or everything that is wrong with line,
//! column, object and field. [`schema`] is the JSON Schema for editors; it comes from the same types as the check.
//! [`to_manifest`] and [`to_yaml`] write the canonical form of a workload, which reads back as the same.
//!
//! Deliberately lacks: IO (files and standard input are the command's), the exact reading of image references (the registry
//! client's), and whether anything would fit anywhere (the allocator's).
//!
//! Start from [`parse`] and [`ManifestError`]; bounds and defaults are in [`limits`].

mod capability;
mod check;
mod error;
mod faults;
mod image;
pub mod limits;
mod node;
mod path;
mod raw;
mod schema;
mod shape;
mod unsupported;
mod words;
mod write;

use std::collections::BTreeMap;

use skerry_types::{WorkloadKey, WorkloadSpec};

use crate::faults::Faults;
use crate::node::{Kind, Node, Place};
use crate::path::Path;

pub use crate::error::{Hint, ManifestError, Problem};
pub use crate::image::ImageError;
pub use crate::schema::schema;
pub use crate::write::{to_manifest, to_yaml, yaml_text};

/// One workload of a manifest text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The workload. Its images have no digest yet.
    pub spec: WorkloadSpec,
    /// Line in the text where the document begins, from 1.
    pub line: u64,
}

/// Reads every workload of a text, in the order they stand there.
///
/// # Errors
/// Everything that is wrong, in the order of the text: at most [`limits::ERRORS_MAX`] errors, and never none. Text that is
/// neither YAML nor JSON gives one error, as nothing after it can be trusted.
pub fn parse(text: &str) -> Result<Vec<Document>, Vec<ManifestError>> {
    let roots = Node::read_all(text).map_err(|error| vec![*error])?;
    if roots.is_empty() {
        return Err(vec![*ManifestError::of_text(Place::START, Problem::NoDocument)]);
    }
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    let mut lines = BTreeMap::new();
    for root in &roots {
        let mut faults = Faults::new(text, root);
        let spec = workload(root, &mut faults);
        if let Some(spec) = &spec {
            once(&mut lines, spec.key.clone(), &mut faults);
        }
        errors.extend(faults.into_found());
        if errors.len() >= limits::ERRORS_MAX {
            break;
        }
        documents.extend(spec.map(|spec| Document { spec, line: root.at.line }));
    }
    if errors.is_empty() {
        return Ok(documents);
    }
    errors.sort_by_key(|error| (error.line, error.column));
    errors.truncate(limits::ERRORS_MAX);
    Err(errors)
}

/// The workload of one document, or nothing when `faults` say why.
fn workload(root: &Node, faults: &mut Faults<'_>) -> Option<WorkloadSpec> {
    if is_foreign(root, faults) {
        return None;
    }
    let value = shape::document(root, faults);
    let manifest = serde_json::from_value::<raw::Manifest>(value)
        .map_err(|error| Problem::Unreadable { message: error.to_string() });
    check::workload(&faults.take(&Path::ROOT, manifest)?, faults)
}

/// A document of another program has nothing but unknown fields: one error says so.
fn is_foreign(root: &Node, faults: &mut Faults<'_>) -> bool {
    if !matches!(root.kind, Kind::Map(_)) {
        return false;
    }
    if ["apiVersion", "kind", "metadata", "spec"].iter().all(|name| root.field(name).is_none()) {
        faults.add(&Path::ROOT, Problem::NotAManifest);
        return true;
    }
    let mut foreign = false;
    for (name, expected) in [("apiVersion", raw::API_VERSION), ("kind", raw::KIND)] {
        let found = root.field(name).and_then(Node::as_text);
        if let Some(found) = found.filter(|found| *found != expected) {
            let found = found.to_owned();
            faults.add(&Path::ROOT.field(name), Problem::Foreign { found, expected });
            foreign = true;
        }
    }
    foreign
}

/// Two documents of one workload: whichever came last would win without a word.
fn once(lines: &mut BTreeMap<WorkloadKey, u64>, key: WorkloadKey, faults: &mut Faults<'_>) {
    let root = Path::ROOT;
    let path = root.field("metadata");
    let path = path.field("name");
    let line = faults.line_of(&path);
    if let Some(first_line) = lines.get(&key).copied() {
        faults.add(&path, Problem::SameWorkload { first_line });
        return;
    }
    lines.insert(key, line);
}

#[cfg(test)]
mod tests;
