//! A container's log, from its node to the caller.

use futures_util::Stream;
use futures_util::stream::unfold;
use skerry_api::v1;
use skerry_link::{FrameError, FramedReceiver, FramedSender, MAX_FRAME_BYTES};
use skerry_region_state::AllocationView;
use skerry_types::{ContainerName, WallTime};
use skerry_wire::{BulkFrame, BulkHeader, LogsRequest};
use tonic::Status;

use crate::links::LinkTable;

/// Opens the log on the allocation's node.
pub(crate) async fn open(
    links: &LinkTable,
    allocation: Option<&AllocationView>,
    request: &v1::LogsRequest,
) -> Result<impl Stream<Item = Result<v1::LogsResponse, Status>> + Send + use<>, Status> {
    let Some(allocation) = allocation else {
        return Err(Status::not_found(format!("there is no allocation '{}'", request.allocation)));
    };
    let header = BulkHeader::Logs(LogsRequest {
        allocation: allocation.intent.id.clone(),
        container: container(allocation, &request.container)?,
        tail: (request.tail > 0).then_some(request.tail),
        since: (request.since_ms > 0).then_some(WallTime(request.since_ms)),
        follow: request.follow,
    });
    let node = &allocation.node;
    let unreachable = || {
        let message =
            format!("node {node} is not connected: its logs are kept there, ask again when it is back");
        Status::unavailable(message)
    };
    let connection = links.connection(node).ok_or_else(unreachable)?;
    let stream = connection.open_bulk(&header).await.map_err(|_| unreachable())?;
    let node = node.to_string();
    Ok(unfold(Some((stream.receiver, stream.sender)), move |state| next(state, node.clone())))
}

fn container(allocation: &AllocationView, wanted: &str) -> Result<ContainerName, Status> {
    let containers = &allocation.intent.spec.containers;
    let names = || containers.iter().map(|c| c.name.to_string()).collect::<Vec<_>>().join(", ");
    let id = &allocation.intent.id;
    match containers.as_slice() {
        [only] if wanted.is_empty() => Ok(only.name.clone()),
        _ if wanted.is_empty() => Err(Status::invalid_argument(format!(
            "{id} has several containers, name one with -c: {}",
            names()
        ))),
        all => all.iter().find(|c| c.name.as_str() == wanted).map(|c| c.name.clone()).ok_or_else(|| {
            Status::not_found(format!("{id} has no container '{wanted}'; it has: {}", names()))
        }),
    }
}

/// The sending half is held so that the stream stays whole until the caller leaves.
type Ends = Option<(FramedReceiver, FramedSender)>;

async fn next(ends: Ends, node: String) -> Option<(Result<v1::LogsResponse, Status>, Ends)> {
    let (mut receiver, sender) = ends?;
    match receiver.recv(MAX_FRAME_BYTES).await {
        Ok(Some(BulkFrame::Data(data))) => Some((Ok(v1::LogsResponse { data }), Some((receiver, sender)))),
        Ok(Some(BulkFrame::Failed(why))) => Some((Err(Status::failed_precondition(why)), None)),
        Ok(None) => None,
        Err(FrameError::Lost(_)) => {
            let message = format!("the link to node {node} was lost; its log is kept there");
            Some((Err(Status::unavailable(message)), None))
        }
        Err(error) => Some((Err(Status::unavailable(format!("node {node}: {error}"))), None)),
    }
}
