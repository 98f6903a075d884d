//! Image references as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, DigestError};

/// The longest reference accepted, in bytes; host, repository and tag limits below stay under it.
const MAX_REFERENCE_LEN: usize = 1024;
/// The distribution specification's bound on a repository name together with its host.
const MAX_REPOSITORY_LEN: usize = 255;
/// The distribution specification's bound on a tag.
const MAX_TAG_LEN: usize = 128;

/// `host[:port]/repository[:tag][@digest]`, checked.
///
/// The host must be written out: there is no default registry, so the same manifest means the same image at
/// every site. A reference with neither tag nor digest means the tag `latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImageRef {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefError {
    /// The first part is not a registry host.
    #[error("image {text:?} names no registry: write it as registry.example[:port]/name:tag")]
    NoHost {
        /// The reference as given.
        text: String,
    },
    /// A part holds a character or a shape that registries do not allow.
    #[error("image {text:?} has a bad {part} {value:?}: {rule}")]
    BadPart {
        /// The reference as given.
        text: String,
        /// Which part: host, repository or tag.
        part: &'static str,
        /// The part as given.
        value: String,
        /// What is allowed there.
        rule: &'static str,
    },
    /// The part after `@` is not a SHA-256 digest.
    #[error("image {text:?} has a bad digest")]
    BadDigest {
        /// The reference as given.
        text: String,
        /// What is wrong with it.
        #[source]
        source: DigestError,
    },
    /// Longer than any registry accepts.
    #[error("image reference of {len} bytes is too long: at most {MAX_REFERENCE_LEN} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl ImageRef {
    /// The registry, `host` or `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository within the registry, such as `team/web`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; none when only a digest was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, once the image is pinned.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same image pinned to `digest`; the tag stays for people to read.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// What a registry is asked for: the digest when there is one, else the tag.
    pub(crate) fn lookup(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        if text.len() > MAX_REFERENCE_LEN {
            return Err(ImageRefError::TooLong { len: text.len() });
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let parsed = digest
                    .parse()
                    .map_err(|source| ImageRefError::BadDigest { text: text.to_owned(), source })?;
                (name, Some(parsed))
            }
            None => (text, None),
        };
        let Some((host, path)) = name.split_once('/').filter(|(host, _)| looks_like_host(host)) else {
            return Err(ImageRefError::NoHost { text: text.to_owned() });
        };
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        let bad = |part, value: &str, rule| ImageRefError::BadPart {
            text: text.to_owned(),
            part,
            value: value.to_owned(),
            rule,
        };
        if !is_host(host) {
            return Err(bad("host", host, "a DNS name or an address, with an optional :port"));
        }
        if !is_repository(repository) {
            return Err(bad(
                "repository",
                repository,
                "lower-case letters, digits and single separators . _ - in parts divided by /",
            ));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(bad("tag", tag, "up to 128 letters, digits, and . _ - after the first"));
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.to_string()
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ImageRefError;

    fn try_from(text: String) -> Result<Self, ImageRefError> {
        text.parse()
    }
}

/// Tells `registry.example/x` from `library/x`: only a host has a dot, a port or the name localhost.
fn looks_like_host(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost"
}

/// A DNS name, an IPv4 address or a bracketed IPv6 address, with an optional port.
pub(crate) fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (None, rest.strip_prefix(':').or((!rest.is_empty()).then_some("")))
        }
        None => match text.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(text), None),
        },
    };
    let port_ok = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    port_ok && name.is_none_or(is_dns_name)
}

fn is_dns_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn is_repository(text: &str) -> bool {
    text.len() <= MAX_REPOSITORY_LEN && text.split('/').all(is_repository_part)
}

/// Runs of `[a-z0-9]` joined by `.`, `_`, `__` or any number of `-`.
fn is_repository_part(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators_ok = || {
        part.split(|c: char| c.is_ascii() && alnum(c as u8))
            .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
    };
    part.bytes().next().is_some_and(alnum) && part.bytes().next_back().is_some_and(alnum) && separators_ok()
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MAX_TAG_LEN).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_parse() {
        let check = |text: &str, host: &str, repository: &str, tag: Option<&str>, pinned: bool| {
            let image: ImageRef = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((image.host(), image.repository(), image.tag()), (host, repository, tag), "{text}");
            assert_eq!(image.digest().is_some(), pinned, "{text}");
        };
        check("registry.example/web", "registry.example", "web", Some("latest"), false);
        check("registry.example:5000/a/b:1.2", "registry.example:5000", "a/b", Some("1.2"), false);
        check("localhost/a__b-c.d", "localhost", "a__b-c.d", Some("latest"), false);
        check("[::1]:5000/web:v1", "[::1]:5000", "web", Some("v1"), false);
        check("10.0.0.1/web:V_1", "10.0.0.1", "web", Some("V_1"), false);
        check(&format!("r.example/web@sha256:{HEX}"), "r.example", "web", None, true);
        check(&format!("r.example/web:1@sha256:{HEX}"), "r.example", "web", Some("1"), true);
    }

    #[test]
    fn bad_references_say_which_part() {
        let check = |text: &str, expect: &str| {
            let error = text.parse::<ImageRef>().expect_err(text).to_string();
            assert!(error.contains(expect), "{text}: {error}");
        };
        check("", "names no registry");
        check("nginx:1.22", "names no registry");
        check("library/nginx", "names no registry");
        check("registry.example/", "bad repository");
        check("registry.example/Web", "bad repository");
        check("registry.example/a//b", "bad repository");
        check("registry.example/a/../b", "bad repository");
        check("registry.example/a._b", "bad repository");
        check("registry.example/web:", "bad tag");
        check("registry.example/web:-x", "bad tag");
        check("registry.example:99999/web", "bad host");
        check("registry.example:/web", "bad host");
        check("-x.example/web", "bad host");
        check("user@registry.example/web", "bad digest");
        check("registry.example/web@sha256:12", "bad digest");
        check(&format!("r.example/{}", "a".repeat(2000)), "too long");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_parsing_is_stable(text in "\\PC{0,80}") {
            if let Ok(image) = text.parse::<ImageRef>() {
                prop_assert_eq!(image.to_string().parse::<ImageRef>(), Ok(image));
            }
        }

        #[test]
        fn well_formed_texts_are_kept(text in "[a-z]{1,9}\\.example(:[1-9][0-9]{0,3})?/[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}") {
            prop_assert_eq!(text.parse::<ImageRef>().map(|image| image.to_string()), Ok(text));
        }
    }
}
