//! The calls, each to where it is answered.

use std::pin::Pin;

use futures_util::Stream;
use skerry_api::v1;
use skerry_api::v1::operator_server::Operator;
use skerry_region_state::LifeCall;
use tonic::{Request, Response, Status};

use super::{Answer, Api};

#[tonic::async_trait]
impl Operator for Api {
    async fn version(&self, _request: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        Ok(Response::new(v1::VersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            region: self.region.to_string(),
            trust_domain: self.ca.domain().to_string(),
        }))
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Answer<v1::ApplyResponse> {
        self.apply_document(request).await
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        self.delete_thing(request).await
    }

    async fn list_workloads(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListWorkloadsResponse> {
        self.workloads(request).await
    }

    async fn list_allocations(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Answer<v1::ListAllocationsResponse> {
        self.allocations(request).await
    }

    async fn list_nodes(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListNodesResponse> {
        self.nodes(request).await
    }

    async fn list_sites(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListSitesResponse> {
        self.sites(request).await
    }

    async fn list_regions(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListRegionsResponse> {
        self.regions(request).await
    }

    async fn list_events(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListEventsResponse> {
        self.events(request).await
    }

    async fn list_tenants(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListTenantsResponse> {
        self.tenants(request).await
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Answer<v1::Explanation> {
        self.why(request).await
    }

    async fn remove_node(&self, request: Request<v1::RemoveNodeRequest>) -> Answer<v1::RemoveNodeResponse> {
        self.take_node_out(request).await
    }

    async fn remove_region(
        &self,
        request: Request<v1::RemoveRegionRequest>,
    ) -> Answer<v1::RemoveRegionResponse> {
        self.take_region_out(request).await
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Answer<v1::CreateTokenResponse> {
        self.make_token(request).await
    }

    async fn list_tokens(&self, request: Request<v1::ListTokensRequest>) -> Answer<v1::ListTokensResponse> {
        self.tokens(request).await
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Answer<v1::RevokeTokenResponse> {
        self.take_token_back(request).await
    }

    async fn rebalance(&self, _request: Request<v1::RebalanceRequest>) -> Answer<v1::RebalanceResponse> {
        self.moves().await
    }

    type LogsStream = Pin<Box<dyn Stream<Item = Result<v1::LogsResponse, Status>> + Send>>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        Ok(Response::new(self.log(request).await?))
    }

    async fn cordon(&self, request: Request<v1::CordonRequest>) -> Answer<v1::CordonResponse> {
        self.set_cordon(request).await
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Answer<v1::DrainResponse> {
        self.begin_drain(request).await
    }

    async fn rollout_status(&self, request: Request<v1::RolloutRequest>) -> Answer<v1::Rollout> {
        self.rollout(request, "", LifeCall::Status).await
    }

    async fn pause_rollout(&self, request: Request<v1::RolloutRequest>) -> Answer<v1::Rollout> {
        self.rollout(request, "paused", LifeCall::Pause).await
    }

    async fn resume_rollout(&self, request: Request<v1::RolloutRequest>) -> Answer<v1::Rollout> {
        self.rollout(request, "resumed", LifeCall::Resume).await
    }

    async fn promote_rollout(&self, request: Request<v1::RolloutRequest>) -> Answer<v1::Rollout> {
        self.rollout(request, "promoted", LifeCall::Promote).await
    }

    async fn undo_rollout(&self, request: Request<v1::UndoRolloutRequest>) -> Answer<v1::Rollout> {
        self.undo(request).await
    }

    async fn rollout_history(
        &self,
        request: Request<v1::RolloutRequest>,
    ) -> Answer<v1::RolloutHistoryResponse> {
        self.history(request).await
    }

    async fn rollout_plan(
        &self,
        request: Request<v1::RolloutPlanRequest>,
    ) -> Answer<v1::RolloutPlanResponse> {
        self.plan(request).await
    }

    async fn scale(&self, request: Request<v1::ScaleRequest>) -> Answer<v1::ScaleResponse> {
        self.set_scale(request).await
    }
}
