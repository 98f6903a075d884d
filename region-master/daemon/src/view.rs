//! From the brain's views to what the API shows.

pub(crate) mod life;
pub(crate) mod plan;

use std::collections::BTreeMap;

use skerry_api::v1;
use skerry_region_state::{
    AllocationView, EventView, NodeTotal, NodeView, PartView, RegionView, SiteView, TenantView, TokenId,
    TokenRecord, TokenScope, WorkloadView,
};
use skerry_types::{
    ContainerSpec, ContainerState, ContainerStatus, Desired, InstanceSet, LinkClass, Phase, Quota, Reason,
    Refusal, RegionName, ShareStatus, SiteSpec, Taint, TenantSpec,
};

pub(crate) fn workload(view: &WorkloadView) -> v1::Workload {
    let pending = view.pending.iter().map(|pending| v1::PendingInstance {
        instances: pending.instances.iter().map(|instance| instance.0).collect(),
        reasons: pending.reasons.iter().map(Refusal::to_string).collect(),
    });
    v1::Workload {
        tenant: view.spec.key.tenant.to_string(),
        name: view.spec.key.name.to_string(),
        labels: view.spec.labels.clone(),
        kind: view.spec.kind.word().to_owned(),
        generation: view.generation.0,
        instances: view.spec.instances,
        running: view.running,
        placed: view.placed,
        unreachable: view.unreachable,
        created_at_ms: view.created_at.0,
        changed_at_ms: view.changed_at.0,
        deleting: view.deleting,
        manifest: skerry_manifest::to_manifest(&view.spec).to_string(),
        pending: pending.collect(),
        region: view.owner.to_string(),
        shares: view.parts.iter().map(share).collect(),
        completed: view.job.as_ref().map_or(0, |job| job.completed),
        failed: view.job.as_ref().map_or(0, |job| job.failures),
        active: view.job.as_ref().map_or(0, |job| job.active),
        rollout: Some(life::rollout(&view.rollout)),
        here: Some(view.instances.len()).filter(|here| *here != view.spec.instances),
        last_due_ms: view.due.last.map_or(0, |at| at.0),
        next_due_ms: view.due.next.map_or(0, |at| at.0),
    }
}

fn share(part: &PartView) -> v1::Share {
    let status = part.status.as_deref();
    let count = |set: fn(&ShareStatus) -> &InstanceSet| status.map_or(0, |status| set(status).len());
    let handed_back = status.map(|status| {
        let sets = status.handed_back.iter().flat_map(|back| back.instances.iter());
        skerry_api::instances(&sets.collect())
    });
    v1::Share {
        region: part.region.to_string(),
        instances: Some(skerry_api::instances(&part.instances)),
        placed: count(|status| &status.placed),
        running: count(|status| &status.running),
        reachable: part.reachable,
        last_seen_ms: part.last_seen.0,
        refused: status.and_then(|status| status.refused.clone()).unwrap_or_default(),
        handed_back,
    }
}

pub(crate) fn allocation(view: &AllocationView) -> v1::Allocation {
    let intent = &view.intent;
    let status = view.status.as_deref();
    let (reason, message) = why(intent.desired, status.and_then(|status| status.reason.as_ref()));
    let ready_since = status.and_then(|status| status.ready_since);
    let node_address = view.facts.as_ref().and_then(|facts| facts.address);
    v1::Allocation {
        id: intent.id.to_string(),
        tenant: intent.workload.tenant.to_string(),
        workload: intent.workload.name.to_string(),
        generation: intent.generation.0,
        instance: intent.instance.0,
        node: view.node.to_string(),
        site: view.site.as_ref().map(ToString::to_string).unwrap_or_default(),
        phase: status.map_or(Phase::Pending, |status| status.phase).to_string(),
        desired: desired(intent.desired).to_owned(),
        reason,
        message,
        address: status.and_then(|status| status.address).map(|ip| ip.to_string()).unwrap_or_default(),
        node_address: node_address.map(|ip| ip.to_string()).unwrap_or_default(),
        ports: intent.ports.iter().map(port).collect(),
        containers: containers(&intent.spec.containers, status.map_or(&[], |status| &status.containers)),
        resources: Some(skerry_api::resources(&intent.spec.resources())),
        placed_at_ms: view.placed_at.0,
        since_ms: status.map_or(view.placed_at, |status| status.since).0,
        reachable: view.reachable,
        last_seen_ms: view.last_seen.0,
        region: view.region.to_string(),
        ready: ready_since.is_some(),
        ready_since_ms: ready_since.map_or(0, |since| since.0),
        lease: view.lease.map(|lease| v1::Lease {
            length_ms: u64::try_from(lease.length.as_millis()).unwrap_or(u64::MAX),
            renewed_at_ms: lease.renewed_at.map_or(0, |at| at.0),
            over_at_ms: lease.over_at.0,
            fencing_token: status.and_then(|status| status.token).map_or(0, |token| token.0),
        }),
        last_due_ms: view.due.last.map_or(0, |at| at.0),
        next_due_ms: view.due.next.map_or(0, |at| at.0),
    }
}

