//! The operator API: reads requests, asks the brain and the regions below, shows answers.

mod apply;
mod callers;
mod life;
mod lists;
mod logs;
mod paging;
mod places;
mod plan;
mod read;
mod service;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use skerry_api::v1;
use skerry_link::RootHash;
use skerry_region_state::{ApiCall, ApiError, ApiReply};
use skerry_registry::{RegistriesConfig, Registry};
use skerry_types::RegionName;
use tonic::{Response, Status};

use crate::brain::BrainHandle;
use crate::ca::Ca;
use crate::clock::Clock;
use crate::links::LinkTable;
use crate::settings::Settings;

pub(crate) use callers::{OnlyOperators, OperatorName};
pub(crate) use lists::FromAbove;

/// Longest wait of a list for a change: below the idle time-outs of proxies on the way.
const WAIT_MAX: Duration = Duration::from_secs(30);

type Answer<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Clone)]
pub(crate) struct Api {
    brain: BrainHandle,
    links: LinkTable,
    registry: Arc<Registry>,
    ca: Arc<Ca>,
    region: RegionName,
    root: RootHash,
    link_addresses: Vec<String>,
    clock: Clock,
}

impl Api {
    pub(crate) fn new(
        settings: &Settings,
        ca: &Arc<Ca>,
        brain: BrainHandle,
        links: LinkTable,
        clock: Clock,
    ) -> Result<Self> {
        let registry = Registry::new(match &settings.registries {
            Some(path) => RegistriesConfig::load(path)?,
            None => RegistriesConfig::default(),
        });
        Ok(Self {
            brain,
            links,
            registry: Arc::new(registry),
            ca: Arc::clone(ca),
            region: ca.region().clone(),
            root: ca.root_hash(),
            link_addresses: settings.link_addresses(),
            clock,
        })
    }

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
}

fn status(error: &ApiError) -> Status {
    let message = error.to_string();
    match error {
        ApiError::NotFound { .. } => Status::not_found(message),
        ApiError::Deleting { .. }
        | ApiError::NodeConnected { .. }
        | ApiError::LeaseHeld { .. }
        | ApiError::RegionConnected { .. }
        | ApiError::OwnedElsewhere { .. }
        | ApiError::TenantUnknown { .. }
        | ApiError::TenantsElsewhere { .. }
        | ApiError::Life(_) => Status::failed_precondition(message),
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
