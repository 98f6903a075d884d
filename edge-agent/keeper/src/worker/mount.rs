//! File systems and trees of them as descriptors, and places for them that a container's image cannot choose.

use libcontainer::syscall::Syscall;
use libcontainer::syscall::linux::{self, LinuxSyscall, MountAttr};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::io;
use std::path::Path;

/// The kernel gives up on a path with `..` in it when anything on the node is renamed meanwhile.
const RESOLVE_TRIES: usize = 64;

/// Makes a file system of a kind that has no device, with options as mount(8) names them.
pub(super) fn fresh(kind: &str, options: &[&str]) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    let mut flags = MountAttrFlags::empty();
    for option in options {
        match (attribute(option), option.split_once('=')) {
            (Some(flag), _) => flags |= flag,
            (None, Some((name, value))) => fsconfig_set_string(&context, name, value)?,
            (None, None) => fsconfig_set_flag(&context, *option)?,
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// An empty directory that nobody can write to.
pub(super) fn nothing() -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "tmpfs")?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?)
}

/// What an option says of a mount; `None` for one that says something of the file system itself.
fn attribute(option: &str) -> Option<MountAttrFlags> {
    match option {
        "ro" => Some(MountAttrFlags::MOUNT_ATTR_RDONLY),
        "nosuid" => Some(MountAttrFlags::MOUNT_ATTR_NOSUID),
        "nodev" => Some(MountAttrFlags::MOUNT_ATTR_NODEV),
        "noexec" => Some(MountAttrFlags::MOUNT_ATTR_NOEXEC),
        "strictatime" => Some(MountAttrFlags::MOUNT_ATTR_STRICTATIME),
        _ => None,
    }
}

/// The file system at `path`, a tree of its own, with `options` beside those that it has. What is mounted below comes too.
pub(super) fn copy(path: &Path, options: &[&str]) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path, flags)?;
    // Nothing that is mounted on the node later shows in it.
    change(&tree, linux::AT_RECURSIVE, MountAttrFlags::empty(), MountPropagationFlags::PRIVATE)?;
    let attributes = options.iter().filter_map(|option| attribute(option)).collect();
    change(&tree, 0, attributes, MountPropagationFlags::empty())?;
    Ok(tree)
}

/// What is at `path` of a mount, as a mount; with an empty path the mount itself.
pub(super) fn again(mount: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(mount, path, flags)?)
}

/// Lets nobody write to a mount any more.
pub(super) fn close_for_writing(mount: &OwnedFd) -> io::Result<()> {
    change(mount, 0, MountAttrFlags::MOUNT_ATTR_RDONLY, MountPropagationFlags::empty())
}

fn change(
    tree: &OwnedFd,
    depth: u32,
    attributes: MountAttrFlags,
    propagation: MountPropagationFlags,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: u64::from(attributes.bits()),
        attr_clr: 0,
        propagation: u64::from(propagation.bits()),
        userns_fd: 0,
    };
    let changed = LinuxSyscall.mount_setattr(
        tree.as_fd(),
        Path::new(""),
        linux::AT_EMPTY_PATH | depth,
        &attr,
        size_of::<MountAttr>(),
    );
    changed.map_err(io::Error::other)
}

/// Mounts a tree on what `place` is, or moves it there.
pub(super) fn attach(tree: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", place, "", flags)?)
}

/// A directory below `root`, made if it is not there. Links lead nowhere but below `root`.
pub(super) fn directory(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    match resolve(root, path, OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {}
        found => return Ok(found?),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT.into());
    };
    let parent = directory(root, parent)?;
    match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        // A link that leads nowhere is not followed.
        Ok(()) | Err(Errno::EXIST) => Ok(resolve(root, path, OFlags::DIRECTORY)?),
        Err(error) => Err(error.into()),
    }
}

/// A directory right below `root` that is no link, made if it is not there.
pub(super) fn plain_directory(root: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(root, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(root, name, flags, Mode::empty())?)
}

/// A file below `root`, made if it is not there. Links lead nowhere but below `root`.
pub(super) fn file(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::ISDIR.into());
    };
    let parent = directory(root, parent)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => Ok(resolve(root, path, OFlags::empty())?),
        Err(error) => Err(error.into()),
    }
}

/// What is at a path below `root`. Neither links nor `..` lead out of it, nor do the links of `/proc`.
fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let bounds = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    let mut tries = 0;
    loop {
        tries += 1;
        match openat2(root, path, flags, Mode::empty(), bounds) {
            Err(Errno::AGAIN | Errno::INTR) if tries < RESOLVE_TRIES => {}
            result => return result,
        }
    }
}
