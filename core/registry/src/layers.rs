//! What an image is made of, by the content of its layers: a node that has the content does not pull it again, however it was
//! compressed.

use bytes::Bytes;
use oci_spec::image::ImageConfiguration;
use skerry_types::{LayerId, LayerSize};

use crate::client::Registry;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::image_ref::ImageRef;
use crate::manifest::{Blob, Manifest, Platform};

impl Registry {
    /// The layers of `image` for `platform`, with what each costs to pull. Two small documents are fetched.
    pub async fn layers(
        &self,
        image: &ImageRef,
        platform: &Platform,
    ) -> Result<Vec<LayerSize>, RegistryError> {
        let manifest = self.manifest(image, platform).await?;
        let config = self.config(image, &manifest.config).await?;
        sizes(&manifest, &config).map_err(|reason| RegistryError::Malformed {
            what: format!("configuration of {image}"),
            host: image.host().to_owned(),
            reason,
        })
    }

    /// The configuration of `image` that its manifest names, and bounds to a megabyte.
    pub async fn config(&self, image: &ImageRef, blob: &Blob) -> Result<Bytes, RegistryError> {
        let mut stream = self.blob(image, &blob.digest, 0, &[]).await?;
        let host = stream.host().to_owned();
        let what = || format!("configuration of {image}");
        let mut bytes = Vec::new();
        while let Some(piece) = stream.chunk().await? {
            bytes.extend_from_slice(&piece);
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > blob.size {
                return Err(RegistryError::TooLarge { what: what(), host, limit: blob.size });
            }
        }
        let got = Digest::of(&bytes);
        if got != blob.digest {
            return Err(RegistryError::DigestMismatch { what: what(), host, expected: blob.digest, got });
        }
        Ok(bytes.into())
    }
}

/// Matches a manifest's layers with the contents that its configuration names; the error is the reason in words.
fn sizes(manifest: &Manifest, config: &[u8]) -> Result<Vec<LayerSize>, String> {
    let config: ImageConfiguration = serde_json::from_slice(config).map_err(|error| error.to_string())?;
    let contents = config.rootfs().diff_ids();
    let (named, listed) = (contents.len(), manifest.layers.len());
    if named != listed {
        return Err(format!("{named} layers in the configuration, {listed} in the manifest"));
    }
    let size = |(blob, content): (&Blob, &String)| {
        let content: Digest = content.parse().map_err(|error: crate::DigestError| error.to_string())?;
        Ok(LayerSize { layer: LayerId::of(content.as_bytes()), size: skerry_types::Bytes(blob.size) })
    };
    manifest.layers.iter().zip(contents).map(size).collect()
}
