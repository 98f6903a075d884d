//! Manifests: what an operator writes, read into [`WorkloadSpec`], [`TenantSpec`] and [`SiteSpec`], and written back.
//!
//! [`documents`] takes YAML or JSON with any number of documents and gives each of them, or everything that is wrong with line,
//! column, object and field; [`parse`] does so where only workloads are taken. [`schema`] is the JSON Schema for editors; it
//! comes from the same types as the check. [`Document::to_yaml`] and its siblings write the canonical form, which reads back as
//! the same.
//!
//! Deliberately lacks: IO (files and standard input are the command's), the exact reading of image references (the registry
//! client's), and whether anything would fit anywhere (the allocator's).
//!
//! Start from [`documents`] and [`ManifestError`]; bounds and defaults are in [`limits`].

mod capability;
mod check;
mod document;
mod error;
mod faults;
mod image;
pub mod limits;
mod node;
mod path;
mod problem;
mod raw;
mod schema;
mod shape;
mod signal;
mod words;
mod write;

use std::collections::BTreeMap;

use skerry_types::WorkloadSpec;
#[cfg(doc)]
use skerry_types::{SiteSpec, TenantSpec};

use crate::faults::Faults;
use crate::node::{Kind, Node, Place};
use crate::path::Path;

pub use crate::document::{Document, DocumentKind};
pub use crate::error::{ManifestError, Object};
pub use crate::image::ImageError;
pub use crate::problem::{Hint, Problem};
pub use crate::schema::schema;
pub use crate::write::{
    site_to_manifest, site_to_yaml, tenant_to_manifest, tenant_to_yaml, to_manifest, to_yaml, yaml_text,
};

/// One document of a manifest text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documented {
    /// What it describes. Images of a workload have no digest yet.
    pub document: Document,
    /// Line in the text where it begins, from 1.
    pub line: u64,
}

/// One workload of a manifest text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadDocument {
    /// The workload. Its images have no digest yet.
    pub spec: WorkloadSpec,
    /// Line in the text where the document begins, from 1.
    pub line: u64,
}

/// Reads every document of a text, in the order they stand there.
///
/// # Errors
/// Everything that is wrong, in the order of the text: at most [`limits::ERRORS_MAX`] errors, and never none. Text that is
/// neither YAML nor JSON gives one error, as nothing after it can be trusted.
pub fn documents(text: &str) -> Result<Vec<Documented>, Vec<ManifestError>> {
    read(text, &DocumentKind::ALL)
}

/// Reads every workload of a text, in the order they stand there. A document of another kind is an error.
///
/// # Errors
/// As [`documents`].
pub fn parse(text: &str) -> Result<Vec<WorkloadDocument>, Vec<ManifestError>> {
    let documents = read(text, &[DocumentKind::Workload])?.into_iter();
    let workload = |Documented { document, line }| match document {
        Document::Workload(spec) => Some(WorkloadDocument { spec, line }),
        Document::Tenant(_) | Document::Site(_) => None,
    };
    Ok(documents.filter_map(workload).collect())
}

fn read(text: &str, kinds: &[DocumentKind]) -> Result<Vec<Documented>, Vec<ManifestError>> {
    let roots = Node::read_all(text).map_err(|error| vec![*error])?;
    if roots.is_empty() {
        return Err(vec![*ManifestError::of_text(Place::START, Problem::NoDocument)]);
    }
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    let mut lines = BTreeMap::new();
    for root in &roots {
        let mut faults = Faults::new(text, root, kind_of(root, kinds));
        let document = document(root, kinds, &mut faults);
        if let Some(document) = &document {
            once(&mut lines, document, &mut faults);
        }
        errors.extend(faults.into_found());
        if errors.len() >= limits::ERRORS_MAX {
            break;
        }
        documents.extend(document.map(|document| Documented { document, line: root.at.line }));
    }
    if errors.is_empty() {
        return Ok(documents);
    }
    errors.sort_by_key(|error| (error.line, error.column));
    errors.truncate(limits::ERRORS_MAX);
    Err(errors)
}

/// The kind that a document says it is of; without a good one it is held against the first.
fn kind_of(root: &Node, kinds: &[DocumentKind]) -> DocumentKind {
    let found = root.field("kind").and_then(Node::as_text);
    let known = kinds.iter().copied().find(|kind| found == Some(kind.name()));
    known.unwrap_or(DocumentKind::Workload)
}

/// What one document describes, or nothing when `faults` say why.
fn document(root: &Node, kinds: &[DocumentKind], faults: &mut Faults<'_>) -> Option<Document> {
    if is_foreign(root, kinds, faults) {
        return None;
    }
    let value = shape::document(root, faults);
    match faults.kind {
        DocumentKind::Workload => check::workload(&typed(value, faults)?, faults).map(Document::Workload),
        DocumentKind::Tenant => check::tenant(&typed(value, faults)?, faults).map(Document::Tenant),
        DocumentKind::Site => check::site(&typed(value, faults)?, faults).map(Document::Site),
    }
}

fn typed<T: serde::de::DeserializeOwned>(value: serde_json::Value, faults: &mut Faults<'_>) -> Option<T> {
    let read =
        serde_json::from_value(value).map_err(|error| Problem::Unreadable { message: error.to_string() });
    faults.take(&Path::ROOT, read)
}

/// A document of another program has nothing but unknown fields: one error says so.
fn is_foreign(root: &Node, kinds: &[DocumentKind], faults: &mut Faults<'_>) -> bool {
    if !matches!(root.kind, Kind::Map(_)) {
        return false;
    }
    if ["apiVersion", "kind", "metadata", "spec"].iter().all(|name| root.field(name).is_none()) {
        faults.add(&Path::ROOT, Problem::NotAManifest);
        return true;
    }
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let mut foreign = false;
    for (name, expected) in [("apiVersion", [raw::API_VERSION].as_slice()), ("kind", &names)] {
        let found = root.field(name).and_then(Node::as_text);
        if let Some(found) = found.filter(|found| !expected.contains(found)) {
            let (found, expected) = (found.to_owned(), words::one_of(expected));
            faults.add(&Path::ROOT.field(name), Problem::Foreign { found, expected });
            foreign = true;
        }
    }
    foreign
}

/// Two documents of one thing: whichever came last would win without a word.
fn once(lines: &mut BTreeMap<(DocumentKind, String), u64>, document: &Document, faults: &mut Faults<'_>) {
    let root = Path::ROOT;
    let path = root.field("metadata");
    let path = path.field("name");
    let line = faults.line_of(&path);
    let key = (document.kind(), document.name());
    if let Some(first_line) = lines.get(&key).copied() {
        faults.add(&path, Problem::SameObject { kind: document.kind(), first_line });
        return;
    }
    lines.insert(key, line);
}

#[cfg(test)]
mod tests;
