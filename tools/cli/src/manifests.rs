//! Manifests from files, folders and standard input: all are read and checked before anything is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use skerry_manifest::limits::TEXT_BYTES_MAX;
use skerry_manifest::{Document, DocumentKind};
use skerry_types::TenantName;

use crate::failure::Failure;
use crate::kind::Kind;
use crate::print::say;

/// A document and where it was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) document: Document,
    /// `FILE:LINE`.
    place: String,
}

impl Written {
    /// The kind of what it describes.
    pub(crate) fn kind(&self) -> Kind {
        match self.document.kind() {
            DocumentKind::Workload => Kind::Workload,
            DocumentKind::Tenant => Kind::Tenant,
            DocumentKind::Site => Kind::Site,
        }
    }

    /// The tenant that it belongs to, for a workload; else empty.
    pub(crate) fn tenant(&self) -> String {
        match &self.document {
            Document::Workload(spec) => spec.key.tenant.to_string(),
            Document::Tenant(_) | Document::Site(_) => String::new(),
        }
    }

    /// The name, without the tenant.
    pub(crate) fn name(&self) -> String {
        match &self.document {
            Document::Workload(spec) => spec.key.name.to_string(),
            Document::Tenant(spec) => spec.name.to_string(),
            Document::Site(spec) => spec.name.to_string(),
        }
    }

    /// `KIND/NAME`, with the tenant of a workload unless that is the default one.
    pub(crate) fn shown(&self) -> String {
        format!("{}/{}", self.kind(), self.document.name())
    }

    /// The canonical form, which is the same whatever the file looks like.
    pub(crate) fn manifest(&self) -> String {
        self.document.to_manifest().to_string()
    }
}

/// Reads every document of every file, in the order in which they can be applied: tenants, parents before their parts, then
/// sites, then workloads. What is wrong is told on standard error, all of it, as `FILE: line L, column C: ...`.
pub(crate) fn read_all(sources: &[PathBuf]) -> Result<Vec<Written>, Failure> {
    let mut found = Vec::new();
    let mut faults = 0;
    for path in files(sources)? {
        let name = shown(&path);
        let text = text_of(&path)?;
        match skerry_manifest::documents(&text) {
            Ok(documents) => found.extend(
                documents
                    .into_iter()
                    .map(|one| Written { document: one.document, place: format!("{name}:{}", one.line) }),
            ),
            Err(errors) => {
                faults += errors.len();
                for error in errors {
                    say(&format!("{name}: {error}"));
                }
            }
        }
    }
    faults += say_repeated(&found);
    match faults {
        0 => Ok(in_order(found)),
        1 => Err(Failure::Told("1 mistake in the manifests: nothing was sent".to_owned())),
        _ => Err(Failure::Told(format!("{faults} mistakes in the manifests: nothing was sent"))),
    }
}

/// As [`read_all`], without what is no workload; that is told of.
pub(crate) fn read_workloads(sources: &[PathBuf]) -> Result<Vec<Written>, Failure> {
    let (workloads, others): (Vec<Written>, Vec<Written>) =
        read_all(sources)?.into_iter().partition(|one| one.kind() == Kind::Workload);
    if workloads.is_empty() {
        return Err(Failure::Told("there is no workload in the manifests".to_owned()));
    }
    for one in others {
        say(&format!("{} is left out: this is about workloads", one.shown()));
    }
    Ok(workloads)
}

/// Tells of things that stand in two files, of which the last would win without a word.
fn say_repeated(found: &[Written]) -> usize {
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    let mut repeated = 0;
    for one in found {
        if let Some(earlier) = first.get(&one.shown()) {
            say(&format!(
                "{}: {} '{}' stands in {earlier} already: keep one",
                one.place,
                one.kind(),
                one.document.name()
            ));
            repeated += 1;
        } else {
            first.insert(one.shown(), &one.place);
        }
    }
    repeated
}

