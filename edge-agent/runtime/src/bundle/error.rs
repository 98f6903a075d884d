//! Why a container's bundle cannot be made.

use std::io;
use std::path::PathBuf;

use skerry_types::ContainerName;

/// Why a container's bundle cannot be made. None of these goes away by trying again: the spec or the image must change.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Neither the spec nor the image says what to run.
    #[error("container {container} has no command: its image names none; set `command`")]
    NoCommand {
        /// The container.
        container: ContainerName,
    },
    /// A device of the node that a container is to have.
    #[error("device {} of this node cannot be used", .path.display())]
    Device {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A capability that Linux does not have.
    #[error("unknown capability '{name}'; write a name of capabilities(7), such as 'NET_BIND_SERVICE'")]
    UnknownCapability {
        /// As the spec has it.
        name: String,
    },
    /// A user or group that the image does not have.
    #[error(
        "the image has no user or group '{user}'; use numbers, as in '101:101', or a name of its /etc/passwd"
    )]
    UnknownUser {
        /// As the spec or the image has it.
        user: String,
    },
    /// The image's user or group file cannot be read.
    #[error("/{file} of the image cannot be read")]
    UserFile {
        /// Path inside the image.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}
