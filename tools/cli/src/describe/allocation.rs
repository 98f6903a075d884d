//! All about an allocation.

use skerry_api::v1;

use super::{Setting, add_events, due};
use crate::age::{age, ago, ahead};
use crate::print::sheet::Sheet;
use crate::print::table::Cell;
use crate::rows::{Row as _, amounts, exit_text, qualified};

/// The text of `describe allocation`.
pub(super) fn text(allocation: &v1::Allocation, events: &[v1::Event], setting: Setting) -> String {
    let now = setting.now;
    let mut sheet = Sheet::new(&format!("allocation/{}", allocation.name()));
    let (cpu, memory, disk) = amounts(allocation.resources.as_ref());
    sheet
        .field(
            "Workload",
            format!(
                "{}, instance {}, generation {}",
                qualified(&allocation.tenant, &allocation.workload),
                allocation.instance,
                allocation.generation
            ),
        )
        .field("Region", &allocation.region)
        .field("Node", format!("{} (site {})", allocation.node, allocation.site))
        .field("State", state(allocation, setting))
        .field("Ready", ready(allocation, setting))
        .field("Should", &allocation.desired)
        .field("Reason", &allocation.reason)
        .field("Message", &allocation.message)
        .field("Placed", ago(now, allocation.placed_at_ms))
        .field("Last run", due(allocation.last_due_ms, setting))
        .field("Next run", due(allocation.next_due_ms, setting))
        .field("Lease", lease(allocation, setting))
        .field("Fencing token", token(allocation))
        .field("Address", &allocation.address)
        .field("Reserved", format!("cpu {cpu}, memory {memory}, disk {disk}"));
    if !allocation.ports.is_empty() {
        add_ports(&mut sheet, allocation, setting);
    }
    for container in &allocation.containers {
        add_container(&mut sheet, container, setting);
    }
    add_events(&mut sheet, events, setting);
    sheet.finish()
}

/// The phase, and how old the knowledge of it is where the node is not heard from.
fn state(allocation: &v1::Allocation, setting: Setting) -> String {
    if allocation.reachable {
        return format!("{} for {}", allocation.phase, age(setting.now, allocation.since_ms));
    }
    let heard = ago(setting.now, allocation.last_seen_ms);
    format!("was {} when node {} was last heard from: {heard}", allocation.phase, allocation.node)
}

/// Since when it is well by its probes; nothing is said of what is not heard from.
fn ready(allocation: &v1::Allocation, setting: Setting) -> String {
    match (allocation.phase.as_str(), allocation.reachable, allocation.ready) {
        ("running", true, true) if allocation.ready_since_ms == 0 => "yes".to_owned(),
        ("running", true, true) => format!("yes, for {}", age(setting.now, allocation.ready_since_ms)),
        ("running", true, false) => "no".to_owned(),
        _ => String::new(),
    }
}

/// Who may run what is exclusive, and until when nobody else may.
fn lease(allocation: &v1::Allocation, setting: Setting) -> String {
    let Some(lease) = &allocation.lease else { return String::new() };
    let node = &allocation.node;
    if lease.over_at_ms <= setting.now.0 {
        return format!("over since {}: node {node} runs nothing of it", age(setting.now, lease.over_at_ms));
    }
    let over = ahead(setting.now, lease.over_at_ms);
    match lease.renewed_at_ms {
        0 => format!("not renewed since the master started; node {node} may hold one, over {over}"),
        at => format!("node {node} renewed it {}; over {over} if it does not again", ago(setting.now, at)),
    }
}

/// The token of the last start, if there was one.
fn token(allocation: &v1::Allocation) -> String {
    let token = allocation.lease.as_ref().map_or(0, |lease| lease.fencing_token);
    if token == 0 { String::new() } else { token.to_string() }
}

fn add_ports(sheet: &mut Sheet, allocation: &v1::Allocation, setting: Setting) {
    let rows: Vec<Vec<Cell>> = allocation
        .ports
        .iter()
        .map(|port| {
            let host = if port.host == 0 {
                String::new()
            } else {
                format!("{}:{}", allocation.node_address, port.host)
            };
            vec![
                Cell::new(&port.name),
                Cell::new(&port.protocol),
                Cell::new(port.container.to_string()),
                Cell::new(host),
            ]
        })
        .collect();
    sheet.section("Ports").table(&["NAME", "PROTOCOL", "CONTAINER", "HOST"], &rows, setting.color);
}

fn add_container(sheet: &mut Sheet, container: &v1::Container, setting: Setting) {
    let now = setting.now;
    let mut state = container.state.clone();
    match container.state.as_str() {
        "running" if container.started_at_ms > 0 => {
            state = format!("{state} for {}, pid {}", age(now, container.started_at_ms), container.pid);
        }
        "backoff" if container.next_start_at_ms > 0 => {
            state = format!("{state}, starts again {}", ahead(now, container.next_start_at_ms));
        }
        _ => {}
    }
    sheet
        .section(&format!("Container {}", container.name))
        .field("Image", &container.image)
        .field("Digest", &container.digest)
        .field("State", state)
        .field("Restarts", container.restarts.to_string())
        .field(
            "Last exit",
            container.last_exit.as_ref().map(|exit| exit_text(exit, now)).unwrap_or_default(),
        );
    if !container.log_tail.is_empty() {
        sheet.line("End of its log at its last exit:").quote(&container.log_tail);
    }
}
