//! The operator API: reads requests, asks the brain, shows answers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use skerry_api::v1;
use skerry_api::v1::operator_server::Operator;
use skerry_link::{JoinToken, RootHash};
use skerry_region_state::{ApiCall, ApiError, ApiReply, AppliedHow, Filter, NewToken, SecretHash, TokenScope};
use skerry_registry::Registry;
use skerry_types::{RegionName, WallTime, WorkloadKey};
use tonic::{Request, Response, Status};

use crate::brain::BrainHandle;
use crate::links::LinkTable;
use crate::tls_listener::Caller;
use crate::{clock, images, logs, view};

/// Longest wait of a list for a change: below the idle time-outs of proxies on the way.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest life of a join token.
const TOKEN_LIFE_MAX: Duration = Duration::from_hours(2160);

/// The service.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) brain: BrainHandle,
    pub(crate) links: LinkTable,
    pub(crate) registry: Arc<Registry>,
    pub(crate) region: RegionName,
    pub(crate) domain: String,
    pub(crate) root: RootHash,
    pub(crate) link_addresses: Vec<String>,
}

/// Lets only operators in.
pub(crate) fn only_operators(mut request: Request<()>) -> Result<Request<()>, Status> {
    let caller = request.extensions().get::<Caller>();
    let name = match caller {
        Some(caller) => caller.operator(clock::wall()).map_err(Status::permission_denied)?,
        None => return Err(Status::unauthenticated("the connection has no certificate")),
    };
    tracing::debug!(operator = %name, "a call");
    request.extensions_mut().insert(OperatorName(name));
    Ok(request)
}

/// The operator who calls.
#[derive(Debug, Clone)]
struct OperatorName(String);

fn who<T>(request: &Request<T>) -> String {
    request.extensions().get::<OperatorName>().map(|name| name.0.clone()).unwrap_or_default()
}

impl Api {
    async fn ask(&self, call: ApiCall) -> Result<ApiReply, Status> {
        let answer = self.brain.call(call).await.map_err(|error| Status::unavailable(error.to_string()))?;
        answer.map_err(|error| status(&error))
    }

    /// Waits until something changed since the caller last looked.
    async fn wait(&self, request: &v1::ListRequest) {
        if request.after_change == 0 || request.wait_ms == 0 {
            return;
        }
        let mut change = self.brain.change();
        let wait = Duration::from_millis(request.wait_ms.into()).min(WAIT_MAX);
        let seen = request.after_change;
        // After a restart of the master the numbers begin anew: anything but the number last seen is a change.
        let changed = tokio::time::timeout(wait, change.wait_for(|now| *now != seen)).await;
        tracing::trace!(in_time = changed.is_ok(), "a list waited for a change");
    }

    async fn list(&self, request: v1::ListRequest, call: fn(Filter) -> ApiCall) -> Result<ApiReply, Status> {
        let filter = filter(&request)?;
        self.wait(&request).await;
        self.ask(call(filter)).await
    }
}

fn status(error: &ApiError) -> Status {
    let message = error.to_string();
    match error {
        ApiError::NotFound { .. } => Status::not_found(message),
        ApiError::Deleting { .. }
        | ApiError::NodeConnected { .. }
        | ApiError::RegionConnected { .. }
        | ApiError::OwnedElsewhere { .. }
        | ApiError::TenantUnknown { .. }
        | ApiError::TenantsElsewhere { .. } => Status::failed_precondition(message),
        ApiError::Full { .. } | ApiError::Quota { .. } => Status::resource_exhausted(message),
        ApiError::PageToken { .. } | ApiError::BadTenant { .. } => Status::invalid_argument(message),
    }
}

