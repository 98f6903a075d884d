//! Cuts, restarts, wrong bytes.

use skerry_registry::{Digest, RegistryError};
use skerry_runtime::image::{PullError, PullProgress};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::layers::{Tar, noise};
use crate::node::{Node, ensure, names};
use crate::support::fake::FakeRegistry;
use crate::support::image::{config_json, manifest_json, push};

const LEN: usize = 3_000_000;

#[tokio::test]
async fn cuts_are_resumed_at_once_where_they_were() {
    let fake = FakeRegistry::start();
    let layer = Tar::default().file("x", &noise(LEN, 1)).gzip();
    let digest = push(&fake, "web", "1", std::slice::from_ref(&layer));
    // The configuration comes first and is small.
    fake.script().cuts = vec![usize::MAX, 1_000_000, 500_000, 1];
    let node = Node::new(&fake.config(""));
    let store = node.open();
    let (progress, seen) = watch::channel(PullProgress::default());
    let image = fake.image("web:1").with_digest(digest);
    store.ensure(&image, &progress, &CancellationToken::new()).await.expect("pull");
    let blob = Digest::of(&layer.bytes).to_string();
    assert_eq!(fake.served(&blob), layer.bytes.len() as u64);
    assert_eq!(fake.requests(&blob).len(), 4);
    let size = layer.bytes.len() as u64;
    assert_eq!(*seen.borrow(), PullProgress { done: size, total: size });
}

#[tokio::test]
async fn a_later_process_goes_on_where_the_earlier_stopped() {
    for ignore_range in [false, true] {
        let fake = FakeRegistry::start();
        let layer = Tar::default().file("x", &noise(LEN, 2)).zstd();
        let digest = push(&fake, "web", "1", std::slice::from_ref(&layer));
        let image = fake.image("web:1").with_digest(digest);
        let node = Node::new(&fake.config(""));
        fake.script().cuts = vec![usize::MAX, 1_000_000, 0];
        let error = ensure(&node.open(), &image).await.expect_err("cut for good");
        assert!(matches!(error, PullError::Registry(RegistryError::Unreachable { .. })), "{error:?}");
        assert!(!error.is_permanent());
        let blob = Digest::of(&layer.bytes);
        let partial = node.cache().join("partial").join(blob.hex());
        assert_eq!(std::fs::metadata(&partial).expect("partial").len(), 1_000_000);
        assert!(names(&node.cache().join("layers")).is_empty());
        // As if the process had been killed in the middle.
        std::fs::create_dir_all(node.cache().join("tmp/7-half/fs")).expect("leftover");

        fake.script().ignore_range = ignore_range;
        let pulled = ensure(&node.open(), &image).await.expect("resumed");
        assert_eq!(std::fs::read(pulled.layers[0].join("x")).expect("x"), noise(LEN, 2));
        let again = if ignore_range { 1_000_000 } else { 0 };
        assert_eq!(fake.served(&blob.to_string()), layer.bytes.len() as u64 + again);
        assert!(!partial.exists() && names(&node.cache().join("tmp")).is_empty());
    }
}

