//! What can go wrong, one enum for each operation, and what to tell people of it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use skerry_types::{Reason, ReasonCode};

use crate::bundle::BundleError;
use crate::keeper::KeeperError;
use crate::network::NetworkError;
use crate::snapshot::SnapshotError;

/// Why the runtime does not come up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The node's network.
    #[error("the node's network is not ready")]
    Network(#[from] NetworkError),
    /// The keeper.
    #[error("the keeper of containers is not ready")]
    Keeper(#[from] KeeperError),
    /// A directory.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Why an allocation's sandbox is not ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Its network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its small files.
    #[error("{} cannot be written", path.display())]
    Files {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why a container does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its sandbox is not ready.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Its specification.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its root file system.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Its bundle cannot be written.
    #[error("{} cannot be written", path.display())]
    Files {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keeper did not make it.
    #[error("the container cannot be made")]
    Keeper(#[from] KeeperError),
    /// It is being removed meanwhile.
    #[error("the container is being removed")]
    Removed,
}

/// Why something is not gone yet. Asking again goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The keeper.
    #[error("the container cannot be ended and forgotten")]
    Keeper(#[from] KeeperError),
    /// Mounts or directories.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl PrepareError {
    /// Whether trying again soon may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Network(error) => error.is_retryable(),
            Self::Files { .. } => true,
        }
    }

    /// What to tell people.
    pub fn reason(&self) -> Reason {
        let code = match self {
            _ if is_disk_full(self) => ReasonCode::DiskFull,
            Self::Network(NetworkError::PortTaken { .. } | NetworkError::PortClaimed { .. }) => {
                ReasonCode::PortTaken
            }
            Self::Network(_) => ReasonCode::Network,
            Self::Files { .. } => ReasonCode::CreateFailed,
        };
        Reason::new(code, chain(self))
    }
}

impl StartError {
    /// Whether trying again soon may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Prepare(error) => error.is_retryable(),
            Self::Bundle(_) => false,
            Self::Snapshot(_) | Self::Files { .. } | Self::Removed => true,
            Self::Keeper(error) => error.is_retryable(),
        }
    }

    /// What to tell people.
    pub fn reason(&self) -> Reason {
        let code = match self {
            Self::Prepare(error) => return error.reason(),
            _ if is_disk_full(self) => ReasonCode::DiskFull,
            Self::Keeper(KeeperError::Refused(_) | KeeperError::Request(_)) => ReasonCode::CreateFailed,
            Self::Keeper(_) => ReasonCode::Keeper,
            Self::Bundle(_) | Self::Snapshot(_) | Self::Files { .. } | Self::Removed => {
                ReasonCode::CreateFailed
            }
        };
        Reason::new(code, chain(self))
    }
}

impl RemoveError {
    /// What to tell people.
    pub fn reason(&self) -> Reason {
        let code = match self {
            Self::Keeper(_) => ReasonCode::Keeper,
            Self::Snapshot(_) => ReasonCode::CreateFailed,
            Self::Network(_) => ReasonCode::Network,
        };
        Reason::new(code, chain(self))
    }
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| {
            matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_such() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = StartError::Snapshot(SnapshotError::Directory { path: "/data".into(), source: full() });
        assert_eq!(error.reason().code, ReasonCode::DiskFull);
        let error = StartError::Prepare(PrepareError::Files { path: "/run".into(), source: full() });
        assert_eq!(error.reason().code, ReasonCode::DiskFull);
        assert_eq!(error.reason().message, "/run cannot be written: no storage space");
    }

    #[test]
    fn a_taken_port_is_told_as_such() {
        let error = NetworkError::PortTaken { port: 80, protocol: skerry_types::Protocol::Tcp };
        let reason = StartError::Prepare(error.into()).reason();
        assert_eq!(reason.code, ReasonCode::PortTaken);
        assert!(reason.message.contains("80/tcp"), "{}", reason.message);
    }
}