fn invalid(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

fn unexpected() -> Status {
    Status::internal("the brain answered another question")
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn filter(request: &v1::ListRequest) -> Result<Filter, Status> {
    Ok(Filter {
        tenant: some(&request.tenant).map(|tenant| tenant.parse()).transpose().map_err(invalid)?,
        name: some(&request.name),
        workload: some(&request.workload),
        selector: request.selector.parse().map_err(invalid)?,
        limit: usize::try_from(request.page_size).map_err(invalid)?,
        after: some(&request.page_token),
        below: request.below,
    })
}

fn workload_key(tenant: &str, name: &str) -> Result<WorkloadKey, Status> {
    let tenant = if tenant.is_empty() { "default" } else { tenant };
    Ok(WorkloadKey { tenant: tenant.parse().map_err(invalid)?, name: name.parse().map_err(invalid)? })
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Operator for Api {
    async fn version(&self, _request: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        Ok(Response::new(v1::VersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            region: self.region.to_string(),
            trust_domain: self.domain.clone(),
        }))
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Answer<v1::ApplyResponse> {
        let operator = who(&request);
        let v1::ApplyRequest { manifest, dry_run } = request.into_inner();
        let documents = skerry_manifest::parse(&manifest).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Status::invalid_argument(lines.join("\n"))
        })?;
        let mut documents = documents.into_iter();
        let (Some(document), None) = (documents.next(), documents.next()) else {
            return Err(Status::invalid_argument("one document at a time: send each in a call of its own"));
        };
        let mut spec = document.spec;
        images::resolve(&self.registry, &mut spec).await?;
        let key = spec.key.clone();
        let reply = self.ask(ApiCall::Apply { spec: Arc::new(spec), dry_run }).await?;
        let ApiReply::Applied(applied) = reply else { return Err(unexpected()) };
        tracing::info!(%operator, workload = %key, generation = applied.generation.0, how = ?applied.how, dry_run, "apply");
        let outcome = match applied.how {
            AppliedHow::Unchanged => v1::apply_response::Outcome::Unchanged,
            AppliedHow::Created => v1::apply_response::Outcome::Created,
            AppliedHow::Changed => v1::apply_response::Outcome::Changed,
        };
        Ok(Response::new(v1::ApplyResponse {
            tenant: key.tenant.to_string(),
            name: key.name.to_string(),
            generation: applied.generation.0,
            outcome: outcome.into(),
            kind: "workload".to_owned(),
        }))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        let operator = who(&request);
        let key = workload_key(&request.get_ref().tenant, &request.get_ref().name)?;
        let ApiReply::Removed(stopping) = self.ask(ApiCall::Delete(key.clone())).await? else {
            return Err(unexpected());
        };
        tracing::info!(%operator, workload = %key, stopping, "delete");
        Ok(Response::new(v1::DeleteResponse { stopping }))
    }

    async fn list_workloads(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListWorkloadsResponse> {
        let reply = self.list(request.into_inner(), ApiCall::Workloads).await?;
        let ApiReply::Workloads(page) = reply else { return Err(unexpected()) };
        Ok(Response::new(v1::ListWorkloadsResponse {
            workloads: page.items.iter().map(view::workload).collect(),
            next_page_token: page.next.unwrap_or_default(),
            change: page.change,
        }))
    }

    async fn list_allocations(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Answer<v1::ListAllocationsResponse> {
        let reply = self.list(request.into_inner(), ApiCall::Allocations).await?;
        let ApiReply::Allocations(page) = reply else { return Err(unexpected()) };
        Ok(Response::new(v1::ListAllocationsResponse {
            allocations: page.items.iter().map(view::allocation).collect(),
            next_page_token: page.next.unwrap_or_default(),
            change: page.change,
        }))
    }

    async fn list_nodes(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListNodesResponse> {
        let reply = self.list(request.into_inner(), ApiCall::Nodes).await?;
        let ApiReply::Nodes(page) = reply else { return Err(unexpected()) };
        Ok(Response::new(v1::ListNodesResponse {
            nodes: page.items.iter().map(view::node).collect(),
            next_page_token: page.next.unwrap_or_default(),
            change: page.change,
        }))
    }

    async fn list_sites(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListSitesResponse> {
        let reply = self.list(request.into_inner(), ApiCall::Sites).await?;
        let ApiReply::Sites(page) = reply else { return Err(unexpected()) };
        Ok(Response::new(v1::ListSitesResponse {
            sites: page.items.iter().map(view::site).collect(),
            next_page_token: page.next.unwrap_or_default(),
            change: page.change,
        }))
    }

    async fn list_regions(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListRegionsResponse> {
        let reply = self.list(request.into_inner(), ApiCall::Regions).await?;
        let ApiReply::Regions(page) = reply else { return Err(unexpected()) };
        Ok(Response::new(v1::ListRegionsResponse {
            regions: page.items.iter().map(view::region).collect(),
            next_page_token: page.next.unwrap_or_default(),
            change: page.change,
        }))
    }

    async fn list_events(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListEventsResponse> {
        let reply = self.list(request.into_inner(), ApiCall::Events).await?;
        let ApiReply::Events(page) = reply else { return Err(unexpected()) };
        Ok(Response::new(v1::ListEventsResponse {
            events: page.items.into_iter().map(view::event).collect(),
            next_page_token: page.next.unwrap_or_default(),
            change: page.change,
        }))
    }

    async fn remove_node(&self, request: Request<v1::RemoveNodeRequest>) -> Answer<v1::RemoveNodeResponse> {
        let operator = who(&request);
        let node = request.get_ref().name.parse().map_err(invalid)?;
        tracing::info!(%operator, %node, "remove node");
        let ApiReply::Removed(allocations) = self.ask(ApiCall::RemoveNode(node)).await? else {
            return Err(unexpected());
        };
        Ok(Response::new(v1::RemoveNodeResponse { allocations }))
    }

    type LogsStream = Pin<Box<dyn Stream<Item = Result<v1::LogsResponse, Status>> + Send>>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        let request = request.into_inner();
        let filter = Filter { name: Some(request.allocation.clone()), ..Filter::default() };
        let ApiReply::Allocations(page) = self.ask(ApiCall::Allocations(filter)).await? else {
            return Err(unexpected());
        };
        let stream = logs::open(&self.links, page.items.first(), &request).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Answer<v1::CreateTokenResponse> {
        let operator = who(&request);
        let v1::CreateTokenRequest { site, ttl_ms, uses, .. } = request.into_inner();
        let site: skerry_types::SiteName = site.parse().map_err(invalid)?;
        let life = Duration::from_millis(ttl_ms);
        if life.is_zero() || life > TOKEN_LIFE_MAX {
            return Err(Status::invalid_argument("a token's time to live must be between 1 ms and 90 days"));
        }
        if uses == 0 {
            return Err(Status::invalid_argument("a token must have at least one use"));
        }
        let token = JoinToken::generate(self.root, self.link_addresses.clone()).map_err(invalid)?;
        let id: skerry_region_state::TokenId = token.id.to_string().parse().map_err(invalid)?;
        let expires = WallTime(clock::wall().0.saturating_add(ttl_ms));
        let secret = SecretHash(token.secret.hash());
        let scope = TokenScope::Site(site.clone());
        let new = NewToken { id: id.clone(), secret, scope, expires, uses };
        self.ask(ApiCall::CreateToken(new)).await?;
        tracing::info!(%operator, token = %id, %site, uses, "token created");
        let answer =
            v1::CreateTokenResponse { id: id.to_string(), token: token.to_text(), expires_at_ms: expires.0 };
        Ok(Response::new(answer))
    }

    async fn list_tokens(&self, _request: Request<v1::ListTokensRequest>) -> Answer<v1::ListTokensResponse> {
        let ApiReply::Tokens(tokens) = self.ask(ApiCall::Tokens).await? else { return Err(unexpected()) };
        Ok(Response::new(v1::ListTokensResponse { tokens: tokens.into_iter().map(view::token).collect() }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Answer<v1::RevokeTokenResponse> {
        let operator = who(&request);
        let id: skerry_region_state::TokenId = request.get_ref().id.parse().map_err(invalid)?;
        self.ask(ApiCall::RevokeToken(id.clone())).await?;
        tracing::info!(%operator, token = %id, "token revoked");
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }

    async fn list_tenants(&self, _request: Request<v1::ListRequest>) -> Answer<v1::ListTenantsResponse> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn explain(&self, _request: Request<v1::ExplainRequest>) -> Answer<v1::Explanation> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn rebalance(&self, _request: Request<v1::RebalanceRequest>) -> Answer<v1::RebalanceResponse> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn remove_region(&self, _request: Request<v1::RemoveRegionRequest>) -> Answer<v1::RemoveRegionResponse> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn cordon(&self, _request: Request<v1::CordonRequest>) -> Answer<v1::CordonResponse> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn drain(&self, _request: Request<v1::DrainRequest>) -> Answer<v1::DrainResponse> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn rollout_status(&self, _request: Request<v1::RolloutRequest>) -> Answer<v1::Rollout> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn pause_rollout(&self, _request: Request<v1::RolloutRequest>) -> Answer<v1::Rollout> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn resume_rollout(&self, _request: Request<v1::RolloutRequest>) -> Answer<v1::Rollout> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn promote_rollout(&self, _request: Request<v1::RolloutRequest>) -> Answer<v1::Rollout> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn undo_rollout(&self, _request: Request<v1::UndoRolloutRequest>) -> Answer<v1::Rollout> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn rollout_history(&self, _request: Request<v1::RolloutRequest>) -> Answer<v1::RolloutHistoryResponse> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn rollout_plan(&self, _request: Request<v1::RolloutPlanRequest>) -> Answer<v1::RolloutPlanResponse> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }

    async fn scale(&self, _request: Request<v1::ScaleRequest>) -> Answer<v1::ScaleResponse> {
        Err(Status::unimplemented("this master cannot do that yet"))
    }
}
