//! The operations: a tag's digest, a manifest for a platform, a blob from an offset.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use reqwest::{Response, StatusCode};

use crate::clock::Clock;
use crate::config::{HostConfig, RegistriesConfig};
use crate::digest::Digest;
use crate::endpoint::{Ask, Endpoint};
use crate::error::RegistryError;
use crate::image_ref::ImageRef;
use crate::manifest::{ACCEPT, Document, MAX_MANIFEST_LEN, Manifest, Platform, select};

/// How deep indexes may nest: a tag's index may name one more index per platform.
const MAX_INDEX_DEPTH: u32 = 2;

/// A client for every configured registry. Cheap to clone; connections, tokens and CAs are kept per host until
/// [`Registry::release`].
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    config: RegistriesConfig,
    clock: Clock,
    endpoints: Mutex<BTreeMap<String, Arc<Endpoint>>>,
}

impl Registry {
    /// A client with this configuration. Nothing is read or dialled before the first request.
    pub fn new(config: RegistriesConfig) -> Self {
        Self::with(config, Clock::system())
    }

    /// As [`Registry::new`], but registries' certificates are judged by `now`, the time since 1970, instead of the machine's
    /// clock: for those who know it better.
    pub fn by_clock(config: RegistriesConfig, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self::with(config, Clock::with_source(now))
    }

    fn with(config: RegistriesConfig, clock: Clock) -> Self {
        Self { inner: Arc::new(Inner { config, clock, endpoints: Mutex::default() }) }
    }

    /// The digest of the manifest or index that `image` names, computed over the bytes the registry serves and
    /// compared with the digest it announces.
    ///
    /// A pinned reference is looked up too, so that a digest that does not exist is found at admission.
    pub async fn resolve(&self, image: &ImageRef) -> Result<Digest, RegistryError> {
        let (bytes, _) = self.document(image).await?;
        Ok(Digest::of(&bytes))
    }

    /// The manifest of `image` for `platform`: the image's own, or the matching one out of its index.
    pub async fn manifest(&self, image: &ImageRef, platform: &Platform) -> Result<Manifest, RegistryError> {
        let mut image = image.clone();
        for _ in 0..=MAX_INDEX_DEPTH {
            let (bytes, host) = self.document(&image).await?;
            let malformed = |reason| RegistryError::Malformed {
                what: format!("manifest of {image}"),
                host: host.clone(),
                reason,
            };
            match Document::parse(&bytes).map_err(malformed)? {
                Document::Manifest(manifest) => return Ok(manifest),
                Document::Index(entries) => {
                    let chosen =
                        select(&entries, platform).map_err(|available| RegistryError::NoPlatform {
                            image: image.to_string(),
                            wanted: Box::new(platform.clone()),
                            available,
                        })?;
                    let digest = chosen.digest;
                    image = image.with_digest(digest);
                }
            }
        }
        Err(RegistryError::Malformed {
            what: format!("index of {image}"),
            host: image.host().to_owned(),
            reason: format!("indexes are nested deeper than {MAX_INDEX_DEPTH}"),
        })
    }

    /// Opens a blob of `image` at byte `offset`.
    ///
    /// The bytes are not verified here: only the caller, who holds those before `offset`, can. Mirrors in `avoid`,
    /// for instance because they served wrong bytes, are passed over; the image's own host is always asked.
    pub async fn blob(
        &self,
        image: &ImageRef,
        digest: &Digest,
        offset: u64,
        avoid: &[String],
    ) -> Result<BlobStream, RegistryError> {
        for mirror in self.mirrors(image).iter().filter(|mirror| !avoid.contains(mirror)) {
            match self.blob_at(mirror, image, digest, offset).await {
                Ok(stream) => return Ok(stream),
                Err(error) => log_mirror(mirror, image, &error),
            }
        }
        self.blob_at(image.host(), image, digest, offset).await
    }

    /// Closes idle connections and frees tokens and CA stores. The next request builds them again.
    pub fn release(&self) {
        self.endpoints().clear();
    }

