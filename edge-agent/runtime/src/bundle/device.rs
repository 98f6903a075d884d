//! Devices of the node that a container gets.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};
use serde_json::{Value, json};

use super::BundleError;

/// A device of the node, under the same path in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its device file; absolute.
    pub path: PathBuf,
    /// `c` or `b`.
    pub kind: char,
    /// Its numbers.
    pub numbers: (u32, u32),
    /// Rights, user and group of its file on the node, which are those in the container.
    pub rights: (u32, u32, u32),
}

impl Device {
    /// Looks at a device file of the node. Blocking, but for as long as looking at a file takes.
    pub fn of(path: &Path) -> Result<Self, BundleError> {
        let failed = |source| BundleError::Device { path: path.to_owned(), source };
        let file = std::fs::metadata(path).map_err(failed)?;
        let kind = match file.file_type() {
            kind if kind.is_char_device() => 'c',
            kind if kind.is_block_device() => 'b',
            _ => return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is no device file"))),
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
            numbers: (major(file.rdev()), minor(file.rdev())),
            rights: (file.mode() & 0o777, file.uid(), file.gid()),
        })
    }

    /// Its node in the container.
    pub(super) fn node(&self) -> Value {
        let ((major, minor), (mode, uid, gid)) = (self.numbers, self.rights);
        json!({
            "path": self.path, "type": self.kind.to_string(), "major": major, "minor": minor,
            "fileMode": mode, "uid": uid, "gid": gid,
        })
    }

    /// The rule that lets the container use it.
    pub(super) fn rule(&self) -> Value {
        let (major, minor) = self.numbers;
        json!({"allow": true, "type": self.kind.to_string(), "major": major, "minor": minor, "access": "rw"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_files_are_looked_at() {
        let null = Device::of(Path::new("/dev/null")).unwrap();
        assert_eq!((null.kind, null.numbers, null.rights.0), ('c', (1, 3), 0o666));
        assert!(Device::of(Path::new("/dev/not-there")).is_err());
        let error = Device::of(Path::new("/etc/passwd")).unwrap_err();
        assert!(error.to_string().contains("/etc/passwd"), "{error}");
    }
}
