//! One pull: documents, then layers, then the record that makes the image exist.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use skerry_registry::{Blob, Digest, ImageRef, Manifest, Platform};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::decode::Compression;
use super::disk::DiskGuard;
use super::download::Feed;
use super::error::PullError;
use super::flight::{Flight, Pinned};
use super::layer::{InstallError, Wanted, install};
use super::layout::Layout;
use super::record::{ParsedConfig, Record};
use super::source::Download;
use super::store::{Inner, PullProgress};

/// Pieces of a download that wait for the unpacking thread; the HTTP library's pieces have up to 400 KiB. When the
/// channel is full, the connection waits.
const PIECES_IN_FLIGHT: usize = 2;

/// Makes an image exist here, from whatever is here already. What it needs is pinned as long as `pinned` is kept,
/// the partial files of a failed pull too.
pub(super) async fn pull(
    inner: &Inner,
    image: &ImageRef,
    digest: &Digest,
    pinned: &mut Option<Pinned>,
    progress: &watch::Sender<PullProgress>,
    cancel: &CancellationToken,
) -> Result<(), PullError> {
    let documents = async {
        let manifest = inner.registry.manifest(image, &inner.platform).await?;
        let config = inner.registry.config(image, &manifest.config).await?;
        Ok::<_, PullError>((manifest, config))
    };
    let (manifest, config) = tokio::select! {
        // Small documents are simply fetched again.
        documents = documents => documents?,
        () = cancel.cancelled() => return Err(PullError::Cancelled { image: image.to_string() }),
    };
    let image_layers = ImageLayers::new(&image.to_string(), &manifest, &config, &inner.platform)?;
    *pinned = Some(inner.pins.pin(image_layers.digests(digest, &manifest)));
    save_documents(&inner.layout, &manifest, &config)?;

    let layers = &image_layers.0;
    let total = layers.iter().map(|wanted| wanted.blob.size).sum();
    progress.send_replace(PullProgress { done: 0, total });
    let work = Work { inner, image, progress };
    work.layers(layers, cancel).await?;
    image_layers.record(image.to_string(), &manifest).save(&inner.layout, digest)
}

/// The layers of an image, lowest first, with all that is known about them before they are here.
pub(super) struct ImageLayers(pub(super) Vec<Wanted>);

impl ImageLayers {
    /// Matches a manifest's layers with its configuration's diff ids.
    pub(super) fn new(
        image: &str,
        manifest: &Manifest,
        config: &[u8],
        platform: &Platform,
    ) -> Result<Self, PullError> {
        let damaged = |blob: &Blob, reason| {
            Err(PullError::Damaged { image: image.to_owned(), blob: blob.digest, reason })
        };
        let parsed = match ParsedConfig::parse(config) {
            Ok(parsed) => parsed,
            Err(reason) => return damaged(&manifest.config, format!("configuration: {reason}")),
        };
        if (&parsed.platform.os, &parsed.platform.architecture) != (&platform.os, &platform.architecture) {
            let (wanted, got) = (Box::new(platform.clone()), Box::new(parsed.platform));
            return Err(PullError::WrongPlatform { image: image.to_owned(), wanted, got });
        }
        let (named, listed) = (parsed.diff_ids.len(), manifest.layers.len());
        if named != listed {
            let reason = format!("{named} layers in the configuration, {listed} in the manifest");
            return damaged(&manifest.config, reason);
        }
        let mut layers = Vec::with_capacity(listed);
        for (blob, diff_id) in manifest.layers.iter().zip(parsed.diff_ids) {
            let Some(compression) = Compression::of(&blob.media_type) else {
                return damaged(blob, format!("media type {:?} is no supported layer", blob.media_type));
            };
            layers.push(Wanted { image: image.to_owned(), blob: blob.clone(), diff_id, compression });
        }
        Ok(Self(layers))
    }

    /// Everything that must not be collected while this image is made.
    pub(super) fn digests(&self, image: &Digest, manifest: &Manifest) -> Vec<Digest> {
        let layers = self.0.iter().flat_map(|wanted| [wanted.diff_id, wanted.blob.digest]);
        [*image, manifest.digest, manifest.config.digest].into_iter().chain(layers).collect()
    }

    pub(super) fn record(&self, reference: String, manifest: &Manifest) -> Record {
        let layers = self.0.iter().map(|wanted| wanted.diff_id).collect();
        Record { reference, manifest: manifest.digest, config: manifest.config.digest, layers }
    }
}

/// Keeps a manifest and a configuration as they came.
pub(super) fn save_documents(layout: &Layout, manifest: &Manifest, config: &[u8]) -> Result<(), PullError> {
    let disk = DiskGuard::new(layout.root(), 0, manifest.bytes.len() as u64 + manifest.config.size);
    for (digest, bytes) in [(&manifest.digest, manifest.bytes.as_ref()), (&manifest.config.digest, config)] {
        let path = layout.blob(digest);
        layout.write(&path, bytes).map_err(|error| disk.sort(&path, error))?;
    }
    Ok(())
}

/// What the layers of one pull have in common.
struct Work<'a> {
    inner: &'a Inner,
    image: &'a ImageRef,
    progress: &'a watch::Sender<PullProgress>,
}

/// The right to work on a blob, and one of the places for layers. Held until the unpacking thread has ended, also
/// when nobody waits for it any more.
type Turn = (Flight, Option<OwnedSemaphorePermit>);

/// How an attempt at a layer ended, but for errors.
enum Attempt {
    Done,
    WrongBytes { got: Digest, host: Option<String>, resumed: bool },
}