    async fn blob_at(
        &self,
        host: &str,
        image: &ImageRef,
        digest: &Digest,
        offset: u64,
    ) -> Result<BlobStream, RegistryError> {
        let endpoint = self.endpoint(host)?;
        let ask = Ask { image, path: format!("blobs/{digest}"), accept: "*/*", offset };
        let response = endpoint.get(&ask).await.map_err(|error| match error {
            RegistryError::NotFound { image, host } => {
                RegistryError::BlobNotFound { image, digest: *digest, host }
            }
            error => error,
        })?;
        BlobStream::new(host, digest, offset, response)
    }

    /// The verified bytes of a manifest or index, and the host that gave them.
    async fn document(&self, image: &ImageRef) -> Result<(Bytes, String), RegistryError> {
        for mirror in self.mirrors(image) {
            match self.document_at(mirror, image).await {
                Ok(bytes) => return Ok((bytes, mirror.clone())),
                Err(error) => log_mirror(mirror, image, &error),
            }
        }
        let bytes = self.document_at(image.host(), image).await?;
        Ok((bytes, image.host().to_owned()))
    }

    async fn document_at(&self, host: &str, image: &ImageRef) -> Result<Bytes, RegistryError> {
        let endpoint = self.endpoint(host)?;
        let path = format!("manifests/{}", image.lookup());
        let ask = Ask { image, path, accept: ACCEPT, offset: 0 };
        let (headers, bytes) = endpoint.document(&ask, MAX_MANIFEST_LEN).await?;
        let got = Digest::of(&bytes);
        let expected = image.digest().copied().or_else(|| announced(&headers)).unwrap_or(got);
        if expected != got {
            let what = format!("manifest of {image}");
            return Err(RegistryError::DigestMismatch { what, host: host.to_owned(), expected, got });
        }
        Ok(bytes)
    }

    fn mirrors(&self, image: &ImageRef) -> &[String] {
        self.inner.config.host.get(image.host()).map_or(&[], |host| &host.mirrors)
    }

    fn endpoint(&self, host: &str) -> Result<Arc<Endpoint>, RegistryError> {
        if let Some(endpoint) = self.endpoints().get(host) {
            return Ok(Arc::clone(endpoint));
        }
        let default = HostConfig::default();
        let config = self.inner.config.host.get(host).unwrap_or(&default);
        let endpoint = Endpoint::new(host, config, self.inner.config.timeouts, &self.inner.clock)
            .map_err(|source| RegistryError::Config { host: host.to_owned(), source })?;
        let endpoint = Arc::new(endpoint);
        self.endpoints().insert(host.to_owned(), Arc::clone(&endpoint));
        Ok(endpoint)
    }

    fn endpoints(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Endpoint>>> {
        // Every update is one insert or clear, so a panic elsewhere cannot leave the map half changed.
        self.inner.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a blob as they arrive.
pub struct BlobStream {
    host: String,
    response: Response,
    /// Bytes that come before the wanted offset, from a server that ignores ranges.
    skip: u64,
}

impl BlobStream {
    fn new(host: &str, digest: &Digest, offset: u64, response: Response) -> Result<Self, RegistryError> {
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => range_start(response.headers()),
            _ => Some(0),
        };
        match start {
            Some(start) if start <= offset => {
                Ok(Self { host: host.to_owned(), response, skip: offset - start })
            }
            _ => Err(RegistryError::Malformed {
                what: format!("blob {digest}"),
                host: host.to_owned(),
                reason: format!("the answer does not start at byte {offset} as asked"),
            }),
        }
    }

    /// The host that serves this blob: a mirror or the image's own.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The next bytes; none at the end of the answer, which may come before the end of the blob.
    ///
    /// Cancel-safe: bytes are either returned or still to come.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let next = self.response.chunk().await;
            let Some(mut bytes) = next.map_err(|error| RegistryError::transport(&self.host, error))? else {
                return Ok(None);
            };
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            if skipped < bytes.len() {
                return Ok(Some(bytes.split_off(skipped)));
            }
        }
    }
}

/// Where a partial answer starts: the first number of `bytes 100-199/200`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// The digest that the registry announces for a manifest.
fn announced(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

fn log_mirror(mirror: &str, image: &ImageRef, error: &RegistryError) {
    tracing::debug!(mirror, %image, error = error as &dyn std::error::Error, "mirror did not serve the image");
}
