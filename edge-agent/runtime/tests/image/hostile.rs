//! Layers that try to get out, or to fill the node.

use skerry_registry::Digest;
use skerry_runtime::image::{Limits, PullError, Violation};

use crate::layers::Tar;
use crate::node::{Node, ensure, names};
use crate::support::fake::FakeRegistry;
use crate::support::image::{TestLayer, push};

/// Pulls a hostile layer, and returns what it was refused for.
async fn refused(layer: TestLayer, limits: Limits) -> (String, Violation) {
    let fake = FakeRegistry::start();
    let blob = Digest::of(&layer.bytes);
    let digest = push(&fake, "web", "1", &[layer]);
    let mut node = Node::new(&fake.config(""));
    node.limits = limits;
    // What an escape by one or two steps would hit.
    let outside = node.cache().join("tmp/outside");
    let store = node.open();
    std::fs::write(&outside, b"untouched").expect("outside");
    let error = ensure(&store, &fake.image("web:1").with_digest(digest)).await.expect_err("refused");
    assert!(error.is_permanent(), "{error}");
    assert_eq!(std::fs::read(&outside).expect("outside"), b"untouched");
    assert_eq!(names(&node.cache().join("tmp")), ["outside"]);
    for folder in ["layers", "images", "partial"] {
        assert!(names(&node.cache().join(folder)).is_empty(), "{folder}");
    }
    match error {
        PullError::Hostile { layer, entry, violation, image } => {
            assert_eq!((layer, image.contains("web")), (blob, true));
            (entry, violation)
        }
        other => panic!("{other:?}"),
    }
}

async fn check(tar: Tar, entry: &str, expect: Violation) {
    let limits = Limits { reserve_bytes: 0, ..Limits::default() };
    let (got_entry, got) = refused(tar.gzip(), limits).await;
    assert_eq!((got_entry.as_str(), got), (entry, expect));
}

#[tokio::test]
async fn paths_that_lead_out() {
    check(Tar::default().file("../outside", b"x"), "../outside", Violation::ParentPath).await;
    check(Tar::default().file("a/../../outside", b"x"), "a/../../outside", Violation::ParentPath).await;
    check(Tar::default().file("a/..", b"x"), "a/..", Violation::ParentPath).await;
    check(Tar::default().folder(".."), "..", Violation::ParentPath).await;
    check(Tar::default().file("/tmp/skerry-x", b"x"), "/tmp/skerry-x", Violation::AbsolutePath).await;
    let pax = Tar::default().pax(&[("path", b"../outside")]).file("harmless", b"x");
    check(pax, "../outside", Violation::ParentPath).await;
    let gnu = Tar::default().raw(b'L', b"long", b"", 0, b"/tmp/skerry-x\0").file("harmless", b"x");
    check(gnu, "/tmp/skerry-x", Violation::AbsolutePath).await;
}

#[tokio::test]
async fn symbolic_links_that_lead_out() {
    // Harmless if a layer should reach it.
    let outside = tempfile::tempdir().expect("temporary folder");
    std::fs::create_dir(outside.path().join("d")).expect("folder");
    let away = outside.path().to_str().expect("a readable path");
    let to = |link: &str| Tar::default().symlink(link, away);
    let check = |tar, entry| check(tar, entry, Violation::SymlinkEscape);
    check(to("x").file("x/file", b"x"), "x/file").await;
    check(to("x").file("x/d/file", b"x"), "x/d/file").await;
    check(to("x").folder("x/d"), "x/d").await;
    check(to("x").symlink("x/y", "z"), "x/y").await;
    check(to("b").symlink("a", "b").file("a/d/x", b"x"), "a/d/x").await;
    check(Tar::default().symlink("x", "../..").file("x/outside", b"x"), "x/outside").await;
    check(Tar::default().symlink("x", "/proc/self/cwd").folder("x/target"), "x/target").await;
    check(Tar::default().symlink("x", "x").file("x/y", b"x"), "x/y").await;
    // A link that replaces a folder which was just used.
    let replaced = Tar::default().file("x/a", b"1").symlink("x", away).file("x/b", b"1");
    check(replaced, "x/b").await;
    // A deletion through a link.
    check(to("x").file("x/.wh.file", b""), "x/.wh.file").await;
    check(to("x").file("x/.wh..wh..opq", b""), "x/.wh..wh..opq").await;
    assert_eq!(names(outside.path()), ["d"]);
    assert!(names(&outside.path().join("d")).is_empty());
}

#[tokio::test]
async fn hard_links_that_lead_out() {
    let escape = |target: &str| Violation::HardlinkEscape { target: target.to_owned() };
    let missing = |target: &str| Violation::HardlinkMissing { target: target.to_owned() };
    check(Tar::default().hardlink("x", "../outside"), "x", escape("../outside")).await;
    check(Tar::default().hardlink("x", "/etc/passwd"), "x", escape("/etc/passwd")).await;
    check(Tar::default().symlink("d", "/etc").hardlink("x", "d/passwd"), "x", escape("d/passwd")).await;
    check(Tar::default().hardlink("x", "nothing"), "x", missing("nothing")).await;
    check(Tar::default().hardlink("x", "x"), "x", missing("x")).await;
    check(Tar::default().folder("d").hardlink("x", "d"), "x", missing("d")).await;
    check(Tar::default().file("d/f", b"1").hardlink("d", "d/f"), "d", missing("d/f")).await;
}

