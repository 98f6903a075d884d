//! From what is written to what is meant: every value is read into its type and held against its bounds.

mod container;
mod placement;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use skerry_types::{
    InstanceSpec, Labels, RestartPolicy, RestartWhen, TenantName, WorkloadKey, WorkloadKind, WorkloadName,
    WorkloadSpec, check_labels, parse_duration, show_duration,
};

use crate::error::Problem;
use crate::faults::Faults;
use crate::path::Path;
use crate::{limits, raw};

/// The workload, or nothing when `faults` say why.
pub(crate) fn workload(manifest: &raw::Manifest, faults: &mut Faults<'_>) -> Option<WorkloadSpec> {
    let root = Path::ROOT;
    let metadata = root.field("metadata");
    let spec_path = root.field("spec");
    let spec = &manifest.spec;
    let key = key(&manifest.metadata, &metadata, faults);
    let labels = labels(&manifest.metadata.labels, &metadata.field("labels"), faults);
    let containers = container::all(&spec.containers, &spec_path.field("containers"), faults);
    let placement = placement::placement(&spec.placement, &spec_path.field("placement"), faults);
    let restart = restart(&spec.restart, &spec_path.field("restart"), faults);
    let workload = WorkloadSpec {
        key: key?,
        labels,
        kind: match spec.kind {
            raw::Life::Service => WorkloadKind::Service,
        },
        instances: spec.instances,
        instance: Arc::new(InstanceSpec {
            containers,
            restart: restart?,
            stop_grace: limits::DEFAULT_STOP_GRACE,
            init: Vec::new(),
            schedule: None,
            deadline: None,
            stop_after: None,
        }),
        placement,
        priority: WorkloadSpec::DEFAULT_PRIORITY,
        update: skerry_types::UpdatePolicy::default(),
        on_disconnect: skerry_types::OnDisconnect::default(),
        scale: None,
        exclusive: false,
    };
    size(&workload, &root, faults);
    Some(workload)
}

fn key(metadata: &raw::Metadata, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<WorkloadKey> {
    let name = faults.take(&path.field("name"), WorkloadName::new(metadata.name.as_str()));
    let tenant = faults.take(&path.field("tenant"), TenantName::new(metadata.tenant.as_str()));
    Some(WorkloadKey { tenant: tenant?, name: name? })
}

fn labels(labels: &BTreeMap<String, raw::Scalar>, path: &Path<'_>, faults: &mut Faults<'_>) -> Labels {
    let mut checked = Labels::new();
    for (name, value) in labels {
        let one = Labels::from([(name.clone(), value.0.clone())]);
        if faults.take(&path.field(name), check_labels(&one)).is_some() {
            checked.extend(one);
        }
    }
    checked
}

fn restart(restart: &raw::Restart, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<RestartPolicy> {
    let backoff = wait(&restart.backoff, &path.field("backoff"), faults);
    let max_backoff = wait(&restart.max_backoff, &path.field("max_backoff"), faults);
    let (backoff, max_backoff) = (backoff?, max_backoff?);
    if backoff > max_backoff && !faults.touch(path) {
        faults.add(
            &path.field("backoff"),
            Problem::BackoffOverMax {
                backoff: show_duration(backoff),
                max_backoff: show_duration(max_backoff),
            },
        );
    }
    Some(RestartPolicy {
        when: match restart.policy {
            raw::RestartWhen::Always => RestartWhen::Always,
            raw::RestartWhen::OnFailure => RestartWhen::OnFailure,
            raw::RestartWhen::Never => RestartWhen::Never,
        },
        backoff,
        max_backoff,
    })
}

fn wait(text: &str, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<std::time::Duration> {
    let wait = faults.take(path, parse_duration(text))?;
    if (limits::BACKOFF_MIN..=limits::BACKOFF_MAX).contains(&wait) {
        return Some(wait);
    }
    faults.add(
        path,
        Problem::OutOfBounds {
            found: text.to_owned(),
            min: show_duration(limits::BACKOFF_MIN),
            max: show_duration(limits::BACKOFF_MAX),
        },
    );
    None
}

fn size(workload: &WorkloadSpec, path: &Path<'_>, faults: &mut Faults<'_>) {
    let bytes = serde_json::to_vec(workload).map_or(usize::MAX, |json| json.len());
    if bytes > limits::SPEC_BYTES_MAX {
        let max = limits::SPEC_BYTES_MAX;
        faults.add(path, Problem::SpecTooLarge { bytes, max });
    }
}

/// The value, or a fault added and nothing when it is out of its bounds.
fn within<T: Ord + fmt::Display>(
    value: T,
    bounds: &RangeInclusive<T>,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<T> {
    if bounds.contains(&value) {
        return Some(value);
    }
    faults.add(
        path,
        Problem::OutOfBounds {
            found: value.to_string(),
            min: bounds.start().to_string(),
            max: bounds.end().to_string(),
        },
    );
    None
}
