//! Applies that wait for room in their tenants' limits.
//!
//! A region may charge only its own part of a limit, and what others do not use of theirs has to come back first. An apply that
//! the whole limit would allow is not refused for want of that: it waits some seconds, and is then admitted or refused like any
//! other. Nothing is admitted before the part is here, so the limit holds whoever is cut off meanwhile.

use std::sync::Arc;
use std::time::Duration;

use skerry_types::{MonoTime, WorkloadKey, WorkloadSpec};

use crate::api::{ApiCall, ApiError, ApiReply};
use crate::input::{Action, CallId};
use crate::state::RegionState;

/// Longest wait. A part comes back over one link in half a second, and over a tree of four levels in this time.
const WAIT: Duration = Duration::from_secs(4);
/// Most applies that wait; more are refused at once.
const WAITING_MAX: usize = 64;

/// An apply that has no answer yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    call: CallId,
    spec: Arc<WorkloadSpec>,
    until: MonoTime,
}

impl RegionState {
    /// The answer to a call, unless it is to wait.
    pub(crate) fn call_or_wait(
        &mut self,
        call: CallId,
        request: ApiCall,
    ) -> Option<Result<ApiReply, ApiError>> {
        match &request {
            ApiCall::Apply { spec, .. } => self.overtake(&spec.key),
            ApiCall::Delete(key) => self.overtake(key),
            _ => {}
        }
        let asked = match &request {
            ApiCall::Apply { spec, dry_run: false } => Some(Arc::clone(spec)),
            _ => None,
        };
        let reply = self.call(request);
        let (Some(spec), Err(ApiError::Quota { tenant, .. })) = (asked, &reply) else { return Some(reply) };
        let more = self.tenants.wanted_of(tenant);
        if self.waiting.len() >= WAITING_MAX || !self.may_flow_back(tenant, &more) {
            return Some(reply);
        }
        self.waiting.push(Waiting { call, spec, until: self.now.mono + WAIT });
        None
    }

    /// Something newer is said of a workload: what waits is too late.
    fn overtake(&mut self, key: &WorkloadKey) {
        let waiting = std::mem::take(&mut self.waiting);
        let (late, rest) = waiting.into_iter().partition(|waiting| waiting.spec.key == *key);
        self.waiting = rest;
        self.answer(late);
    }

    /// Answers what has room at last, or has waited for long enough.
    pub(crate) fn admit_waiting(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            let former = self.workloads.get(&waiting.spec.key).map(|known| Arc::clone(&known.record.spec));
            if self.now.mono < waiting.until && self.lacks(former.as_deref(), &waiting.spec) {
                self.waiting.push(waiting);
            } else {
                self.answer(vec![waiting]);
            }
        }
    }

    fn answer(&mut self, waiting: Vec<Waiting>) {
        for Waiting { call, spec, .. } in waiting {
            let reply = self.call(ApiCall::Apply { spec, dry_run: false });
            self.settle_up();
            self.act(Action::Reply(call, reply));
        }
    }

    /// When the first of those that wait has waited for long enough.
    pub(crate) fn waiting_timeout(&self) -> Option<MonoTime> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }
}
