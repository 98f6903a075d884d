//! A master that answers from what a test puts into it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use skerry_api::v1;
use skerry_api::v1::operator_server::{Operator, OperatorServer};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, iter};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// A CA and what it signed.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn sign(&self, name: &str) -> Pair {
        self.sign_until(name, 2100)
    }

    /// A certificate that ends with the beginning of a year.
    pub(crate) fn sign_until(&self, name: &str, year: i32) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// What the master has and how it behaves.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) workloads: Vec<v1::Workload>,
    pub(crate) allocations: Vec<v1::Allocation>,
    pub(crate) nodes: Vec<v1::Node>,
    pub(crate) events: Vec<v1::Event>,
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
        script.applied.push(request.manifest);
        Ok(Response::new(v1::ApplyResponse {
            generation: 1,
            outcome: v1::apply_response::Outcome::Created.into(),
            ..v1::ApplyResponse::default()
        }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        self.admit().await?;
        let name = request.into_inner().name;
        let mut script = self.lock();
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
        Ok(Response::new(v1::ListAllocationsResponse { allocations, next_page_token, change }))
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
        let (sites, next_page_token, change) = self.page(request, |_, _| Vec::new()).await?;
        Ok(Response::new(v1::ListSitesResponse { sites, next_page_token, change }))
    }

    async fn list_regions(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListRegionsResponse>, Status> {
        let (regions, next_page_token, change) = self.page(request, |_, _| Vec::new()).await?;
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
        _: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        self.admit().await?;
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
        _: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Result<Response<v1::Explanation>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn rebalance(
        &self,
        _: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::RebalanceResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn remove_region(
        &self,
        _: Request<v1::RemoveRegionRequest>,
    ) -> Result<Response<v1::RemoveRegionResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn cordon(&self, _: Request<v1::CordonRequest>) -> Result<Response<v1::CordonResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn drain(&self, _: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn rollout_status(&self, _: Request<v1::RolloutRequest>) -> Result<Response<v1::Rollout>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn pause_rollout(&self, _: Request<v1::RolloutRequest>) -> Result<Response<v1::Rollout>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn resume_rollout(&self, _: Request<v1::RolloutRequest>) -> Result<Response<v1::Rollout>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn promote_rollout(&self, _: Request<v1::RolloutRequest>) -> Result<Response<v1::Rollout>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn undo_rollout(
        &self,
        _: Request<v1::UndoRolloutRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn rollout_history(
        &self,
        _: Request<v1::RolloutRequest>,
    ) -> Result<Response<v1::RolloutHistoryResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn rollout_plan(
        &self,
        _: Request<v1::RolloutPlanRequest>,
    ) -> Result<Response<v1::RolloutPlanResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn scale(&self, _: Request<v1::ScaleRequest>) -> Result<Response<v1::ScaleResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
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
