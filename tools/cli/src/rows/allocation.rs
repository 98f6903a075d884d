//! Allocations.

use skerry_api::v1::{Allocation, Exit, exit};
use skerry_types::{Bytes, WallTime};

use super::{Column, Row, Shown, amounts, qualified};
use crate::age::age;
use crate::print::table::{Cell, Tone};

impl Row for Allocation {
    const COLUMNS: &'static [Column] = &[
        ("TENANT", Shown::Tenants),
        ("ID", Shown::Always),
        ("WORKLOAD", Shown::Always),
        ("NODE", Shown::Always),
        ("REGION", Shown::Regions),
        ("SITE", Shown::Wide),
        ("STATE", Shown::Always),
        ("LAST HEARD", Shown::Always),
        ("READY", Shown::Wide),
        ("RESTARTS", Shown::Always),
        ("PORTS", Shown::Always),
        ("AGE", Shown::Always),
        ("ADDRESS", Shown::Wide),
        ("GENERATION", Shown::Wide),
        ("CPU", Shown::Wide),
        ("MEMORY", Shown::Wide),
        ("MESSAGE", Shown::Wide),
    ];

    fn cells(&self, now: WallTime) -> Vec<Cell> {
        let (cpu, memory, _) = amounts(self.resources.as_ref());
        let restarts: u64 = self.containers.iter().map(|container| u64::from(container.restarts)).sum();
        // A node that is heard from is heard all the time: its last time is news only when it is missing.
        let heard = if self.reachable { "live".to_owned() } else { age(now, self.last_seen_ms) };
        vec![
            Cell::new(&self.tenant),
            Cell::new(&self.id),
            Cell::new(&self.workload),
            Cell::new(&self.node),
            Cell::new(&self.region),
            Cell::new(&self.site),
            Cell::toned(phase_text(self), phase_tone(self)),
            if self.reachable { Cell::new(heard) } else { Cell::age(heard) },
            ready_cell(self, now),
            Cell::new(restarts.to_string()),
            Cell::new(ports_text(self)),
            Cell::age(age(now, self.placed_at_ms)),
            Cell::new(&self.address),
            Cell::new(self.generation.to_string()),
            Cell::new(cpu.to_string()),
            Cell::new(Bytes(memory.0).to_string()),
            Cell::new(&self.message),
        ]
    }

    fn name(&self) -> String {
        qualified(&self.tenant, &self.id)
    }
}

/// Since when it is well by its probes; nothing is said of what is not heard from.
fn ready_cell(allocation: &Allocation, now: WallTime) -> Cell {
    match (allocation.phase.as_str(), allocation.reachable, allocation.ready) {
        ("running", true, true) => {
            Cell::toned(age(now, allocation.ready_since_ms), Tone::Good).with_news("yes".to_owned())
        }
        ("running", true, false) => Cell::toned("no", Tone::Warning),
        _ => Cell::new(""),
    }
}

/// The phase, with its reason; as last heard of where the node is not heard from.
pub(crate) fn phase_text(allocation: &Allocation) -> String {
    let mut text = allocation.phase.clone();
    if !allocation.reason.is_empty() {
        text = format!("{text} ({})", allocation.reason);
    }
    if !allocation.reachable {
        text = format!("was {text}");
    }
    text
}

/// How good a phase is; never good where the node is not heard from.
pub(crate) fn phase_tone(allocation: &Allocation) -> Tone {
    match allocation.phase.as_str() {
        "failed" | "backoff" => Tone::Bad,
        _ if !allocation.reachable || allocation.desired == "keep" => Tone::Warning,
        "running" | "completed" => Tone::Good,
        "stopped" => Tone::Plain,
        _ => Tone::Warning,
    }
}

/// `ADDRESS:HOST->CONTAINER/PROTOCOL` for each port; the address once.
pub(crate) fn ports_text(allocation: &Allocation) -> String {
    let ports: Vec<String> = allocation
        .ports
        .iter()
        .map(|port| match port.host {
            0 => format!("{}/{}", port.container, port.protocol),
            host => format!("{}:{host}->{}/{}", allocation.node_address, port.container, port.protocol),
        })
        .collect();
    ports.join(",")
}

/// How a container ended: `exit code 1 after 3s, 5m ago`.
pub(crate) fn exit_text(exit: &Exit, now: WallTime) -> String {
    let mut text = match exit.kind {
        Some(exit::Kind::Code(code)) => format!("exit code {code}"),
        Some(exit::Kind::Signal(signal)) => format!("signal {signal}{}", signal_name(signal)),
        Some(exit::Kind::Unknown(_)) | None => "ended while nobody could see how".to_owned(),
    };
    if exit.out_of_memory {
        text.push_str(", out of memory");
    }
    if exit.ran_for_ms > 0 {
        let ran = std::time::Duration::from_millis(exit.ran_for_ms);
        text = format!("{text} after {}", crate::age::short(ran));
    }
    text + &format!(", {}", crate::age::ago(now, exit.at_ms))
}

/// The names of the signals that end containers.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        31 => " (SIGSYS)",
        _ => "",
    }
}
