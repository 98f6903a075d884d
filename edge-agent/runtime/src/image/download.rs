//! Feeds a layer's bytes from the registry to the thread that unpacks them.

use bytes::Bytes;
use skerry_registry::{ImageRef, Registry, RegistryError};
use tokio::sync::{mpsc, watch};

use super::error::PullError;
use super::layer::Wanted;
use super::store::PullProgress;

/// How often a cut transfer is taken up again at once. Beyond that the agent waits before it tries again.
const MAX_RESUMES: u32 = 8;

/// One download under way.
pub(super) struct Feed<'a> {
    pub(super) registry: &'a Registry,
    pub(super) image: &'a ImageRef,
    pub(super) wanted: &'a Wanted,
    /// Mirrors that served wrong bytes.
    pub(super) avoid: &'a [String],
    pub(super) progress: &'a watch::Sender<PullProgress>,
    /// Bytes that are there, those of an earlier attempt included.
    pub(super) have: u64,
    /// The host that served last.
    pub(super) host: Option<String>,
}

impl Feed<'_> {
    /// Sends what is missing to `to`. A receiver that goes away ends it without an error: the receiver knows why.
    ///
    /// Cancel-safe in that what was sent is kept by the receiver.
    pub(super) async fn run(&mut self, to: &mpsc::Sender<Bytes>) -> Result<(), PullError> {
        let mut resumes = 0;
        while self.have < self.wanted.blob.size && !to.is_closed() {
            let before = self.have;
            let result = self.stream(to).await;
            let stuck = self.have == before || resumes == MAX_RESUMES;
            match result {
                Ok(()) if stuck && !to.is_closed() => return Err(self.truncated()),
                Err(RegistryError::Status { status: 416, .. }) => return Err(self.truncated()),
                Err(error) if stuck || error.is_permanent() => return Err(error.into()),
                Ok(()) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(image = %self.image, have = self.have, error, "transfer was cut, resuming");
                }
            }
            resumes += 1;
        }
        Ok(())
    }

    /// One request, to its end or to the blob's.
    async fn stream(&mut self, to: &mpsc::Sender<Bytes>) -> Result<(), RegistryError> {
        let blob = &self.wanted.blob;
        let mut stream = self.registry.blob(self.image, &blob.digest, self.have, self.avoid).await?;
        self.host = Some(stream.host().to_owned());
        while let Some(mut bytes) = stream.chunk().await? {
            let left = usize::try_from(blob.size - self.have).unwrap_or(usize::MAX);
            bytes.truncate(left);
            let len = bytes.len() as u64;
            if to.send(bytes).await.is_err() {
                return Ok(());
            }
            self.have += len;
            self.progress.send_modify(|progress| progress.done += len);
            if self.have == blob.size {
                return Ok(());
            }
        }
        Ok(())
    }

    fn truncated(&self) -> PullError {
        PullError::Truncated {
            image: self.image.to_string(),
            blob: self.wanted.blob.digest,
            have: self.have,
            size: self.wanted.blob.size,
        }
    }
}
