//! What can go wrong with a CA.

use std::path::PathBuf;

use skerry_link::tls::IdentityError;
use skerry_link::{CertificateError, REGIONS_DEEP_MAX, RootHash, SpiffeId, TrustDomain};
use skerry_types::RegionName;

/// Why the CA cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file or directory could not be used.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// There is no CA.
    #[error("there is no CA in {}: run `skerry-master init` first", .dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds something, but not a whole CA.
    #[error("{} is not a CA directory: {} is missing; restore it from a backup, or move it away to begin anew (every node must then join again)", .dir.display(), .file)]
    NotWhole {
        /// The directory.
        dir: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// The CA is of another federation or region than asked for.
    #[error("the CA in {} is '{found}', not '{asked}': a CA is made once and never changed", .dir.display())]
    AnotherRegion {
        /// The directory.
        dir: PathBuf,
        /// What it is for.
        found: Box<SpiffeId>,
        /// What was asked for.
        asked: Box<SpiffeId>,
    },
    /// The directory holds a root, and the region is to have a parent.
    #[error("{} holds the root CA of the federation '{domain}', which has no parent: give a region that joins another federation a data directory of its own (--data-dir), or leave --parent out", .dir.display())]
    IsRoot {
        /// The directory.
        dir: PathBuf,
        /// Its federation.
        domain: TrustDomain,
    },
    /// The directory holds a region of another federation than the join token's.
    #[error("the CA in {} belongs to another federation than the join token: its root is {found}, the token's is {asked}; use another --data-dir, or leave the token out", .dir.display())]
    AnotherRoot {
        /// The directory.
        dir: PathBuf,
        /// The root it has.
        found: Box<RootHash>,
        /// The root that the token names.
        asked: Box<RootHash>,
    },
    /// No CA may stand below this one.
    #[error(
        "region '{region}' is {REGIONS_DEEP_MAX} levels deep, and no region may be below it: join one further up"
    )]
    TooDeep {
        /// Which region.
        region: RegionName,
    },
    /// A file's content is damaged.
    #[error("{} is damaged", .path.display())]
    Damaged {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: IdentityError,
    },
    /// A certificate that was read or made does not say what it should.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A key or certificate could not be read, made or signed.
    #[error("cannot {action}")]
    Sign {
        /// What was tried.
        action: &'static str,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// A name for the server's certificate is neither a DNS name nor an address.
    #[error("'{name}' is neither a DNS name nor an IP address: the server's certificate cannot carry it")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The system gave no random bytes.
    #[error("the system has no random bytes")]
    Random,
}