/// Sorts by when they can be applied. What depends on nothing keeps its place among its kind.
fn in_order(found: Vec<Written>) -> Vec<Written> {
    let parents: BTreeMap<TenantName, Option<TenantName>> = found
        .iter()
        .filter_map(|one| match &one.document {
            Document::Tenant(spec) => Some((spec.name.clone(), spec.parent.clone())),
            Document::Workload(_) | Document::Site(_) => None,
        })
        .collect();
    let mut found = found;
    found.sort_by_key(|one| match &one.document {
        Document::Tenant(spec) => (0, depth(&parents, &spec.name)),
        Document::Site(_) => (1, 0),
        Document::Workload(_) => (2, 0),
    });
    found
}

/// How many tenants of these lie above one. A circle, which the master refuses, ends the count.
fn depth(parents: &BTreeMap<TenantName, Option<TenantName>>, name: &TenantName) -> usize {
    let mut above = BTreeSet::new();
    let mut at = name;
    while let Some(Some(parent)) = parents.get(at)
        && above.insert(parent)
    {
        at = parent;
    }
    above.len()
}

/// The files that `sources` mean: a folder means its manifests by name, without its sub-folders.
fn files(sources: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for source in sources {
        if !is_stdin(source) && source.is_dir() {
            files.extend(in_folder(source)?);
        } else {
            files.push(source.clone());
        }
    }
    Ok(files)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |source| Failure::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Failure::NoManifests { path: folder.to_owned() });
    }
    files.sort();
    Ok(files)
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let read = || {
        if is_stdin(path) { bounded(std::io::stdin().lock()) } else { bounded(std::fs::File::open(path)?) }
    };
    read().map_err(|source| Failure::Read { path: path.to_owned(), source })
}

/// Reads one byte more than a manifest may have, so that too long a text is refused and not cut.
fn bounded(source: impl Read) -> std::io::Result<String> {
    let limit = u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    source.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > TEXT_BYTES_MAX {
        // The reader tells of the length; a character cut in two must not come first.
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes)
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn shown(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(name: &str) -> String {
        format!(
            "apiVersion: skerry/v1\nkind: Workload\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: c\n    image: registry.example/c:1\n    resources: {{cpu: 10m, memory: 16Mi}}\n"
        )
    }

    #[test]
    fn folders_are_read_in_order_and_without_other_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.yaml"), web("b")).unwrap();
        std::fs::write(folder.path().join("a.yml"), format!("{}---\n{}", web("a1"), web("a2"))).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "not a manifest").unwrap();
        let found = read_all(&[folder.path().to_owned()]).unwrap();
        let names: Vec<String> = found.iter().map(Written::shown).collect();
        assert_eq!(names, ["workload/a1", "workload/a2", "workload/b"]);
    }

    #[test]
    fn what_others_stand_on_comes_first() {
        let tenant = |name: &str, parent: &str| {
            let parent = if parent.is_empty() { String::new() } else { format!("  parent: {parent}\n") };
            format!(
                "apiVersion: skerry/v1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec:\n{parent}  weight: 100\n"
            )
        };
        let site =
            "apiVersion: skerry/v1\nkind: Site\nmetadata: {name: oslo}\nspec: {timezone: Europe/Oslo}\n";
        let folder = tempfile::tempdir().unwrap();
        let all = [web("a"), tenant("part", "whole"), site.to_owned(), tenant("whole", ""), web("b")];
        std::fs::write(folder.path().join("all.yaml"), all.join("---\n")).unwrap();
        let found = read_all(&[folder.path().to_owned()]).unwrap();
        let names: Vec<String> = found.iter().map(Written::shown).collect();
        assert_eq!(names, ["tenant/whole", "tenant/part", "site/oslo", "workload/a", "workload/b"]);
        assert_eq!(read_workloads(&[folder.path().to_owned()]).unwrap().len(), 2);
    }

    #[test]
    fn a_workload_in_two_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.yaml"] {
            std::fs::write(folder.path().join(name), web("same")).unwrap();
        }
        assert!(matches!(read_all(&[folder.path().to_owned()]), Err(Failure::Told(_))));
    }

    #[test]
    fn an_empty_folder_and_an_absent_file_are_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read_all(&[folder.path().to_owned()]), Err(Failure::NoManifests { .. })));
        assert!(matches!(read_all(&[folder.path().join("absent.yaml")]), Err(Failure::Read { .. })));
    }
}
