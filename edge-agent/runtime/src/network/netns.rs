//! Network namespaces with a name: each is pinned by a bind mount onto a file, so that it lives without a process in it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::netlink::Netlink;

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// Makes a namespace, pins it to `file` and lets `plumb` set it up: its arguments are a socket in the caller's namespace, one in
/// the fresh one, and the fresh namespace itself.
///
/// Blocking. The calling thread is left in the fresh namespace and must end after this: it may serve nothing else.
pub(crate) fn create(
    file: &Path,
    plumb: impl FnOnce(&mut Netlink, &mut Netlink, BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut outside = Netlink::open()?;
    let (mut inside, namespace) = enter_fresh()?;
    pin(Path::new(OWN), file)?;
    plumb(&mut outside, &mut inside, namespace.as_fd())
}

/// Makes a namespace that lives as long as what is given: a socket in it, and the namespace itself.
///
/// Blocking. The calling thread is left in the fresh namespace and must end after this: it may serve nothing else.
pub(crate) fn enter_fresh() -> io::Result<(Netlink, File)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Ok((Netlink::open()?, File::open(OWN)?))
}

/// Pins a living namespace (`/proc/PID/ns/net`, or a descriptor of it below `/proc/self/fd`) to `file`.
pub(crate) fn pin(namespace: &Path, file: &Path) -> io::Result<()> {
    File::options().create(true).append(true).open(file)?;
    mount(Some(namespace), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Whether a namespace is pinned to `file`; the bare file alone is what a crash or a reboot leaves.
pub(crate) fn is_pinned(file: &Path) -> bool {
    statfs(file).is_ok_and(|stat| stat.filesystem_type() == NSFS_MAGIC)
}

/// Takes the pin off and removes the file. The namespace ends with its last process. Absent is fine.
///
/// Unlinking also takes the copies of this mount out of other mount namespaces (kernel 3.18), so a process that was started
/// with a private copy of the mount table keeps no namespace alive.
pub(crate) fn remove(file: &Path) -> io::Result<()> {
    loop {
        match umount2(file, MntFlags::MNT_DETACH) {
            // A repeated pin stacks: go on until nothing is mounted here.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