/// What is to be known of an allocation beside its phase: a word for programs and a sentence for people.
fn why(desired: Desired, said: Option<&Reason>) -> (String, String) {
    let message = said.map(|reason| reason.message.clone()).unwrap_or_default();
    if desired != Desired::Keep {
        return (said.map(|reason| reason.code.to_string()).unwrap_or_default(), message);
    }
    let orphan = "the master's store is older and does not know who asked for it: apply its workload again, or delete it";
    let both = if message.is_empty() { orphan.to_owned() } else { format!("{orphan}; {message}") };
    ("Orphaned".to_owned(), both)
}

fn desired(desired: Desired) -> &'static str {
    match desired {
        Desired::Run => "run",
        Desired::Stop => "stop",
        Desired::Keep => "keep",
    }
}

fn port(binding: &skerry_types::PortBinding) -> v1::PortBinding {
    v1::PortBinding {
        name: binding.name.to_string(),
        protocol: binding.protocol.to_string(),
        container: binding.container.into(),
        host: binding.host.into(),
    }
}

fn containers(specs: &[ContainerSpec], statuses: &[ContainerStatus]) -> Vec<v1::Container> {
    let status = |spec: &ContainerSpec| statuses.iter().find(|status| status.name == spec.name);
    specs.iter().map(|spec| container(spec, status(spec))).collect()
}

fn container(spec: &ContainerSpec, status: Option<&ContainerStatus>) -> v1::Container {
    let mut shown = v1::Container {
        name: spec.name.to_string(),
        image: spec.image.clone(),
        digest: spec.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
        state: "waiting".to_owned(),
        ..v1::Container::default()
    };
    let Some(status) = status else { return shown };
    shown.restarts = status.restarts;
    shown.last_exit = status.last_exit.as_ref().map(skerry_api::exit);
    shown.log_tail.clone_from(&status.log_tail);
    match status.state {
        ContainerState::Waiting => {}
        ContainerState::Running { pid, started_at } => {
            "running".clone_into(&mut shown.state);
            shown.pid = pid;
            shown.started_at_ms = started_at.0;
        }
        ContainerState::Backoff { until } => {
            "backoff".clone_into(&mut shown.state);
            shown.next_start_at_ms = until.0;
        }
        ContainerState::Ended => "ended".clone_into(&mut shown.state),
    }
    shown
}

pub(crate) fn node(view: &NodeView) -> v1::Node {
    let facts = view.facts.as_deref();
    let text =
        |get: fn(&skerry_types::NodeFacts) -> &String| facts.map(|f| get(f).clone()).unwrap_or_default();
    v1::Node {
        name: view.name.to_string(),
        site: view.site.to_string(),
        reachable: view.reachable,
        last_seen_ms: view.last_seen.0,
        joined_at_ms: view.joined_at.0,
        labels: facts.map_or_else(BTreeMap::new, |facts| facts.labels.clone()),
        taints: facts.map_or_else(Vec::new, |facts| facts.taints.iter().map(Taint::to_string).collect()),
        capacity: Some(skerry_api::resources(&view.capacity)),
        machine: facts.map(|facts| skerry_api::resources(&facts.machine)),
        reserved: Some(skerry_api::resources(&view.reserved)),
        used: Some(skerry_api::resources(&view.usage.used)),
        allocations: view.allocations,
        orphans: view.orphans,
        allocations_max: facts.map_or(0, |facts| facts.allocations.get()),
        arch: text(|facts| &facts.arch),
        os: text(|facts| &facts.os),
        kernel: text(|facts| &facts.kernel),
        cgroup: text(|facts| &facts.cgroup),
        agent_version: text(|facts| &facts.agent_version),
        address: facts.and_then(|facts| facts.address).map(|ip| ip.to_string()).unwrap_or_default(),
        certificate_expires_ms: view.certificate_expires.0,
        region: view.region.to_string(),
        cordoned: view.cordoned,
        draining: view.drain.as_ref().map(life::draining),
    }
}

