//! `describe`: all about one thing, in blocks that people read. Fetching is here; each block is made by a pure function.

mod allocation;
mod node;
mod region;
mod site;
mod tenant;
mod workload;

use skerry_api::v1;
use skerry_types::{Bandwidth, Bytes, MilliCpu, MilliGpu, WallTime};

use crate::age::{age, ahead, now};
use crate::args::DescribeArgs;
use crate::failure::Failure;
use crate::fetch::{Listed, Query, list};
use crate::kind::Kind;
use crate::master::Master;
use crate::print::sheet::Sheet;
use crate::print::table::{Cell, Tone};
use crate::print::{has_color, out};
use crate::transport::CallError;
use crate::verbs::get::{absent, only};
use crate::verbs::{required_name, split_tenant};

/// Newest events that are shown.
const EVENTS_SHOWN: usize = 10;

/// When it is told, and whether in color.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    now: WallTime,
    color: bool,
}

/// `skerry describe`.
pub(crate) async fn run(args: DescribeArgs) -> Result<(), Failure> {
    let kind = args.target.kind;
    if matches!(kind, Kind::Event | Kind::Token) {
        return Err(Failure::Usage(format!("{kind}s are not described: see 'skerry get {kind}s -o wide'")));
    }
    if !kind.has_tenant() && args.tenant.is_given() {
        return Err(Failure::Usage(format!("--tenant does not apply to {kind}s")));
    }
    if !kind.is_in_regions() && args.region.is_some() {
        return Err(Failure::Usage(format!("--region does not apply to {kind}s")));
    }
    let name = required_name(&args.target, args.name)?;
    let tenant = if kind.has_tenant() { args.tenant.name() } else { String::new() };
    let (tenant, name) = split_tenant(kind, tenant, name);
    let master = Master::open(&args.server)?;
    let query = Query { tenant, name, region: args.region.unwrap_or_default(), ..Query::default() };
    let setting = Setting { now: now(), color: has_color() };
    Ok(out(&told(&master, kind, &query, setting).await?)?)
}

async fn told(master: &Master, kind: Kind, query: &Query, setting: Setting) -> Result<String, Failure> {
    Ok(match kind {
        Kind::Workload => {
            let found = one::<v1::Workload>(master, query).await?;
            let of = Query {
                tenant: query.tenant.clone(),
                workload: query.name.clone(),
                below: true,
                ..Query::default()
            };
            let allocations = list::<v1::Allocation>(master, &of).await?.told();
            let events = list::<v1::Event>(master, &of).await?.items;
            workload::text(&found, &allocations, &events, setting)
        }
        Kind::Allocation => {
            let found = one::<v1::Allocation>(master, query).await?;
            let events = about(master, query, &found.region).await?;
            allocation::text(&found, &events, setting)
        }
        Kind::Node => {
            let found = one::<v1::Node>(master, query).await?;
            let of = Query { below: true, region: found.region.clone(), ..Query::default() };
            let mut allocations = list::<v1::Allocation>(master, &of).await?.told();
            allocations.retain(|one| one.node == found.name);
            let events = about(master, query, &found.region).await?;
            node::text(&found, &allocations, &events, setting)
        }
        Kind::Site => {
            let found = one::<v1::Site>(master, query).await?;
            let of = Query { below: true, region: found.region.clone(), ..Query::default() };
            let mut nodes = list::<v1::Node>(master, &of).await?.items;
            nodes.retain(|node| node.site == found.name);
            let events = about(master, query, &found.region).await?;
            site::text(&found, &nodes, &events, setting)
        }
        Kind::Region => {
            let found = one::<v1::Region>(master, query).await?;
            let of = Query { below: true, region: found.name.clone(), ..Query::default() };
            let sites = list::<v1::Site>(master, &of).await?.items;
            let mut children =
                list::<v1::Region>(master, &Query { below: true, ..Query::default() }).await?.items;
            children.retain(|child| child.parent == found.name);
            let events = about(master, query, "").await?;
            region::text(&found, &sites, &children, &events, setting)
        }
        _ => {
            let found = one::<v1::Tenant>(master, query).await?;
            let all = list::<v1::Tenant>(master, &Query::default()).await?.items;
            let children: Vec<v1::Tenant> =
                all.into_iter().filter(|child| child.parent == found.name).collect();
            let of = Query { tenant: found.name.clone(), ..Query::default() };
            let workloads = list::<v1::Workload>(master, &of).await?.items;
            tenant::text(&found, &children, &workloads, setting)
        }
    })
}

/// The one that is meant: of this region, or else the only one below.
async fn one<T: Listed>(master: &Master, query: &Query) -> Result<T, Failure> {
    if query.region.is_empty()
        && let Some(found) = list::<T>(master, query).await?.items.into_iter().next()
    {
        return Ok(found);
    }
    let found = list::<T>(master, &Query { below: true, ..query.clone() }).await?.items;
    if found.is_empty() {
        return Err(absent(T::KIND, &query.name, &query.tenant));
    }
    only(T::KIND, &query.name, found)
}

