//! Archives and layout folders.

use skerry_registry::{Digest, RegistryError};
use skerry_runtime::image::PullError;

use crate::layers::{Tar, noise};
use crate::node::{Node, names};
use crate::support::image::{index_json, write_layout};
use crate::support::real::skopeo;

#[tokio::test]
async fn an_archive_and_a_folder_give_the_same_image() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let layout = folder.path().join("layout");
    let layers = [Tar::default().file("a", &noise(100_000, 1)).gzip(), Tar::default().file("b", b"b").zstd()];
    let digest = write_layout(&layout, "web:1", &layers);
    let archive = folder.path().join("web.tar");
    let (from, to) =
        (format!("oci:{}", layout.display()), format!("oci-archive:{}:web:1", archive.display()));
    skopeo(&["copy", "--quiet", "--insecure-policy", "--preserve-digests", &from, &to]);
    for path in [&archive, &layout] {
        let node = Node::new("");
        let store = node.open();
        let imported = store.import(path).await.expect("import");
        assert_eq!(imported, [(Some("web:1".to_owned()), digest)]);
        let image = store.local(&digest).expect("here");
        assert_eq!(image.reference, "web:1");
        assert_eq!(std::fs::read(image.layers[1].join("a")).expect("a"), noise(100_000, 1));
        assert_eq!(store.import(path).await.expect("again").len(), 1);
    }
}

#[tokio::test]
async fn archives_are_checked_like_pulls() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let layer = Tar::default().file("../outside", b"x").gzip();
    let hostile = folder.path().join("hostile");
    write_layout(&hostile, "1", &[layer]);
    let wrong = folder.path().join("wrong");
    let layer = Tar::default().file("x", b"x").gzip();
    write_layout(&wrong, "1", std::slice::from_ref(&layer));
    let mut bytes = layer.bytes.clone();
    bytes[5] ^= 1;
    std::fs::write(wrong.join("blobs/sha256").join(Digest::of(&layer.bytes).hex()), &bytes).expect("write");
    let missing = folder.path().join("missing");
    write_layout(&missing, "1", std::slice::from_ref(&layer));
    std::fs::remove_file(missing.join("blobs/sha256").join(Digest::of(&layer.bytes).hex())).expect("remove");
    let foreign = folder.path().join("foreign");
    write_layout(&foreign, "1", std::slice::from_ref(&layer));
    let index = index_json(&[("s390x", Digest::of(b""), 1)]);
    let named = Digest::of(index.as_bytes());
    std::fs::write(foreign.join("blobs/sha256").join(named.hex()), &index).expect("write");
    std::fs::write(foreign.join("index.json"), index_json(&[("amd64", named, 1)])).expect("write");
    let garbage = folder.path().join("garbage.tar");
    std::fs::write(&garbage, [7; 5000]).expect("write");

    let node = Node::new("");
    let store = node.open();
    let none = folder.path().join("none");
    let error = async |path| store.import(path).await.expect_err("refused");
    assert!(matches!(error(&hostile).await, PullError::Hostile { .. }));
    assert!(
        matches!(error(&wrong).await, PullError::DigestMismatch { got, .. } if got == Digest::of(&bytes))
    );
    assert!(matches!(error(&missing).await, PullError::Archive { .. }));
    assert!(matches!(error(&garbage).await, PullError::Archive { .. }));
    assert!(matches!(error(&none).await, PullError::Io { .. }));
    let no_platform = error(&foreign).await;
    assert!(matches!(no_platform, PullError::Registry(RegistryError::NoPlatform { .. })), "{no_platform:?}");
    assert!(names(&node.cache().join("images")).is_empty() && names(&node.cache().join("layers")).is_empty());
}
