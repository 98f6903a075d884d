//! A workload in its canonical form.

use std::collections::BTreeMap;

use skerry_types::{
    Affinity, ContainerSpec, HostPort, Near, Place, Placement, PortSpec, Probe, ProbeCheck, Protocol,
    WorkloadKind, WorkloadSpec, show_duration,
};

use super::{bytes_text, life};
use crate::{raw, signal};

pub(super) fn manifest(spec: &WorkloadSpec) -> raw::Workload {
    let instance = &spec.instance;
    raw::Workload {
        api_version: raw::API_VERSION.to_owned(),
        kind: "Workload".to_owned(),
        metadata: raw::Metadata {
            name: spec.key.name.to_string(),
            tenant: spec.key.tenant.to_string(),
            labels: scalars(spec.labels.iter()),
        },
        spec: raw::Spec {
            kind: match spec.kind {
                WorkloadKind::Service => raw::Life::Service,
                WorkloadKind::Job(_) => raw::Life::Job,
                WorkloadKind::Cron => raw::Life::Cron,
                WorkloadKind::Daemon => raw::Life::Daemon,
            },
            instances: (spec.kind != WorkloadKind::Daemon).then_some(spec.instances),
            priority: spec.priority,
            init: instance.init.iter().map(container).collect(),
            containers: instance.containers.iter().map(container).collect(),
            placement: placement(&spec.placement),
            restart: life::restart(&instance.restart),
            stop_grace: show_duration(instance.stop_grace),
            stop_delay: show_duration(instance.stop_delay),
            update: life::update(&spec.update),
            on_disconnect: life::on_disconnect(&spec.on_disconnect),
            job: match &spec.kind {
                WorkloadKind::Job(policy) => Some(life::job(policy)),
                _ => None,
            },
            schedule: instance.schedule.as_ref().map(life::schedule),
            run_deadline: instance.deadline.map(show_duration),
            scale: spec.scale.as_ref().map(life::scale),
            exclusive: spec.exclusive().is_some(),
            lease: spec.exclusive().map(|lease| show_duration(lease.length())),
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
            cpu: spec.resources.cpu.to_string(),
            memory: bytes_text(spec.resources.memory),
            disk: bytes_text(spec.resources.disk),
            bandwidth: spec.resources.bandwidth.to_string(),
            gpu: spec.resources.gpu.to_string(),
        },
        limits: raw::Limits {
            cpu: spec.limits.cpu.map(|cpu| cpu.to_string()),
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
        health: spec.probes.health.as_ref().map(probe),
        ready: spec.probes.ready.as_ref().map(probe),
        stop_signal: spec.stop_signal.map(signal::show),
    }
}

fn probe(probe: &Probe) -> raw::Probe {
    let unset = raw::Probe {
        interval: show_duration(probe.interval),
        timeout: show_duration(probe.timeout),
        failures: probe.failures,
        grace: show_duration(probe.grace),
        ..raw::Probe::default()
    };
    match &probe.check {
        ProbeCheck::Http { port, path } => {
            raw::Probe { http: Some(raw::Http { port: port.to_string(), path: path.clone() }), ..unset }
        }
        ProbeCheck::Tcp { port } => raw::Probe { tcp: Some(raw::Tcp { port: port.to_string() }), ..unset },
        ProbeCheck::Exec { command } => {
            let command = command.iter().cloned().map(raw::Scalar).collect();
            raw::Probe { exec: Some(raw::Exec { command }), ..unset }
        }
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
        near: spec.near.iter().map(near).collect(),
        affinity: spec.affinity.iter().map(affinity).collect(),
        anti_affinity: spec.anti_affinity.iter().map(affinity).collect(),
    }
}

fn near(near: &Near) -> raw::Near {
    let (point, site) = match &near.to {
        Place::Point(point) => (Some(point.to_string()), None),
        Place::Site(site) => (None, Some(site.to_string())),
    };
    raw::Near { point, site, weight: near.weight }
}

fn affinity(affinity: &Affinity) -> raw::Affinity {
    raw::Affinity {
        matches: affinity.matches.to_string(),
        by: affinity.by.to_string(),
        weight: affinity.weight,
    }
}

pub(super) fn scalars<'s>(
    pairs: impl Iterator<Item = (&'s String, &'s String)>,
) -> BTreeMap<String, raw::Scalar> {
    pairs.map(|(name, value)| (name.clone(), raw::Scalar(value.clone()))).collect()
}
