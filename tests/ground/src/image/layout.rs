//! Images as folders, by the OCI image layout specification.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::layer::Layer;
use super::{Image, Recipe};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CREATED: &str = "2024-01-01T00:00:00Z";
const TAG: &str = "org.opencontainers.image.ref.name";

/// `sha256:` and the hash in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// What a layout on disk says of its image.
pub(super) struct Found {
    tag: String,
    digest: String,
    layer_bytes: u64,
}

impl Found {
    pub(super) fn into_image(self, name: &str, layout: PathBuf, fresh: bool) -> Image {
        let Self { tag, digest, layer_bytes } = self;
        Image { name: name.to_owned(), tag, layout, digest, layer_bytes, fresh }
    }
}

/// Reads a layout; `None` when there is none or it is not whole.
pub(super) fn read(layout: &Path) -> Result<Option<Found>> {
    let Ok(index) = fs::read(layout.join("index.json")) else { return Ok(None) };
    let index: Value =
        serde_json::from_slice(&index).with_context(|| format!("reading {}", layout.display()))?;
    let text = |pointer: &str| index.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let digest = text("/manifests/0/digest");
    let tag = index.pointer("/manifests/0/annotations").and_then(|all| all.get(TAG)?.as_str());
    let Ok(manifest) = fs::read(blob_path(layout, &digest)) else { return Ok(None) };
    let manifest: Value = serde_json::from_slice(&manifest).context("reading the image's manifest")?;
    let layers = manifest.get("layers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let layer_bytes = layers.iter().filter_map(|layer| layer.get("size")?.as_u64()).sum();
    Ok(Some(Found { tag: tag.unwrap_or_default().to_owned(), digest, layer_bytes }))
}

/// Writes the layout in place of one that may be there.
pub(super) fn write(layout: &Path, recipe: &Recipe, layers: &[Layer]) -> Result<()> {
    if layout.exists() {
        fs::remove_dir_all(layout).context("removing the old layout")?;
    }
    fs::create_dir_all(layout.join("blobs/sha256")).context("making the layout's folders")?;
    let mut listed = Vec::new();
    for layer in layers {
        listed.push(blob(layout, LAYER, &layer.gzip)?);
    }
    let config = blob(layout, CONFIG, &serde_json::to_vec(&configuration(recipe, layers))?)?;
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": listed});
    let mut manifest = blob(layout, MANIFEST, &serde_json::to_vec(&manifest)?)?;
    manifest["annotations"] = json!({TAG: recipe.tag});
    manifest["platform"] = json!({"os": "linux", "architecture": architecture()});
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), serde_json::to_vec(&index)?).context("writing index.json")
}

fn configuration(recipe: &Recipe, layers: &[Layer]) -> Value {
    let from = &recipe.config;
    let mut config = Map::new();
    let mut env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    env.extend(from.env.iter().cloned());
    config.insert("Env".into(), json!(env));
    for (key, words) in [("Entrypoint", &from.entrypoint), ("Cmd", &from.cmd)] {
        if !words.is_empty() {
            config.insert(key.into(), json!(words));
        }
    }
    if !from.user.is_empty() {
        config.insert("User".into(), json!(from.user));
    }
    if let Some(signal) = &from.stop_signal {
        config.insert("StopSignal".into(), json!(signal));
    }
    let ports: Map<String, Value> = from.ports.iter().map(|port| (port.clone(), json!({}))).collect();
    if !ports.is_empty() {
        config.insert("ExposedPorts".into(), Value::Object(ports));
    }
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    json!({
        "created": CREATED,
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// Writes a blob and gives its descriptor.
fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = digest(bytes);
    fs::write(blob_path(layout, &digest), bytes).with_context(|| format!("writing blob {digest}"))?;
    Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
}

fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

/// The machine's architecture by the name that images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
