//! What a pull makes, and what it does not do twice.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use skerry_registry::RegistryError;
use skerry_runtime::image::{ImageRef, PullError};

use crate::layers::{Tar, noise};
use crate::node::{Node, ensure, names};
use crate::support::fake::{FakeRegistry, PASSWORD};
use crate::support::image::{TestLayer, push};
use crate::support::real::RealRegistry;

/// Pushes an image and returns its pinned reference.
fn pinned(fake: &FakeRegistry, name: &str, layers: &[TestLayer]) -> ImageRef {
    let digest = push(fake, name, "1", layers);
    fake.image(&format!("{name}:1")).with_digest(digest)
}

#[tokio::test]
async fn every_kind_of_file_arrives_as_it_was() {
    let fake = FakeRegistry::start();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let layer = Tar::default()
        .raw(b'5', b"./", b"", 0o755, b"")
        .raw(b'5', b"etc/", b"", 0o1777, b"")
        .file("etc/hosts", b"127.0.0.1 localhost\n")
        .mode("bin/sudo", 0o4755, b"#!")
        .symlink("bin/sh", "/bin/busybox")
        .hardlink("bin/sudo2", "bin/sudo")
        .hardlink("bin/sh2", "bin/sh")
        .pax(&[("SCHILY.xattr.user.note", b"a\nb"), ("mtime", b"1500000000.25"), ("uid", b"70000")])
        .file("etc/noted", b"x")
        .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")])
        .folder("redirected")
        .pax(&[("path", long.as_bytes())])
        .file("short", b"long")
        .raw(b'L', b"././@LongLink", b"", 0o644, format!("{long}2\0").as_bytes())
        .file("short", b"longer")
        .raw(b'3', b"dev/null", b"", 0o666, b"")
        .file("etc/hosts", b"replaced\n")
        .file("swap", b"was a file")
        .folder("swap")
        .file("swap/inside", b"1")
        .folder("gone")
        .file("gone/inside", b"1")
        .symlink("gone", "etc")
        .file("usr/lib/x", b"1")
        .symlink("lib", "usr/lib")
        .file("lib/through", b"1")
        .gzip();
    let image = pinned(&fake, "web", &[layer]);
    let node = Node::new(&fake.config(""));
    let store = node.open();
    let pulled = ensure(&store, &image).await.expect("pull");
    let root = &pulled.layers[0];
    let stat = |path: &str| std::fs::symlink_metadata(root.join(path)).expect(path);
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);

    assert_eq!((stat("etc").mode() & 0o7777, stat("etc").mtime()), (0o1777, 1_600_000_000));
    assert_eq!(read("etc/hosts"), "replaced\n");
    assert_eq!((stat("bin/sudo").mode() & 0o7777, stat("bin/sudo").uid()), (0o4755, 1000));
    assert_eq!((stat("bin/sudo").gid(), stat("bin").uid()), (1001, 0));
    assert_eq!(stat("bin/sudo").ino(), stat("bin/sudo2").ino());
    assert_eq!(std::fs::read_link(root.join("bin/sh2")).expect("link"), Path::new("/bin/busybox"));
    let noted = stat("etc/noted");
    assert_eq!((noted.mtime(), noted.mtime_nsec(), noted.uid()), (1_500_000_000, 250_000_000, 70_000));
    let mut value = [0; 16];
    let len = rustix::fs::getxattr(root.join("etc/noted"), "user.note", &mut value).expect("attribute");
    assert_eq!(&value[..len], b"a\nb");
    let steered = rustix::fs::getxattr(root.join("redirected"), "trusted.overlay.redirect", &mut value);
    assert_eq!(steered, Err(rustix::io::Errno::NODATA));
    assert_eq!((read(&long), read(&format!("{long}2"))), ("long".to_owned(), "longer".to_owned()));
    assert!(!root.join("dev/null").exists());
    assert_eq!(read("swap/inside"), "1");
    assert!(stat("gone").is_symlink() && !root.join("etc/inside").exists());
    assert_eq!(read("usr/lib/through"), "1");
    assert!(names(&node.cache().join("partial")).is_empty());
    assert!(names(&node.cache().join("tmp")).is_empty());
    assert_eq!(std::fs::metadata(node.cache()).expect("cache").mode() & 0o777, 0o700);

    let config = &pulled.config;
    assert_eq!(
        (config.entrypoint.as_slice(), config.cmd.as_slice()),
        (&["/bin/app".to_owned()][..], &["-v".to_owned()][..])
    );
    assert_eq!(
        (config.user.as_str(), config.workdir.as_str(), config.stop_signal.as_str()),
        ("7:8", "/srv", "SIGQUIT")
    );
    assert_eq!(config.exposed_ports, ["80/tcp"]);
    assert!(pulled.size > 0);
}

