//! The client against a scripted registry and against the real docker-registry.

mod support;

use std::time::Duration;

use skerry_registry::{Digest, Platform, RegistriesConfig, Registry, RegistryError, Timeouts};
use skerry_types::{LayerId, LayerSize};
use support::fake::{FakeRegistry, PASSWORD};
use support::image::{GZIP, TAR, TestLayer, index_json, manifest_json, push};
use support::real::RealRegistry;

fn client(toml: &str) -> Registry {
    Registry::new(config(toml))
}

fn config(toml: &str) -> RegistriesConfig {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("registries.toml");
    std::fs::write(&path, toml).expect("write");
    let mut config = RegistriesConfig::load(&path).expect("valid configuration");
    let short = Duration::from_secs(2);
    config.timeouts = Timeouts { connect: short, stall: short, document: short };
    config
}

fn layer(bytes: &[u8]) -> TestLayer {
    TestLayer { bytes: bytes.to_vec(), media_type: TAR, diff_id: Digest::of(bytes) }
}

fn amd64() -> Platform {
    Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None }
}

async fn read_all(
    registry: &Registry,
    image: &skerry_registry::ImageRef,
    digest: &Digest,
    offset: u64,
) -> Result<Vec<u8>, RegistryError> {
    let mut stream = registry.blob(image, digest, offset, &[]).await?;
    let mut all = Vec::new();
    while let Some(bytes) = stream.chunk().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test]
async fn a_tag_resolves_and_its_manifest_and_blob_are_read() {
    let fake = FakeRegistry::start();
    let body: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = push(&fake, "team/web", "1", &[layer(&body)]);
    let registry = client(&fake.config(""));
    let image = fake.image("team/web:1");
    assert_eq!(registry.resolve(&image).await.expect("resolve"), digest);
    let manifest = registry.manifest(&image, &amd64()).await.expect("manifest");
    assert_eq!((manifest.digest, manifest.layers.len()), (digest, 1));
    let blob = &manifest.layers[0];
    assert_eq!((blob.digest, blob.size), (Digest::of(&body), 400_000));
    assert_eq!(read_all(&registry, &image, &blob.digest, 0).await.expect("blob"), body);
}

#[tokio::test]
async fn a_blob_is_resumed_by_range_and_without() {
    let fake = FakeRegistry::start();
    let body: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = fake.put_blob("web", &body);
    let registry = client(&fake.config(""));
    let image = fake.image("web:1");
    assert_eq!(read_all(&registry, &image, &digest, 150_000).await.expect("range"), body[150_000..]);
    assert_eq!(fake.served("blobs"), 50_000);
    fake.script().ignore_range = true;
    assert_eq!(read_all(&registry, &image, &digest, 150_001).await.expect("skipped"), body[150_001..]);
}

#[tokio::test]
async fn an_index_leads_to_this_platform_or_says_what_there_is() {
    let fake = FakeRegistry::start();
    let (small, large) = (layer(b"small"), layer(b"large"));
    let amd = push(&fake, "web", "amd", &[small]);
    let arm = push(&fake, "web", "arm", &[large]);
    let index = fake.put_manifest("web", "all", &index_json(&[("arm64", arm, 1), ("amd64", amd, 1)]));
    let registry = client(&fake.config(""));
    let image = fake.image("web:all");
    assert_eq!(registry.resolve(&image).await.expect("resolve"), index);
    assert_eq!(registry.manifest(&image, &amd64()).await.expect("manifest").digest, amd);
    let riscv = Platform { architecture: "riscv64".to_owned(), ..amd64() };
    let error = registry.manifest(&image, &riscv).await.expect_err("no such platform");
    assert!(error.is_permanent());
    assert_eq!(
        error.to_string(),
        format!("image {image} has no manifest for linux/riscv64; it has: linux/arm64, linux/amd64")
    );
}

