//! `delete`: workloads, and nodes that are gone for good.

use std::time::Duration;

use serde_json::{Value, json};
use skerry_api::v1;
use skerry_types::WorkloadKey;

use super::wait::{Goal, Subject, wait_for};
use super::{name_of, required_name, split_tenant};
use crate::args::{DeleteArgs, Output};
use crate::failure::Failure;
use crate::kind::Kind;
use crate::manifests;
use crate::master::Master;
use crate::print::{document, out, say};
use crate::rows::qualified;
use crate::transport::CallError;

/// `skerry delete`.
pub(crate) async fn run(args: DeleteArgs) -> Result<(), Failure> {
    let Some(target) = &args.target else { return of_manifests(&args).await };
    match target.kind {
        Kind::Workload => {
            let name = required_name(target, args.name.clone())?;
            if args.yes {
                return Err(Failure::Usage("--yes is for nodes: a workload can be applied again".to_owned()));
            }
            let (tenant, name) = split_tenant(Kind::Workload, args.tenant.name(), name);
            workloads(&args, vec![(tenant, name)]).await
        }
        Kind::Node => node(&args, required_name(target, args.name.clone())?).await,
        Kind::Token => {
            let id = name_of(target, args.name.clone())?.unwrap_or_else(|| "ID".to_owned());
            Err(Failure::Usage(format!("a token is revoked: skerry token revoke {id}")))
        }
        other => Err(Failure::Usage(format!("{other}s are not deleted: only workloads and nodes are"))),
    }
}

async fn of_manifests(args: &DeleteArgs) -> Result<(), Failure> {
    if args.yes || args.tenant.is_given() {
        return Err(Failure::Usage(
            "with -f the manifests say what is meant: leave --yes and --tenant out".to_owned(),
        ));
    }
    let written = manifests::read_all(&args.filename)?;
    let keys = written.iter().map(|one| {
        let WorkloadKey { tenant, name } = &one.spec.key;
        (tenant.to_string(), name.to_string())
    });
    workloads(args, keys.collect()).await
}

/// Asks for the end of each, then waits for all.
async fn workloads(args: &DeleteArgs, keys: Vec<(String, String)>) -> Result<(), Failure> {
    let master = Master::open(&args.server)?;
    let mut refused = 0;
    let mut deleted = Vec::new();
    let mut documents = Vec::new();
    for (tenant, name) in &keys {
        match remove(&master, tenant, name).await {
            Ok(answer) => {
                documents.extend(report(&qualified(tenant, name), answer.stopping, args.output.output)?);
                deleted.push((tenant, name));
            }
            Err(error) if error.is_answer() => {
                say(&format!("workload/{}: {error}", qualified(tenant, name)));
                refused += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    finish(documents, args.output.output)?;
    if args.wait {
        let until = tokio::time::Instant::now() + args.timeout;
        for (tenant, name) in deleted {
            let subject = Subject { kind: Kind::Workload, tenant: tenant.clone(), name: name.clone() };
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            wait_for(&master, &subject, &Goal::Deleted, left.max(Duration::from_millis(1))).await?;
        }
    }
    match refused {
        0 => Ok(()),
        _ => Err(Failure::Told(format!("{refused} of {} workloads not deleted", keys.len()))),
    }
}

async fn remove(master: &Master, tenant: &str, name: &str) -> Result<v1::DeleteResponse, CallError> {
    let request =
        v1::DeleteRequest { tenant: tenant.to_owned(), name: name.to_owned(), kind: "workload".to_owned() };
    master.call(|mut client| async move { client.delete(request).await }).await
}

fn report(name: &str, stopping: u32, output: Output) -> Result<Option<Value>, Failure> {
    match output {
        Output::Name => out(&format!("workload/{name}\n"))?,
        Output::Table | Output::Wide => {
            out(&format!("workload/{name} deleted ({stopping} allocations stopping)\n"))?;
        }
        Output::Json | Output::Yaml => return Ok(Some(json!({"workload": name, "stopping": stopping}))),
    }
    Ok(None)
}

fn finish(documents: Vec<Value>, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => Ok(out(&document::json(&Value::Array(documents))?)?),
        Output::Yaml => Ok(out(&document::yaml_all(&documents)?)?),
        _ => Ok(()),
    }
}

/// A node cannot come back after this: its identity is refused, so it takes a word more than a workload.
async fn node(args: &DeleteArgs, name: String) -> Result<(), Failure> {
    if args.wait || args.tenant.is_given() {
        return Err(Failure::Usage("--wait and --tenant are for workloads".to_owned()));
    }
    if !args.yes {
        return Err(Failure::Usage(format!(
            "node '{name}' could never come back with its identity, and its allocations are placed elsewhere: say so with --yes"
        )));
    }
    let master = Master::open(&args.server)?;
    let request = v1::RemoveNodeRequest { name: name.clone() };
    let answer = master.call(|mut client| async move { client.remove_node(request).await }).await?;
    let moved = answer.allocations;
    let text = match args.output.output {
        Output::Name => format!("node/{name}\n"),
        Output::Table | Output::Wide => {
            format!("node/{name} removed ({moved} allocations to be placed elsewhere)\n")
        }
        Output::Json => document::json(&json!({"node": name, "allocations": moved}))?,
        Output::Yaml => document::yaml(&json!({"node": name, "allocations": moved}))?,
    };
    Ok(out(&text)?)
}
