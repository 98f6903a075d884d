//! Answers lists.

use std::ops::Bound;
use std::sync::Arc;

use skerry_types::{AllocationId, Attributes, Desired, EventSubject, Phase, WallTime, WorkloadKey};

use crate::api::ApiError;
use crate::child::Child;
use crate::ledger::event_in;
use crate::listing::{
    AllocationView, EventView, Filter, PAGE_MAX, Page, PartView, PendingView, WorkloadView,
};
use crate::records::{AllocationRecord, EventRecord};
use crate::state::RegionState;
use crate::workloads::Workload;

impl RegionState {
    /// One page of what `items` gives behind `filter.after`, by growing key.
    pub(crate) fn page<T>(&self, filter: &Filter, items: impl Iterator<Item = (String, T)>) -> Page<T> {
        let limit = if filter.limit == 0 { PAGE_MAX } else { filter.limit.min(PAGE_MAX) };
        let mut page = Page { items: Vec::new(), next: None, change: self.change() };
        let mut last = None;
        for (key, item) in items {
            if page.items.len() == limit {
                page.next = last;
                break;
            }
            last = Some(key);
            page.items.push(item);
        }
        page
    }

    pub(crate) fn list_workloads(&self, filter: &Filter) -> Result<Page<WorkloadView>, ApiError> {
        let after = filter.after.as_deref().map(workload_token).transpose()?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |key: &WorkloadKey, workload: &Workload| {
            filter.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant)
                && filter.name.as_ref().is_none_or(|name| name == key.name.as_str())
                && filter.selector.matches(&workload.record.spec.labels)
        };
        let found =
            self.workloads.range((start, Bound::Unbounded)).filter(|(key, workload)| wanted(key, workload));
        let rows = found.map(|(key, workload)| (token(key), self.workload_view(workload)));
        Ok(self.page(filter, rows))
    }

    fn workload_view(&self, workload: &Workload) -> WorkloadView {
        let record = &workload.record;
        let current =
            |a: &&AllocationRecord| a.intent.desired == Desired::Run && a.intent.spec == record.spec.instance;
        let (mut placed, mut running, mut unreachable) = (0, 0, 0);
        for allocation in self.allocations_of(&record.spec.key).filter(current) {
            placed += 1;
            if self.runs(allocation) {
                running += 1;
                unreachable +=
                    u32::from(!self.nodes.get(&allocation.node).is_some_and(|node| node.is_reachable()));
            }
        }
        let parts = self.parts(&record.spec.key);
        for part in &parts {
            let Some(status) = part.status.as_ref().filter(|status| status.generation == record.generation)
            else {
                continue;
            };
            placed += status.placed.len();
            running += status.current.len();
            let unheard = status.unreachable.intersection(&status.current);
            unreachable += if part.reachable { unheard.len() } else { status.current.len() };
        }
        let waiting = workload.pending.iter().map(|pending| (&pending.instances, &pending.reasons));
        let handed_back = record.received().map_or(&[][..], |received| &received.handed_back);
        let handed_back = handed_back.iter().map(|back| (&back.instances, &back.reasons));
        let pending = waiting.chain(handed_back).map(|(instances, reasons)| PendingView {
            instances: instances.clone(),
            reasons: reasons.clone(),
        });
        WorkloadView {
            spec: Arc::clone(&record.spec),
            generation: record.generation,
            created_at: record.created_at,
            changed_at: record.changed_at,
            deleting: record.deleting,
            placed,
            running,
            unreachable,
            pending: pending.collect(),
            owner: record.received().map_or(self.region(), |received| &received.owner).clone(),
            instances: self.wanted_instances(record),
            rollout: self.rollout_view(record),
            job: self.job_view(&record.spec.key),
            due: self.due_view(record),
            parts,
        }
    }

    /// What regions below have of a workload.
    fn parts(&self, key: &WorkloadKey) -> Vec<PartView> {
        let having = self.regions.iter().filter_map(|(name, region)| {
            let share = region.shares.get(key)?;
            Some(PartView {
                region: name.clone(),
                instances: share.instances.clone(),
                status: region.statuses.get(key).cloned(),
                reachable: region.is_reachable(),
                last_seen: self.last_seen(&region.child),
            })
        });
        having.collect()
    }

    pub(crate) fn runs(&self, allocation: &AllocationRecord) -> bool {
        self.status_of(allocation).is_some_and(|status| status.phase == Phase::Running)
    }

    pub(crate) fn list_allocations(&self, filter: &Filter) -> Result<Page<AllocationView>, ApiError> {
        let after = filter.after.as_deref().map(parse_token::<AllocationId>).transpose()?;
        let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |record: &&AllocationRecord| {
            let key = &record.intent.workload;
            filter.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant)
                && filter.name.as_ref().is_none_or(|name| name == record.intent.id.as_str())
                && filter.workload.as_ref().is_none_or(|name| name == key.name.as_str())
                && (filter.selector.is_empty() || filter.selector.matches(&self.labels_of(key)))
        };
        let found = self.allocations.range(start).filter(wanted);
        let rows = found.map(|record| (record.intent.id.to_string(), self.allocation_view(record)));
        Ok(self.page(filter, rows))
    }

    fn labels_of(&self, key: &WorkloadKey) -> Attributes {
        self.workloads.get(key).map(|workload| workload.record.spec.labels.clone()).unwrap_or_default()
    }

    fn allocation_view(&self, record: &AllocationRecord) -> AllocationView {
        let node = self.nodes.get(&record.node);
        AllocationView {
            region: self.region().clone(),
            intent: Arc::clone(&record.intent),
            status: self.status_of(record).cloned(),
            node: record.node.clone(),
            site: node.map(|node| node.site.clone()),
            facts: node.and_then(|node| node.facts.clone()),
            placed_at: record.placed_at,
            due: self.due_of(record),
            lease: self.lease_view(record),
            reachable: node.is_some_and(|node| node.is_reachable()),
            last_seen: node.map_or(WallTime(0), |node| self.last_seen(&node.child)),
        }
    }

    pub(crate) fn last_seen(&self, child: &Child) -> WallTime {
        if child.is_reachable() { self.now.wall } else { child.record.last_seen }
    }

    pub(crate) fn list_events(&self, filter: &Filter) -> Result<Page<EventView>, ApiError> {
        let after = filter.after.as_deref().map(parse_token::<u64>).transpose()?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        // One that cannot be read says nothing, and is no reason to keep a master from starting.
        let kept = self.events.range((start, Bound::Unbounded));
        let read = kept.filter_map(|(number, value)| Some((number, event_in(value)?)));
        let rows = read.filter(|(_, record)| is_about(record, filter)).map(|(number, record)| {
            let EventRecord { event, node } = record;
            (number.to_string(), EventView { number: *number, event, node })
        });
        Ok(self.page(filter, rows))
    }
}