async fn about(master: &Master, query: &Query, region: &str) -> Result<Vec<v1::Event>, CallError> {
    let of = Query {
        tenant: query.tenant.clone(),
        name: query.name.clone(),
        below: true,
        region: region.to_owned(),
        ..Query::default()
    };
    Ok(list::<v1::Event>(master, &of).await?.items)
}

/// The newest events, oldest first.
fn add_events(sheet: &mut Sheet, events: &[v1::Event], setting: Setting) {
    let mut events: Vec<&v1::Event> = events.iter().collect();
    events.sort_by_key(|event| event.number);
    let skipped = events.len().saturating_sub(EVENTS_SHOWN);
    let rows: Vec<Vec<Cell>> = events[skipped..]
        .iter()
        .map(|event| {
            let tone = if event.level == "warning" { Tone::Warning } else { Tone::Plain };
            vec![
                Cell::new(age(setting.now, event.at_ms)),
                Cell::toned(&event.level, tone),
                Cell::new(&event.subject),
                Cell::new(&event.reason),
                Cell::new(&event.message),
            ]
        })
        .collect();
    let heading =
        if skipped == 0 { "Events".to_owned() } else { format!("Events ({skipped} older ones not shown)") };
    sheet.section(&heading);
    sheet.table(&["AGE", "LEVEL", "SUBJECT", "REASON", "MESSAGE"], &rows, setting.color);
}

/// Amounts of what there is for workloads and what is reserved of it.
fn add_capacity(
    sheet: &mut Sheet,
    capacity: Option<&v1::Resources>,
    reserved: Option<&v1::Resources>,
    setting: Setting,
) {
    let (capacity, reserved) = (amount_texts(capacity), amount_texts(reserved));
    let rows: Vec<Vec<Cell>> = capacity
        .iter()
        .zip(&reserved)
        .filter(|((what, capacity), (_, reserved))| is_shown(what, [capacity, reserved]))
        .map(|((what, capacity), (_, reserved))| {
            vec![Cell::new(what), Cell::new(capacity), Cell::new(reserved)]
        })
        .collect();
    sheet.section("Resources");
    sheet.table(&["RESOURCE", "FOR WORKLOADS", "RESERVED"], &rows, setting.color);
}

/// Each resource's name and amount.
fn amount_texts(resources: Option<&v1::Resources>) -> [(&'static str, String); 5] {
    let of = resources.copied().unwrap_or_default();
    [
        ("cpu", MilliCpu(of.cpu_milli).to_string()),
        ("memory", Bytes(of.memory_bytes).to_string()),
        ("disk", Bytes(of.disk_bytes).to_string()),
        ("bandwidth", Bandwidth(of.bandwidth_bits).to_string()),
        ("gpu", MilliGpu(of.gpu_milli).to_string()),
    ]
}

/// Whether a resource is told of: what every node has always, the rest where there is any.
fn is_shown<'a>(what: &str, amounts: impl IntoIterator<Item = &'a String>) -> bool {
    matches!(what, "cpu" | "memory" | "disk") || amounts.into_iter().any(|amount| amount != "0")
}

/// Labels as a block, when there are any.
fn add_labels<'l>(sheet: &mut Sheet, labels: impl IntoIterator<Item = (&'l String, &'l String)>) {
    let mut labels = labels.into_iter().peekable();
    if labels.peek().is_some() {
        sheet.section("Labels");
    }
    for (key, value) in labels {
        sheet.field(key, value);
    }
}

/// A due time, if there is one: `in 59m`, `3m ago`.
fn due(at_ms: u64, setting: Setting) -> String {
    if at_ms == 0 { String::new() } else { ahead(setting.now, at_ms) }
}

/// Allocations as a table.
fn add_allocations(sheet: &mut Sheet, allocations: &[v1::Allocation], setting: Setting) {
    use crate::rows::{phase_text, phase_tone, ports_text};
    let rows: Vec<Vec<Cell>> = allocations
        .iter()
        .map(|one| {
            let restarts: u64 = one.containers.iter().map(|container| u64::from(container.restarts)).sum();
            let heard = if one.reachable { "live".to_owned() } else { age(setting.now, one.last_seen_ms) };
            vec![
                Cell::new(&one.id),
                Cell::new(one.generation.to_string()),
                Cell::new(&one.node),
                Cell::toned(phase_text(one), phase_tone(one)),
                Cell::new(heard),
                Cell::new(restarts.to_string()),
                Cell::new(ports_text(one)),
                Cell::new(&one.message),
            ]
        })
        .collect();
    sheet.section("Allocations");
    let titles = ["ID", "GENERATION", "NODE", "STATE", "LAST HEARD", "RESTARTS", "PORTS", "MESSAGE"];
    sheet.table(&titles, &rows, setting.color);
}

#[cfg(test)]
mod tests;
