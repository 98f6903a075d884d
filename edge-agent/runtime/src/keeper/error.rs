//! Why the keeper did not do what it was asked.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use skerry_keeper_protocol::{Failure, FailureKind};

/// Why the keeper did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The program cannot be started.
    #[error("the keeper {} cannot be started", binary.display())]
    Spawn {
        /// Its path.
        binary: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers on the socket.
    #[error("the keeper does not answer on {}; see its log {}", socket.display(), log.display())]
    Connect {
        /// The socket's path.
        socket: PathBuf,
        /// Where the keeper writes what happened.
        log: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke before the answer: what was asked may have been done.
    #[error("the keeper went away before it answered")]
    Lost,
    /// No answer within the time for it.
    #[error("the keeper did not answer within {} s", after.as_secs())]
    Deadline {
        /// How long was waited.
        after: Duration,
    },
    /// It answered no.
    #[error("the keeper refused ({})", .0.kind)]
    Refused(#[source] Failure),
    /// It answered something else than what was asked for.
    #[error("the keeper gave an answer to another question")]
    Unexpected,
    /// What is asked does not fit the protocol.
    #[error("this cannot be asked of the keeper")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client is shut down.
    #[error("the keeper is not asked any more; the agent is shutting down")]
    Closed,
}

impl KeeperError {
    /// What kind of no it was.
    pub fn refusal(&self) -> Option<FailureKind> {
        match self {
            Self::Refused(failure) => Some(failure.kind),
            _ => None,
        }
    }

    /// Whether trying again may help without a change of the spec.
    pub fn is_retryable(&self) -> bool {
        !matches!(
            self,
            Self::Request(_)
                | Self::Refused(Failure { kind: FailureKind::BadRequest | FailureKind::InvalidBundle, .. })
        )
    }
}
