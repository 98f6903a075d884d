//! Files made beneath one directory, and nowhere else.
//!
//! Paths are checked as text first, for a clear answer, but what keeps them inside is the kernel: each parent
//! folder is opened with `RESOLVE_BENEATH` from the layer's own directory, and the last name is then made in that
//! folder without following links. Symbolic links of the layer itself may be passed as long as they stay inside.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, futimens, linkat, makedev, mkdirat, mknodat, openat, openat2, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::entry::{MAX_PATH, Meta};
use super::error::Violation;

/// Linux's `NAME_MAX`.
const MAX_NAME: usize = 255;
/// The attribute that makes overlayfs hide what lower layers have in a folder.
const OPAQUE: &str = "trusted.overlay.opaque";
/// How often a resolution is repeated that a concurrent rename disturbed; nothing else works in this tree.
const MAX_RETRIES: u32 = 8;

/// Why a file could not be made.
#[derive(Debug)]
pub(super) enum TreeError {
    Violation(Violation),
    Io(io::Error),
}

impl From<Errno> for TreeError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NAMETOOLONG => Self::Violation(Violation::PathTooLong { len: MAX_PATH, limit: MAX_PATH }),
            error => Self::Io(error.into()),
        }
    }
}

impl From<io::Error> for TreeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Violation> for TreeError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// A directory that is being filled.
pub(super) struct Tree {
    root: OwnedFd,
    /// The last parent folder: entries come folder by folder.
    recent: Option<(Vec<u8>, OwnedFd)>,
}

/// A checked path, split into its folder and its last name.
pub(super) struct Place {
    /// Without a leading or trailing slash; empty for the layer's root.
    pub(super) folder: Vec<u8>,
    /// Empty for the layer's root itself.
    pub(super) name: Vec<u8>,
}

impl Place {
    /// Checks an entry's path or a hard link's target.
    pub(super) fn parse(path: &[u8]) -> Result<Self, Violation> {
        if path.len() >= MAX_PATH {
            return Err(Violation::PathTooLong { len: path.len(), limit: MAX_PATH - 1 });
        }
        if path.starts_with(b"/") {
            return Err(Violation::AbsolutePath);
        }
        if path.contains(&0) {
            return Err(Violation::BadName);
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            if part == b".." {
                return Err(Violation::ParentPath);
            }
            if part.len() > MAX_NAME {
                return Err(Violation::PathTooLong { len: part.len(), limit: MAX_NAME });
            }
            parts.push(part);
        }
        let name = parts.pop().unwrap_or_default().to_vec();
        Ok(Self { folder: parts.join(&b'/'), name })
    }

    pub(super) fn is_root(&self) -> bool {
        self.name.is_empty()
    }
}