#[tokio::test]
async fn whiteouts_that_lead_out() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.a/b"] {
        check(Tar::default().file(name, b""), name, Violation::WhiteoutEscape).await;
    }
}

#[tokio::test]
async fn device_nodes() {
    for (flag, kind) in [(b'3', "character device"), (b'4', "block device"), (b'6', "fifo")] {
        let tar = Tar::default().raw(flag, b"etc/node", b"", 0o666, b"");
        check(tar, "etc/node", Violation::DeviceNode { kind }).await;
    }
}

#[tokio::test]
async fn names_that_are_too_long_or_impossible() {
    let long = vec![b'a'; 300];
    let tar = Tar::default().pax(&[("path", &long)]).file("x", b"");
    let (_, violation) = refused(tar.gzip(), Limits { reserve_bytes: 0, ..Limits::default() }).await;
    assert_eq!(violation, Violation::PathTooLong { len: 300, limit: 255 });
    let deep = b"a/".repeat(3000);
    let tar = Tar::default().pax(&[("path", &deep)]).file("x", b"");
    let (_, violation) = refused(tar.gzip(), Limits { reserve_bytes: 0, ..Limits::default() }).await;
    assert_eq!(violation, Violation::PathTooLong { len: 6000, limit: 4095 });
    let target = vec![b'a'; 5000];
    let tar = Tar::default().pax(&[("linkpath", &target)]).symlink("x", "");
    check(tar, "x", Violation::PathTooLong { len: 5000, limit: 4095 }).await;
    check(Tar::default().pax(&[("path", b"a\0b")]).file("x", b""), "a\0b", Violation::BadName).await;
    check(Tar::default().symlink("x", ""), "x", Violation::BadName).await;
    check(Tar::default().file("f", b"").file("f/x", b""), "f/x", Violation::NotADirectory).await;
    check(Tar::default().raw(b'S', b"s", b"", 0, b""), "s", Violation::UnsupportedType { type_flag: 'S' })
        .await;
}

#[tokio::test]
async fn extension_records_that_are_too_large_or_lie() {
    let big = vec![b'a'; 300_000];
    let tar = Tar::default().raw(b'L', b"long", b"", 0, &big).file("x", b"");
    check(tar, "long", Violation::BadExtension).await;
    let tar = Tar::default().pax(&[("size", b"5")]).file("x", b"");
    check(tar, "x", Violation::BadExtension).await;
    let tar = Tar::default().raw(b'x', b"pax", b"", 0, b"not a record").file("x", b"");
    check(tar, "pax", Violation::BadExtension).await;
}

/// A file of 300 MB of zeros. Both formats may be concatenated, so a small piece is compressed once.
fn bomb(compress: fn(Tar) -> TestLayer) -> TestLayer {
    let piece = compress(Tar::default().content(&vec![0; 1 << 20])).bytes;
    let mut layer = compress(Tar::default().header("zeros", 300 << 20));
    layer.bytes.extend(std::iter::repeat_n(piece, 300).flatten());
    layer
}

#[tokio::test]
async fn bombs() {
    let limits = Limits { reserve_bytes: 0, ..Limits::default() };
    for bomb in [bomb(Tar::gzip), bomb(Tar::zstd)] {
        assert!(bomb.bytes.len() < 2 << 20);
        let (entry, violation) = refused(bomb, limits).await;
        assert_eq!(entry, "zeros");
        assert!(matches!(violation, Violation::TooManyBytes { limit } if limit < 100 << 20), "{violation}");
    }
    let small = Limits { max_layer_bytes: 10_000, ..limits };
    let (_, violation) = refused(Tar::default().file("x", &vec![1; 20_000]).plain(), small).await;
    assert_eq!(violation, Violation::TooManyBytes { limit: 10_000 });
    let many = (0..50).fold(Tar::default(), |tar, i| tar.file(&i.to_string(), b""));
    let (entry, violation) = refused(many.gzip(), Limits { max_entries: 40, ..limits }).await;
    assert_eq!((entry.as_str(), violation), ("40", Violation::TooManyEntries { limit: 40 }));
}

#[tokio::test]
async fn garbage_is_damaged_not_hostile() {
    let garbage = |bytes: Vec<u8>, media_type| TestLayer { diff_id: Digest::of(&bytes), bytes, media_type };
    let (plain, gzip, zstd) =
        (crate::support::image::TAR, crate::support::image::GZIP, crate::support::image::ZSTD);
    let half = Tar::default().file("x", &[7; 5000]).end()[..2000].to_vec();
    let layers = [
        garbage(vec![7; 5000], plain),
        garbage(vec![7; 5000], gzip),
        garbage(vec![7; 5000], zstd),
        garbage(half, plain),
        garbage(Tar::default().end(), "application/vnd.example.unknown"),
    ];
    for layer in layers {
        let fake = FakeRegistry::start();
        let digest = push(&fake, "web", "1", std::slice::from_ref(&layer));
        let node = Node::new(&fake.config(""));
        let result = ensure(&node.open(), &fake.image("web:1").with_digest(digest)).await;
        assert!(matches!(result, Err(PullError::Damaged { .. })), "{}: {result:?}", layer.media_type);
        assert!(names(&node.cache().join("layers")).is_empty());
    }
}
