//! `describe`: all about one thing, in blocks that people read. Fetching is here; each block is made by a pure function.

mod allocation;
mod node;
mod workload;

use skerry_api::v1;
use skerry_types::WallTime;

use crate::age::{age, now};
use crate::args::DescribeArgs;
use crate::failure::Failure;
use crate::fetch::{Listed, Query, list};
use crate::kind::Kind;
use crate::master::Master;
use crate::print::sheet::Sheet;
use crate::print::table::{Cell, Tone};
use crate::print::{has_color, out};
use crate::transport::CallError;
use crate::verbs::get::absent;
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
    if !matches!(kind, Kind::Workload | Kind::Allocation | Kind::Node) {
        return Err(Failure::Usage(format!(
            "{kind}s are not described: only workloads, allocations and nodes; see 'skerry get {kind}s -o wide'"
        )));
    }
    if kind == Kind::Node && args.tenant.is_given() {
        return Err(Failure::Usage("--tenant does not apply to nodes".to_owned()));
    }
    let name = required_name(&args.target, args.name)?;
    let tenant = if kind.has_tenant() { args.tenant.name() } else { String::new() };
    let (tenant, name) = split_tenant(kind, tenant, name);
    let master = Master::open(&args.server)?;
    let setting = Setting { now: now(), color: has_color() };
    let text = match kind {
        Kind::Workload => {
            let found = one::<v1::Workload>(&master, &tenant, &name).await?;
            let of = Query { tenant: tenant.clone(), workload: name.clone(), ..Query::default() };
            let allocations = list::<v1::Allocation>(&master, &of).await?.items;
            let events = list::<v1::Event>(&master, &of).await?.items;
            workload::text(&found, &allocations, &events, setting)
        }
        Kind::Allocation => {
            let found = one::<v1::Allocation>(&master, &tenant, &name).await?;
            let events = about(&master, &tenant, &name).await?;
            allocation::text(&found, &events, setting)
        }
        _ => {
            let found = one::<v1::Node>(&master, "", &name).await?;
            let mut allocations = list::<v1::Allocation>(&master, &Query::default()).await?.items;
            allocations.retain(|one| one.node == name);
            let events = about(&master, "", &name).await?;
            node::text(&found, &allocations, &events, setting)
        }
    };
    Ok(out(&text)?)
}

async fn one<T: Listed>(master: &Master, tenant: &str, name: &str) -> Result<T, Failure> {
    let query = Query { tenant: tenant.to_owned(), name: name.to_owned(), ..Query::default() };
    let found = list::<T>(master, &query).await?.items.into_iter().next();
    found.ok_or_else(|| absent(T::KIND, name, tenant))
}

async fn about(master: &Master, tenant: &str, name: &str) -> Result<Vec<v1::Event>, CallError> {
    let query = Query { tenant: tenant.to_owned(), name: name.to_owned(), ..Query::default() };
    Ok(list::<v1::Event>(master, &query).await?.items)
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
