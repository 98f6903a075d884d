//! `delete`: workloads, single allocations, tenants and what was said of sites, and nodes and regions that are gone for good.

use std::time::Duration;

use serde_json::json;
use skerry_api::v1;

use super::wait::{Goal, Subject, wait_for};
use super::{name_of, required_name, split_tenant};
use crate::args::DeleteArgs;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::manifests;
use crate::master::Master;
use crate::print::report::{self, Report};
use crate::print::{counted, say};
use crate::rows::qualified;
use crate::transport::CallError;

/// A thing that can be applied again.
struct Thing {
    kind: Kind,
    /// Empty for what has none.
    tenant: String,
    name: String,
}

impl Thing {
    fn shown(&self) -> String {
        format!("{}/{}", self.kind, qualified(&self.tenant, &self.name))
    }
}

/// `skerry delete`.
pub(crate) async fn run(args: DeleteArgs) -> Result<(), Failure> {
    let Some(target) = &args.target else { return of_manifests(&args).await };
    let kind = target.kind;
    match kind {
        Kind::Workload | Kind::Allocation | Kind::Tenant | Kind::Site => {
            let name = required_name(target, args.name.clone())?;
            check(&args, kind)?;
            let (tenant, name) = match kind {
                Kind::Workload => split_tenant(kind, args.tenant.name(), name),
                _ => (String::new(), name),
            };
            things(&args, vec![Thing { kind, tenant, name }]).await
        }
        Kind::Node | Kind::Region => for_good(&args, kind, required_name(target, args.name.clone())?).await,
        Kind::Token => {
            let id = name_of(target, args.name.clone())?.unwrap_or_else(|| "ID".to_owned());
            Err(Failure::Usage(format!("a token is revoked: skerry token revoke {id}")))
        }
        Kind::Event => Err(Failure::Usage(
            "events are not deleted: only workloads, allocations, tenants, sites, nodes and regions are"
                .to_owned(),
        )),
    }
}

/// A flag that would change nothing is refused, so that nobody believes it did.
fn check(args: &DeleteArgs, kind: Kind) -> Result<(), Failure> {
    if args.yes {
        let why = match kind {
            Kind::Allocation => "another takes an allocation's place".to_owned(),
            _ => format!("a {kind} can be applied again"),
        };
        return Err(Failure::Usage(format!("--yes is for nodes and regions: {why}")));
    }
    if kind != Kind::Workload && (args.wait || args.tenant.is_given()) {
        return Err(Failure::Usage("--wait and --tenant are for workloads".to_owned()));
    }
    Ok(())
}

/// In the order in which nothing is taken away that another still stands on.
async fn of_manifests(args: &DeleteArgs) -> Result<(), Failure> {
    if args.yes || args.tenant.is_given() {
        return Err(Failure::Usage(
            "with -f the manifests say what is meant: leave --yes and --tenant out".to_owned(),
        ));
    }
    let written = manifests::read_all(&args.filename)?;
    let meant =
        written.iter().rev().map(|one| Thing { kind: one.kind(), tenant: one.tenant(), name: one.name() });
    things(args, meant.collect()).await
}

/// Asks for the end of each, then waits for all.
async fn things(args: &DeleteArgs, meant: Vec<Thing>) -> Result<(), Failure> {
    let master = Master::open(&args.server)?;
    let all = meant.len();
    let mut refused = 0;
    let mut deleted = Vec::new();
    let mut report = Report::new(args.output.output);
    for thing in meant {
        let shown = thing.shown();
        match remove(&master, &thing).await {
            Ok(answer) => {
                report.add(&shown, &line(&thing, answer.stopping), || {
                    json!({(thing.kind.to_string()): qualified(&thing.tenant, &thing.name), "stopping": answer.stopping})
                })?;
                deleted.push(thing);
            }
            Err(error) if error.is_answer() => {
                say(&format!("{shown}: {error}"));
                refused += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    report.finish()?;
    if args.wait {
        let until = tokio::time::Instant::now() + args.timeout;
        for thing in deleted.into_iter().filter(|thing| thing.kind == Kind::Workload) {
            let subject = Subject::new(thing.kind, thing.tenant, thing.name);
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            wait_for(&master, &subject, &Goal::Deleted, left.max(Duration::from_millis(1))).await?;
        }
    }
    match refused {
        0 => Ok(()),
        _ => Err(Failure::Told(format!("{refused} of {all} not deleted"))),
    }
}

async fn remove(master: &Master, thing: &Thing) -> Result<v1::DeleteResponse, CallError> {
    let Thing { kind, tenant, name } = thing;
    let request = v1::DeleteRequest { tenant: tenant.clone(), name: name.clone(), kind: kind.to_string() };
    master.call(|mut client| async move { client.delete(request).await }).await
}

fn line(thing: &Thing, stopping: u32) -> String {
    let shown = thing.shown();
    match thing.kind {
        Kind::Workload => format!("{shown} deleted ({} stopping)\n", counted(stopping, "allocation")),
        Kind::Allocation => format!("{shown} stops; if its instance is wanted, another takes its place\n"),
        Kind::Site => format!("{shown}: what was said of it is deleted; its nodes stay\n"),
        _ => format!("{shown} deleted\n"),
    }
}

/// Neither a node nor a region can come back after this: its identity is refused. So it takes a word more than the rest.
async fn for_good(args: &DeleteArgs, kind: Kind, name: String) -> Result<(), Failure> {
    if args.wait || args.tenant.is_given() {
        return Err(Failure::Usage("--wait and --tenant are for workloads".to_owned()));
    }
    if !args.yes {
        let held = if kind == Kind::Node { "its allocations" } else { "what it looks after for this region" };
        return Err(Failure::Usage(format!(
            "{kind} '{name}' could never come back with its identity, and {held} would be placed elsewhere: say so with --yes"
        )));
    }
    let master = Master::open(&args.server)?;
    let sent = name.clone();
    let (moved, what) = if kind == Kind::Node {
        let request = v1::RemoveNodeRequest { name: sent };
        let answer = master.call(|mut client| async move { client.remove_node(request).await }).await?;
        (answer.allocations, "allocation")
    } else {
        let request = v1::RemoveRegionRequest { name: sent };
        let answer = master.call(|mut client| async move { client.remove_region(request).await }).await?;
        (answer.instances, "instance")
    };
    let shown = format!("{kind}/{name}");
    let text = format!("{shown} removed ({} to be placed elsewhere)\n", counted(moved, what));
    report::one(
        args.output.output,
        &shown,
        &text,
        || json!({(kind.to_string()): name, (format!("{what}s")): moved}),
    )
}
