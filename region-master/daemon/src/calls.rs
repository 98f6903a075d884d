//! Calls that come down from the region above: it made sure that its caller may make them.
//!
//! Only what changes nothing is answered: [`METHODS`]. A region's workloads, nodes and operators are its own.

use futures_util::StreamExt;
use prost::Message;
use skerry_api::v1;
use skerry_api::v1::operator_server::Operator;
use skerry_link::{FrameError, FramedSender, IncomingBulk};
use skerry_wire::{BulkHeader, CallRequest};
use tonic::{Request, Response, Status};

use crate::api::{Api, FromAbove, OperatorName};
use crate::below::{send_answer, write_failure};

/// The calls that are answered.
pub(crate) const METHODS: [&str; 13] = [
    "Version",
    "ListWorkloads",
    "ListAllocations",
    "ListEvents",
    "ListNodes",
    "ListSites",
    "ListRegions",
    "ListTenants",
    "Explain",
    "RolloutStatus",
    "RolloutHistory",
    "RolloutPlan",
    "Logs",
];
/// Longest header: a request of the longest kind, and names.
const HEADER_MAX: usize = CallRequest::MESSAGE_MAX + 4 * 1024;

/// Answers them.
#[derive(Clone)]
pub(crate) struct CallServer {
    api: Api,
}

impl CallServer {
    pub(crate) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Answers one. It ends when its caller goes.
    pub(crate) async fn serve(self, incoming: IncomingBulk) {
        let (header, mut stream) = match incoming.header_within::<BulkHeader>(HEADER_MAX).await {
            Ok(read) => read,
            Err(error) => return tracing::info!(%error, "a stream of the region above began with no header"),
        };
        let answered = match header {
            BulkHeader::Call(call) => {
                tracing::debug!(method = call.method, operator = call.user, "a call from above");
                self.answer(call, &mut stream.sender).await
            }
            BulkHeader::Logs(_) => Err(Status::unimplemented("logs are asked for by a call").into()),
        };
        let ended = match answered {
            Ok(()) => stream.sender.finish(),
            Err(Failure::Status(status)) => match stream.sender.send(&write_failure(&status)).await {
                Ok(()) => stream.sender.finish(),
                Err(error) => Err(error),
            },
            Err(Failure::Stream(error)) => Err(error),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a caller above left before its answer");
        }
    }

    async fn answer(&self, call: CallRequest, sender: &mut FramedSender) -> Result<(), Failure> {
        let CallRequest { method, user, message } = call;
        if !METHODS.contains(&method.as_str()) {
            let words = format!("'{method}' is not answered for regions above: ask this region's own master");
            return Err(Status::permission_denied(words).into());
        }
        let asked = Asked { user, message: &message };
        let api = &self.api;
        let answer = match method.as_str() {
            "Version" => whole(api.version(asked.request()?).await?),
            "ListWorkloads" => whole(api.list_workloads(asked.request()?).await?),
            "ListAllocations" => whole(api.list_allocations(asked.request()?).await?),
            "ListEvents" => whole(api.list_events(asked.request()?).await?),
            "ListNodes" => whole(api.list_nodes(asked.request()?).await?),
            "ListSites" => whole(api.list_sites(asked.request()?).await?),
            "ListRegions" => whole(api.list_regions(asked.request()?).await?),
            "ListTenants" => whole(api.list_tenants(asked.request()?).await?),
            "Explain" => whole(api.explain(asked.request()?).await?),
            "RolloutStatus" => whole(api.rollout_status(asked.request()?).await?),
            "RolloutHistory" => whole(api.rollout_history(asked.request()?).await?),
            "RolloutPlan" => whole(api.rollout_plan(asked.request()?).await?),
            _ => return self.logs(asked.request()?, sender).await,
        };
        for message in answer {
            send_answer(sender, &message).await?;
        }
        Ok(())
    }

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
        sender: &mut FramedSender,
    ) -> Result<(), Failure> {
        let mut stream = self.api.log(request).await?;
        while let Some(lines) = stream.next().await {
            send_answer(sender, &lines?.encode_to_vec()).await?;
        }
        Ok(())
    }
}

/// Why a call has no whole answer.
enum Failure {
    /// The caller is told.
    Status(Status),
    /// The caller is gone.
    Stream(FrameError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Stream(error)
    }
}

struct Asked<'a> {
    user: String,
    message: &'a [u8],
}

impl Asked<'_> {
    fn request<T: Message + Default>(&self) -> Result<Request<T>, Status> {
        let message = T::decode(self.message)
            .map_err(|error| Status::invalid_argument(format!("the request is not readable: {error}")))?;
        let mut request = Request::new(message);
        request.extensions_mut().insert(OperatorName(self.user.clone()));
        request.extensions_mut().insert(FromAbove);
        Ok(request)
    }
}

/// An answer, and the names of the regions that it lacks.
fn whole<T: Message>(response: Response<T>) -> [Vec<u8>; 2] {
    let silent = response.metadata().get(skerry_api::NOT_HEARD_FROM);
    let silent = silent.map(|names| names.as_bytes().to_vec()).unwrap_or_default();
    [response.into_inner().encode_to_vec(), silent]
}
