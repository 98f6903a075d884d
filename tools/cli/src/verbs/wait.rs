//! `wait`: until something is so, or time is up.

mod goal;

use std::time::Duration;

use skerry_api::v1;
use skerry_types::show_duration;
use tokio::time::{Instant, sleep};

pub(crate) use self::goal::Goal;
use self::goal::{Standing, allocation, node, workload};
use super::get::absent;
use super::{required_name, split_tenant};
use crate::args::WaitArgs;
use crate::failure::Failure;
use crate::fetch::{List, Listed, Query, list, list_after};
use crate::kind::Kind;
use crate::master::Master;
use crate::print::progress::Progress;
use crate::print::{out, say};
use crate::rows::qualified;
use crate::transport::CallError;

/// Shortest time between two looks at a region that changes all the time.
const PACE: Duration = Duration::from_millis(100);
/// How long a master that does not answer is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    kind: Kind,
    tenant: String,
    name: String,
}

impl Subject {
    pub(crate) fn new(kind: Kind, tenant: String, name: String) -> Self {
        Self { kind, tenant, name }
    }

    fn query(&self) -> Query {
        Query { tenant: self.tenant.clone(), name: self.name.clone(), ..Query::default() }
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.kind, qualified(&self.tenant, &self.name))
    }
}

/// `skerry wait`.
pub(crate) async fn run(args: WaitArgs) -> Result<(), Failure> {
    let kind = args.target.kind;
    args.goal.check(kind)?;
    if kind == Kind::Node && args.tenant.is_given() {
        return Err(Failure::Usage("--tenant does not apply to nodes".to_owned()));
    }
    let name = required_name(&args.target, args.name)?;
    let tenant = if kind.has_tenant() { args.tenant.name() } else { String::new() };
    let (tenant, name) = split_tenant(kind, tenant, name);
    let subject = Subject::new(kind, tenant, name);
    let master = Master::open(&args.server)?;
    wait_for(&master, &subject, &args.goal, args.timeout).await?;
    Ok(out(&format!("{} {}\n", subject.shown(), args.goal))?)
}

/// Waits, showing how far it is. A master that is gone for a while is asked again until the time is up.
pub(crate) async fn wait_for(
    master: &Master,
    subject: &Subject,
    goal: &Goal,
    limit: Duration,
) -> Result<(), Failure> {
    let until = Instant::now() + limit;
    let mut progress = Progress::new();
    let mut change = 0;
    let mut last = "nothing was heard of it".to_owned();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let earliest = Instant::now() + PACE;
        // The time may run out within the call: then that is what happened, whatever the call was for.
        match tokio::time::timeout(left, look(master, subject, goal, change, left)).await {
            Err(_) => break,
            Ok(Ok((Standing::Reached, _))) => return Ok(()),
            Ok(Ok((Standing::Absent, _))) => {
                return Err(absent(subject.kind, &subject.name, &subject.tenant));
            }
            Ok(Ok((Standing::Ahead(text), seen))) => {
                progress.show(&text);
                last = text;
                change = seen;
            }
            Ok(Err(error)) if error.may_pass() => {
                last = error.to_string();
                progress.show(&last);
                change = 0;
                sleep(RETRY.min(until.saturating_duration_since(Instant::now()))).await;
            }
            Ok(Err(error)) => return Err(error.into()),
        }
        tokio::time::sleep_until(earliest.min(until)).await;
    }
    drop(progress);
    explain(master, subject).await;
    let what = format!("{} is not {goal}", subject.shown());
    Err(Failure::TimedOut { what, waited: show_duration(limit), last })
}

/// Where things stand, as soon as something changed since `change`.
async fn look(
    master: &Master,
    subject: &Subject,
    goal: &Goal,
    change: u64,
    patience: Duration,
) -> Result<(Standing, u64), CallError> {
    match subject.kind {
        Kind::Allocation => {
            let found: List<v1::Allocation> = next(master, &subject.query(), change, patience).await?;
            Ok((allocation(goal, found.items.first()), found.change))
        }
        Kind::Node => {
            let found: List<v1::Node> = next(master, &subject.query(), change, patience).await?;
            Ok((node(goal, &subject.name, found.items.first(), crate::age::now()), found.change))
        }
        _ => {
            let found: List<v1::Workload> = next(master, &subject.query(), change, patience).await?;
            let allocations =
                if goal.needs_allocations() { of_workload(master, subject).await? } else { Vec::new() };
            Ok((workload(goal, found.items.first(), &allocations), found.change))
        }
    }
}

async fn next<T: Listed>(
    master: &Master,
    query: &Query,
    change: u64,
    patience: Duration,
) -> Result<List<T>, CallError> {
    if change == 0 { list(master, query).await } else { list_after(master, query, change, patience).await }
}

async fn of_workload(master: &Master, subject: &Subject) -> Result<Vec<v1::Allocation>, CallError> {
    let query = Query {
        tenant: subject.tenant.clone(),
        workload: subject.name.clone(),
        below: true,
        ..Query::default()
    };
    Ok(list(master, &query).await?.items)
}

/// Says which allocations are not where they should be. Best effort: the wait failed already.
async fn explain(master: &Master, subject: &Subject) {
    if subject.kind != Kind::Workload {
        return;
    }
    let asked = tokio::time::timeout(RETRY, of_workload(master, subject)).await;
    let Ok(Ok(allocations)) = asked else { return };
    for one in allocations.iter().filter(|one| one.phase != "running" || !one.reachable) {
        let message = if one.message.is_empty() { String::new() } else { format!(": {}", one.message) };
        say(&format!("allocation/{} on {} {}{message}", one.id, one.node, crate::rows::phase_text(one)));
    }
}