impl Tree {
    /// A tree beneath `root`, an existing folder.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: File::open(root)?.into(), recent: None })
    }

    /// Makes a regular file for writing; its metadata is set by [`finish_file`] when its content is there.
    pub(super) fn file(&mut self, place: &Place) -> Result<File, TreeError> {
        self.clear(place, false)?;
        let parent = self.parent(&place.folder)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(parent, name(place), flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Makes a folder, or keeps the one that is there, and sets its metadata but the time, which changes with
    /// every file that is put into it.
    pub(super) fn folder(&mut self, place: &Place, meta: &Meta) -> Result<(), TreeError> {
        if place.is_root() {
            return set_meta(self.root.as_fd(), meta);
        }
        let before = self.clear(place, true)?;
        let parent = self.parent(&place.folder)?;
        if before != Before::Folder {
            mkdirat(parent, name(place), Mode::RWXU)?;
        }
        let folder = open_folder(parent, &place.name)?;
        if before == Before::Whiteout {
            // The lower folder was deleted and made anew: what it held must not show through.
            fsetxattr(&folder, OPAQUE, b"y", XattrFlags::empty())?;
        }
        set_meta(folder.as_fd(), meta)
    }

    pub(super) fn symlink(&mut self, place: &Place, target: &[u8], meta: &Meta) -> Result<(), TreeError> {
        if target.len() >= MAX_PATH {
            return Err(Violation::PathTooLong { len: target.len(), limit: MAX_PATH - 1 }.into());
        }
        if target.is_empty() || target.contains(&0) {
            return Err(Violation::BadName.into());
        }
        self.clear(place, false)?;
        let parent = self.parent(&place.folder)?;
        symlinkat(target, parent, name(place))?;
        let (uid, gid) = owner(meta);
        chownat(parent, name(place), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        utimensat(parent, name(place), &times(meta), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Links to a file that this layer has brought already. Metadata is the file's.
    pub(super) fn hardlink(&mut self, place: &Place, target: &[u8]) -> Result<(), TreeError> {
        let shown = || String::from_utf8_lossy(&target[..target.len().min(200)]).into_owned();
        let escape = || Violation::HardlinkEscape { target: shown() };
        let missing = || Violation::HardlinkMissing { target: shown() };
        let from = Place::parse(target).map_err(|violation| match violation {
            Violation::ParentPath | Violation::AbsolutePath => escape(),
            other => other,
        })?;
        if from.is_root() || (from.folder == place.folder && from.name == place.name) {
            return Err(missing().into());
        }
        let source = match self.resolve(&from.folder) {
            Ok(folder) => folder,
            Err(Errno::XDEV | Errno::LOOP) => return Err(escape().into()),
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing().into()),
            Err(error) => return Err(error.into()),
        };
        let kind = |stat: Stat| FileType::from_raw_mode(stat.st_mode);
        match statat(&source, OsStr::from_bytes(&from.name), AtFlags::SYMLINK_NOFOLLOW).map(kind) {
            Ok(FileType::RegularFile | FileType::Symlink) => {}
            Ok(_) | Err(Errno::NOENT) => return Err(missing().into()),
            Err(error) => return Err(error.into()),
        }
        self.clear(place, false)?;
        let parent = self.parent(&place.folder)?;
        linkat(&source, OsStr::from_bytes(&from.name), parent, name(place), AtFlags::empty()).map_err(
            |error| {
                match error {
                    // Clearing the place removed the target: the link was to something below itself.
                    Errno::NOENT => missing().into(),
                    error => error.into(),
                }
            },
        )
    }

    /// Hides what lower layers have under this name. What this layer itself has brought stays.
    pub(super) fn whiteout(&mut self, place: &Place) -> Result<(), TreeError> {
        let parent = self.parent(&place.folder)?;
        match mknodat(parent, name(place), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let stat = statat(parent, name(place), AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    let folder = open_folder(parent, &place.name)?;
                    fsetxattr(folder, OPAQUE, b"y", XattrFlags::empty())?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Hides everything that lower layers have in a folder.
    pub(super) fn opaque(&mut self, folder: &[u8]) -> Result<(), TreeError> {
        let folder = self.parent(folder)?;
        Ok(fsetxattr(folder, OPAQUE, b"y", XattrFlags::empty())?)
    }

    /// Sets a folder's time, when everything in it is there. A folder that was replaced meanwhile is passed over.
    pub(super) fn set_folder_time(&mut self, path: &[u8], meta: &Meta) -> Result<(), TreeError> {
        match self.resolve(path) {
            Ok(folder) => Ok(futimens(folder, &times(meta))?),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what is at a place; a folder may be kept.
    fn clear(&mut self, place: &Place, keep_folder: bool) -> Result<Before, TreeError> {
        if place.is_root() {
            return Err(Violation::BadName.into());
        }
        let parent = self.parent(&place.folder)?;
        let stat = match statat(parent, name(place), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Before::Nothing),
            Err(error) => return Err(error.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if keep_folder => Ok(Before::Folder),
            FileType::Directory => {
                // Through the open folder's own name in /proc, so that no part of the path can be a link; the
                // library removes the tree without following any.
                let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()));
                std::fs::remove_dir_all(path.join(name(place)))?;
                self.recent = None;
                Ok(Before::Other)
            }
            kind => {
                unlinkat(parent, name(place), AtFlags::empty())?;
                // It may have been a link to a folder, which the next parent could pass.
                self.recent = None;
                let whiteout = kind == FileType::CharacterDevice;
                Ok(if whiteout { Before::Whiteout } else { Before::Other })
            }
        }
    }

    /// Opens a folder of the layer, making those that are missing.
    fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, TreeError> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        let known = self.recent.as_ref().is_some_and(|(recent, _)| recent == path);
        if !known {
            let folder = match self.resolve(path) {
                Err(Errno::NOENT) => self.make_folders(path),
                found => found,
            };
            let folder = folder.map_err(|error| match error {
                Errno::XDEV | Errno::LOOP => TreeError::Violation(Violation::SymlinkEscape),
                Errno::NOTDIR | Errno::NOENT => TreeError::Violation(Violation::NotADirectory),
                error => error.into(),
            })?;
            self.recent = Some((path.to_vec(), folder));
        }
        Ok(self.recent.as_ref().map_or(self.root.as_fd(), |(_, folder)| folder.as_fd()))
    }

    /// Makes each missing folder of a path, each within the resolved one before it.
    fn make_folders(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut parent = self.resolve(b"")?;
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        let mut start = 0;
        for end in ends.chain([path.len()]) {
            parent = match self.resolve(&path[..end]) {
                Err(Errno::NOENT) => {
                    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
                    match mkdirat(&parent, OsStr::from_bytes(&path[start..end]), mode) {
                        // A link to nowhere has the name: the second resolution says so.
                        Ok(()) | Err(Errno::EXIST) => self.resolve(&path[..end])?,
                        Err(error) => return Err(error),
                    }
                }
                found => found?,
            };
            start = end + 1;
        }
        Ok(parent)
    }

    /// Opens an existing folder of the layer; the kernel refuses every way out with EXDEV.
    fn resolve(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let mut retries = 0;
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), how) {
                Err(Errno::AGAIN) if retries < MAX_RETRIES => retries += 1,
                result => return result,
            }
        }
    }
}

/// What was at a place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Folder,
    Whiteout,
    Other,
}

/// Sets owner, permissions, attributes and time of a file whose content is written.
pub(super) fn finish_file(file: &File, meta: &Meta) -> Result<(), TreeError> {
    set_meta(file.as_fd(), meta)?;
    Ok(futimens(file, &times(meta))?)
}

/// The order matters: a change of owner clears setuid and capabilities.
fn set_meta(file: BorrowedFd<'_>, meta: &Meta) -> Result<(), TreeError> {
    let (uid, gid) = owner(meta);
    fchown(file, Some(uid), Some(gid))?;
    fchmod(file, Mode::from_raw_mode(meta.mode))?;
    for (name, value) in &meta.xattrs {
        fsetxattr(file, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

fn open_folder(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, OsStr::from_bytes(name), flags, Mode::empty())
}

fn owner(meta: &Meta) -> (Uid, Gid) {
    (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid))
}

fn times(meta: &Meta) -> Timestamps {
    let time = Timespec { tv_sec: meta.mtime, tv_nsec: meta.mtime_ns };
    Timestamps { last_access: time, last_modification: time }
}

fn name(place: &Place) -> &OsStr {
    OsStr::from_bytes(&place.name)
}
