//! Changes to the context file. It holds keys, so it is written whole, beside itself first, and only its owner reads it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::context::{ContextError, ContextFile, load};

/// Reads the file, or begins one where there is none.
pub(crate) fn load_or_begin(path: &Path) -> Result<ContextFile, ContextError> {
    match load(path) {
        Err(ContextError::NoFile { .. }) => Ok(ContextFile::default()),
        other => other,
    }
}

/// Replaces the file.
pub(crate) fn save(path: &Path, file: &ContextFile) -> Result<(), ContextError> {
    let text = toml::to_string(file)
        .map_err(|error| ContextError::Malformed { path: path.to_owned(), message: error.to_string() })?;
    replace(path, &text).map_err(|source| ContextError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let beside = beside(path);
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&beside, path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}