fn is_about(record: &EventRecord, filter: &Filter) -> bool {
    let (name, key, node) = match &record.event.subject {
        EventSubject::Workload(key) => (Some(key.name.as_str()), Some(key), None),
        EventSubject::Allocation(id, key) => (Some(id.as_str()), Some(key), None),
        EventSubject::Node(node) => (Some(node.as_str()), None, Some(node)),
        EventSubject::Child(region) => (Some(region.as_str()), None, None),
        EventSubject::Tenant(tenant) => (Some(tenant.as_str()), None, None),
        EventSubject::Region => (None, None, None),
    };
    let named = |wanted: &String| {
        name == Some(wanted.as_str()) || key.is_some_and(|key| key.name.as_str() == wanted) && node.is_none()
    };
    filter.tenant.as_ref().is_none_or(|tenant| key.is_none_or(|key| key.tenant == *tenant))
        && filter.name.as_ref().is_none_or(named)
        && filter.workload.as_ref().is_none_or(|wanted| key.is_some_and(|key| key.name.as_str() == wanted))
}

fn token(key: &WorkloadKey) -> String {
    format!("{}/{}", key.tenant, key.name)
}

fn workload_token(text: &str) -> Result<WorkloadKey, ApiError> {
    let bad = || ApiError::PageToken { token: text.to_owned() };
    let (tenant, name) = text.split_once('/').ok_or_else(bad)?;
    Ok(WorkloadKey { tenant: parse_token(tenant)?, name: parse_token(name)? })
}

pub(crate) fn parse_token<T: std::str::FromStr>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::PageToken { token: text.to_owned() })
}
