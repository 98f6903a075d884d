//! Manifests from files, folders and standard input: all are read and checked before anything is sent.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use skerry_manifest::limits::TEXT_BYTES_MAX;
use skerry_types::{WorkloadKey, WorkloadSpec};

use crate::failure::Failure;
use crate::print::say;

/// A workload and where it was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) spec: WorkloadSpec,
    /// `FILE:LINE`.
    place: String,
}

/// Reads every workload of every file. What is wrong is told on standard error, all of it, as `FILE: line L, column C: ...`.
pub(crate) fn read_all(sources: &[PathBuf]) -> Result<Vec<Written>, Failure> {
    let mut found = Vec::new();
    let mut faults = 0;
    for path in files(sources)? {
        let name = shown(&path);
        let text = text_of(&path)?;
        match skerry_manifest::parse(&text) {
            Ok(documents) => found.extend(
                documents
                    .into_iter()
                    .map(|one| Written { spec: one.spec, place: format!("{name}:{}", one.line) }),
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
        0 => Ok(found),
        1 => Err(Failure::Told("1 mistake in the manifests: nothing was sent".to_owned())),
        _ => Err(Failure::Told(format!("{faults} mistakes in the manifests: nothing was sent"))),
    }
}

/// Tells of workloads that stand in two files, of which the last would win without a word.
fn say_repeated(found: &[Written]) -> usize {
    let mut first: BTreeMap<&WorkloadKey, &str> = BTreeMap::new();
    let mut repeated = 0;
    for one in found {
        if let Some(earlier) = first.get(&one.spec.key) {
            say(&format!("{}: workload '{}' stands in {earlier} already: keep one", one.place, one.spec.key));
            repeated += 1;
        } else {
            first.insert(&one.spec.key, &one.place);
        }
    }
    repeated
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
        let names: Vec<&str> = found.iter().map(|one| one.spec.key.name.as_str()).collect();
        assert_eq!(names, ["a1", "a2", "b"]);
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