impl Work<'_> {
    /// Pulls all layers, a few at once. The first failure stops the others, and all have ended when this returns.
    async fn layers(&self, layers: &[Wanted], cancel: &CancellationToken) -> Result<(), PullError> {
        let stop = cancel.child_token();
        let jobs: Vec<_> = layers.iter().map(|wanted| self.layer(wanted, &stop)).collect();
        let mut running = stream::iter(jobs).buffer_unordered(self.inner.limits.concurrent_layers.max(1));
        let mut result = Ok(());
        while let Some(done) = running.next().await {
            if result.is_ok() && done.is_err() {
                stop.cancel();
                result = done;
            }
        }
        result
    }

    async fn layer(&self, wanted: &Wanted, cancel: &CancellationToken) -> Result<(), PullError> {
        let turn = async {
            let flight = self.inner.blobs.lock(wanted.blob.digest).await;
            // Never closed, so there is always a permit in the end.
            (flight, Arc::clone(&self.inner.slots).acquire_owned().await.ok())
        };
        let mut turn: Turn = tokio::select! {
            // Both waits give up their place in the queue.
            turn = turn => turn,
            () = cancel.cancelled() => return Err(self.cancelled()),
        };
        if self.inner.layout.layer(&wanted.diff_id).is_dir() {
            self.progress.send_modify(|progress| progress.done += wanted.blob.size);
            return Ok(());
        }
        let mut avoid = Vec::new();
        loop {
            let (attempt, returned) = self.attempt(wanted, cancel, &avoid, turn).await?;
            turn = returned;
            let Attempt::WrongBytes { got, host, resumed } = attempt else { return Ok(()) };
            // What was resumed may have been wrong on this disk, and another host may have the right bytes.
            let origin = host.as_deref().is_none_or(|host| host == self.image.host());
            let host = host.unwrap_or_else(|| "the cache".to_owned());
            if (origin && !resumed) || avoid.contains(&host) {
                let (image, expected) = (self.image.to_string(), wanted.blob.digest);
                return Err(PullError::DigestMismatch { image, from: host, expected, got });
            }
            tracing::warn!(image = %self.image, host, blob = %wanted.blob.digest, "wrong bytes, starting over");
            if !origin {
                avoid.push(host);
            }
        }
    }

    /// Downloads and unpacks at the same time. Returns the turn for a further attempt.
    async fn attempt(
        &self,
        wanted: &Wanted,
        cancel: &CancellationToken,
        avoid: &[String],
        turn: Turn,
    ) -> Result<(Attempt, Turn), PullError> {
        let layout = &self.inner.layout;
        let path = layout.partial(&wanted.blob.digest);
        let disk = wanted.disk_guard(layout, &self.inner.limits);
        let (partial, have) = open_partial(&path, wanted.blob.size).map_err(|e| disk.sort(&path, e))?;
        disk.require(wanted.blob.size - have)?;
        self.progress.send_modify(|progress| progress.done += have);

        let (sender, pieces) = mpsc::channel(PIECES_IN_FLIGHT);
        let download = Download { partial, path, resumed: have, pieces, current: Bytes::new(), disk };
        let installing = tokio::task::spawn_blocking({
            let (layout, limits, wanted) = (Arc::clone(layout), self.inner.limits, wanted.clone());
            move || (install(&layout, &limits, &wanted, download), turn)
        });
        let mut feed = Feed {
            registry: &self.inner.registry,
            image: self.image,
            wanted,
            avoid,
            progress: self.progress,
            have,
            host: None,
        };
        let fed = tokio::select! {
            fed = feed.run(&sender) => fed,
            // What was sent stays in the partial file.
            () = cancel.cancelled() => Err(self.cancelled()),
        };
        let (counted, host) = (feed.have, feed.host);
        drop(sender);
        let (installed, turn) =
            installing.await.map_err(|error| PullError::io(layout.root())(io::Error::from(error)))?;
        let attempt = self.settle(wanted, fed, installed, host, have > 0)?;
        if matches!(attempt, Attempt::WrongBytes { .. }) {
            self.progress.send_modify(|progress| progress.done = progress.done.saturating_sub(counted));
        }
        Ok((attempt, turn))
    }

    /// Puts the two halves of an attempt together, and drops the partial file if it has no further use.
    fn settle(
        &self,
        wanted: &Wanted,
        fed: Result<(), PullError>,
        installed: Result<(), InstallError>,
        host: Option<String>,
        resumed: bool,
    ) -> Result<Attempt, PullError> {
        let result = match installed {
            Ok(()) => Ok(Attempt::Done),
            Err(InstallError::WrongDigest { got }) => Ok(Attempt::WrongBytes { got, host, resumed }),
            Err(InstallError::Failed(error)) => Err(error),
            // The feeder stopped, so it knows why; a feeder that sent everything cannot be the reason.
            Err(InstallError::Cut) => Err(fed.err().unwrap_or_else(|| self.cancelled())),
        };
        if result.as_ref().map_or_else(PullError::is_permanent, |_| true) {
            let path = self.inner.layout.partial(&wanted.blob.digest);
            // It is collected later if this fails.
            std::fs::remove_file(path).ok();
        }
        result
    }

    fn cancelled(&self) -> PullError {
        PullError::Cancelled { image: self.image.to_string() }
    }
}

/// Opens a layer's partial file, and tells how many bytes of it can be used.
fn open_partial(path: &PathBuf, size: u64) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    let have = file.metadata()?.len();
    if have > size {
        file.set_len(0)?;
        return Ok((file, 0));
    }
    Ok((file, have))
}
