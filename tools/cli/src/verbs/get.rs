//! `get` and `events`: lists of things.

use skerry_api::v1;

use super::listing::{self, Style};
use super::watch::watch;
use super::{name_of, split_tenant};
use crate::age::now;
use crate::args::{EventsArgs, GetArgs, Output};
use crate::failure::Failure;
use crate::fetch::{List, Listed, Query, list};
use crate::kind::{Kind, Target};
use crate::master::Master;
use crate::print::{has_color, out, say};
use crate::rows::Row;

/// What is asked for, independent of its kind.
struct Asked {
    query: Query,
    style: Style,
    watch: bool,
}

/// `skerry get`.
pub(crate) async fn run(args: GetArgs) -> Result<(), Failure> {
    let kind = args.target.kind;
    check(&args)?;
    let name = name_of(&args.target, args.name)?.unwrap_or_default();
    let scope = if kind.has_tenant() { args.scope.tenant() } else { String::new() };
    let (tenant, name) = split_tenant(kind, scope, name);
    let query = Query {
        tenant,
        name,
        selector: args.selector.map(|selector| selector.to_string()).unwrap_or_default(),
        workload: args.workload.unwrap_or_default(),
        below: args.scope.below(),
        region: args.scope.region.unwrap_or_default(),
    };
    let style = Style { output: args.output.output, all: args.scope.all, color: has_color() };
    let asked = Asked { query, style, watch: args.watch };
    let master = Master::open(&args.server)?;
    match kind {
        Kind::Workload => show::<v1::Workload>(&master, asked).await,
        Kind::Allocation => show::<v1::Allocation>(&master, asked).await,
        Kind::Node => show::<v1::Node>(&master, asked).await,
        Kind::Site => show::<v1::Site>(&master, asked).await,
        Kind::Region => show::<v1::Region>(&master, asked).await,
        Kind::Tenant => show::<v1::Tenant>(&master, asked).await,
        Kind::Event => show_events(&master, asked).await,
        Kind::Token => show::<v1::Token>(&master, asked).await,
    }
}

/// `skerry events`.
pub(crate) async fn events(args: EventsArgs) -> Result<(), Failure> {
    run(GetArgs {
        target: Target { kind: Kind::Event, name: None },
        name: args.name,
        selector: None,
        workload: args.workload,
        watch: args.watch,
        scope: args.scope,
        output: args.output,
        server: args.server,
    })
    .await
}

/// Lists things of one kind.
pub(crate) async fn show_all<T: Row>(master: &Master, output: Output) -> Result<(), Failure> {
    let style = Style { output, all: false, color: has_color() };
    show::<T>(master, Asked { query: Query::default(), style, watch: false }).await
}

/// A flag that would change nothing is refused, so that nobody believes it did.
fn check(args: &GetArgs) -> Result<(), Failure> {
    let kind = args.target.kind;
    let refuse =
        |flag: &str, why: &str| Err(Failure::Usage(format!("{flag} does not apply to {kind}s: {why}")));
    if args.selector.is_some() && !kind.has_labels() {
        return refuse("--selector", "workloads, allocations and nodes can be selected");
    }
    if args.workload.is_some() && !matches!(kind, Kind::Allocation | Kind::Event) {
        return refuse("--workload", "only allocations and events belong to workloads");
    }
    if !kind.has_tenant() && args.scope.tenant.is_given() {
        return refuse("--tenant", "they belong to no tenant");
    }
    if kind == Kind::Token && args.scope.below() {
        return refuse("--all or --region", "each master has its own; choose one with --context");
    }
    if kind == Kind::Token && args.watch {
        return refuse("--watch", "they do not change by themselves");
    }
    Ok(())
}

async fn show<T: Row>(master: &Master, asked: Asked) -> Result<(), Failure> {
    let Asked { query, style, watch: go_on } = asked;
    if go_on {
        return watch::<T>(master, &query, style).await;
    }
    let found: List<T> = list(master, &query).await?;
    let single = !query.name.is_empty();
    let items = found.told();
    if items.is_empty() && single {
        return Err(absent(T::KIND, &query.name, &query.tenant));
    }
    print(&items, style, single, &query)
}

/// Events about one thing: there may be none, or many, and they are shown oldest first.
async fn show_events(master: &Master, asked: Asked) -> Result<(), Failure> {
    let Asked { query, style, watch: go_on } = asked;
    if go_on {
        return watch::<v1::Event>(master, &query, style).await;
    }
    let found: List<v1::Event> = list(master, &query).await?;
    let mut items = found.told();
    // Regions number their events each for themselves, and their clocks agree more or less.
    items.sort_by(|a, b| (a.at_ms, &a.region, a.number).cmp(&(b.at_ms, &b.region, b.number)));
    print(&items, style, false, &query)
}

fn print<T: Row>(items: &[T], style: Style, single: bool, query: &Query) -> Result<(), Failure> {
    let is_table = matches!(style.output, Output::Table | Output::Wide);
    if items.is_empty() && is_table {
        let of = if T::KIND.has_tenant() { of_tenant(&query.tenant) } else { String::new() };
        say(&format!("there are no {}s{of}", T::KIND));
        return Ok(());
    }
    Ok(out(&listing::text(items, style, single, now())?)?)
}

/// The one thing of a name. Things of different regions may share it: then a region has to be named.
pub(crate) fn only<T: Listed>(kind: Kind, name: &str, mut found: Vec<T>) -> Result<T, Failure> {
    if found.len() > 1 {
        let regions: Vec<&str> = found.iter().map(Listed::region).collect();
        return Err(Failure::Usage(format!(
            "there is a {kind} '{name}' in each of the regions {}: say which with --region",
            regions.join(", ")
        )));
    }
    found.pop().ok_or_else(|| absent(kind, name, ""))
}

/// That something is not there, and where it was looked for.
pub(crate) fn absent(kind: Kind, name: &str, tenant: &str) -> Failure {
    let place = if kind.has_tenant() { of_tenant(tenant) } else { String::new() };
    Failure::Absent { kind, name: name.to_owned(), place }
}

fn of_tenant(tenant: &str) -> String {
    if tenant.is_empty() { String::new() } else { format!(" in tenant '{tenant}'") }
}
