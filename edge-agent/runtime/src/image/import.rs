//! Images out of an OCI archive or layout folder, with the same checks as a pull.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use skerry_registry::{Digest, Document, MAX_CONFIG_LEN, MAX_MANIFEST_LEN, Manifest, RegistryError, select};
use tar::Archive;

use super::error::PullError;
use super::layer::{InstallError, install};
use super::pull::{ImageLayers, save_documents};
use super::source::LocalFile;
use super::store::Inner;

/// How many files of an archive are looked at; one image has some 130 at most.
const MAX_FILES: usize = 100_000;

/// Imports every image that the index of `path` names.
pub(super) fn import(inner: &Inner, path: &Path) -> Result<Vec<(Option<String>, Digest)>, PullError> {
    let source = Source::open(path)?;
    let index = source.document("index.json", MAX_MANIFEST_LEN)?;
    let Document::Index(entries) = Document::parse(&index).map_err(|e| source.unusable(e))? else {
        return Err(source.unusable("index.json is no index".to_owned()));
    };
    let mut imported = Vec::new();
    for entry in entries {
        let name = entry.name.clone().unwrap_or_else(|| entry.digest.to_string());
        import_one(inner, &source, &name, &entry.digest)?;
        imported.push((entry.name, entry.digest));
    }
    Ok(imported)
}

fn import_one(inner: &Inner, source: &Source, name: &str, digest: &Digest) -> Result<(), PullError> {
    let manifest = manifest(inner, source, name, digest)?;
    let config = source.blob(name, &manifest.config.digest, MAX_CONFIG_LEN)?;
    let layers = ImageLayers::new(name, &manifest, &config, &inner.platform)?;
    let _pinned = inner.pins.pin(layers.digests(digest, &manifest));
    save_documents(&inner.layout, &manifest, &config)?;
    for wanted in &layers.0 {
        if inner.layout.layer(&wanted.diff_id).is_dir() {
            continue;
        }
        wanted.disk_guard(&inner.layout, &inner.limits).require(wanted.blob.size)?;
        let reader = source.open_file(&blob_path(&wanted.blob.digest))?;
        let pieces = LocalFile { reader, path: source.path.clone() };
        install(&inner.layout, &inner.limits, wanted, pieces).map_err(|error| match error {
            InstallError::Failed(error) => error,
            InstallError::WrongDigest { got } => source.mismatch(name, wanted.blob.digest, got),
            InstallError::Cut => source.unusable("it ends too early".to_owned()),
        })?;
    }
    layers.record(name.to_owned(), &manifest).save(&inner.layout, digest)
}

/// The manifest for this platform, of an image or an index.
fn manifest(inner: &Inner, source: &Source, name: &str, digest: &Digest) -> Result<Manifest, PullError> {
    let mut digest = *digest;
    // An index may name one more index per platform.
    for _ in 0..3 {
        let bytes = source.blob(name, &digest, MAX_MANIFEST_LEN)?;
        match Document::parse(&bytes).map_err(|e| source.unusable(e))? {
            Document::Manifest(manifest) => return Ok(manifest),
            Document::Index(entries) => {
                let chosen = select(&entries, &inner.platform).map_err(|available| {
                    let (image, wanted) = (name.to_owned(), Box::new(inner.platform.clone()));
                    RegistryError::NoPlatform { image, wanted, available }
                })?;
                digest = chosen.digest;
            }
        }
    }
    Err(source.unusable("its indexes are nested too deep".to_owned()))
}

/// An archive or folder in OCI layout.
struct Source {
    path: PathBuf,
    kind: SourceKind,
}

enum SourceKind {
    Folder,
    /// Where each file's content lies in the tar: offset and length.
    Tar(BTreeMap<String, (u64, u64)>),
}

impl Source {
    fn open(path: &Path) -> Result<Self, PullError> {
        let meta = std::fs::metadata(path).map_err(PullError::io(path))?;
        let kind = if meta.is_dir() { SourceKind::Folder } else { SourceKind::Tar(index_tar(path)?) };
        Ok(Self { path: path.to_owned(), kind })
    }

    /// Opens a file of the layout by its path there.
    fn open_file(&self, name: &str) -> Result<Take<File>, PullError> {
        let missing = || self.unusable(format!("it has no {name}"));
        match &self.kind {
            SourceKind::Folder => match File::open(self.path.join(name)) {
                Ok(file) => Ok(file.take(u64::MAX)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
                Err(error) => Err(PullError::io(self.path.join(name))(error)),
            },
            SourceKind::Tar(files) => {
                let (offset, len) = files.get(name).ok_or_else(missing)?;
                let mut file = File::open(&self.path).map_err(PullError::io(&self.path))?;
                file.seek(SeekFrom::Start(*offset)).map_err(PullError::io(&self.path))?;
                Ok(file.take(*len))
            }
        }
    }

    /// A small file, whole.
    fn document(&self, name: &str, limit: u64) -> Result<Bytes, PullError> {
        let mut bytes = Vec::new();
        let file = self.open_file(name)?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(PullError::io(&self.path))?;
        if bytes.len() as u64 > limit {
            return Err(self.unusable(format!("{name} is larger than {limit} bytes")));
        }
        Ok(bytes.into())
    }

    /// A small blob, verified.
    fn blob(&self, image: &str, digest: &Digest, limit: u64) -> Result<Bytes, PullError> {
        let bytes = self.document(&blob_path(digest), limit)?;
        let got = Digest::of(&bytes);
        if got == *digest { Ok(bytes) } else { Err(self.mismatch(image, *digest, got)) }
    }

    fn unusable(&self, reason: String) -> PullError {
        PullError::Archive { path: self.path.clone(), reason }
    }

    fn mismatch(&self, image: &str, expected: Digest, got: Digest) -> PullError {
        let from = self.path.display().to_string();
        PullError::DigestMismatch { image: image.to_owned(), from, expected, got }
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Finds the files of a tar without unpacking it. Names are only compared, never used as paths.
fn index_tar(path: &Path) -> Result<BTreeMap<String, (u64, u64)>, PullError> {
    let unusable = |reason: String| PullError::Archive { path: path.to_owned(), reason };
    let file = File::open(path).map_err(PullError::io(path))?;
    let mut archive = Archive::new(file);
    let mut files = BTreeMap::new();
    for raw in archive.entries_with_seek().map_err(|e| unusable(e.to_string()))?.raw(true) {
        let raw = raw.map_err(|e| unusable(e.to_string()))?;
        if files.len() == MAX_FILES {
            return Err(unusable(format!("it has more than {MAX_FILES} files")));
        }
        let name = String::from_utf8_lossy(&raw.header().path_bytes()).into_owned();
        let name = name.trim_start_matches("./").to_owned();
        files.insert(name, (raw.raw_file_position(), raw.size()));
    }
    Ok(files)
}
