//! Builds images out of layer bytes.

use skerry_registry::{Digest, Platform};

use super::fake::FakeRegistry;

/// A layer as it is stored: its compressed bytes, their media type, and the digest of the tar inside.
#[derive(Clone)]
pub(crate) struct TestLayer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: &'static str,
    pub(crate) diff_id: Digest,
}

pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// The configuration of an image with these layers.
pub(crate) fn config_json(layers: &[TestLayer]) -> String {
    let diff_ids: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", layer.diff_id)).collect();
    let arch = Platform::host().architecture;
    format!(
        r#"{{"architecture":"{arch}","os":"linux","config":{{"Entrypoint":["/bin/app"],"Cmd":["-v"],"Env":["A=b","PATH=/bin"],"User":"7:8","WorkingDir":"/srv","StopSignal":"SIGQUIT","ExposedPorts":{{"80/tcp":{{}}}}}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    )
}

/// The manifest that names `config` and `layers`.
pub(crate) fn manifest_json(config: &str, layers: &[TestLayer]) -> String {
    let blob = |kind: &str, bytes: &[u8]| {
        format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, Digest::of(bytes), bytes.len())
    };
    let all: Vec<_> = layers.iter().map(|layer| blob(layer.media_type, &layer.bytes)).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        blob("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        all.join(",")
    )
}

/// An index with one manifest per `(architecture, digest, size)`.
pub(crate) fn index_json(entries: &[(&str, Digest, usize)]) -> String {
    let all: Vec<_> = entries
        .iter()
        .map(|(arch, digest, size)| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"{arch}"}}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
        all.join(",")
    )
}

/// Puts an image on a scripted registry and returns its manifest digest.
pub(crate) fn push(registry: &FakeRegistry, repository: &str, tag: &str, layers: &[TestLayer]) -> Digest {
    let config = config_json(layers);
    registry.put_blob(repository, config.as_bytes());
    for layer in layers {
        registry.put_blob(repository, &layer.bytes);
    }
    registry.put_manifest(repository, tag, &manifest_json(&config, layers))
}

/// Writes an OCI layout folder with one image named `tag`, and returns its manifest digest.
pub(crate) fn write_layout(folder: &std::path::Path, tag: &str, layers: &[TestLayer]) -> Digest {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("layout");
    let put = |bytes: &[u8]| std::fs::write(blobs.join(Digest::of(bytes).hex()), bytes).expect("blob");
    let config = config_json(layers);
    let manifest = manifest_json(&config, layers);
    put(config.as_bytes());
    put(manifest.as_bytes());
    for layer in layers {
        put(&layer.bytes);
    }
    let digest = Digest::of(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}}}]}}"#,
        manifest.len()
    );
    std::fs::write(folder.join("index.json"), index).expect("index");
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("oci-layout");
    digest
}
