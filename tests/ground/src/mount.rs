use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

/// All mount points of this process's mount namespace, in the order they were mounted.
pub(crate) fn points() -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
    Ok(text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect())
}

/// Unmounts everything at and below `folder`, the last mounted first.
pub(crate) fn unmount_below(folder: &Path) -> Result<()> {
    for point in points()?.iter().rev().filter(|point| point.starts_with(folder)) {
        match unmount(point, UnmountFlags::DETACH) {
            // It went with the mount it stood on.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("unmounting {}", point.display())),
        }
    }
    Ok(())
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &str) -> PathBuf {
    let text =
        field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    PathBuf::from(text)
}
