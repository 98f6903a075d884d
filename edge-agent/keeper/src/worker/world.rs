//! Namespaces and file systems of a container that is not known yet.
//!
//! What most containers see beside their image is the same, and takes far longer to mount than an image does. A first process that
//! waits for its job has it ready: mounted in namespaces of its own, on an empty root. When the job comes, the image goes on top of
//! that root, the rest moves over into it, and the process enters it. So nothing of the node was ever mounted in that namespace when the
//! container's first instruction runs, and nothing has to be unmounted, for which the kernel would wait for all processors.

use super::mount::{
    again, attach, close_for_writing, copy, directory, file, fresh, nothing, plain_directory,
};
use super::standard::{Network, Standard};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, makedev, mkdirat, mknodat, open, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root, umask};
use skerry_keeper_protocol::world::{MASKED_PATHS, READ_ONLY_PATHS, SPECIAL_MOUNTS, SpecialMount};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

const OWN_MOUNTS: &str = "/proc/self/ns/mnt";
/// Character devices with their numbers; everybody may read and write them.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("tty", 5, 0), ("urandom", 1, 9), ("random", 1, 8)];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
const KCORE: &str = "/proc/kcore";
const BOUND_READ_ONLY: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];

/// Why a container does not get its world.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorldError {
    #[error("cannot mount {}", .path.display())]
    Mount {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot enter the container's {what}")]
    Enter {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

/// What is ready. Descriptors are of mounts in the namespace `inside`.
#[derive(Debug)]
pub(super) struct World {
    inside: File,
    proc: OwnedFd,
    dev: OwnedFd,
    /// An empty directory, for what is not to be seen.
    nothing: OwnedFd,
    /// What was not there to be covered: all of `/sys`, and what a module brings.
    uncovered: Covers,
}

impl World {
    /// Makes one. Afterwards this process has host name and inter-process communication of its own, and the node's mounts as before;
    /// `None` when this kernel cannot do it. On `stage`, a directory, something is mounted that only this process sees.
    pub(super) fn make(stage: &Path) -> io::Result<Option<Self>> {
        let outside = File::open(OWN_MOUNTS)?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)?;
        let made = Self::make_inside(stage);
        setns(outside, CloneFlags::CLONE_NEWNS)?;
        Ok(made.ok())
    }

    fn make_inside(stage: &Path) -> io::Result<Self> {
        // Before anything else: nothing of this may reach the node's own mounts.
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        enter_empty_root(stage)?;
        umask(Mode::empty());
        let nothing = nothing()?;
        attach(&nothing, &place("/nothing")?)?;
        let [proc, dev, rest @ ..] = SPECIAL_MOUNTS;
        let dev = make_special(dev)?;
        fill_dev(&dev)?;
        for special in rest.into_iter().filter(|special| special.destination.starts_with("/dev/")) {
            drop(make_special(special)?);
        }
        let proc = make_special(proc)?;
        if Path::new(KCORE).exists() {
            symlinkat(KCORE, &dev, "kcore")?;
        }
        let uncovered = Covers::all().put(&nothing, &dev)?;
        let root = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        close_for_writing(&root)?;
        Ok(Self { inside: File::open(OWN_MOUNTS)?, proc, dev, nothing, uncovered })
    }

    /// Completes it with an image, and has this process enter it for good. Gives the container's null device, open.
    pub(super) fn enter(self, what: &Standard<'_>, rootfs: &Path) -> Result<OwnedFd, WorldError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| WorldError::Mount { path, source }
        };
        let enter = |what| move |source: io::Error| WorldError::Enter { what, source };
        // What lies on the node, while it is in sight.
        let image = copy(rootfs, &[]).map_err(at(rootfs))?;
        let mut files = Vec::new();
        for bound in &what.files {
            files.push((copy(bound.source, bound.options).map_err(at(bound.source))?, bound.destination));
        }
        enter_network(what.network).map_err(enter("network"))?;
        setns(&self.inside, CloneFlags::CLONE_NEWNS).map_err(|error| enter("mounts")(error.into()))?;

        let below = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let placed = below.map_err(io::Error::from).and_then(|below| attach(&image, &below));
        placed.map_err(at(Path::new("/")))?;
        // While only the image and these files are there: links of the image lead to nothing else.
        for (tree, destination) in files {
            bind(&image, &tree, destination).map_err(at(destination))?;
        }
        let root = image.as_fd();
        let dev = directory(root, Path::new("/dev")).and_then(|place| attach(&self.dev, &place));
        dev.map_err(at(Path::new("/dev")))?;
        // Directories and not links: what is to be covered below them is named by its path.
        let proc = plain_directory(root, "proc").and_then(|place| attach(&self.proc, &place));
        proc.map_err(at(Path::new("/proc")))?;
        let [.., sys] = SPECIAL_MOUNTS;
        let sys_tree = fresh(sys.kind, sys.options).map_err(at(Path::new(sys.destination)))?;
        let placed = plain_directory(root, "sys").and_then(|place| attach(&sys_tree, &place));
        placed.map_err(at(Path::new(sys.destination)))?;
        fchdir(&image)
            .and_then(|()| chroot("."))
            .and_then(|()| chdir("/"))
            .map_err(|e| enter("root")(e.into()))?;
        self.uncovered.put(&self.nothing, &self.dev).map_err(enter("covers"))?;
        if what.read_only {
            close_for_writing(&image).map_err(at(Path::new("/")))?;
        }
        if let Some(hostname) = what.hostname {
            rustix::system::sethostname(hostname.as_bytes()).map_err(|e| enter("host name")(e.into()))?;
        }
        let null = openat(&self.dev, "null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        null.map_err(|error| enter("devices")(error.into()))
    }
}

/// Has this process see nothing but an empty file system, which is mounted on `stage` first.
fn enter_empty_root(stage: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let node = open("/", flags, Mode::empty())?;
    let empty = fresh("tmpfs", &["nosuid", "nodev", "noexec", "mode=755"])?;
    attach(&empty, &open(stage, flags, Mode::empty())?)?;
    fchdir(&empty)?;
    // The node's root ends up on top of the new one, where nobody needs to make a directory for it.
    pivot_root(".", ".")?;
    fchdir(&node)?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(chdir("/")?)
}

/// A directory, made here.
fn place(path: &str) -> io::Result<OwnedFd> {
    mkdirat(CWD, path, Mode::from_raw_mode(0o755))?;
    Ok(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn make_special(special: SpecialMount) -> io::Result<OwnedFd> {
    let tree = fresh(special.kind, special.options)?;
    attach(&tree, &place(special.destination)?)?;
    Ok(tree)
}

fn fill_dev(dev: &OwnedFd) -> io::Result<()> {
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor))?;
    }
    LINKS.iter().try_for_each(|(name, target)| Ok(symlinkat(*target, dev, *name)?))
}

