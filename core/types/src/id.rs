//! Names and ids, each a type of its own, checked once where text comes in.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest DNS label (RFC 1035), and so the longest name an operator may choose.
const LABEL_MAX: usize = 63;
/// An allocation id is a workload name, an instance and a serial number: 63 + 1 + 10 + 1 + 13.
const ALLOCATION_ID_MAX: usize = 88;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No characters at all.
    #[error("a {what} must not be empty")]
    Empty {
        /// What was being named.
        what: &'static str,
    },
    /// Too many characters.
    #[error("{what} '{text}' has {len} characters, at most {max} are allowed")]
    TooLong {
        /// What was being named.
        what: &'static str,
        /// The text, cut to a readable length.
        text: String,
        /// Its length in characters.
        len: usize,
        /// The longest that is allowed.
        max: usize,
    },
    /// A character outside the DNS label alphabet, or a dash at an end.
    #[error(
        "{what} '{text}' must be lower-case letters, digits and '-', and begin and end with a letter or digit"
    )]
    Alphabet {
        /// What was being named.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// Not `sha256:` and 64 lower-case hex digits.
    #[error("digest '{text}' must be 'sha256:' and 64 lower-case hex digits")]
    Digest {
        /// The text.
        text: String,
    },
}

fn check_label(what: &'static str, text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > max {
        let shown = text.chars().take(max).collect();
        return Err(IdError::TooLong { what, text: shown, len: text.chars().count(), max });
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !text.bytes().all(inner) || text.starts_with('-') || text.ends_with('-') {
        return Err(IdError::Alphabet { what, text: text.to_owned() });
    }
    Ok(())
}

/// Reads a name.
struct Label<Name>(fn(&str) -> Result<Name, IdError>);

impl<Name> Visitor<'_> for Label<Name> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
        (self.0)(text).map_err(E::custom)
    }
}

// A name is cloned far more often than it is made: clones share the text.
macro_rules! label_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps a name.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                Self::checked(&text.into())
            }

            fn checked(text: &str) -> Result<Self, IdError> {
                check_label($what, text, $max)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        // By way of no text of its own, where the whole is there to be read from.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Label(Self::checked))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::checked(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for Arc<str> {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }
    };
}

label_type!(
    /// A region: a master and everything below it. A DNS label.
    RegionName, "region name", LABEL_MAX
);
label_type!(
    /// A site: the nodes in one place. A DNS label, unique in its region.
    SiteName, "site name", LABEL_MAX
);
label_type!(
    /// A node: a machine that runs an agent. A DNS label, unique in its region.
    NodeName, "node name", LABEL_MAX
);
label_type!(
    /// A tenant. A DNS label.
    TenantName, "tenant name", LABEL_MAX
);
label_type!(
    /// A workload. A DNS label, unique in its tenant.
    WorkloadName, "workload name", LABEL_MAX
);
label_type!(
    /// A container of a workload. A DNS label, unique in its workload.
    ContainerName, "container name", LABEL_MAX
);
label_type!(
    /// A port of a container. A DNS label, unique in its workload.
    PortName, "port name", LABEL_MAX
);
label_type!(
    /// One instance of one generation of a workload on one node: `WORKLOAD-INSTANCE-SERIAL`, never used twice in a region.
    AllocationId, "allocation id", ALLOCATION_ID_MAX
);

impl Default for TenantName {
    /// The tenant of a manifest that names none.
    fn default() -> Self {
        Self("default".into())
    }
}

impl AllocationId {
    /// Makes the id of an instance from the region's running number, which is written in base 36.
    pub fn compose(workload: &WorkloadName, instance: InstanceIndex, serial: u64) -> Self {
        Self(format!("{workload}-{instance}-{}", base36(serial)).into())
    }

    /// The region's running number in it; `None` of a text that no region composed.
    pub fn serial(&self) -> Option<u64> {
        u64::from_str_radix(self.0.rsplit_once('-')?.1, 36).ok()
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).expect("a remainder of 36 fits");
        digits.push(char::from_digit(digit, 36).expect("a remainder of 36 is a digit of base 36"));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

/// The version number of a workload's spec; it only grows. The first is 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a workload's instances: 0 to `instances - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceIndex(pub u32);

impl fmt::Display for InstanceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The digest of an image's manifest or index: `sha256:` and 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageDigest(Box<str>);

impl ImageDigest {
    /// Checks and wraps a digest.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != 64 || !hex.bytes().all(lower_hex) {
            return Err(IdError::Digest { text });
        }
        Ok(Self(text.into_boxed_str()))
    }

    /// The digest with its algorithm: `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ImageDigest {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl TryFrom<String> for ImageDigest {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl From<ImageDigest> for String {
    fn from(digest: ImageDigest) -> Self {
        digest.0.into_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        let check = |text: &str, good: bool| assert_eq!(NodeName::new(text).is_ok(), good, "{text}");
        check("n1", true);
        check("oslo-7", true);
        check("7", true);
        check("", false);
        check("-a", false);
        check("a-", false);
        check("A", false);
        check("a.b", false);
        check("å", false);
        check(&"a".repeat(63), true);
        check(&"a".repeat(64), false);
    }

    #[test]
    fn errors_name_the_object() {
        let error = SiteName::new("Oslo").unwrap_err().to_string();
        assert!(error.starts_with("site name 'Oslo'"), "{error}");
    }

    #[test]
    fn an_allocation_id_reads_as_its_instance() {
        let web = WorkloadName::new("web").unwrap();
        assert_eq!(AllocationId::compose(&web, InstanceIndex(2), 0).as_str(), "web-2-0");
        assert_eq!(AllocationId::compose(&web, InstanceIndex(2), 36).as_str(), "web-2-10");
        let longest = WorkloadName::new("a".repeat(63)).unwrap();
        let id = AllocationId::compose(&longest, InstanceIndex(u32::MAX), u64::MAX);
        assert_eq!(AllocationId::new(id.as_str()), Ok(id.clone()));
        assert_eq!(id.serial(), Some(u64::MAX));
        assert_eq!(AllocationId::new("web").unwrap().serial(), None);
    }

    #[test]
    fn a_digest_is_sha256_in_lower_case() {
        let hex = "a1".repeat(32);
        assert!(ImageDigest::new(format!("sha256:{hex}")).is_ok());
        assert!(ImageDigest::new(hex.clone()).is_err());
        assert!(ImageDigest::new(format!("sha256:{}", hex.to_uppercase())).is_err());
        assert!(ImageDigest::new(format!("sha512:{hex}")).is_err());
    }
}
