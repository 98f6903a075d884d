//! The canonical form of a workload: every field written out, so that it reads back as the same workload anywhere.

use std::collections::BTreeMap;

use serde_json::Value;
use skerry_types::{
    Bytes, ContainerSpec, HostPort, MilliCpu, Placement, PortSpec, Protocol, RestartPolicy, RestartWhen,
    WorkloadKind, WorkloadSpec, show_duration,
};

use crate::raw;

/// The manifest of a workload as JSON. Image digests are not part of a manifest.
///
/// Reading it back gives the same workload, if that came from a manifest and before a digest was put into it.
///
/// # Panics
/// Never: a manifest has text keys only, which JSON can always hold.
pub fn to_manifest(spec: &WorkloadSpec) -> Value {
    serde_json::to_value(manifest(spec)).expect("a manifest has text keys only, which JSON can always hold")
}

/// The manifest of a workload as YAML, with fields in the order that the documentation has them in.
///
/// # Panics
/// Never: a manifest holds text, numbers, lists and maps only, which YAML can always hold.
pub fn to_yaml(spec: &WorkloadSpec) -> String {
    yaml_text(&manifest(spec)).expect("a manifest holds text, numbers, lists and maps only")
}

/// Any data as YAML, with long text on one line, where people and `grep` expect an image or a message to be.
pub fn yaml_text(value: &impl serde::Serialize) -> Result<String, serde_saphyr::ser::Error> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options)
}

fn manifest(spec: &WorkloadSpec) -> raw::Manifest {
    raw::Manifest {
        api_version: raw::API_VERSION.to_owned(),
        kind: raw::KIND.to_owned(),
        metadata: raw::Metadata {
            name: spec.key.name.to_string(),
            tenant: spec.key.tenant.to_string(),
            labels: scalars(spec.labels.iter()),
        },
        spec: raw::Spec {
            kind: match spec.kind {
                WorkloadKind::Service | WorkloadKind::Job(_) | WorkloadKind::Cron | WorkloadKind::Daemon => {
                    raw::Life::Service
                }
            },
            instances: spec.instances,
            containers: spec.instance.containers.iter().map(container).collect(),
            placement: placement(&spec.placement),
            restart: restart(&spec.instance.restart),
            exclusive: false,
        },
    }
}

fn container(spec: &ContainerSpec) -> raw::Container {
    raw::Container {
        name: spec.name.to_string(),
        image: spec.image.clone(),
        command: spec.command.iter().cloned().map(raw::Scalar).collect(),
        args: spec.args.iter().cloned().map(raw::Scalar).collect(),
        env: scalars(spec.env.iter().map(|var| (&var.name, &var.value))),
        resources: raw::Resources {
            cpu: cpu_text(spec.resources.cpu),
            memory: bytes_text(spec.resources.memory),
            disk: bytes_text(spec.resources.disk),
        },
        limits: raw::Limits {
            cpu: spec.limits.cpu.map(cpu_text),
            memory: Some(bytes_text(spec.limits.memory)),
            pids: spec.limits.pids,
        },
        ports: spec.ports.iter().map(port).collect(),
        user: spec.user.clone(),
        read_only: spec.read_only,
        capabilities: raw::Capabilities {
            add: spec.capabilities.add.clone(),
            drop: spec.capabilities.drop.clone(),
        },
    }
}

fn port(spec: &PortSpec) -> raw::Port {
    raw::Port {
        name: spec.name.to_string(),
        container: spec.container,
        host: match spec.host {
            HostPort::None => "none".to_owned(),
            HostPort::Auto => "auto".to_owned(),
            HostPort::Fixed(port) => port.to_string(),
        },
        protocol: match spec.protocol {
            Protocol::Tcp => raw::Transport::Tcp,
            Protocol::Udp => raw::Transport::Udp,
        },
    }
}

fn placement(spec: &Placement) -> raw::Placement {
    raw::Placement {
        require: spec.require.to_string(),
        prefer: spec
            .prefer
            .iter()
            .map(|wish| raw::Preference { matches: wish.matches.to_string(), weight: wish.weight })
            .collect(),
        spread: spec
            .spread
            .iter()
            .map(|spread| raw::Spread { by: spread.by.to_string(), max_skew: spread.max_skew })
            .collect(),
        tolerate: spec.tolerate.iter().map(ToString::to_string).collect(),
    }
}

fn restart(policy: &RestartPolicy) -> raw::Restart {
    raw::Restart {
        policy: match policy.when {
            RestartWhen::Always => raw::RestartWhen::Always,
            RestartWhen::OnFailure => raw::RestartWhen::OnFailure,
            RestartWhen::Never => raw::RestartWhen::Never,
        },
        backoff: show_duration(policy.backoff),
        max_backoff: show_duration(policy.max_backoff),
    }
}

fn scalars<'s>(pairs: impl Iterator<Item = (&'s String, &'s String)>) -> BTreeMap<String, raw::Scalar> {
    pairs.map(|(name, value)| (name.clone(), raw::Scalar(value.clone()))).collect()
}

/// Processor time in whole cores or thousandths.
pub(crate) fn cpu_text(cpu: MilliCpu) -> String {
    cpu.to_string()
}

/// Bytes in the largest unit that loses nothing, unlike what people are shown.
pub(crate) fn bytes_text(bytes: Bytes) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    units
        .into_iter()
        .find(|(_, shift)| bytes.0 != 0 && bytes.0.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.0.to_string(), |(unit, shift)| format!("{}{unit}", bytes.0 >> shift))
}
