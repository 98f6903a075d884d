//! From requests to what the brain takes.

use skerry_api::v1;
use skerry_region_state::Filter;
use skerry_types::WorkloadKey;
use tonic::Status;

use super::invalid;

pub(super) fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn filter(request: &v1::ListRequest) -> Result<Filter, Status> {
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

pub(super) fn workload_key(tenant: &str, name: &str) -> Result<WorkloadKey, Status> {
    let tenant = if tenant.is_empty() { "default" } else { tenant };
    Ok(WorkloadKey { tenant: tenant.parse().map_err(invalid)?, name: name.parse().map_err(invalid)? })
}
