//! Full disks, reserves and collection.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use skerry_registry::Digest;
use skerry_runtime::image::{ImageRef, ImageStore, PullError, PullProgress};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::layers::{Tar, noise};
use crate::node::{Node, ensure, names};
use crate::support::fake::FakeRegistry;
use crate::support::image::push;

/// A small filesystem, unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(megabytes: u32) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let options = format!("size={megabytes}m");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).status();
        assert!(status.expect("mount").success());
        Self(folder)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(self.0.path()).status().expect("umount").success());
    }
}

fn image(fake: &FakeRegistry, name: &str, megabytes: usize, seed: u64) -> ImageRef {
    let layer = Tar::default().file("x", &noise(megabytes << 20, seed)).gzip();
    let digest = push(fake, name, "1", &[layer]);
    fake.image(&format!("{name}:1")).with_digest(digest)
}

fn digest(image: &ImageRef) -> Digest {
    *image.digest().expect("pinned")
}

fn set_last_use(cache: &Path, image: &ImageRef, hours_ago: u64) {
    let record = cache.join("images").join(format!("{}.json", digest(image).hex()));
    let file = std::fs::File::options().write(true).open(record).expect("record");
    file.set_modified(SystemTime::now() - Duration::from_hours(hours_ago)).expect("time");
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_pull_goes_on_when_there_is_space() {
    let fake = FakeRegistry::start();
    // 8 MB come and become 8 MB more.
    let wanted = image(&fake, "web", 8, 1);
    let tmpfs = Tmpfs::mount(20);
    let ballast = tmpfs.0.path().join("ballast");
    std::fs::write(&ballast, noise(8 << 20, 2)).expect("ballast");
    let node = Node::new(&fake.config(""));
    let cache = tmpfs.0.path().join("cache");
    let store = node.open_at(&cache);
    for _ in 0..2 {
        let error = ensure(&store, &wanted).await.expect_err("full");
        assert!(matches!(&error, PullError::DiskFull { .. }) && !error.is_permanent(), "{error}");
        assert!(names(&cache.join("tmp")).is_empty() && names(&cache.join("layers")).is_empty());
        assert_eq!(names(&cache.join("partial")).len(), 1);
    }
    std::fs::remove_file(&ballast).expect("space");
    let pulled = ensure(&store, &wanted).await.expect("space is there");
    assert_eq!(std::fs::read(pulled.layers[0].join("x")).expect("x"), noise(8 << 20, 1));
    assert!(names(&cache.join("partial")).is_empty());
    drop(store);
}

#[tokio::test]
async fn the_reserve_is_left_free() {
    let fake = FakeRegistry::start();
    let wanted = image(&fake, "web", 4, 1);
    let tmpfs = Tmpfs::mount(20);
    let mut node = Node::new(&fake.config(""));
    node.limits.reserve_bytes = 16 << 20;
    let store = node.open_at(&tmpfs.0.path().join("cache"));
    match ensure(&store, &wanted).await {
        Err(PullError::DiskFull { need, free, .. }) => {
            assert!(need >= 20 << 20 && free < need, "{need} {free}");
        }
        other => panic!("{other:?}"),
    }
    assert!(fake.served("blobs") < 1 << 20);
    drop(store);
}

#[tokio::test]
async fn a_pull_makes_room_by_itself_but_not_of_what_is_in_use() {
    let fake = FakeRegistry::start();
    let (old, used, wanted) =
        (image(&fake, "old", 4, 1), image(&fake, "used", 4, 2), image(&fake, "new", 6, 3));
    let tmpfs = Tmpfs::mount(20);
    let node = Node::new(&fake.config(""));
    let cache = tmpfs.0.path().join("cache");
    let store = node.open_at(&cache);
    ensure(&store, &old).await.expect("old");
    ensure(&store, &used).await.expect("used");
    set_last_use(&cache, &used, 48);
    // Nobody has said what is in use: nothing is removed.
    let error = ensure(&store, &wanted).await.expect_err("full");
    assert!(matches!(error, PullError::DiskFull { .. }), "{error}");
    assert!(store.local(&digest(&old)).is_some());
    store.set_in_use(BTreeSet::from([digest(&used), digest(&wanted)]));
    ensure(&store, &wanted).await.expect("room was made");
    assert!(store.local(&digest(&old)).is_none() && store.local(&digest(&used)).is_some());
    drop(store);
}

#[tokio::test]
async fn collection_takes_the_least_recently_used_and_keeps_shared_layers() {
    let fake = FakeRegistry::start();
    let base = Tar::default().file("base", b"base").gzip();
    let push_one = |name: &str| {
        let own = Tar::default().file(name, &noise(1 << 20, name.len() as u64)).gzip();
        let digest = push(&fake, name, "1", &[base.clone(), own]);
        fake.image(&format!("{name}:1")).with_digest(digest)
    };
    let images: Vec<ImageRef> = ["a", "bb", "ccc", "dddd"].iter().map(|name| push_one(name)).collect();
    let mut node = Node::new(&fake.config(""));
    node.limits.partial_age = Duration::from_hours(4);
    let store = node.open();
    for image in &images {
        ensure(&store, image).await.expect("pull");
    }
    for (image, hours) in images.iter().zip([5, 9, 7, 8]) {
        set_last_use(&node.cache(), image, hours);
    }
    let partial = |seed: &[u8], age: u64| {
        let path = node.cache().join("partial").join(Digest::of(seed).hex());
        let file = std::fs::File::create(&path).expect("partial");
        file.set_modified(SystemTime::now() - Duration::from_hours(age)).expect("time");
        path
    };
    let (young, old, stale) = (partial(b"young", 0), partial(b"old", 2), partial(b"stale", 5));
    let in_use = BTreeSet::from([digest(&images[1])]);

    let nothing = store.collect(&in_use, 0).await.expect("collect");
    assert_eq!((nothing.images.len(), nothing.layers), (0, 0));
    assert!(young.exists() && old.exists() && !stale.exists());

    let all = store.collect(&in_use, u64::MAX).await.expect("collect");
    assert_eq!(all.images, [digest(&images[3]), digest(&images[2]), digest(&images[0])]);
    assert_eq!((all.layers, all.free > 0), (3, true));
    assert!(young.exists() && !old.exists());
    let kept = store.local(&digest(&images[1])).expect("in use");
    assert_eq!(std::fs::read(kept.layers[1].join("base")).expect("base"), b"base");
    assert_eq!(names(&node.cache().join("layers")).len(), 2);
    assert_eq!(names(&node.cache().join("blobs/sha256")).len(), 2);
    store.remove(&digest(&images[1])).await.expect("remove");
    assert!(is_empty(&store, &node));
}

#[tokio::test]
async fn collection_leaves_a_pull_under_way_alone() {
    let fake = FakeRegistry::start();
    let layers = [Tar::default().file("1", b"1").gzip(), Tar::default().file("2", b"2").gzip()];
    let digest = push(&fake, "web", "1", &layers);
    let image = fake.image("web:1").with_digest(digest);
    let node = Node::new(&fake.config(""));
    let store = node.open();
    fake.script().hang = Some(Digest::of(&layers[1].bytes).to_string());
    let (progress, _) = watch::channel(PullProgress::default());
    let cancel = CancellationToken::new();
    let pull = store.ensure(&image, &progress, &cancel);
    let layers = node.cache().join("layers");
    let collecting = async {
        let deadline = Instant::now() + Duration::from_secs(20);
        while names(&layers).len() != 1 {
            assert!(Instant::now() < deadline, "the first layer does not arrive");
            tokio::task::yield_now().await;
        }
        let collected = store.collect(&BTreeSet::new(), u64::MAX).await.expect("collect");
        assert_eq!((collected.layers, names(&layers).len()), (0, 1));
        assert_eq!(names(&node.cache().join("blobs/sha256")).len(), 2);
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(pull, collecting);
    assert!(matches!(result, Err(PullError::Cancelled { .. })), "{result:?}");
    let collected = store.collect(&BTreeSet::new(), 0).await.expect("collect");
    assert_eq!((collected.layers, names(&layers).len()), (1, 0));
}

fn is_empty(store: &ImageStore, node: &Node) -> bool {
    let folders = ["layers", "images", "blobs/sha256", "tmp"];
    store.list().expect("list").is_empty() && folders.iter().all(|f| names(&node.cache().join(f)).is_empty())
}