#[tokio::test]
async fn layers_of_all_compressions_stack_with_whiteouts() {
    let fake = FakeRegistry::start();
    let lower = Tar::default()
        .file("keep", b"lower")
        .file("deleted", b"x")
        .file("dir/a", b"a")
        .file("opaque/old", b"old")
        .file("again/old", b"old")
        .plain();
    let middle = Tar::default()
        .raw(b'0', b".wh.deleted", b"", 0, b"")
        .file("dir/.wh.a", b"")
        .file("dir/b", b"b")
        .folder("opaque")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"new")
        .file(".wh.again", b"")
        .folder("again")
        .file("again/new", b"new")
        .zstd();
    let upper = Tar::default().file("keep", b"upper").file(".wh..wh.plnk", b"").gzip();
    let image = pinned(&fake, "web", &[lower.clone(), middle, upper, lower]);
    let node = Node::new(&fake.config(""));
    let store = node.open();
    // The repeated lowest layer counts where it is topmost.
    let pulled = ensure(&store, &image).await.expect("pull");
    assert_eq!(pulled.layers.len(), 3);
    assert!(std::fs::read(pulled.layers[0].join("deleted")).is_ok());
    let middle = &pulled.layers[2];
    assert!(
        std::fs::symlink_metadata(middle.join("deleted")).expect("whiteout").file_type().is_char_device()
    );
    assert!(!pulled.layers[1].join(".wh..wh.plnk").exists());

    let merged = Merged::mount(&pulled.layers[1..], Some(&pulled.layers[0]));
    assert_eq!(std::fs::read(merged.0.path().join("keep")).expect("keep"), b"upper");
    assert_eq!(names(&merged.0.path().join("dir")), ["b"]);
    assert_eq!(names(&merged.0.path().join("opaque")), ["new"]);
    assert_eq!(names(&merged.0.path().join("again")), ["new"]);
    assert!(!merged.0.path().join("deleted").exists());
}

/// An overlay of layers, unmounted when dropped.
struct Merged(tempfile::TempDir);

impl Merged {
    fn mount(top_first: &[PathBuf], lowest: Option<&PathBuf>) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let all: Vec<_> = top_first.iter().chain(lowest).map(|path| path.display().to_string()).collect();
        let options = format!("lowerdir={}", all.join(":"));
        let target = folder.path().display().to_string();
        let status =
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options, &target]).status();
        assert!(status.expect("mount").success(), "{options}");
        Self(folder)
    }
}

impl Drop for Merged {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(self.0.path()).status().expect("umount").success());
    }
}

#[tokio::test]
async fn an_image_that_is_here_needs_no_network() {
    let fake = FakeRegistry::start();
    let image = pinned(&fake, "web", &[Tar::default().file("x", b"x").gzip()]);
    let node = Node::new(&fake.config(""));
    let first = ensure(&node.open(), &image).await.expect("pull");
    let asked = fake.requests("").len();
    drop(fake);
    let store = node.open();
    let digest = *image.digest().expect("pinned");
    assert_eq!(store.local(&digest).as_ref(), Some(first.as_ref()));
    assert_eq!(ensure(&store, &image).await.expect("local"), first);
    assert_eq!(store.list().expect("list"), [digest]);
    assert_eq!(asked, 3);
}

