//! What the agent and the keeper say to each other over the keeper's Unix stream socket.
//!
//! Only data: types, their bytes, and their limits. There is no socket, file or clock here, so that a blocking and an
//! async client can share it. Start with [`Request`], [`ServerMessage`] and [`FrameBuffer`].
//!
//! A frame is a little-endian `u32` length, at most [`MAX_FRAME_BYTES`], and that many bytes of one postcard value:
//! a [`ClientMessage`] towards the keeper, a [`ServerMessage`] back. The first request on a connection is
//! [`Request::Hello`]. Replies carry the id of their request and may come in any order; events carry none and start
//! after the reply to `Hello`. The [`Reply::Created`] of a container always precedes its [`Event::Exited`].
//!
//! Enum variants are only ever appended and a struct never changes its fields: a keeper lives longer than the agent
//! that started it, and records on disk hold the same types.

mod exec;
mod frame;
mod ids;
mod logline;
mod message;
mod record;
pub mod world;

pub use exec::{EXEC_OUTPUT_MAX, ExecJob, ExecOutcome};
pub use frame::{FrameBuffer, FrameError, MAX_FRAME_BYTES, decode, encode};
pub use ids::{CgroupPath, CgroupPathError, ContainerKey, ContainerKeyError, Identity, IdentityError};
pub use logline::{LogLine, LogStream, PARTIAL_LINE_BYTES, current_log, parse_log_line, rotated_log};
pub use message::{
    ClientMessage, CreateRequest, Event, Failure, FailureKind, LogPolicy, Reply, Request, RequestId,
    ServerMessage,
};
pub use record::{
    ContainerRecord, ContainerState, ContainerStats, Exit, ExitStatus, ProcessIdentity, UnknownExit,
};

/// Version of this protocol. The keeper answers a `Hello` that names another with
/// [`FailureKind::UnsupportedVersion`].
pub const PROTOCOL_VERSION: u16 = 1;

/// Name of the keeper's socket inside its run directory.
pub const SOCKET_NAME: &str = "keeper.sock";
