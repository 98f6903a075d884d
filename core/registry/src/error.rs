//! What can go wrong between this machine and a registry.

use std::fmt;

use crate::config::ConfigError;
use crate::digest::Digest;
use crate::manifest::Platform;

/// A failed registry operation, with the image or host it concerns.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry answers, but has no such tag or manifest.
    #[error("image {image} not found at {host}: check the name and the tag, or push it first")]
    NotFound {
        /// The reference that was asked for.
        image: String,
        /// The registry that answered.
        host: String,
    },
    /// The manifest names a blob that the registry does not have.
    #[error("blob {digest} of image {image} is missing at {host}: push the image again")]
    BlobNotFound {
        /// The image whose blob it is.
        image: String,
        /// The blob.
        digest: Digest,
        /// The registry that answered.
        host: String,
    },
    /// The registry wants other credentials than it was given.
    #[error(
        "{host} refused access to {image} ({reason}): check username and password of this host in registries.toml"
    )]
    Unauthorized {
        /// The registry.
        host: String,
        /// The image.
        image: String,
        /// What was tried and what the registry said.
        reason: String,
    },
    /// No answer: name resolution, connection or transfer failed.
    #[error("registry {host} is unreachable")]
    Unreachable {
        /// The registry.
        host: String,
        /// The cause.
        #[source]
        source: TransportError,
    },
    /// The secure channel was refused by either side.
    #[error(
        "TLS with registry {host} failed: check its certificate and `ca` of this host in registries.toml"
    )]
    Tls {
        /// The registry.
        host: String,
        /// The cause.
        #[source]
        source: TransportError,
    },
    /// An HTTP status that has no better name here; 429 and 5xx are worth a retry.
    #[error("registry {host} answered {status} for {what}: {message}")]
    Status {
        /// The registry.
        host: String,
        /// The HTTP status code.
        status: u16,
        /// What was asked for.
        what: String,
        /// The beginning of the answer's text.
        message: String,
    },
    /// The bytes are not those that the digest names.
    #[error("{what} from {host} has digest {got} where {expected} was expected")]
    DigestMismatch {
        /// What was fetched.
        what: String,
        /// The registry.
        host: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// The index has no manifest for this machine.
    #[error("image {image} has no manifest for {wanted}; it has: {}", Listed(available))]
    NoPlatform {
        /// The image.
        image: String,
        /// What this machine is.
        wanted: Box<Platform>,
        /// What the index offers.
        available: Vec<Platform>,
    },
    /// An answer is larger than the bound for its kind.
    #[error("{what} from {host} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What was fetched.
        what: String,
        /// The registry.
        host: String,
        /// The bound in bytes.
        limit: u64,
    },
    /// The host's settings cannot be used.
    #[error("settings of registry {host} cannot be used: correct registries.toml")]
    Config {
        /// The registry.
        host: String,
        /// What is wrong with them.
        #[source]
        source: ConfigError,
    },
    /// An answer that does not follow the OCI specifications.
    #[error("{what} from {host} is malformed: {reason}")]
    Malformed {
        /// What was fetched.
        what: String,
        /// The registry.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The cause below [`RegistryError::Unreachable`] and [`RegistryError::Tls`]: the chain of the HTTP library in
/// one line, without URLs, which may hold signed parameters.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub(crate) String);

impl RegistryError {
    /// Whether a retry is pointless until a person changes the image, the registry or the configuration.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unreachable { .. } => false,
            Self::Status { status, .. } => *status < 500 && *status != 429 && *status != 408,
            Self::NotFound { .. }
            | Self::BlobNotFound { .. }
            | Self::Unauthorized { .. }
            | Self::Tls { .. }
            | Self::DigestMismatch { .. }
            | Self::NoPlatform { .. }
            | Self::TooLarge { .. }
            | Self::Config { .. }
            | Self::Malformed { .. } => true,
        }
    }

    /// The registry did not answer, with the reason in words.
    pub(crate) fn unreachable(host: &str, reason: String) -> Self {
        Self::Unreachable { host: host.to_owned(), source: TransportError(reason) }
    }

    /// Sorts a failure of the HTTP library into [`RegistryError::Tls`] or [`RegistryError::Unreachable`].
    pub(crate) fn transport(host: &str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let (text, tls) = flatten(&error);
        let (host, source) = (host.to_owned(), TransportError(text));
        if tls { Self::Tls { host, source } } else { Self::Unreachable { host, source } }
    }
}

/// The whole source chain in one line, and whether TLS is at its end.
fn flatten(error: &reqwest::Error) -> (String, bool) {
    let mut text = error.to_string();
    let mut tls = false;
    let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(cause) = next {
        let part = cause.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        tls |= is_tls(cause);
        next = cause.source();
    }
    (text, tls)
}

/// Whether an error is one of TLS, perhaps inside an `io::Error`, whose `source` passes over what it holds.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}

/// Prints a list of platforms, or says that there is none.
struct Listed<'a>(&'a [Platform]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, platform) in self.0.iter().enumerate() {
            write!(f, "{}{platform}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