#[tokio::test]
async fn wrong_bytes_are_a_mismatch() {
    let fake = FakeRegistry::start();
    let digest = push(&fake, "web", "1", &[layer(b"x")]);
    let other = manifest_json("{}", &[]);
    let path = format!("web/manifests/{digest}");
    fake.script().bodies.insert(path, ("x".to_owned(), other.clone().into_bytes()));
    let registry = client(&fake.config(""));
    let image = fake.image("web:1").with_digest(digest);
    match registry.resolve(&image).await {
        Err(RegistryError::DigestMismatch { expected, got, .. }) => {
            assert_eq!((expected, got), (digest, Digest::of(other.as_bytes())));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn absences_and_refusals_have_their_own_errors() {
    let fake = FakeRegistry::start();
    push(&fake, "web", "1", &[layer(b"x")]);
    let registry = client(&fake.config(""));
    let missing = registry.resolve(&fake.image("web:2")).await.expect_err("no such tag");
    assert!(matches!(missing, RegistryError::NotFound { .. }) && missing.is_permanent(), "{missing}");
    let gone = read_all(&registry, &fake.image("web:1"), &Digest::of(b"gone"), 0).await;
    assert!(matches!(gone, Err(RegistryError::BlobNotFound { .. })), "{gone:?}");
    for (status, permanent) in [(500, false), (503, false), (429, false), (400, true)] {
        fake.script().status = Some(status);
        let error = registry.resolve(&fake.image("web:1")).await.expect_err("scripted");
        assert!(matches!(&error, RegistryError::Status { status: s, .. } if *s == status), "{error}");
        assert_eq!(error.is_permanent(), permanent, "{error}");
        assert!(error.to_string().contains("scripted"), "{error}");
    }
}

#[tokio::test]
async fn malformed_and_oversized_manifests_are_refused() {
    let fake = FakeRegistry::start();
    let registry = client(&fake.config(""));
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let many = format!("{{\"mediaType\":\"{GZIP}\",\"digest\":\"{digest}\",\"size\":1}},").repeat(200);
    let config = format!("{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\"size\":1}}");
    let cases = [
        ("[]".to_owned(), "malformed"),
        ("{\"schemaVersion\":1}".to_owned(), "schema version 1"),
        ("{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}".to_owned(), "both an index and a manifest"),
        (
            format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{}]}}", &many[..many.len() - 1]),
            "200 layers",
        ),
        (
            format!("{{\"schemaVersion\":2,\"config\":{}}}", config.replace("sha256:", "sha256:../")),
            "malformed",
        ),
        ("{".repeat(5 << 20), "larger than the limit"),
        ("[".repeat(100_000), "malformed"),
    ];
    for (text, expect) in cases {
        fake.put_manifest("web", "1", &text);
        let error = registry.manifest(&fake.image("web:1"), &amd64()).await.expect_err("refused");
        assert!(error.to_string().contains(expect) && error.is_permanent(), "{expect}: {error}");
    }
}

