//! Names that are checked once, where they enter.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// Longest container key in bytes: a key is a file name with room for a suffix, and a cgroup name.
const MAX_KEY_BYTES: usize = 128;
/// Longest cgroup path in bytes.
const MAX_CGROUP_BYTES: usize = 512;
/// Largest identity in bytes: a page of records has to fit into a frame.
const MAX_IDENTITY_BYTES: usize = 2048;

/// Why text is not a [`ContainerKey`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ContainerKeyError {
    /// Empty, or longer than the limit.
    #[error("a container key has {bytes} bytes; give 1 to {MAX_KEY_BYTES}")]
    Length {
        /// Bytes of the text.
        bytes: usize,
    },
    /// A character outside `[a-z0-9.-]`, or a first character outside `[a-z0-9]`.
    #[error("container key {key:?} may hold a-z, 0-9, '-' and '.', and starts with a letter or digit")]
    Character {
        /// The text.
        key: String,
    },
}

/// Name of one container at one keeper: 1 to 128 bytes of `[a-z0-9.-]`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerKey(String);

impl ContainerKey {
    /// The key as text; safe as a file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContainerKey {
    type Error = ContainerKeyError;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(ContainerKeyError::Length { bytes: key.len() });
        }
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
        if key.starts_with(['-', '.']) || !key.bytes().all(inner) {
            return Err(ContainerKeyError::Character { key });
        }
        Ok(Self(key))
    }
}

impl std::str::FromStr for ContainerKey {
    type Err = ContainerKeyError;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Self::try_from(key.to_owned())
    }
}

impl From<ContainerKey> for String {
    fn from(key: ContainerKey) -> Self {
        key.0
    }
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why text is not a [`CgroupPath`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "cgroup path {path:?} must be absolute, name at least one group, and hold no '.', '..' or empty part"
)]
pub struct CgroupPathError {
    /// The text.
    pub path: String,
}

/// Where a container's cgroup lies below every hierarchy's root, such as `/skerry/alloc-1/web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupPath(String);

impl CgroupPath {
    /// The absolute path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without its leading slash, to be joined to a hierarchy's mount point.
    pub fn relative(&self) -> &Path {
        Path::new(&self.0[1..])
    }
}

impl TryFrom<String> for CgroupPath {
    type Error = CgroupPathError;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        let ok = path.len() <= MAX_CGROUP_BYTES
            && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain));
        if ok { Ok(Self(path)) } else { Err(CgroupPathError { path }) }
    }
}

impl std::str::FromStr for CgroupPath {
    type Err = CgroupPathError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        Self::try_from(path.to_owned())
    }
}

impl From<CgroupPath> for String {
    fn from(path: CgroupPath) -> Self {
        path.0
    }
}

/// Why bytes are not an [`Identity`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an identity of {bytes} bytes passes the limit of {MAX_IDENTITY_BYTES}")]
pub struct IdentityError {
    /// How many bytes there were.
    pub bytes: usize,
}

/// What the agent needs to know a container again (allocation, spec hash, attempt); the keeper stores it and never
/// looks inside. At most 2048 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Identity(Vec<u8>);

impl Identity {
    /// The bytes as the agent gave them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for Identity {
    type Error = IdentityError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        if bytes.len() > MAX_IDENTITY_BYTES {
            return Err(IdentityError { bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }
}

impl From<Identity> for Vec<u8> {
    fn from(identity: Identity) -> Self {
        identity.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_keys() {
        let check = |text: &str, ok: bool| assert_eq!(text.parse::<ContainerKey>().is_ok(), ok, "{text:?}");
        check("a", true);
        check("web-1.main", true);
        check(&"k".repeat(128), true);
        check(&"k".repeat(129), false);
        check("", false);
        check(".", false);
        check("..", false);
        check("-a", false);
        check("a/b", false);
        check("A", false);
        check("a_b", false);
        check("ä", false);
    }

    #[test]
    fn cgroup_paths() {
        let check = |text: &str, ok: bool| assert_eq!(text.parse::<CgroupPath>().is_ok(), ok, "{text:?}");
        check("/skerry/a/web", true);
        check("/x", true);
        check("/", false);
        check("", false);
        check("skerry/a", false);
        check("/skerry/../a", false);
        check("/skerry/./a", false);
        check("/skerry//a", false);
        check("/skerry/a/", false);
        check("/a\0b", false);
    }

    #[test]
    fn identities_are_bounded() {
        assert!(Identity::try_from(vec![0; 2048]).is_ok());
        assert_eq!(Identity::try_from(vec![0; 2049]), Err(IdentityError { bytes: 2049 }));
    }

    #[test]
    fn a_bad_key_does_not_decode() {
        let bytes = crate::encode(&"../x".to_owned()).unwrap();
        assert!(crate::decode::<ContainerKey>(&bytes[4..]).is_err());
    }
}
