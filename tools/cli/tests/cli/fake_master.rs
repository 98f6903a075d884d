//! A master that answers from what a test puts into it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use skerry_api::v1;
use skerry_api::v1::explain_request::What;
use skerry_api::v1::operator_server::{Operator, OperatorServer};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, iter};
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::authority::{Authority, Pair};

/// What the master has and how it behaves.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) workloads: Vec<v1::Workload>,
    pub(crate) allocations: Vec<v1::Allocation>,
    pub(crate) nodes: Vec<v1::Node>,
    pub(crate) events: Vec<v1::Event>,
    pub(crate) sites: Vec<v1::Site>,
    pub(crate) regions: Vec<v1::Region>,
    pub(crate) tenants: Vec<v1::Tenant>,
    /// What `explain` answers.
    pub(crate) explanation: v1::Explanation,
    pub(crate) moves: v1::RebalanceResponse,
    /// What every call about an update answers.
    pub(crate) rollout: v1::Rollout,
    pub(crate) revisions: Vec<v1::Revision>,
    pub(crate) plan: v1::RolloutPlanResponse,
    /// Regions that lists of allocations lack.
    pub(crate) not_heard_from: &'static str,
    /// Calls that change something, as `METHOD ARGUMENTS`.
    pub(crate) asked: Vec<String>,
    /// Items in a page, when not 0.
    pub(crate) page: usize,
    /// Pages that were asked for.
    pub(crate) pages_served: usize,
    /// Manifests that were applied.
    pub(crate) applied: Vec<String>,
    /// Workloads that are refused.
    pub(crate) refuse: Option<(&'static str, Status)>,
    /// Every call is refused.
    pub(crate) refuse_all: Option<Status>,
    /// No call is answered.
    pub(crate) silent: bool,
    /// What `logs` gives, by allocation.
    pub(crate) logs: Vec<(&'static str, Vec<String>)>,
    /// What `logs` was asked.
    pub(crate) log_requests: Vec<v1::LogsRequest>,
}

#[derive(Clone)]
struct Shared {
    script: Arc<Mutex<Script>>,
    change: Arc<watch::Sender<u64>>,
}

/// A running master. It ends with the value.
pub(crate) struct FakeMaster {
    shared: Shared,
    pub(crate) address: SocketAddr,
    _runtime: Runtime,
}

impl FakeMaster {
    /// Starts with a certificate, taking clients whose certificates `clients` signed.
    pub(crate) fn start(script: Script, pair: &Pair, clients: &Authority) -> Self {
        let shared = Shared { script: Arc::new(Mutex::new(script)), change: Arc::new(watch::Sender::new(1)) };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&pair.cert, &pair.key))
            .client_ca_root(Certificate::from_pem(clients.pem()));
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(OperatorServer::new(shared.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        Self { shared, address, _runtime: runtime }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }

    /// Changes what it has, so that those who wait hear of it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script());
        self.shared.change.send_modify(|number| *number += 1);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    async fn admit(&self) -> Result<(), Status> {
        let (refusal, silent) = {
            let script = self.lock();
            (script.refuse_all.clone(), script.silent)
        };
        if silent {
            std::future::pending::<()>().await;
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Waits as a list does, then gives one page of what `pick` finds.
    async fn page<T: Clone>(
        &self,
        request: Request<v1::ListRequest>,
        pick: impl Fn(&Script, &v1::ListRequest) -> Vec<T>,
    ) -> Result<(Vec<T>, String, u64), Status> {
        self.admit().await?;
        let request = request.into_inner();
        let mut change = self.change.subscribe();
        if request.after_change > 0 {
            let hold = Duration::from_millis(u64::from(request.wait_ms));
            let newer = change.wait_for(|number| *number > request.after_change);
            drop(tokio::time::timeout(hold, newer).await);
        }
        let number = *self.change.borrow();
        let mut script = self.lock();
        script.pages_served += 1;
        let all = pick(&script, &request);
        let size = if script.page == 0 { all.len().max(1) } else { script.page };
        let start: usize = request.page_token.parse().unwrap_or(0);
        let end = (start + size).min(all.len());
        let next = if end < all.len() { end.to_string() } else { String::new() };
        Ok((all[start..end].to_vec(), next, number))
    }

    /// Keeps what was asked, and answers from the script.
    async fn answer<T>(&self, asked: String, pick: impl FnOnce(&Script) -> T) -> Result<Response<T>, Status> {
        self.admit().await?;
        let mut script = self.lock();
        script.asked.push(asked);
        Ok(Response::new(pick(&script)))
    }

    async fn steer(
        &self,
        how: &str,
        request: Request<v1::RolloutRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        let v1::RolloutRequest { tenant, name } = request.into_inner();
        self.answer(format!("{how} {tenant}/{name}"), |script| script.rollout.clone()).await
    }
}

fn fits(wanted: &str, value: &str) -> bool {
    wanted.is_empty() || wanted == value
}

#[tonic::async_trait]
impl Operator for Shared {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Result<Response<v1::VersionResponse>, Status> {
        self.admit().await?;
        Ok(Response::new(v1::VersionResponse {
            version: "9.9.9".to_owned(),
            region: "north".to_owned(),
            trust_domain: "skerry.example".to_owned(),
        }))
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyResponse>, Status> {
        self.admit().await?;
        let request = request.into_inner();
        let mut script = self.lock();
        if let Some((name, status)) = &script.refuse
            && request.manifest.contains(&format!("\"name\":\"{name}\""))
        {
            return Err(status.clone());
        }
        let generation = u64::from(request.manifest.contains("\"kind\":\"Workload\""));
        if !request.dry_run {
            script.applied.push(request.manifest);
        }
        Ok(Response::new(v1::ApplyResponse {
            generation,
            outcome: v1::apply_response::Outcome::Created.into(),
            ..v1::ApplyResponse::default()
        }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        self.admit().await?;
        let v1::DeleteRequest { kind, name, .. } = request.into_inner();
        let mut script = self.lock();
        if kind != "workload" {
            script.asked.push(format!("delete {kind}/{name}"));
            return Ok(Response::new(v1::DeleteResponse { stopping: 0 }));
        }
        let found = script.workloads.iter_mut().find(|one| one.name == name);
        let found = found.ok_or_else(|| Status::not_found(format!("there is no workload '{name}'")))?;
        found.deleting = true;
        Ok(Response::new(v1::DeleteResponse { stopping: 2 }))
    }

    async fn list_workloads(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListWorkloadsResponse>, Status> {
        let pick = |script: &Script, request: &v1::ListRequest| {
            let all = script.workloads.iter();
            all.filter(|one| fits(&request.name, &one.name) && fits(&request.tenant, &one.tenant))
                .cloned()
                .collect()
        };
        let (workloads, next_page_token, change) = self.page(request, pick).await?;
        Ok(Response::new(v1::ListWorkloadsResponse { workloads, next_page_token, change }))
    }

    async fn list_allocations(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListAllocationsResponse>, Status> {
        let pick = |script: &Script, request: &v1::ListRequest| {
            let all = script.allocations.iter();
            all.filter(|one| fits(&request.name, &one.id) && fits(&request.workload, &one.workload))
                .cloned()
                .collect()
        };
        let (allocations, next_page_token, change) = self.page(request, pick).await?;
        let mut answer = Response::new(v1::ListAllocationsResponse { allocations, next_page_token, change });
        let names = self.lock().not_heard_from;
        if !names.is_empty() {
            answer.metadata_mut().insert(skerry_api::NOT_HEARD_FROM, MetadataValue::from_static(names));
        }
        Ok(answer)
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let pick = |script: &Script, request: &v1::ListRequest| {
            script.nodes.iter().filter(|one| fits(&request.name, &one.name)).cloned().collect()
        };
        let (nodes, next_page_token, change) = self.page(request, pick).await?;
        Ok(Response::new(v1::ListNodesResponse { nodes, next_page_token, change }))
    }

    async fn list_sites(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListSitesResponse>, Status> {
        let pick = |script: &Script, request: &v1::ListRequest| {
            let below = request.below;
            let all = script.sites.iter().filter(|one| below || one.region == "north");
            all.filter(|one| fits(&request.name, &one.name)).cloned().collect()
        };
        let (sites, next_page_token, change) = self.page(request, pick).await?;
        Ok(Response::new(v1::ListSitesResponse { sites, next_page_token, change }))
    }

    async fn list_regions(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListRegionsResponse>, Status> {
        let pick = |script: &Script, request: &v1::ListRequest| {
            let below = request.below;
            let all = script.regions.iter().filter(|one| below || one.name == "north");
            all.filter(|one| fits(&request.name, &one.name)).cloned().collect()
        };
        let (regions, next_page_token, change) = self.page(request, pick).await?;
        Ok(Response::new(v1::ListRegionsResponse { regions, next_page_token, change }))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let (events, next_page_token, change) = self.page(request, |script, _| script.events.clone()).await?;
        Ok(Response::new(v1::ListEventsResponse { events, next_page_token, change }))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        self.admit().await?;
        let name = request.into_inner().name;
        self.lock().nodes.retain(|one| one.name != name);
        Ok(Response::new(v1::RemoveNodeResponse { allocations: 3 }))
    }

    type LogsStream = Pin<Box<dyn Stream<Item = Result<v1::LogsResponse, Status>> + Send>>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        self.admit().await?;
        let request = request.into_inner();
        let mut script = self.lock();
        let pieces =
            script.logs.iter().find(|(id, _)| *id == request.allocation).map(|(_, pieces)| pieces.clone());
        script.log_requests.push(request);
        let pieces = pieces.ok_or_else(|| Status::unavailable("node 'n1' is not heard from"))?;
        let stream = iter(pieces).map_ok();
        Ok(Response::new(Box::pin(stream)))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        self.admit().await?;
        let v1::CreateTokenRequest { site, region, .. } = request.into_inner();
        let region = region.map(|scope| scope.name);
        self.lock().asked.push(format!("create_token site={site} region={region:?}"));
        Ok(Response::new(v1::CreateTokenResponse {
            id: "t1".to_owned(),
            token: "skerry-secret".to_owned(),
            expires_at_ms: 4_000_000_000_000,
        }))
    }

    async fn list_tokens(
        &self,
        _: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        self.admit().await?;
        Ok(Response::new(v1::ListTokensResponse { tokens: Vec::new() }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let id = request.into_inner().id;
        Err(Status::not_found(format!("there is no token '{id}'")))
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        let pick = |script: &Script, request: &v1::ListRequest| {
            script.tenants.iter().filter(|one| fits(&request.name, &one.name)).cloned().collect()
        };
        let (tenants, next_page_token, change) = self.page(request, pick).await?;
        Ok(Response::new(v1::ListTenantsResponse { tenants, next_page_token, change }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::Explanation>, Status> {
        let what = match request.into_inner().what {
            Some(What::Workload(key)) => format!("{}/{}", key.tenant, key.name),
            Some(What::Manifest(text)) => text,
            None => return Err(Status::invalid_argument("nothing was asked")),
        };
        self.answer(format!("explain {what}"), |script| script.explanation.clone()).await
    }

    async fn rebalance(
        &self,
        _: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::RebalanceResponse>, Status> {
        self.answer("rebalance".to_owned(), |script| script.moves.clone()).await
    }

    async fn remove_region(
        &self,
        request: Request<v1::RemoveRegionRequest>,
    ) -> Result<Response<v1::RemoveRegionResponse>, Status> {
        let asked = format!("remove_region {}", request.into_inner().name);
        self.answer(asked, |_| v1::RemoveRegionResponse { instances: 7 }).await
    }

    async fn cordon(
        &self,
        request: Request<v1::CordonRequest>,
    ) -> Result<Response<v1::CordonResponse>, Status> {
        let v1::CordonRequest { node, on } = request.into_inner();
        self.answer(format!("cordon {node} {on}"), |_| v1::CordonResponse { changed: true }).await
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let v1::DrainRequest { node, site, deadline_ms, force } = request.into_inner();
        let nodes = if node.is_empty() { vec!["n1".to_owned(), "n2".to_owned()] } else { vec![node.clone()] };
        let asked = format!("drain node={node} site={site} deadline={deadline_ms} force={force}");
        self.answer(asked, |_| v1::DrainResponse { nodes, allocations: 3 }).await
    }

    async fn rollout_status(&self, _: Request<v1::RolloutRequest>) -> Result<Response<v1::Rollout>, Status> {
        self.admit().await?;
        Ok(Response::new(self.lock().rollout.clone()))
    }

    async fn pause_rollout(
        &self,
        request: Request<v1::RolloutRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        self.steer("pause", request).await
    }

    async fn resume_rollout(
        &self,
        request: Request<v1::RolloutRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        self.steer("resume", request).await
    }

    async fn promote_rollout(
        &self,
        request: Request<v1::RolloutRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        self.steer("promote", request).await
    }

    async fn undo_rollout(
        &self,
        request: Request<v1::UndoRolloutRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        let v1::UndoRolloutRequest { tenant, name, to_generation } = request.into_inner();
        let asked = format!("undo {tenant}/{name} to={to_generation}");
        self.answer(asked, |script| script.rollout.clone()).await
    }

    async fn rollout_history(
        &self,
        _: Request<v1::RolloutRequest>,
    ) -> Result<Response<v1::RolloutHistoryResponse>, Status> {
        self.admit().await?;
        let revisions = self.lock().revisions.clone();
        Ok(Response::new(v1::RolloutHistoryResponse { revisions }))
    }

    async fn rollout_plan(
        &self,
        request: Request<v1::RolloutPlanRequest>,
    ) -> Result<Response<v1::RolloutPlanResponse>, Status> {
        let asked = format!("plan {}", request.into_inner().manifest);
        self.answer(asked, |script| script.plan.clone()).await
    }

    async fn scale(&self, request: Request<v1::ScaleRequest>) -> Result<Response<v1::ScaleResponse>, Status> {
        let v1::ScaleRequest { tenant, name, instances } = request.into_inner();
        let asked = format!("scale {tenant}/{name} {instances}");
        self.answer(asked, |_| v1::ScaleResponse { generation: 5, before: 2 }).await
    }
}

trait MapOk {
    fn map_ok(self) -> impl Stream<Item = Result<v1::LogsResponse, Status>> + Send;
}

impl<S: Stream<Item = String> + Send> MapOk for S {
    fn map_ok(self) -> impl Stream<Item = Result<v1::LogsResponse, Status>> + Send {
        tokio_stream::StreamExt::map(self, |piece| Ok(v1::LogsResponse { data: piece.into_bytes() }))
    }
}
