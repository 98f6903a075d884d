//! A node's image store on a temporary folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use skerry_registry::Timeouts;
use skerry_runtime::image::{
    Image, ImageRef, ImageStore, Limits, PullError, PullProgress, RegistriesConfig, Registry,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A cache folder, and what its registries are.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    config: String,
    pub(crate) limits: Limits,
}

impl Node {
    pub(crate) fn new(registries_toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let limits = Limits { reserve_bytes: 0, ..Limits::default() };
        Self { folder, config: registries_toml.to_owned(), limits }
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// A store as a fresh process would open it; the one before must be gone.
    pub(crate) fn open(&self) -> ImageStore {
        self.open_at(&self.cache())
    }

    pub(crate) fn open_at(&self, cache: &Path) -> ImageStore {
        let path = self.folder.path().join("registries.toml");
        std::fs::write(&path, &self.config).expect("write");
        let mut config = RegistriesConfig::load(&path).expect("valid configuration");
        let short = Duration::from_secs(3);
        config.timeouts = Timeouts { connect: short, stall: short, document: short };
        ImageStore::open(cache, self.limits, Registry::new(config)).expect("store opens")
    }
}

/// Pulls without looking at the progress.
pub(crate) async fn ensure(store: &ImageStore, image: &ImageRef) -> Result<Arc<Image>, PullError> {
    let (progress, _) = watch::channel(PullProgress::default());
    store.ensure(image, &progress, &CancellationToken::new()).await
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
