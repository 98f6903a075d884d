//! A workload as a whole, and what its type allows.

use std::sync::Arc;
use std::time::Duration;

use skerry_types::{
    InstanceSpec, OnDisconnect, Scale, TenantName, WorkloadKey, WorkloadKind, WorkloadName, WorkloadSpec,
};

use super::{container, labels, life, placement, span, update};
use crate::faults::Faults;
use crate::path::Path;
use crate::problem::Problem;
use crate::raw::Life;
use crate::{limits, raw};

/// The workload, or nothing when `faults` say why.
pub(crate) fn workload(manifest: &raw::Workload, faults: &mut Faults<'_>) -> Option<WorkloadSpec> {
    let root = Path::ROOT;
    let metadata = root.field("metadata");
    let path = root.field("spec");
    let spec = &manifest.spec;
    let key = key(&manifest.metadata, &metadata, faults);
    let labels = labels(&manifest.metadata.labels, &metadata.field("labels"), faults);
    only_where_it_belongs(spec, &path, faults);
    let scale = spec.scale.as_ref().and_then(|scale| life::scale(scale, &path.field("scale"), faults));
    let instances = instances(spec, scale.as_ref(), &path, faults);
    let placement = placement::placement(&spec.placement, spec.kind, &path.field("placement"), faults);
    let update_path = path.field("update");
    let most = scale.as_ref().map_or(instances, |scale| scale.max);
    let update = update::update(&spec.update, spec, most, &update_path, faults);
    let on_disconnect =
        life::on_disconnect(&spec.on_disconnect, spec.kind, &path.field("on_disconnect"), faults);
    let (kind, instance) =
        (kind(spec, instances, &path, faults), instance(spec, &path, &on_disconnect, faults));
    let workload = WorkloadSpec {
        key: key?,
        labels,
        kind,
        instances,
        priority: spec.priority,
        instance: Arc::new(instance?),
        placement,
        update: update?,
        on_disconnect,
        scale,
    };
    size(&workload, &root, faults);
    Some(workload)
}

fn key(metadata: &raw::Metadata, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<WorkloadKey> {
    let name = faults.take(&path.field("name"), WorkloadName::new(metadata.name.as_str()));
    let tenant = faults.take(&path.field("tenant"), TenantName::new(metadata.tenant.as_str()));
    Some(WorkloadKey { tenant: tenant?, name: name? })
}

/// Fields that only workloads of some types have.
fn only_where_it_belongs(spec: &raw::Spec, path: &Path<'_>, faults: &mut Faults<'_>) {
    let misplaced = [
        (
            "instances",
            spec.instances.is_some() && spec.kind == Life::Daemon,
            "it has one instance on every node that matches; leave it out",
        ),
        (
            "job",
            spec.job.is_some() && spec.kind != Life::Job,
            "only a job is worked off; leave it out or write 'type: job'",
        ),
        (
            "schedule",
            spec.schedule.is_some() && spec.kind != Life::Cron,
            "only type 'cron' goes by a schedule; leave it out or write 'type: cron'",
        ),
        (
            "run_deadline",
            spec.run_deadline.is_some() && !spec.kind.ends(),
            "it is kept running; leave it out",
        ),
        (
            "scale",
            spec.scale.is_some() && spec.kind != Life::Service,
            "only a service follows its load; leave it out",
        ),
        (
            "exclusive",
            spec.exclusive && spec.kind == Life::Daemon,
            "every node has its own instance, and nothing replaces it elsewhere; leave it out",
        ),
    ];
    for (field, is_misplaced, reason) in misplaced {
        if is_misplaced {
            faults.add(&path.field(field), Problem::WrongType { kind: spec.kind.word(), reason });
        }
    }
}

fn instances(spec: &raw::Spec, scale: Option<&Scale>, path: &Path<'_>, faults: &mut Faults<'_>) -> u32 {
    let path = path.field("instances");
    match (spec.kind, spec.instances, scale) {
        (Life::Daemon, ..) => 0,
        (_, None, Some(scale)) => scale.min,
        (_, None, None) => limits::DEFAULT_INSTANCES,
        (Life::Job, Some(0), _) => {
            let reason = "it has at least one instance to bring to its end";
            faults.add(&path, Problem::WrongType { kind: spec.kind.word(), reason });
            0
        }
        (_, Some(instances), Some(scale)) if !(scale.min..=scale.max).contains(&instances) => {
            faults.add(&path, Problem::OutsideScale { instances, min: scale.min, max: scale.max });
            instances
        }
        (_, Some(instances), _) => instances,
    }
}

fn kind(spec: &raw::Spec, instances: u32, path: &Path<'_>, faults: &mut Faults<'_>) -> WorkloadKind {
    match spec.kind {
        Life::Service => WorkloadKind::Service,
        Life::Cron => WorkloadKind::Cron,
        Life::Daemon => WorkloadKind::Daemon,
        Life::Job => {
            let default = raw::Job::default();
            let job = spec.job.as_ref().unwrap_or(&default);
            WorkloadKind::Job(life::job(job, &spec.restart, instances, &path.field("job"), faults))
        }
    }
}

fn instance(
    spec: &raw::Spec,
    path: &Path<'_>,
    on_disconnect: &OnDisconnect,
    faults: &mut Faults<'_>,
) -> Option<InstanceSpec> {
    let (init, containers) = container::all(&spec.init, &spec.containers, path, faults);
    let restart = life::restart(&spec.restart, spec.kind, &path.field("restart"), faults);
    let stop_grace = span(&spec.stop_grace, &limits::STOP_GRACE, &path.field("stop_grace"), faults);
    let stop_delay = span(&spec.stop_delay, &limits::STOP_DELAY, &path.field("stop_delay"), faults);
    let schedule = schedule(spec, path, faults);
    let deadline = match &spec.run_deadline {
        Some(text) => {
            let bounds = Duration::from_secs(1)..=limits::SPAN_MAX;
            Some(span(text, &bounds, &path.field("run_deadline"), faults)?)
        }
        None => None,
    };
    Some(InstanceSpec {
        init,
        containers,
        restart: restart?,
        stop_grace: stop_grace?,
        stop_delay: stop_delay?,
        schedule,
        deadline,
        stop_after: on_disconnect.stop_after,
        exclusive: life::exclusive(spec, stop_grace?, path, faults),
    })
}

fn schedule(spec: &raw::Spec, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<skerry_types::Schedule> {
    let path = path.field("schedule");
    match &spec.schedule {
        Some(schedule) => life::schedule(schedule, &path, faults),
        None if spec.kind == Life::Cron => {
            let purpose = "When a cron workload runs, as in 'schedule: {cron: \"0 3 * * *\"}'".to_owned();
            faults.add(&path, Problem::Missing { purpose });
            None
        }
        None => None,
    }
}

fn size(workload: &WorkloadSpec, path: &Path<'_>, faults: &mut Faults<'_>) {
    let bytes = serde_json::to_vec(workload).map_or(usize::MAX, |json| json.len());
    if bytes > limits::SPEC_BYTES_MAX {
        let max = limits::SPEC_BYTES_MAX;
        faults.add(path, Problem::SpecTooLarge { bytes, max });
    }
}
