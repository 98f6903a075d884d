//! A container's root file system: the image's layers below, a writable layer of its own on top, by overlayfs.
//!
//! The writable layer lives as long as one start of the container and is thrown away with it, so it is mounted `volatile`: what a
//! program syncs there is not forced to flash. Its size is not bounded: that takes a file system with project quotas, which a
//! gateway seldom has. The agent watches the disk instead.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// The kernel takes one page of mount options; room is left for the upper and work directories.
const OPTIONS_MAX: usize = 4000;
/// overlayfs takes no more layers than this (`OVL_MAX_STACK`).
const LAYERS_MAX: usize = 500;

/// Why a root file system cannot be made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A directory cannot be made, cleared or removed.
    #[error("directory {} cannot be made or removed", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses the mount.
    #[error("root file system {} of {layers} layers cannot be mounted", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// How many layers the image has.
        layers: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The mount cannot be taken away.
    #[error("root file system {} cannot be unmounted", path.display())]
    Unmount {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where a container's root file system is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotPaths {
    /// Where it is mounted.
    pub(crate) rootfs: PathBuf,
    /// Holds the writable layer and overlayfs's work directory.
    pub(crate) writable: PathBuf,
    /// The layer below all images, as [`make_ground`] makes it.
    pub(crate) ground: PathBuf,
}

/// What every container mounts something on. A disk takes longer to make these anew in each container's layer than the kernel
/// takes for all mounts.
const PLACES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const FILE_PLACES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes the layer that lies below all images, or finds it: empty directories and files, which an image's own hide. Blocking.
pub(crate) fn make_ground(dir: &Path) -> Result<(), SnapshotError> {
    let make_all = || -> io::Result<()> {
        for place in PLACES {
            fs::create_dir_all(dir.join(place))?;
            fs::set_permissions(dir.join(place), Permissions::from_mode(0o755))?;
        }
        for place in FILE_PLACES {
            let file = File::options().create(true).append(true).open(dir.join(place))?;
            file.set_permissions(Permissions::from_mode(0o644))?;
        }
        fs::set_permissions(dir, Permissions::from_mode(0o755))
    };
    make_all().map_err(|source| SnapshotError::Directory { path: dir.to_owned(), source })
}

/// Mounts a root file system over `layers`, the top one first, with an empty writable layer. What an earlier start left in its
/// place is removed first. Blocking.
pub(crate) fn mount_fresh(paths: &SnapshotPaths, layers: &[PathBuf]) -> Result<(), SnapshotError> {
    remove(paths)?;
    let (upper, work) = (paths.writable.join("upper"), paths.writable.join("work"));
    for dir in [&paths.rootfs, &upper, &work] {
        make(dir)?;
    }
    let lower = [layers, std::slice::from_ref(&paths.ground)].concat();
    overlay(&lower, &upper, &work, &paths.rootfs).map_err(|source| SnapshotError::Mount {
        path: paths.rootfs.clone(),
        layers: lower.len(),
        source,
    })
}

/// Unmounts and removes a root file system and its writable layer. Absent is fine. Blocking, up to tens of milliseconds.
pub(crate) fn remove(paths: &SnapshotPaths) -> Result<(), SnapshotError> {
    unmount(&paths.rootfs)?;
    for dir in [&paths.rootfs, &paths.writable] {
        remove_tree(dir)?;
    }
    Ok(())
}

/// Takes everything off that is mounted below a directory, the innermost first, whatever it is. Absent is fine.
pub(crate) fn unmount_below(dir: &Path) -> Result<(), SnapshotError> {
    let table = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|source| SnapshotError::Unmount { path: dir.to_owned(), source })?;
    for path in mounts_below(&table, dir).iter().rev() {
        unmount(path)?;
    }
    Ok(())
}

/// Removes a directory and what is in it. Absent is fine.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), SnapshotError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(SnapshotError::Directory { path: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}

pub(crate) fn make(dir: &Path) -> Result<(), SnapshotError> {
    fs::create_dir_all(dir).map_err(|source| SnapshotError::Directory { path: dir.to_owned(), source })
}

/// Mount points below a directory, in the order in which they were mounted.
fn mounts_below(table: &str, dir: &Path) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| PathBuf::from(unescape(point))).filter(|point| point.starts_with(dir)).collect()
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

fn unmount(path: &Path) -> Result<(), SnapshotError> {
    loop {
        // Lazily: a process that still looks into it (a backup, a shell) must not keep the container from being removed.
        match umount2(path, MntFlags::MNT_DETACH) {
            // Mounts stack: go on until nothing is mounted here.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => {
                return Err(SnapshotError::Unmount { path: path.to_owned(), source: error.into() });
            }
        }
    }
}

