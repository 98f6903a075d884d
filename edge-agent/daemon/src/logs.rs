//! Sends a container's log to the master on a bulk stream.

use std::sync::Arc;

use skerry_agent_state::ContainerRef;
use skerry_link::{BulkStream, FrameError, IncomingBulk};
use skerry_runtime::Runtime;
use skerry_runtime::logs::{LogEntry, LogError, LogQuery};
use skerry_wire::{BulkFrame, BulkHeader, LogsRequest};

use crate::brain::BrainHandle;
use crate::starts::runtime_reference;
use skerry_types::chain;

/// Nothing is expected from the reader of a log.
const SILENCE_MAX: usize = 16;

/// Answers bulk streams.
#[derive(Clone)]
pub(crate) struct BulkServer {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) brain: BrainHandle,
}

/// Why a log is not sent to its end.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Stream(#[from] FrameError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("there is no container {container} of {allocation} on this node")]
    Unknown { allocation: String, container: String },
}

impl BulkServer {
    /// Answers one stream, until it ends or nobody reads it any more.
    pub(crate) async fn serve(self, incoming: IncomingBulk) {
        let (header, mut stream) = match incoming.header::<BulkHeader>().await {
            Ok(opened) => opened,
            Err(error) => return tracing::info!(%error, "a bulk stream was not understood"),
        };
        let request = match header {
            BulkHeader::Logs(request) => request,
            BulkHeader::Call(call) => {
                return tracing::info!(
                    call.method,
                    "a call of the operator API came to a node, which answers none"
                );
            }
        };
        tracing::debug!(alloc = %request.allocation, container = %request.container, "a log is read");
        let sent = match self.send(&request, &mut stream).await {
            Err(SendError::Stream(error)) => Err(error),
            Err(error) => stream.sender.send(&BulkFrame::Failed(chain(&error))).await,
            Ok(()) => Ok(()),
        };
        if let Err(error) = sent.and_then(|()| stream.sender.finish()) {
            return tracing::debug!(%error, "the reader of a log has gone");
        }
        if let Err(error) = stream.sender.delivered().await {
            tracing::debug!(%error, "the reader of a log has gone");
        }
    }

    async fn send(&self, request: &LogsRequest, stream: &mut BulkStream) -> Result<(), SendError> {
        let LogsRequest { allocation, container, .. } = request;
        let reference = ContainerRef { allocation: allocation.clone(), container: container.clone() };
        if !self.brain.knows(reference.clone()).await {
            return Err(SendError::Unknown {
                allocation: allocation.to_string(),
                container: container.to_string(),
            });
        }
        let query = LogQuery {
            tail: request.tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
            since: request.since,
            follow: request.follow,
        };
        let mut log = self.runtime.logs(&runtime_reference(reference), query).await?;
        loop {
            let entries = tokio::select! {
                entries = log.next() => entries?,
                // The reader says nothing: whatever comes is its end. The log is dropped with it.
                gone = stream.receiver.recv::<()>(SILENCE_MAX) => {
                    tracing::debug!(?gone, "the reader of a log has gone");
                    return Ok(());
                }
            };
            if entries.is_empty() {
                return Ok(());
            }
            for data in pieces(&entries) {
                stream.sender.send(&BulkFrame::Data(data)).await?;
            }
        }
    }
}

/// Entries as the node keeps them, `TIME STREAM F|P TEXT`, in pieces that fit a frame.
fn pieces(entries: &[LogEntry]) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    for entry in entries {
        let tag = if entry.partial { 'P' } else { 'F' };
        let mut line = format!("{} {} {tag} ", entry.time, entry.stream.as_str()).into_bytes();
        line.extend_from_slice(&entry.text);
        line.push(b'\n');
        for part in line.chunks(BulkFrame::DATA_MAX) {
            match pieces.last_mut() {
                Some(last) if last.len() + part.len() <= BulkFrame::DATA_MAX => last.extend_from_slice(part),
                _ => pieces.push(part.to_vec()),
            }
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}
