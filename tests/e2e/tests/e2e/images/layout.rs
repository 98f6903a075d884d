use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skerry_ground::image_dir;

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// One more layer for the image of the smallest workload.
pub(super) enum Layer {
    /// A file of this many bytes that do not compress.
    Noise(usize),
    /// An empty file of this name, which no layer may have.
    Hostile(&'static str),
}

/// An OCI layout of a test's own making.
pub(super) struct Layout {
    /// Its folder.
    pub(super) folder: PathBuf,
    /// Digest of the layer that was added.
    pub(super) layer: String,
}

impl Layout {
    /// The image `hello` with a layer on top, said to be for `architecture`.
    pub(super) fn on_hello(folder: &Path, layer: &Layer, architecture: Option<&str>) -> Result<Self> {
        let hello = image_dir().join("hello");
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).context("making the layout")?;
        for entry in fs::read_dir(hello.join("blobs/sha256")).context("the image hello is not built")? {
            let entry = entry?;
            fs::copy(entry.path(), blobs.join(entry.file_name()))?;
        }
        let mut index = read(&hello.join("index.json"))?;
        let mut manifest = read(&blob(folder, &index["manifests"][0]["digest"]))?;
        let mut config = read(&blob(folder, &manifest["config"]["digest"]))?;

        let archive = layer.archive()?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&archive)?;
        let gzip = gzip.finish()?;
        config["rootfs"]["diff_ids"].as_array_mut().context("diff ids")?.push(json!(digest(&archive)));
        if let Some(architecture) = architecture {
            config["architecture"] = json!(architecture);
        }
        manifest["config"] = put(folder, &manifest["config"]["mediaType"], config.to_string())?;
        let added = put(folder, &json!(GZIP), &gzip)?;
        let layer = added["digest"].as_str().context("a digest")?.to_owned();
        manifest["layers"].as_array_mut().context("layers")?.push(added);
        let media_type = index["manifests"][0]["mediaType"].clone();
        index["manifests"] = json!([put(folder, &media_type, manifest.to_string())?]);
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        fs::write(folder.join("index.json"), index.to_string())?;
        Ok(Self { folder: folder.to_owned(), layer })
    }
}

impl Layer {
    fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match self {
            Self::Noise(size) => {
                let mut noise = vec![0; *size];
                StdRng::seed_from_u64(u64::try_from(*size)?).fill_bytes(&mut noise);
                header.set_size(u64::try_from(*size)?);
                archive.append_data(&mut header, "noise", noise.as_slice())?;
            }
            Self::Hostile(name) => {
                // By hand: the library refuses to write what the node must refuse to read.
                let field = header.as_gnu_mut().context("a GNU header")?;
                field.name[..name.len()].copy_from_slice(name.as_bytes());
                header.set_size(0);
                header.set_cksum();
                archive.append(&header, std::io::empty())?;
            }
        }
        Ok(archive.into_inner()?)
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

fn blob(folder: &Path, digest: &Value) -> PathBuf {
    folder.join("blobs/sha256").join(digest.as_str().unwrap_or_default().trim_start_matches("sha256:"))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Writes a blob and gives its descriptor.
fn put(folder: &Path, media_type: &Value, bytes: impl AsRef<[u8]>) -> Result<Value> {
    let bytes = bytes.as_ref();
    let digest = json!(digest(bytes));
    fs::write(blob(folder, &digest), bytes)?;
    Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
}