#[tokio::test]
async fn tokens_are_fetched_once_and_wrong_passwords_refused() {
    let fake = FakeRegistry::start();
    let digest = push(&fake, "team/web", "1", &[layer(b"x")]);
    fake.script().token_auth = true;
    let login = |password: &str| fake.config(&format!("username = \"edge\"\npassword = \"{password}\""));
    let image = fake.image("team/web:1");
    let registry = client(&login(PASSWORD));
    for _ in 0..3 {
        assert_eq!(registry.resolve(&image).await.expect("with a token"), digest);
    }
    assert_eq!(fake.requests("/token").len(), 1);
    let error = client(&login("wrong")).resolve(&image).await.expect_err("wrong password");
    assert!(matches!(error, RegistryError::Unauthorized { .. }) && error.is_permanent(), "{error}");
    let error = client(&fake.config("")).resolve(&image).await.expect_err("no password");
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn mirrors_come_first_and_the_origin_stands_in() {
    let (origin, mirror) = (FakeRegistry::start(), FakeRegistry::start());
    let digest = push(&origin, "web", "1", &[layer(b"x")]);
    let toml =
        origin.config(&format!("mirrors = [\"127.0.0.1:1\", \"{}\"]", mirror.host())) + &mirror.config("");
    let registry = client(&toml);
    let image = origin.image("web:1");
    assert_eq!(registry.resolve(&image).await.expect("from the origin"), digest);
    assert_eq!((mirror.requests("web").len(), origin.requests("web").len()), (1, 1));
    push(&mirror, "web", "1", &[layer(b"x")]);
    assert_eq!(registry.resolve(&image).await.expect("from the mirror"), digest);
    assert_eq!((mirror.requests("web").len(), origin.requests("web").len()), (2, 1));
    let blob = Digest::of(b"x");
    let stream = registry.blob(&image, &blob, 0, &[mirror.host()]).await.expect("avoids the mirror");
    assert_eq!(stream.host(), origin.host());
}

#[tokio::test]
async fn a_dead_or_silent_registry_is_unreachable() {
    let fake = FakeRegistry::start();
    fake.script().hang = Some(String::new());
    let registry = client(&fake.config(""));
    let error = registry.resolve(&fake.image("web:1")).await.expect_err("silent");
    assert!(matches!(error, RegistryError::Unreachable { .. }) && !error.is_permanent(), "{error}");
    let image = "127.0.0.1:1/web:1".parse().expect("reference");
    let error = registry.resolve(&image).await.expect_err("nobody listens");
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_real_registry_with_tls_and_password() {
    let real = RealRegistry::start();
    let folder = tempfile::tempdir().expect("temporary folder");
    let layout = folder.path().join("layout");
    let body = vec![7_u8; 100_000];
    support::image::write_layout(&layout, "1", &[layer(&body)]);
    real.copy_in(&format!("oci:{}:1", layout.display()), "team/web:1", &[]);
    let image = real.image("team/web:1");

    let registry = client(&real.config(PASSWORD));
    let digest = registry.resolve(&image).await.expect("resolve");
    let manifest = registry.manifest(&image, &amd64()).await.expect("manifest");
    assert_eq!(manifest.digest, digest);
    let blob = manifest.layers[0].clone();
    let all = read_all(&registry, &image, &blob.digest, 0).await.expect("blob");
    assert_eq!(Digest::of(&all), blob.digest);
    let rest = read_all(&registry, &image, &blob.digest, 10).await.expect("range");
    assert_eq!(rest, all[10..]);
    let missing = registry.resolve(&real.image("team/none:1")).await;
    assert!(matches!(missing, Err(RegistryError::NotFound { .. })), "{missing:?}");

    let error = client(&real.config("wrong")).resolve(&image).await.expect_err("wrong password");
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    let error = client("").resolve(&image).await.expect_err("unknown CA");
    assert!(matches!(error, RegistryError::Tls { .. }) && error.is_permanent(), "{error}");
}

#[tokio::test]
async fn certificates_are_judged_by_the_clock_that_is_given() {
    let real = RealRegistry::start();
    let image = real.image("nothing:1");
    let right = Registry::new(config(&real.config(PASSWORD)));
    let error = right.resolve(&image).await.expect_err("no such image");
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    // The certificate of the test begins in 1975.
    let wrong = Registry::by_clock(config(&real.config(PASSWORD)), || Duration::from_hours(24));
    let error = wrong.resolve(&image).await.expect_err("not valid yet");
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn the_layers_of_an_image_are_named_by_content_and_sized_as_they_are_sent() {
    let fake = FakeRegistry::start();
    let content = Digest::of(b"unpacked");
    let packed = TestLayer { bytes: vec![7; 300], media_type: GZIP, diff_id: content };
    push(&fake, "web", "1", &[packed, layer(b"plain")]);
    let registry = client(&fake.config(""));
    let found = registry.layers(&fake.image("web:1"), &Platform::host()).await.expect("layers");
    let expect = [(content, 300), (Digest::of(b"plain"), 5)];
    let expect = expect.map(|(content, size)| LayerSize {
        layer: LayerId::of(content.as_bytes()),
        size: skerry_types::Bytes(size),
    });
    assert_eq!(found, expect);
}
