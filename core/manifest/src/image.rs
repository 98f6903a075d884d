//! A first look at an image reference; the registry client reads it exactly.

use skerry_types::{IdError, ImageDigest};

use crate::limits;

/// Longest tag in bytes (OCI distribution specification).
const TAG_BYTES_MAX: usize = 128;

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No text.
    #[error("an image is needed, such as 'registry.example/nginx:1.22'")]
    Empty,
    /// Longer than any reference.
    #[error("the image reference has {bytes} bytes, at most {max} are taken", max = limits::IMAGE_BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// An address with a scheme.
    #[error("image '{image}' must not begin with a scheme: write 'registry.example/nginx:1.22'")]
    Scheme {
        /// The text.
        image: String,
    },
    /// The part before tag and digest is not a repository.
    #[error(
        "image '{image}' has no valid repository: lower-case parts of letters, digits, '.', '_' and '-', parted by '/', as in 'registry.example/nginx:1.22'"
    )]
    Repository {
        /// The text.
        image: String,
    },
    /// The part after `:` is not a tag.
    #[error(
        "image '{image}' has the tag '{tag}': 1 to {TAG_BYTES_MAX} letters, digits, '_', '.' and '-', beginning with a letter, digit or '_'"
    )]
    Tag {
        /// The text.
        image: String,
        /// The tag.
        tag: String,
    },
    /// The part after `@` is not a digest.
    #[error("image '{image}': {problem}")]
    Digest {
        /// The text.
        image: String,
        /// What is wrong with the digest.
        problem: IdError,
    },
}

/// Whether a text can be an image reference: `[host[:port]/]path[:tag][@digest]`.
pub(crate) fn check(image: &str) -> Result<(), ImageError> {
    let owned = || image.to_owned();
    if image.is_empty() {
        return Err(ImageError::Empty);
    }
    if image.len() > limits::IMAGE_BYTES_MAX {
        return Err(ImageError::TooLong { bytes: image.len() });
    }
    if image.contains("://") {
        return Err(ImageError::Scheme { image: owned() });
    }
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    if let Some(digest) = digest {
        ImageDigest::new(digest).map_err(|problem| ImageError::Digest { image: owned(), problem })?;
    }
    let (repository, tag) = split_tag(name);
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(ImageError::Tag { image: owned(), tag: tag.to_owned() });
    }
    if is_repository(repository) { Ok(()) } else { Err(ImageError::Repository { image: owned() }) }
}

/// A colon before the last slash belongs to the host's port.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

fn is_tag(tag: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    tag.len() <= TAG_BYTES_MAX && tag.bytes().all(inner) && !tag.is_empty() && !tag.starts_with(['.', '-'])
}

fn is_repository(repository: &str) -> bool {
    let (host, path) = match repository.split_once('/') {
        Some((first, path)) if is_host(first) => (Some(first), path),
        _ => (None, repository),
    };
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let part = |part: &str| {
        part.bytes().all(inner)
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    host.is_none_or(|host| host.bytes().all(is_host_byte)) && path.split('/').all(part)
}

/// A first part is a host when it could not be a path: it has a dot or a port, or is `localhost`.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
}

#[cfg(test)]
mod tests {

    #[test]
    fn references_are_told_from_other_text() {
        let digest = format!("sha256:{}", "a1".repeat(32));
        let check = |text: &str, good: bool| assert_eq!(super::check(text).is_ok(), good, "{text}");
        check("nginx", true);
        check("nginx:1.22", true);
        check("registry.example/nginx", true);
        check("registry.example:5000/team/nginx:1.22", true);
        check("[fd00::1]:5000/nginx", true);
        check(&format!("registry.example/nginx@{digest}"), true);
        check(&format!("registry.example/nginx:1.22@{digest}"), true);
        check("", false);
        check(":1.22", false);
        check("registry.example/", false);
        check("registry.example/nginx:", false);
        check("registry.example/nginx:-1", false);
        check("registry.example/nginx:1 22", false);
        check("registry.example/Nginx", false);
        check("registry.example//nginx", false);
        check("registry.example/nginx@sha256:12", false);
        check("https://registry.example/nginx", false);
        check(" nginx", false);
        check("ng\u{e5}nx", false);
        check(&"a".repeat(513), false);
    }
}
