//! Nodes and regions that are gone, and why things are where they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::iter;
use skerry_api::v1;
use skerry_manifest::Document;
use skerry_region_state::{ApiCall, ApiReply, ExplainWhat};
use skerry_types::{Explanation, RegionName, Target, WorkloadKey};
use tonic::{Request, Response, Status};

use super::apply::one_document;
use super::callers::who;
use super::read::workload_key;
use super::{Answer, Api, invalid, unexpected};
use crate::below::{self, CALLS_AT_ONCE};

impl Api {
    pub(super) async fn take_node_out(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Answer<v1::RemoveNodeResponse> {
        let operator = who(&request);
        let node = request.get_ref().name.parse().map_err(invalid)?;
        tracing::info!(%operator, %node, "remove node");
        let ApiReply::Removed(allocations) = self.ask(ApiCall::RemoveNode(node)).await? else {
            return Err(unexpected());
        };
        Ok(Response::new(v1::RemoveNodeResponse { allocations }))
    }

    pub(super) async fn take_region_out(
        &self,
        request: Request<v1::RemoveRegionRequest>,
    ) -> Answer<v1::RemoveRegionResponse> {
        let operator = who(&request);
        let region = request.get_ref().name.parse().map_err(invalid)?;
        tracing::info!(%operator, %region, "remove region");
        let ApiReply::Removed(instances) = self.ask(ApiCall::RemoveRegion(region)).await? else {
            return Err(unexpected());
        };
        Ok(Response::new(v1::RemoveRegionResponse { instances }))
    }

    pub(super) async fn why(&self, request: Request<v1::ExplainRequest>) -> Answer<v1::Explanation> {
        let user = who(&request);
        match request.into_inner().what {
            Some(v1::explain_request::What::Workload(v1::WorkloadName { tenant, name })) => {
                self.why_workload(&user, workload_key(&tenant, &name)?).await
            }
            Some(v1::explain_request::What::Manifest(manifest)) => self.why_manifest(&manifest).await,
            None => Err(Status::invalid_argument("name a workload, or send a manifest")),
        }
    }

    /// Regions that instances go to are asked in turn.
    async fn why_workload(&self, user: &str, key: WorkloadKey) -> Answer<v1::Explanation> {
        let call = ApiCall::Explain(ExplainWhat::Workload(key.clone()));
        let ApiReply::Explanation(why) = self.ask(call).await? else { return Err(unexpected()) };
        let regions = regions_of(&why);
        let mut answer = skerry_api::explanation(&self.region, &key, &why);
        let asked = iter(regions).map(|region| self.why_below(user, &key, region));
        answer.below = asked.buffered(CALLS_AT_ONCE).collect().await;
        Ok(Response::new(answer))
    }

    async fn why_below(&self, user: &str, key: &WorkloadKey, region: RegionName) -> v1::Explanation {
        let name = v1::WorkloadName { tenant: key.tenant.to_string(), name: key.name.to_string() };
        let request = v1::ExplainRequest { what: Some(v1::explain_request::What::Workload(name)) };
        match below::ask(&self.links, &region, "Explain", user, &request).await {
            Ok((answer, _)) => answer,
            Err(why) => v1::Explanation {
                region: region.to_string(),
                tenant: key.tenant.to_string(),
                name: key.name.to_string(),
                unknown: why.message().to_owned(),
                ..v1::Explanation::default()
            },
        }
    }

    async fn why_manifest(&self, manifest: &str) -> Answer<v1::Explanation> {
        let Document::Workload(spec) = one_document(manifest)? else {
            return Err(Status::invalid_argument("only workloads have a place to be explained"));
        };
        let key = spec.key.clone();
        let call = ApiCall::Explain(ExplainWhat::Spec(Arc::new(spec)));
        let ApiReply::Explanation(why) = self.ask(call).await? else { return Err(unexpected()) };
        Ok(Response::new(skerry_api::explanation(&self.region, &key, &why)))
    }

    pub(super) async fn moves(&self) -> Answer<v1::RebalanceResponse> {
        let ApiReply::Moves { moves, why_none } = self.ask(ApiCall::Rebalance).await? else {
            return Err(unexpected());
        };
        let shown = |one: &skerry_region_state::Move| v1::Move {
            tenant: one.workload.tenant.to_string(),
            workload: one.workload.name.to_string(),
            allocation: one.allocation.to_string(),
            from: one.from.to_string(),
            to: one.to.to_string(),
            region: self.region.to_string(),
            instance: one.instance.0,
            why: format!("{} would be empty", one.from),
        };
        // A node is emptied wholly or not at all.
        let freed: BTreeSet<String> = moves.iter().map(|one| one.from.to_string()).collect();
        let moves = moves.iter().map(shown).collect();
        Ok(Response::new(v1::RebalanceResponse { moves, freed: freed.into_iter().collect(), why_none }))
    }
}

/// The regions below that instances have gone to.
pub(super) fn regions_of(why: &Explanation) -> BTreeSet<RegionName> {
    let region = |target: &Target| match target {
        Target::Region(region) => Some(region.clone()),
        Target::Node { .. } => None,
    };
    why.placed.iter().filter(|placed| placed.present).filter_map(|placed| region(&placed.target)).collect()
}