#[tokio::test]
async fn layers_are_shared_and_work_is_done_once() {
    let fake = FakeRegistry::start();
    let base = Tar::default().file("base", &noise(300_000, 1)).gzip();
    let (one, two) = (Tar::default().file("1", b"1").gzip(), Tar::default().file("2", b"2").gzip());
    let first = pinned(&fake, "one", &[base.clone(), one]);
    let second = pinned(&fake, "two", &[base.clone(), two]);
    let node = Node::new(&fake.config(""));
    let store = node.open();
    let (a, b, c) = tokio::join!(ensure(&store, &first), ensure(&store, &first), ensure(&store, &second));
    let (a, b, c) = (a.expect("first"), b.expect("first again"), c.expect("second"));
    assert_eq!((&a, a.layers.last()), (&b, c.layers.last()));
    let part = skerry_registry::Digest::of(&base.bytes).to_string();
    assert_eq!(fake.served(&part), base.bytes.len() as u64);
    assert_eq!(names(&node.cache().join("layers")).len(), 3);
}

#[tokio::test]
async fn failures_of_the_registry_keep_their_names() {
    let fake = FakeRegistry::start();
    let image = pinned(&fake, "web", &[Tar::default().file("x", b"x").gzip()]);
    let node = Node::new(&fake.config(""));
    let store = node.open();
    let unpinned = ensure(&store, &fake.image("web:1")).await;
    assert!(matches!(unpinned, Err(PullError::NotPinned { .. })), "{unpinned:?}");
    fake.script().status = Some(401);
    let refused = ensure(&store, &image).await;
    assert!(matches!(refused, Err(PullError::Registry(RegistryError::Unauthorized { .. }))), "{refused:?}");
    fake.script().status = Some(404);
    let missing = ensure(&store, &image).await;
    assert!(matches!(missing, Err(PullError::Registry(RegistryError::NotFound { .. }))), "{missing:?}");
    fake.script().status = None;
    drop(fake);
    let down = ensure(&store, &image).await.expect_err("registry is gone");
    assert!(matches!(down, PullError::Registry(RegistryError::Unreachable { .. })), "{down:?}");
    assert!(!down.is_permanent());
}

#[tokio::test]
async fn one_process_has_the_cache() {
    let node = Node::new("");
    let store = node.open();
    let registry = skerry_registry::Registry::new(skerry_registry::RegistriesConfig::default());
    let second = skerry_runtime::image::ImageStore::open(&node.cache(), node.limits, registry);
    assert!(matches!(second.err(), Some(PullError::Busy { .. })));
    drop(store);
    node.open();
}

#[tokio::test]
async fn the_real_registry_with_tls_and_password() {
    let real = RealRegistry::start();
    let folder = tempfile::tempdir().expect("temporary folder");
    let layout = folder.path().join("layout");
    let layers = [
        Tar::default().file("a", &noise(200_000, 3)).gzip(),
        Tar::default().file("b", &noise(200_000, 4)).zstd(),
    ];
    let digest = crate::support::image::write_layout(&layout, "1", &layers);
    real.copy_in(&format!("oci:{}:1", layout.display()), "team/web:1", &["--preserve-digests"]);
    let node = Node::new(&real.config(PASSWORD));
    let image = real.image("team/web:1").with_digest(digest);
    let pulled = ensure(&node.open(), &image).await.expect("pull");
    assert_eq!(std::fs::read(pulled.layers[0].join("b")).expect("b"), noise(200_000, 4));
    assert_eq!(std::fs::read(pulled.layers[1].join("a")).expect("a"), noise(200_000, 3));
}