/// Paths that are to be put out of reach.
#[derive(Debug, Default)]
struct Covers {
    read_only: Vec<&'static str>,
    masked: Vec<&'static str>,
}

impl Covers {
    fn all() -> Self {
        Self { read_only: READ_ONLY_PATHS.to_vec(), masked: MASKED_PATHS.to_vec() }
    }

    /// Covers what is there; gives what is not. `nothing` goes over directories, the null device of `dev` over files.
    fn put(self, nothing: &OwnedFd, dev: &OwnedFd) -> io::Result<Self> {
        let mut absent = Self::default();
        for path in self.read_only {
            match existing(path)? {
                Some(place) => attach(&copy(Path::new(path), &BOUND_READ_ONLY)?, &place)?,
                None => absent.read_only.push(path),
            }
        }
        for path in self.masked {
            let Some(place) = existing(path)? else {
                absent.masked.push(path);
                continue;
            };
            let is_directory = FileType::from_raw_mode(fstat(&place)?.st_mode) == FileType::Directory;
            let cover = if is_directory { again(nothing, "") } else { again(dev, "null") };
            attach(&cover?, &place)?;
        }
        Ok(absent)
    }
}

fn existing(path: &str) -> io::Result<Option<OwnedFd>> {
    match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Mounts a file or directory of the node at a place in the image.
fn bind(image: &OwnedFd, tree: &OwnedFd, destination: &Path) -> io::Result<()> {
    let is_directory = FileType::from_raw_mode(fstat(tree)?.st_mode) == FileType::Directory;
    let place = if is_directory { directory } else { file };
    attach(tree, &place(image.as_fd(), destination)?)
}

fn enter_network(network: Network<'_>) -> io::Result<()> {
    match network {
        Network::Own => unshare(CloneFlags::CLONE_NEWNET)?,
        Network::Of(path) => setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?,
    }
    Ok(())
}
