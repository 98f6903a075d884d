//! What the runtime's errors mean to the brain: a class, a sentence, and whether trying again soon may help.

use std::io;

use skerry_agent_state::Failure;
use skerry_registry::RegistryError;
use skerry_runtime::image::PullError;
use skerry_runtime::keeper::KeeperError;
use skerry_runtime::{PrepareError, RemoveError, StartError};
use skerry_types::{ContainerName, Reason, ReasonCode, chain};

/// An image that is not here.
pub(crate) fn pull(container: &ContainerName, error: &PullError) -> Failure {
    let message = format!("container {container}: {}", chain(error));
    Failure { reason: Reason::new(pull_code(error), message), transient: !error.is_permanent() }
}

fn pull_code(error: &PullError) -> ReasonCode {
    match error {
        PullError::Registry(error) => registry_code(error),
        PullError::DiskFull { .. } => ReasonCode::DiskFull,
        PullError::Io { source, .. } if is_full(source) => ReasonCode::DiskFull,
        PullError::NotPinned { .. }
        | PullError::Hostile { .. }
        | PullError::Damaged { .. }
        | PullError::DigestMismatch { .. }
        | PullError::DiffIdMismatch { .. }
        | PullError::Truncated { .. }
        | PullError::WrongPlatform { .. }
        | PullError::Archive { .. } => ReasonCode::ImageInvalid,
        PullError::Io { .. } | PullError::Busy { .. } | PullError::Cancelled { .. } => {
            ReasonCode::CreateFailed
        }
    }
}

fn registry_code(error: &RegistryError) -> ReasonCode {
    match error {
        RegistryError::NotFound { .. } | RegistryError::BlobNotFound { .. } => ReasonCode::ImageNotFound,
        RegistryError::Unauthorized { .. } => ReasonCode::RegistryUnauthorized,
        RegistryError::Unreachable { .. }
        | RegistryError::Tls { .. }
        | RegistryError::Status { .. }
        | RegistryError::Config { .. } => ReasonCode::RegistryUnreachable,
        RegistryError::DigestMismatch { .. }
        | RegistryError::NoPlatform { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::Malformed { .. } => ReasonCode::ImageInvalid,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A sandbox that is not ready.
pub(crate) fn prepare(error: &PrepareError) -> Failure {
    Failure { reason: error.reason(), transient: error.is_retryable() }
}

/// A container that does not run.
pub(crate) fn start(container: &ContainerName, error: &StartError) -> Failure {
    let Reason { code, message } = error.reason();
    let reason = Reason::new(code, format!("container {container}: {message}"));
    Failure { reason, transient: error.is_retryable() }
}

/// Something that is not gone yet.
pub(crate) fn remove(error: &RemoveError) -> Failure {
    Failure { reason: error.reason(), transient: true }
}

/// A signal that was not sent.
pub(crate) fn signal(error: &KeeperError) -> Failure {
    Failure::transient(ReasonCode::Keeper, chain(error))
}

#[cfg(test)]
mod tests {
    use skerry_registry::Digest;

    use super::*;

    #[test]
    fn each_failed_pull_has_its_class() {
        let name = ContainerName::new("web").unwrap();
        let check = |error: PullError, code: ReasonCode, transient: bool, part: &str| {
            let failure = pull(&name, &error);
            assert_eq!((failure.reason.code, failure.transient), (code, transient), "{failure:?}");
            assert!(failure.reason.message.starts_with("container web: "), "{failure:?}");
            assert!(failure.reason.message.contains(part), "{failure:?}");
        };
        let (image, host) = ("r.example/a:1".to_owned(), "r.example".to_owned());
        let digest = Digest::of(b"x");
        let registry = PullError::Registry;
        check(
            registry(RegistryError::NotFound { image: image.clone(), host: host.clone() }),
            ReasonCode::ImageNotFound,
            false,
            "r.example/a:1",
        );
        check(
            registry(RegistryError::BlobNotFound { image: image.clone(), digest, host: host.clone() }),
            ReasonCode::ImageNotFound,
            false,
            "missing",
        );
        check(
            registry(RegistryError::Unauthorized {
                image: image.clone(),
                host: host.clone(),
                reason: "401".into(),
            }),
            ReasonCode::RegistryUnauthorized,
            false,
            "registries.toml",
        );
        let status = |status| RegistryError::Status {
            host: host.clone(),
            status,
            what: "a manifest".into(),
            message: String::new(),
        };
        check(registry(status(503)), ReasonCode::RegistryUnreachable, true, "503");
        check(registry(status(418)), ReasonCode::RegistryUnreachable, false, "418");
        check(
            PullError::DiskFull { path: "/c".into(), need: 10, free: 1 },
            ReasonCode::DiskFull,
            true,
            "10 are needed",
        );
        let io = |kind: io::ErrorKind| PullError::Io { path: "/c".into(), source: kind.into() };
        check(io(io::ErrorKind::StorageFull), ReasonCode::DiskFull, true, "/c");
        check(io(io::ErrorKind::PermissionDenied), ReasonCode::CreateFailed, true, "permission denied");
        check(
            PullError::Truncated { image: image.clone(), blob: digest, have: 1, size: 2 },
            ReasonCode::ImageInvalid,
            true,
            "1 of 2",
        );
        check(
            PullError::DigestMismatch { image, from: host, expected: digest, got: Digest::of(b"y") },
            ReasonCode::ImageInvalid,
            false,
            "serves bytes",
        );
    }

    #[test]
    fn removals_and_signals_are_tried_again() {
        assert!(remove(&RemoveError::Keeper(KeeperError::Lost)).transient);
        let failure = signal(&KeeperError::Lost);
        assert_eq!((failure.reason.code, failure.transient), (ReasonCode::Keeper, true));
    }
}
