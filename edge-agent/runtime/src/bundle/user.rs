//! Whom a container runs as: ids, or names of the image's own `/etc/passwd` and `/etc/group`.
//!
//! The image is foreign: its files are opened with the kernel resolving every path and link inside its root, and read to a bound.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::BundleError;

/// Largest user or group file that is read: tens of thousands of entries.
const FILE_MAX: u64 = 1 << 20;

/// Whom a container's process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further group ids.
    pub groups: Vec<u32>,
    /// Home directory, when the image knows the user.
    pub home: Option<String>,
}

/// Resolves `uid[:gid]` or `name[:group]` in the image at `root`; empty is root.
pub(super) fn resolve(root: &Path, text: &str) -> Result<User, BundleError> {
    let read = |name: &str| {
        read_inside(root, name).map_err(|source| BundleError::UserFile { file: name.to_owned(), source })
    };
    let needs_files = !text.is_empty();
    let passwd = if needs_files { read("etc/passwd")? } else { String::new() };
    let group = if needs_files { read("etc/group")? } else { String::new() };
    resolve_in(text, &passwd, &group).ok_or_else(|| BundleError::UnknownUser { user: text.to_owned() })
}

/// The file's text, empty when the image has none.
fn read_inside(root: &Path, name: &str) -> io::Result<String> {
    let root = File::options().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(root)?;
    let how = OpenHow::new()
        // A FIFO in this place must not block.
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(&root, name, how) {
        Ok(fd) => File::from(fd),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(String::new()),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Account { name, uid, gid, home })
    })
}

/// Name, id and members of each group.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn resolve_in(text: &str, passwd: &str, group: &str) -> Option<User> {
    if text.is_empty() {
        return Some(User { home: Some("/root".to_owned()), ..User::default() });
    }
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let id = user.parse::<u32>().ok();
    // A name of digits only is an id, as everywhere else.
    let account = accounts(passwd).find(|account| id.map_or(account.name == user, |id| account.uid == id));
    let uid = id.or(account.as_ref().map(|account| account.uid))?;
    let home = account.as_ref().map(|account| account.home.to_owned()).filter(|home| !home.is_empty());
    if let Some(wanted) = wanted_group {
        let gid =
            wanted.parse().ok().or_else(|| groups(group).find(|(name, ..)| *name == wanted).map(|g| g.1))?;
        return Some(User { uid, gid, groups: Vec::new(), home });
    }
    let gid = account.as_ref().map_or(0, |account| account.gid);
    let is_member = |members: &str| {
        account.as_ref().is_some_and(|account| members.split(',').any(|member| member == account.name))
    };
    let further = groups(group).filter(|(_, _, members)| is_member(members)).map(|(_, gid, _)| gid);
    Some(User { uid, gid, groups: further.filter(|further| *further != gid).collect(), home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web server:/var/www:/bin/false\nbroken\n7:x:9:9::/seven:\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\naudio:x:29:alice,web\nvideo:x:44:bob\nown:x:102:web\n";

    #[test]
    fn users_are_ids_or_names() {
        let check = |text: &str, expect: Option<(u32, u32, &[u32], Option<&str>)>| {
            let found = resolve_in(text, PASSWD, GROUP);
            let expect = expect.map(|(uid, gid, groups, home)| User {
                uid,
                gid,
                groups: groups.to_vec(),
                home: home.map(str::to_owned),
            });
            assert_eq!(found, expect, "{text:?}");
        };
        check("", Some((0, 0, &[], Some("/root"))));
        check("web", Some((101, 102, &[29], Some("/var/www"))));
        check("web:audio", Some((101, 29, &[], Some("/var/www"))));
        check("101", Some((101, 102, &[29], Some("/var/www"))));
        check("5000", Some((5000, 0, &[], None)));
        check("101:101", Some((101, 101, &[], Some("/var/www"))));
        check("7", Some((7, 0, &[], None)));
        check("nobody", None);
        check("web:nogroup", None);
        check("4294967296", None);
        check("-1", None);
    }

    #[test]
    fn links_stay_inside_the_image() {
        let image = tempfile::tempdir().unwrap();
        let root = image.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(image.path().join("outside"), "spy:x:1:1::/:\n").unwrap();
        std::os::unix::fs::symlink("../../outside", root.join("etc/passwd")).unwrap();
        assert!(matches!(resolve(&root, "spy"), Err(BundleError::UnknownUser { .. })));
        std::fs::remove_file(root.join("etc/passwd")).unwrap();
        std::fs::write(root.join("real"), "web:x:7:7::/:\n").unwrap();
        std::os::unix::fs::symlink("/real", root.join("etc/passwd")).unwrap();
        assert_eq!(resolve(&root, "web").unwrap().uid, 7);
    }

    #[test]
    fn a_fifo_does_not_block() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        let fifo = root.path().join("etc/passwd");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(resolve(root.path(), "web"), Err(BundleError::UserFile { .. })));
    }
}
