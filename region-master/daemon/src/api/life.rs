//! The life of workloads and nodes: rollouts, scale, cordons and drains.

use std::time::Duration;

use skerry_api::v1;
use skerry_region_state::{ApiCall, ApiReply, DrainWhat, LifeCall, LifeReply};
use skerry_types::{Generation, WorkloadKey};
use tonic::{Request, Response, Status};

use super::callers::who;
use super::read::workload_key;
use super::{Answer, Api, invalid, unexpected};
use crate::view;

impl Api {
    pub(super) async fn ask_life(&self, call: LifeCall) -> Result<LifeReply, Status> {
        match self.ask(ApiCall::Life(call)).await? {
            ApiReply::Life(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// A call about one rollout; `word` says in the log what an operator did to it, empty for nothing.
    pub(super) async fn rollout(
        &self,
        request: Request<v1::RolloutRequest>,
        word: &str,
        call: fn(WorkloadKey) -> LifeCall,
    ) -> Answer<v1::Rollout> {
        let operator = who(&request);
        let key = workload_key(&request.get_ref().tenant, &request.get_ref().name)?;
        let LifeReply::Rollout(rollout) = self.ask_life(call(key.clone())).await? else {
            return Err(unexpected());
        };
        if !word.is_empty() {
            tracing::info!(%operator, workload = %key, word, "rollout");
        }
        Ok(Response::new(view::life::rollout(&rollout)))
    }

    pub(super) async fn undo(&self, request: Request<v1::UndoRolloutRequest>) -> Answer<v1::Rollout> {
        let operator = who(&request);
        let v1::UndoRolloutRequest { tenant, name, to_generation } = request.into_inner();
        let key = workload_key(&tenant, &name)?;
        let to = (to_generation > 0).then_some(Generation(to_generation));
        let LifeReply::Rollout(rollout) = self.ask_life(LifeCall::Undo(key.clone(), to)).await? else {
            return Err(unexpected());
        };
        tracing::info!(%operator, workload = %key, generation = rollout.generation.0, "rollout undone");
        Ok(Response::new(view::life::rollout(&rollout)))
    }

    pub(super) async fn history(
        &self,
        request: Request<v1::RolloutRequest>,
    ) -> Answer<v1::RolloutHistoryResponse> {
        let key = workload_key(&request.get_ref().tenant, &request.get_ref().name)?;
        let LifeReply::History(revisions) = self.ask_life(LifeCall::History(key)).await? else {
            return Err(unexpected());
        };
        let revisions = revisions.iter().map(view::life::revision).collect();
        Ok(Response::new(v1::RolloutHistoryResponse { revisions }))
    }

    pub(super) async fn set_scale(&self, request: Request<v1::ScaleRequest>) -> Answer<v1::ScaleResponse> {
        let operator = who(&request);
        let v1::ScaleRequest { tenant, name, instances } = request.into_inner();
        let key = workload_key(&tenant, &name)?;
        let LifeReply::Scaled { generation, before } =
            self.ask_life(LifeCall::Scale(key.clone(), instances)).await?
        else {
            return Err(unexpected());
        };
        tracing::info!(%operator, workload = %key, before, instances, "scale");
        Ok(Response::new(v1::ScaleResponse { generation: generation.0, before }))
    }

    pub(super) async fn set_cordon(&self, request: Request<v1::CordonRequest>) -> Answer<v1::CordonResponse> {
        let operator = who(&request);
        let v1::CordonRequest { node, on } = request.into_inner();
        let call = LifeCall::Cordon { node: node.parse().map_err(invalid)?, on };
        let LifeReply::Cordoned(changed) = self.ask_life(call).await? else { return Err(unexpected()) };
        tracing::info!(%operator, node, on, changed, "cordon");
        Ok(Response::new(v1::CordonResponse { changed }))
    }

    pub(super) async fn begin_drain(&self, request: Request<v1::DrainRequest>) -> Answer<v1::DrainResponse> {
        let operator = who(&request);
        let v1::DrainRequest { node, site, deadline_ms, force } = request.into_inner();
        let what = match (node.is_empty(), site.is_empty()) {
            (false, true) => DrainWhat::Node(node.parse().map_err(invalid)?),
            (true, false) => DrainWhat::Site(site.parse().map_err(invalid)?),
            _ => return Err(Status::invalid_argument("name either a node or a site to drain")),
        };
        let deadline = (deadline_ms > 0).then(|| Duration::from_millis(deadline_ms));
        let LifeReply::Draining { nodes, allocations } =
            self.ask_life(LifeCall::Drain { what, deadline, force }).await?
        else {
            return Err(unexpected());
        };
        tracing::info!(%operator, node, site, deadline_ms, force, allocations, "drain");
        let nodes = nodes.iter().map(ToString::to_string).collect();
        Ok(Response::new(v1::DrainResponse { nodes, allocations }))
    }
}
