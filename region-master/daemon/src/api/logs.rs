//! A container's log, from its node to the caller, through as many regions as lie between.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use prost::Message;
use skerry_api::v1;
use skerry_link::{FrameError, FramedReceiver, FramedSender, MAX_FRAME_BYTES};
use skerry_region_state::{AllocationView, ApiCall, ApiReply, Filter};
use skerry_types::{ContainerName, RegionName, WallTime};
use skerry_wire::{BulkFrame, BulkHeader, LogsRequest};
use tonic::{Request, Status};

use super::callers::who;
use super::{Api, invalid, unexpected};
use crate::below::{self, Answers};
use crate::links::LinkTable;

/// What a caller gets.
pub(super) type LogStream = Pin<Box<dyn Stream<Item = Result<v1::LogsResponse, Status>> + Send>>;

impl Api {
    /// Opens a log: on its node, or at the region that is next on the way to it.
    pub(crate) async fn log(&self, request: Request<v1::LogsRequest>) -> Result<LogStream, Status> {
        let user = who(&request);
        let request = request.into_inner();
        if !request.region.is_empty() && request.region != self.region.as_str() {
            let next = self.next_towards(request.region.parse().map_err(invalid)?).await?;
            let answers = below::open(&self.links, &next, "Logs", &user, &request).await?;
            return Ok(Box::pin(unfold(Some(answers), passed_on)));
        }
        let filter = Filter { name: Some(request.allocation.clone()), ..Filter::default() };
        let ApiReply::Allocations(page) = self.ask(ApiCall::Allocations(filter)).await? else {
            return Err(unexpected());
        };
        Ok(Box::pin(open(&self.links, page.items.first(), &request).await?))
    }

    /// The region right below this one that is or leads to another.
    async fn next_towards(&self, region: RegionName) -> Result<RegionName, Status> {
        let filter = Filter { name: Some(region.to_string()), below: true, ..Filter::default() };
        let ApiReply::Regions(page) = self.ask(ApiCall::Regions(filter)).await? else {
            return Err(unexpected());
        };
        let found = page.items.into_iter().find(|view| view.name == region);
        let view = found.ok_or_else(|| {
            Status::not_found(format!("there is no region '{region}' below '{}'", self.region))
        })?;
        Ok(view.path.first().cloned().unwrap_or(region))
    }
}

async fn passed_on(answers: Option<Answers>) -> Option<(Result<v1::LogsResponse, Status>, Option<Answers>)> {
    let mut answers = answers?;
    match answers.next().await {
        Ok(Some(message)) => match v1::LogsResponse::decode(message.as_slice()) {
            Ok(lines) => Some((Ok(lines), Some(answers))),
            Err(error) => Some((Err(Status::internal(error.to_string())), None)),
        },
        Ok(None) => None,
        Err(error) => Some((Err(error), None)),
    }
}

/// Opens the log on the allocation's node.
async fn open(
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
    let connection = links.node(node).ok_or_else(unreachable)?;
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