pub(crate) fn site(view: &SiteView) -> v1::Site {
    let (total, spec) = (&view.total, &view.spec);
    let bare = SiteSpec {
        name: spec.name.clone(),
        labels: BTreeMap::new(),
        timezone: None,
        point: None,
        link: LinkClass::default(),
    };
    let manifest = (*spec != bare).then(|| skerry_manifest::site_to_manifest(spec).to_string());
    v1::Site {
        name: view.name.to_string(),
        nodes: total.nodes,
        reachable: total.reachable,
        allocations: total.allocations,
        running: total.running,
        capacity: Some(skerry_api::resources(&total.capacity)),
        reserved: Some(skerry_api::resources(&total.reserved)),
        last_seen_ms: view.last_seen.0,
        region: view.region.to_string(),
        labels: spec.labels.clone(),
        timezone: spec.timezone.clone().unwrap_or_default(),
        point: spec.point.map(|point| point.to_string()).unwrap_or_default(),
        metered: spec.link.metered,
        micros_per_mb: spec.link.micros_per_mb,
        manifest: manifest.unwrap_or_default(),
    }
}

/// A region, as `here` shows it; `parent` is the region above `here`.
pub(crate) fn region(here: &RegionName, parent: Option<&RegionName>, view: &RegionView) -> v1::Region {
    let NodeTotal { nodes, reachable, allocations, running, capacity, reserved } = view.total;
    let above = if view.name == *here { parent } else { Some(view.path.last().unwrap_or(here)) };
    v1::Region {
        name: view.name.to_string(),
        sites: view.sites,
        nodes,
        reachable,
        workloads: view.workloads,
        allocations,
        running,
        capacity: Some(skerry_api::resources(&capacity)),
        reserved: Some(skerry_api::resources(&reserved)),
        parent: above.map(ToString::to_string).unwrap_or_default(),
        path: view.path.iter().map(ToString::to_string).collect(),
        last_seen_ms: view.last_seen.0,
        connected: view.reachable,
    }
}

pub(crate) fn event(here: &RegionName, view: EventView) -> v1::Event {
    v1::Event {
        number: view.number,
        at_ms: view.event.at.0,
        level: view.event.level.to_string(),
        subject: view.event.subject.to_string(),
        reason: view.event.reason,
        message: view.event.message,
        node: view.node.map(|node| node.to_string()).unwrap_or_default(),
        region: here.to_string(),
    }
}

pub(crate) fn tenant(here: &RegionName, view: &TenantView) -> v1::Tenant {
    let spec = &view.spec;
    let described = TenantSpec {
        name: spec.name.clone(),
        parent: None,
        weight: TenantSpec::DEFAULT_WEIGHT,
        guarantee: Quota::default(),
        limit: Quota::default(),
    } != *spec;
    let manifest = described.then(|| skerry_manifest::tenant_to_manifest(spec).to_string());
    v1::Tenant {
        name: spec.name.to_string(),
        parent: spec.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        weight: spec.weight,
        guarantee: Some(skerry_api::quota(&spec.guarantee)),
        limit: Some(skerry_api::quota(&spec.limit)),
        used: Some(skerry_api::resources(&view.used)),
        held: Some(skerry_api::quota(&view.held)),
        region: here.to_string(),
        manifest: manifest.unwrap_or_default(),
    }
}

pub(crate) fn token((id, record): (TokenId, TokenRecord)) -> v1::Token {
    let (site, region) = match &record.scope {
        TokenScope::Site(site) => (site.to_string(), None),
        TokenScope::Region(name) => {
            let name = name.as_ref().map(ToString::to_string).unwrap_or_default();
            (String::new(), Some(v1::RegionScope { name }))
        }
    };
    v1::Token {
        id: id.to_string(),
        site,
        expires_at_ms: record.expires.0,
        uses: record.uses,
        used: record.used,
        created_at_ms: record.created_at.0,
        region,
    }
}
