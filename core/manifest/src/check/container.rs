//! The containers of an instance, and what must be unique among them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use skerry_types::{
    Bandwidth, Bytes, Capabilities, ContainerName, ContainerSpec, EnvVar, HostPort, Limits, MilliCpu,
    MilliGpu, PortName, PortSpec, Probes, Protocol, Resources,
};

use super::amount::amount;
use super::{probe, within};
use crate::faults::Faults;
use crate::path::Path;
use crate::problem::Problem;
use crate::{capability, image, limits, raw, signal};

/// What the containers of an instance must not share, each with the line that took it.
#[derive(Default)]
struct Used {
    containers: BTreeMap<String, u64>,
    port_names: BTreeMap<String, u64>,
    container_ports: BTreeMap<(Protocol, u16), u64>,
    host_ports: BTreeMap<(Protocol, u16), u64>,
}

/// A port that any container declares, as it is written.
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) number: u16,
    pub(super) protocol: Protocol,
}

/// The init containers and the others; those that `faults` name are left out. `path` is that of the spec.
pub(super) fn all(
    init: &[raw::Container],
    containers: &[raw::Container],
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> (Vec<ContainerSpec>, Vec<ContainerSpec>) {
    let declared: Vec<Declared> =
        containers.iter().flat_map(|container| &container.ports).map(declared).collect();
    let mut used = Used::default();
    let mut checked = |list: &[raw::Container], path: &Path<'_>, faults: &mut Faults<'_>| {
        let one = |(index, raw)| one(raw, &declared, &path.index(index), &mut used, faults);
        list.iter().enumerate().filter_map(one).collect()
    };
    let init = checked(init, &path.field("init"), faults);
    let path = path.field("containers");
    let containers = checked(containers, &path, faults);
    if declared.len() > limits::PORTS_MAX {
        faults.add(&path, Problem::TooManyPorts { found: declared.len(), max: limits::PORTS_MAX });
    }
    (init, containers)
}

fn declared(port: &raw::Port) -> Declared {
    Declared { name: port.name.clone(), number: port.container, protocol: protocol(port.protocol) }
}

fn one(
    raw: &raw::Container,
    declared: &[Declared],
    path: &Path<'_>,
    used: &mut Used,
    faults: &mut Faults<'_>,
) -> Option<ContainerSpec> {
    let name_path = path.field("name");
    let name = faults.take(&name_path, ContainerName::new(raw.name.as_str()));
    let advice = "give each container a name of its own";
    claim(&mut used.containers, raw.name.clone(), &name_path, faults, || {
        (format!("the name '{}'", raw.name), advice)
    });
    faults.take(&path.field("image"), image::check(&raw.image));
    let reserved = reserved(&raw.resources, &path.field("resources"), faults);
    let ports_path = path.field("ports");
    let ports = raw
        .ports
        .iter()
        .enumerate()
        .filter_map(|(index, raw)| port(raw, &ports_path.index(index), used, faults))
        .collect();
    let probes = Probes {
        health: raw
            .health
            .as_ref()
            .and_then(|raw| probe::probe(raw, declared, &path.field("health"), faults)),
        ready: raw.ready.as_ref().and_then(|raw| probe::probe(raw, declared, &path.field("ready"), faults)),
    };
    let stop_signal = raw
        .stop_signal
        .as_deref()
        .and_then(|text| faults.take(&path.field("stop_signal"), signal::read(text)));
    Some(ContainerSpec {
        image: raw.image.clone(),
        digest: None,
        command: words(&raw.command, &path.field("command"), faults),
        args: words(&raw.args, &path.field("args"), faults),
        env: environment(&raw.env, &path.field("env"), faults),
        limits: bounds(raw, reserved.as_ref(), path, faults)?,
        ports,
        user: raw.user.clone().filter(|user| is_user_or_fault(user, path, faults)),
        read_only: raw.read_only,
        capabilities: capabilities(&raw.capabilities, &path.field("capabilities"), faults),
        name: name?,
        resources: reserved?,
        probes,
        stop_signal,
    })
}

/// Takes `key` for the thing at `path`, or adds a fault that names who has it.
fn claim<K: Ord>(
    used: &mut BTreeMap<K, u64>,
    key: K,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
    describe: impl FnOnce() -> (String, &'static str),
) {
    let line = faults.line_of(path);
    if let Some(first_line) = used.get(&key).copied() {
        let (what, advice) = describe();
        faults.add(path, Problem::Taken { what, first_line, advice });
        return;
    }
    used.insert(key, line);
}

pub(super) fn words(words: &[raw::Scalar], path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<String> {
    for (index, word) in words.iter().enumerate() {
        word_or_fault(&word.0, &path.index(index), faults);
    }
    words.iter().map(|word| word.0.clone()).collect()
}

fn environment(env: &BTreeMap<String, raw::Scalar>, path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<EnvVar> {
    for (name, value) in env {
        let path = path.field(name);
        if !is_env_name(name) {
            let name = name.clone();
            faults.add(&path, Problem::EnvName { name });
        }
        word_or_fault(&value.0, &path, faults);
    }
    EnvVar::from_map(env.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect())
}

fn is_env_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let begins_well = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    begins_well && name.len() <= limits::ENV_NAME_BYTES_MAX && name.bytes().all(inner)
}

fn word_or_fault(word: &str, path: &Path<'_>, faults: &mut Faults<'_>) {
    if word.contains('\0') {
        faults.add(path, Problem::ZeroByte);
    }
    if word.len() > limits::WORD_BYTES_MAX {
        faults.add(path, Problem::TooLong { bytes: word.len(), max: limits::WORD_BYTES_MAX });
    }
}

fn reserved(raw: &raw::Resources, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Resources> {
    let cpu = amount(&raw.cpu, &CPU, &path.field("cpu"), faults);
    let memory = amount(&raw.memory, &(Bytes(0)..=limits::MEMORY_MAX), &path.field("memory"), faults);
    let disk = amount(&raw.disk, &(Bytes(0)..=limits::DISK_MAX), &path.field("disk"), faults);
    let rates = Bandwidth(0)..=limits::BANDWIDTH_MAX;
    let bandwidth = amount(&raw.bandwidth, &rates, &path.field("bandwidth"), faults);
    let gpu = amount(&raw.gpu, &(MilliGpu(0)..=limits::GPU_MAX), &path.field("gpu"), faults);
    Some(Resources { cpu: cpu?, memory: memory?, disk: disk?, bandwidth: bandwidth?, gpu: gpu? })
}

const CPU: RangeInclusive<MilliCpu> = MilliCpu(0)..=limits::CPU_MAX;

fn bounds(
    raw: &raw::Container,
    reserved: Option<&Resources>,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<Limits> {
    let limits_path = path.field("limits");
    let resources_path = path.field("resources");
    let cpu_path = limits_path.field("cpu");
    let memory_path = limits_path.field("memory");
    let sound = !faults.touch(&resources_path);
    let cpu = match &raw.limits.cpu {
        Some(text) => Some(amount(text, &CPU, &cpu_path, faults)?),
        None => None,
    };
    let memory_bounds = limits::MEMORY_LIMIT_MIN..=limits::MEMORY_MAX;
    let memory = match &raw.limits.memory {
        Some(text) => amount(text, &memory_bounds, &memory_path, faults)?,
        // The reservation is the limit, so it must do as one; the fault belongs to where it stands.
        None => within(reserved?.memory, &memory_bounds, &resources_path.field("memory"), faults)?,
    };
    if let Some(reserved) = reserved.filter(|_| sound) {
        if let Some(cpu) = cpu {
            let reserved_path = resources_path.field("cpu");
            not_below(&cpu, &reserved.cpu, &cpu_path, &reserved_path, faults);
        }
        let reserved_path = resources_path.field("memory");
        not_below(&memory, &reserved.memory, &memory_path, &reserved_path, faults);
    }
    Some(Limits { cpu, memory, pids: raw.limits.pids })
}

fn not_below<T: Ord + std::fmt::Display>(
    limit: &T,
    reserved: &T,
    path: &Path<'_>,
    reserved_path: &Path<'_>,
    faults: &mut Faults<'_>,
) {
    if limit < reserved {
        faults.add(
            path,
            Problem::LimitBelowReserved {
                limit: limit.to_string(),
                reserved: reserved.to_string(),
                reserved_path: reserved_path.to_string(),
            },
        );
    }
}

fn port(raw: &raw::Port, path: &Path<'_>, used: &mut Used, faults: &mut Faults<'_>) -> Option<PortSpec> {
    let protocol = protocol(raw.protocol);
    let name_path = path.field("name");
    let name = faults.take(&name_path, PortName::new(raw.name.as_str()));
    claim(&mut used.port_names, raw.name.clone(), &name_path, faults, || {
        (format!("the name '{}'", raw.name), "give each port of the workload a name of its own")
    });
    let key = (protocol, raw.container);
    claim(&mut used.container_ports, key, &path.field("container"), faults, || {
        let what = format!("port {}/{protocol} of the instance", raw.container);
        (what, "the containers of an instance share their ports: let one of them listen elsewhere")
    });
    let host_path = path.field("host");
    let host = host_port(&raw.host, &host_path, faults);
    if let Some(HostPort::Fixed(port)) = host {
        claim(&mut used.host_ports, (protocol, port), &host_path, faults, || {
            (format!("host port {port}/{protocol}"), "take another, or 'auto'")
        });
    }
    Some(PortSpec { name: name?, container: raw.container, protocol, host: host? })
}

fn protocol(transport: raw::Transport) -> Protocol {
    match transport {
        raw::Transport::Tcp => Protocol::Tcp,
        raw::Transport::Udp => Protocol::Udp,
    }
}

fn host_port(text: &str, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<HostPort> {
    match text {
        "none" => return Some(HostPort::None),
        "auto" => return Some(HostPort::Auto),
        _ => {}
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Some(HostPort::Fixed(port)),
        _ => {
            let found = text.to_owned();
            faults.add(path, Problem::HostPort { found });
            None
        }
    }
}

fn is_user_or_fault(user: &str, path: &Path<'_>, faults: &mut Faults<'_>) -> bool {
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let good = is_user_part(name) && group.is_none_or(is_user_part);
    if !good {
        let user = user.to_owned();
        faults.add(&path.field("user"), Problem::User { user });
    }
    good
}

/// A name, or an id below the kernel's "no id" of 4294967295.
fn is_user_part(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if part.is_empty() || part.len() > limits::USER_BYTES_MAX || part.starts_with('-') {
        return false;
    }
    if part.bytes().all(|b| b.is_ascii_digit()) {
        return part.parse::<u32>().is_ok_and(|id| id != u32::MAX);
    }
    part.bytes().all(inner)
}

fn capabilities(raw: &raw::Capabilities, path: &Path<'_>, faults: &mut Faults<'_>) -> Capabilities {
    Capabilities {
        add: capability_names(&raw.add, false, &path.field("add"), faults),
        drop: capability_names(&raw.drop, true, &path.field("drop"), faults),
    }
}

fn capability_names(names: &[String], all: bool, path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<String> {
    let mut checked: Vec<String> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match capability::read(name, all) {
            Ok(name) if checked.iter().any(|other| other == name) => {}
            Ok(name) => checked.push(name.to_owned()),
            Err(problem) => faults.add(&path.index(index), problem),
        }
    }
    checked
}