fn overlay(lower: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> io::Result<()> {
    if lower.len() > LAYERS_MAX {
        return Err(io::Error::from(Errno::E2BIG));
    }
    let names: Vec<String> = lower.iter().map(|layer| escape(layer)).collect();
    let plain = options(&names, upper, work);
    if plain.len() <= OPTIONS_MAX {
        return mount_overlay(target, &plain);
    }
    // A descriptor is a short name for a directory of any depth; the kernel looks it up once, at the mount.
    let open = lower.iter().map(File::open).collect::<io::Result<Vec<_>>>()?;
    let names: Vec<String> = open.iter().map(|dir| format!("/proc/self/fd/{}", dir.as_raw_fd())).collect();
    mount_overlay(target, &options(&names, upper, work))
}

fn options(lower: &[String], upper: &Path, work: &Path) -> String {
    format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), escape(upper), escape(work))
}

/// Colons part layers and commas part options; a backslash takes both their meaning.
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

fn mount_overlay(target: &Path, options: &str) -> io::Result<()> {
    // No device of an image's layer can be opened; /dev is a file system of its own.
    let with =
        |options: &str| mount(Some("overlay"), target, Some("overlay"), MsFlags::MS_NODEV, Some(options));
    match with(&format!("{options},volatile")) {
        // Kernels before 5.10 do not know `volatile`.
        Err(Errno::EINVAL) => Ok(with(options)?),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Mounted(SnapshotPaths);

    impl Drop for Mounted {
        fn drop(&mut self) {
            remove(&self.0).ok();
        }
    }

    fn layers(dir: &Path, count: usize) -> Vec<PathBuf> {
        let make_layer = |n: usize| {
            let layer = dir.join(format!("layers/{n:064}"));
            fs::create_dir_all(&layer).unwrap();
            fs::write(layer.join("top"), n.to_string()).unwrap();
            fs::write(layer.join(format!("only-{n}")), "").unwrap();
            layer
        };
        (0..count).map(make_layer).collect()
    }

    fn paths(dir: &Path) -> SnapshotPaths {
        let ground = dir.join("ground");
        make_ground(&ground).unwrap();
        SnapshotPaths { rootfs: dir.join("rootfs"), writable: dir.join("writable"), ground }
    }

    #[test]
    fn layers_of_any_number_are_stacked() {
        for count in [0, 1, 3, 30, 150] {
            let dir = tempfile::tempdir().unwrap();
            let paths = paths(dir.path());
            let mounted = Mounted(paths.clone());
            mount_fresh(&paths, &layers(dir.path(), count)).unwrap();
            if count > 0 {
                assert_eq!(fs::read(paths.rootfs.join("top")).unwrap(), b"0", "the first is on top");
                assert!(paths.rootfs.join(format!("only-{}", count - 1)).exists());
            }
            fs::write(paths.rootfs.join("own"), "x").unwrap();
            fs::write(paths.rootfs.join("etc/hosts"), "x").unwrap();
            mount_fresh(&paths, &layers(dir.path(), count)).unwrap();
            assert!(!paths.rootfs.join("own").exists(), "a fresh start has a fresh layer");
            assert_eq!(fs::read(paths.rootfs.join("etc/hosts")).unwrap(), b"");
            remove(&paths).unwrap();
            remove(&paths).unwrap();
            assert!(!paths.rootfs.exists() && !paths.writable.exists());
            drop(mounted);
        }
    }

    #[test]
    fn layers_are_not_written_to_and_devices_do_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let _mounted = Mounted(paths.clone());
        let layers = layers(dir.path(), 2);
        let mode = nix::sys::stat::Mode::S_IRUSR;
        let null = nix::sys::stat::makedev(1, 3);
        nix::sys::stat::mknod(&layers[0].join("null"), nix::sys::stat::SFlag::S_IFCHR, mode, null).unwrap();
        mount_fresh(&paths, &layers).unwrap();
        fs::write(paths.rootfs.join("top"), "changed").unwrap();
        fs::remove_file(paths.rootfs.join("only-1")).unwrap();
        assert_eq!(fs::read_to_string(layers[0].join("top")).unwrap(), "0");
        assert!(layers[1].join("only-1").exists());
        assert!(File::open(paths.rootfs.join("null")).is_err());
    }

    #[test]
    fn odd_paths_are_escaped() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b,c\\d e");
        let paths = paths(&odd);
        let _mounted = Mounted(paths.clone());
        mount_fresh(&paths, &layers(&odd, 2)).unwrap();
        assert!(paths.rootfs.join("only-1").exists());
        unmount_below(&odd).unwrap();
        assert!(!paths.rootfs.join("only-1").exists());
    }

    #[test]
    fn a_mount_table_is_searched_by_whole_names() {
        let table = "1 2 0:3 / /run/a rw - tmpfs t rw\n2 2 0:4 / /run/a/b\\040c rw - tmpfs t rw\n3 2 0:5 / /run/ab rw - x y\n";
        assert_eq!(
            mounts_below(table, Path::new("/run/a")),
            [PathBuf::from("/run/a"), PathBuf::from("/run/a/b c")]
        );
    }
}
