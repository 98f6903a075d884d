//! Applying and deleting.

use std::sync::Arc;

use skerry_api::v1;
use skerry_manifest::Document;
use skerry_region_state::{ApiCall, ApiReply, Applied, AppliedHow};
use skerry_types::{SiteSpec, TenantSpec, WorkloadSpec};
use tonic::{Request, Response, Status};

use super::callers::who;
use super::read::workload_key;
use super::{Answer, Api, invalid, unexpected};
use crate::images;

impl Api {
    pub(super) async fn apply_document(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Answer<v1::ApplyResponse> {
        let operator = who(&request);
        let v1::ApplyRequest { manifest, dry_run } = request.into_inner();
        let document = one_document(&manifest)?;
        let (kind, name) = (document.kind(), document.name());
        let answer = match document {
            Document::Workload(spec) => self.apply_workload(spec, dry_run).await?,
            Document::Tenant(spec) => self.apply_tenant(spec, dry_run).await?,
            Document::Site(spec) => self.apply_site(spec, dry_run).await?,
        };
        let v1::ApplyResponse { generation, .. } = answer;
        let outcome = answer.outcome();
        tracing::info!(%operator, kind = kind.name(), name, generation, ?outcome, dry_run, "apply");
        Ok(Response::new(answer))
    }

    async fn apply_workload(
        &self,
        mut spec: WorkloadSpec,
        dry_run: bool,
    ) -> Result<v1::ApplyResponse, Status> {
        images::resolve(&self.registry, &mut spec).await?;
        let key = spec.key.clone();
        let reply = self.ask(ApiCall::Apply { spec: Arc::new(spec), dry_run }).await?;
        let ApiReply::Applied(Applied { generation, how, .. }) = reply else { return Err(unexpected()) };
        Ok(v1::ApplyResponse {
            tenant: key.tenant.to_string(),
            name: key.name.to_string(),
            generation: generation.0,
            outcome: outcome(how).into(),
            kind: "workload".to_owned(),
        })
    }

    async fn apply_tenant(&self, spec: TenantSpec, dry_run: bool) -> Result<v1::ApplyResponse, Status> {
        let name = spec.name.to_string();
        let reply = self.ask(ApiCall::ApplyTenant { spec, dry_run }).await?;
        described(&reply, "tenant", name)
    }

    async fn apply_site(&self, spec: SiteSpec, dry_run: bool) -> Result<v1::ApplyResponse, Status> {
        let name = spec.name.to_string();
        let reply = self.ask(ApiCall::ApplySite { spec, dry_run }).await?;
        described(&reply, "site", name)
    }

    pub(super) async fn delete_thing(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Answer<v1::DeleteResponse> {
        let operator = who(&request);
        let v1::DeleteRequest { tenant, name, kind } = request.into_inner();
        let call = match kind.as_str() {
            "" | "workload" => ApiCall::Delete(workload_key(&tenant, &name)?),
            "tenant" => ApiCall::DeleteTenant(name.parse().map_err(invalid)?),
            "site" => ApiCall::DeleteSite(name.parse().map_err(invalid)?),
            "allocation" => ApiCall::DeleteAllocation(name.parse().map_err(invalid)?),
            other => {
                let message =
                    format!("'{other}' cannot be deleted: workloads, allocations, tenants and sites can");
                return Err(Status::invalid_argument(message));
            }
        };
        let stopping = match self.ask(call).await? {
            ApiReply::Removed(stopping) => stopping,
            ApiReply::Forgotten => 0,
            _ => return Err(unexpected()),
        };
        tracing::info!(%operator, kind, tenant, name, stopping, "delete");
        Ok(Response::new(v1::DeleteResponse { stopping }))
    }
}

fn described(reply: &ApiReply, kind: &str, name: String) -> Result<v1::ApplyResponse, Status> {
    let ApiReply::Described(how) = reply else { return Err(unexpected()) };
    Ok(v1::ApplyResponse {
        name,
        outcome: outcome(*how).into(),
        kind: kind.to_owned(),
        ..v1::ApplyResponse::default()
    })
}

fn outcome(how: AppliedHow) -> v1::apply_response::Outcome {
    match how {
        AppliedHow::Unchanged => v1::apply_response::Outcome::Unchanged,
        AppliedHow::Created => v1::apply_response::Outcome::Created,
        AppliedHow::Changed => v1::apply_response::Outcome::Changed,
    }
}

/// The one document of a manifest.
pub(super) fn one_document(manifest: &str) -> Result<Document, Status> {
    let documents = skerry_manifest::documents(manifest).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Status::invalid_argument(lines.join("\n"))
    })?;
    let mut documents = documents.into_iter();
    match (documents.next(), documents.next()) {
        (Some(only), None) => Ok(only.document),
        _ => Err(Status::invalid_argument("one document at a time: send each in a call of its own")),
    }
}
