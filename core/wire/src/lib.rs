//! What a child and its parent say to each other, and the two state machines that keep tables in step over a link.
//!
//! Standing data moves as rows: a [`Writer`] on one side, a [`Reader`] on the other, an (epoch, revision) [`Cursor`] between
//! them. Everything else (logs, later exec and blobs) is a bulk stream that begins with a [`BulkHeader`].
//!
//! Encoding is postcard, which does not describe itself. So messages are enums whose variants are only ever appended, a
//! struct never gains or loses a field, and a fixture of the bytes of every variant stands in the tests.
//!
//! Deliberately lacks: sockets, clocks, and knowledge of what a row means beyond its codec.

mod bulk;
mod codec;
mod message;
mod reader;
mod row;
mod writer;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod sync_tests;

pub use bulk::{BulkFrame, BulkHeader, CallRequest, LogsRequest};
pub use codec::{DecodeError, decode, encode};
pub use message::{
    Hello, PROTOCOL_NEWEST, PROTOCOL_OLDEST, RefusalCode, Refused, ToChild, ToParent, Welcome, negotiate,
};
pub use reader::{Changes, Reader, SyncError};
pub use row::{
    Cursor, DigestRow, Epoch, Incarnation, IntentRow, ObservedRow, RegionRow, Revision, Row, RowKey,
    RowsFrame, TableId,
};
pub use writer::{Acknowledged, RowValue, Writer};