#[tokio::test]
async fn a_cancelled_pull_keeps_what_came() {
    let fake = FakeRegistry::start();
    let layer = Tar::default().file("x", &noise(LEN, 3)).gzip();
    let digest = push(&fake, "web", "1", std::slice::from_ref(&layer));
    let image = fake.image("web:1").with_digest(digest);
    let node = Node::new(&fake.config(""));
    let store = node.open();
    fake.script().cuts = vec![usize::MAX, 1_000_000];
    let (progress, mut seen) = watch::channel(PullProgress::default());
    let cancel = CancellationToken::new();
    let pull = store.ensure(&image, &progress, &cancel);
    let cancelling = async {
        seen.wait_for(|progress| progress.done >= 500_000).await.expect("progress");
        fake.script().hang = Some(String::new());
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(pull, cancelling);
    assert!(matches!(result, Err(PullError::Cancelled { .. })), "{result:?}");
    assert!(names(&node.cache().join("tmp")).is_empty());
    let partial = node.cache().join("partial").join(Digest::of(&layer.bytes).hex());
    assert!(std::fs::metadata(&partial).expect("partial").len() >= 400_000);
    fake.script().hang = None;
    ensure(&store, &image).await.expect("goes on");
}

#[tokio::test]
async fn a_partial_file_gone_bad_is_fetched_anew() {
    let fake = FakeRegistry::start();
    let layer = Tar::default().file("x", &noise(LEN, 4)).gzip();
    let digest = push(&fake, "web", "1", std::slice::from_ref(&layer));
    let node = Node::new(&fake.config(""));
    let store = node.open();
    let partial = node.cache().join("partial").join(Digest::of(&layer.bytes).hex());
    let mut bytes = layer.bytes[..2_000_000].to_vec();
    bytes[1_500_000] ^= 1;
    for garbage in [bytes, vec![0; 100], vec![0; 9_000_000]] {
        std::fs::write(&partial, garbage).expect("partial");
        ensure(&store, &fake.image("web:1").with_digest(digest)).await.expect("pull");
        store.remove(&digest).await.expect("remove");
    }
    assert!(names(&node.cache().join("layers")).is_empty());
}

#[tokio::test]
async fn a_blob_that_is_too_short_at_the_registry_is_truncated() {
    let fake = FakeRegistry::start();
    let layer = Tar::default().file("x", &noise(LEN, 5)).gzip();
    let digest = push(&fake, "web", "1", std::slice::from_ref(&layer));
    fake.put_blob_as("web", &Digest::of(&layer.bytes), &layer.bytes[..1_000_000]);
    let node = Node::new(&fake.config(""));
    let error = ensure(&node.open(), &fake.image("web:1").with_digest(digest)).await.expect_err("truncated");
    match error {
        PullError::Truncated { have, size, .. } => {
            assert_eq!((have, size), (1_000_000, layer.bytes.len() as u64));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn wrong_bytes_are_a_mismatch_and_a_mirror_with_them_is_passed_over() {
    let (fake, mirror) = (FakeRegistry::start(), FakeRegistry::start());
    let layer = Tar::default().file("x", &noise(LEN, 6)).gzip();
    let blob = Digest::of(&layer.bytes);
    let mut wrong = layer.bytes.clone();
    wrong[LEN / 2] ^= 1;
    for registry in [&fake, &mirror] {
        push(registry, "web", "1", std::slice::from_ref(&layer));
        registry.put_blob_as("web", &blob, &wrong);
    }
    let digest = Digest::of(
        manifest_json(&config_json(std::slice::from_ref(&layer)), std::slice::from_ref(&layer)).as_bytes(),
    );
    let image = fake.image("web:1").with_digest(digest);
    let config = fake.config(&format!("mirrors = [\"{}\"]", mirror.host())) + &mirror.config("");
    let node = Node::new(&config);
    let store = node.open();
    let error = ensure(&store, &image).await.expect_err("wrong everywhere");
    match error {
        PullError::DigestMismatch { expected, got, from, .. } => {
            assert_eq!((expected, got, from), (blob, Digest::of(&wrong), fake.host()));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        names(&node.cache().join("partial")).is_empty() && names(&node.cache().join("layers")).is_empty()
    );
    fake.put_blob_as("web", &blob, &layer.bytes);
    ensure(&store, &image).await.expect("right at the origin");
}

#[tokio::test]
async fn content_that_is_not_what_the_configuration_says_is_refused() {
    let fake = FakeRegistry::start();
    let mut layer = Tar::default().file("x", b"x").gzip();
    layer.diff_id = Digest::of(b"other");
    let digest = push(&fake, "web", "1", &[layer]);
    let node = Node::new(&fake.config(""));
    let error = ensure(&node.open(), &fake.image("web:1").with_digest(digest)).await.expect_err("refused");
    assert!(matches!(error, PullError::DiffIdMismatch { .. }) && error.is_permanent(), "{error:?}");
}
