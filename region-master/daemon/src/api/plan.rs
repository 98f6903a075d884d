//! What a rollout would do, here and in the regions below, before anything moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt, iter};
use skerry_api::v1;
use skerry_manifest::Document;
use skerry_region_state::{LifeCall, LifeReply, PlanView};
use skerry_registry::{ImageRef, ImageRefError, Platform};
use skerry_types::{LayerSize, RegionName, WorkloadSpec, chain};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::apply::one_document;
use super::callers::who;
use super::lists::FromAbove;
use super::{Answer, Api, invalid, unexpected};
use crate::below::{self, CALLS_AT_ONCE};
use crate::view;

/// How long the registry may take to say what images are made of: a region above waits five seconds for the whole answer.
const LOOKUP_WAIT: Duration = Duration::from_secs(3);
/// Images that are asked for at a time.
const LOOKUPS_AT_ONCE: usize = 4;

/// Layers of all images of a workload, for each processor architecture.
type LayersByArch = BTreeMap<String, Vec<LayerSize>>;

impl Api {
    pub(super) async fn plan(
        &self,
        request: Request<v1::RolloutPlanRequest>,
    ) -> Answer<v1::RolloutPlanResponse> {
        let (user, is_part) = (who(&request), request.extensions().get::<FromAbove>().is_some());
        let request = request.into_inner();
        let Document::Workload(spec) = one_document(&request.manifest)? else {
            return Err(Status::invalid_argument("only workloads are rolled out"));
        };
        let call = LifeCall::Plan(Arc::new(spec.clone()));
        let LifeReply::Plan(plan) = self.ask_life(call).await? else { return Err(unexpected()) };
        let below = async { Ok(self.plan_below(&user, &plan.regions, &request).await) };
        let (mut answer, parts) = tokio::try_join!(self.plan_here(&spec, &plan), below)?;
        for (region, part) in parts {
            match part {
                Ok(part) => view::plan::add(&mut answer, &region, part),
                Err(why) => {
                    answer.warnings.push(format!("region {region} is not in this plan: {}", why.message()));
                }
            }
        }
        if !is_part {
            view::plan::finish(&mut answer, &spec.update.waves);
        }
        Ok(Response::new(answer))
    }

    async fn plan_here(
        &self,
        spec: &WorkloadSpec,
        plan: &PlanView,
    ) -> Result<v1::RolloutPlanResponse, Status> {
        let (layers, unknown) = self.layers(spec, plan).await?;
        let mut answer = view::plan::plan(&self.region, plan, &layers);
        answer.warnings.extend(unknown);
        Ok(answer)
    }

    /// What the images of a workload are made of on the nodes of a plan, and why that is not known of all.
    async fn layers(
        &self,
        spec: &WorkloadSpec,
        plan: &PlanView,
    ) -> Result<(LayersByArch, Vec<String>), Status> {
        let wanted = wanted(spec, plan).map_err(invalid)?;
        let looks = wanted.into_iter().map(|(arch, image)| async move {
            let found = self.layers_of(&image, &arch).await;
            (arch, found)
        });
        let found: Vec<_> = iter(looks).buffered(LOOKUPS_AT_ONCE).collect().await;
        let (mut layers, mut unknown) = (LayersByArch::new(), BTreeMap::new());
        for (arch, result) in found {
            match result {
                Ok(more) => layers.entry(arch).or_default().extend(more),
                Err(why) => drop(unknown.insert(arch, why)),
            }
        }
        // A part of what a node lacks is no answer.
        layers.retain(|arch, _| !unknown.contains_key(arch));
        let words =
            unknown.into_iter().map(|(arch, why)| format!("what {arch} nodes pull is not known: {why}"));
        Ok((layers, words.collect()))
    }

    async fn layers_of(&self, image: &ImageRef, arch: &str) -> Result<Vec<LayerSize>, String> {
        let platform = Platform::linux(arch);
        match timeout(LOOKUP_WAIT, self.registry.layers(image, &platform)).await {
            Ok(found) => found.map_err(|error| chain(&error)),
            Err(_) => Err(format!("the registry did not tell of {image} within {LOOKUP_WAIT:?}")),
        }
    }

    /// The plans of regions below, in their order.
    async fn plan_below(
        &self,
        user: &str,
        regions: &[RegionName],
        request: &v1::RolloutPlanRequest,
    ) -> Vec<(RegionName, Result<v1::RolloutPlanResponse, Status>)> {
        let asked = regions.iter().cloned().map(|region| async move {
            let asked = below::ask(&self.links, &region, "RolloutPlan", user, request).await;
            (region, asked.map(|(answer, _)| answer))
        });
        iter(asked).buffered(CALLS_AT_ONCE).collect().await
    }
}

/// Each image of a workload for each architecture among the nodes of a plan.
fn wanted(spec: &WorkloadSpec, plan: &PlanView) -> Result<Vec<(String, ImageRef)>, ImageRefError> {
    let archs: BTreeSet<&str> =
        plan.members.iter().map(|member| member.arch.as_str()).filter(|arch| !arch.is_empty()).collect();
    let texts: BTreeSet<&str> =
        spec.instance.all_containers().map(|container| container.image.as_str()).collect();
    let mut wanted = Vec::new();
    for text in texts {
        let image: ImageRef = text.parse()?;
        wanted.extend(archs.iter().map(|arch| ((*arch).to_owned(), image.clone())));
    }
    Ok(wanted)
}
