//! How the node looks whether a container is well.

use skerry_types::{PortName, Probe, ProbeCheck, Protocol};

use super::container::{Declared, words};
use super::{exactly_one, span};
use crate::faults::Faults;
use crate::path::Path;
use crate::problem::Problem;
use crate::{limits, raw};

pub(super) fn probe(
    probe: &raw::Probe,
    ports: &[Declared],
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<Probe> {
    let check = check(probe, ports, path, faults);
    let interval = span(&probe.interval, &limits::PROBE_INTERVAL, &path.field("interval"), faults);
    let timeout = span(&probe.timeout, &limits::PROBE_TIMEOUT, &path.field("timeout"), faults);
    let grace = span(&probe.grace, &limits::PROBE_GRACE, &path.field("grace"), faults);
    Some(Probe {
        check: check?,
        interval: interval?,
        timeout: timeout?,
        failures: probe.failures,
        grace: grace?,
    })
}

fn check(
    probe: &raw::Probe,
    ports: &[Declared],
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<ProbeCheck> {
    let checks =
        [("http", probe.http.is_some()), ("tcp", probe.tcp.is_some()), ("exec", probe.exec.is_some())];
    let one = exactly_one(checks, path, faults)?;
    let path = path.field(one);
    match probe {
        raw::Probe { http: Some(http), .. } => {
            let port = port(&http.port, ports, &path.field("port"), faults);
            let url = url_path(&http.path, &path.field("path"), faults);
            Some(ProbeCheck::Http { port: port?, path: url? })
        }
        raw::Probe { tcp: Some(tcp), .. } => {
            Some(ProbeCheck::Tcp { port: port(&tcp.port, ports, &path.field("port"), faults)? })
        }
        raw::Probe { exec: Some(exec), .. } => {
            let path = path.field("command");
            let command = words(&exec.command, &path, faults);
            if command.first().is_some_and(String::is_empty) {
                let advice = "name the program, as in '[\"/bin/check\"]'";
                faults.add(&path.index(0), Problem::Empty { advice });
            }
            Some(ProbeCheck::Exec { command })
        }
        _ => None,
    }
}

/// The declared port of that name or number. All containers of an instance share their ports.
fn port(text: &str, ports: &[Declared], path: &Path<'_>, faults: &mut Faults<'_>) -> Option<PortName> {
    let named = ports.iter().find(|port| port.name == text);
    let numbered =
        || ports.iter().find(|port| port.number.to_string() == text && port.protocol == Protocol::Tcp);
    let Some(port) = named.or_else(numbered) else {
        let found = text.to_owned();
        faults.add(path, Problem::UndeclaredPort { found, declared: declared(ports) });
        return None;
    };
    if port.protocol == Protocol::Udp {
        faults.add(path, Problem::UdpPort { port: port.name.clone() });
    }
    // What is wrong with the name is told where it is declared.
    PortName::new(port.name.as_str()).ok()
}

fn declared(ports: &[Declared]) -> String {
    let names: Vec<String> = ports.iter().map(|port| format!("{} ({})", port.name, port.number)).collect();
    match names.as_slice() {
        [] => "the workload declares none; add it to the container's 'ports'".to_owned(),
        [only] => format!("the one that is declared is {only}"),
        _ => format!("those that are declared are {}", names.join(", ")),
    }
}

fn url_path(text: &str, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<String> {
    let good = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic());
    if !good {
        faults.add(path, Problem::ProbePath { found: text.chars().take(64).collect() });
        return None;
    }
    if text.len() > limits::PROBE_PATH_BYTES_MAX {
        let (bytes, max) = (text.len(), limits::PROBE_PATH_BYTES_MAX);
        faults.add(path, Problem::TooLong { bytes, max });
        return None;
    }
    Some(text.to_owned())
}
