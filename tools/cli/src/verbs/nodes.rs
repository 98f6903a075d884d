//! `cordon`, `uncordon` and `drain`: nodes that are to be looked after.

use serde_json::json;
use skerry_api::v1;
use tokio::time::Instant;

use super::wait::{Goal, Subject, wait_for};
use crate::age::millis;
use crate::args::{DrainArgs, NodesArgs};
use crate::failure::Failure;
use crate::fetch::{Query, list};
use crate::kind::{Kind, Target};
use crate::master::Master;
use crate::print::report::Report;
use crate::print::{counted, say};

/// `skerry cordon` and `skerry uncordon`.
pub(crate) async fn cordon(args: NodesArgs, on: bool) -> Result<(), Failure> {
    let names = typed(&args.nodes)?;
    let master = Master::open(&args.server)?;
    let names = match &args.site {
        Some(site) => of_site(&master, site).await?,
        None => names,
    };
    let mut report = Report::new(args.output.output);
    let mut refused = 0;
    for node in &names {
        let request = v1::CordonRequest { node: node.clone(), on };
        match master.call(|mut client| async move { client.cordon(request).await }).await {
            Ok(answer) => report.add(
                &format!("node/{node}"),
                &cordon_line(node, on, answer.changed),
                || json!({"node": node, "cordoned": on, "changed": answer.changed}),
            )?,
            Err(error) if error.is_answer() => {
                say(&format!("node/{node}: {error}"));
                refused += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    report.finish()?;
    told(refused, names.len(), if on { "cordoned" } else { "uncordoned" })
}

fn cordon_line(node: &str, on: bool, changed: bool) -> String {
    let text = match (on, changed) {
        (true, true) => "takes no further allocations",
        (true, false) => "takes no further allocations already",
        (false, true) => "takes allocations again",
        (false, false) => "takes allocations already",
    };
    format!("node/{node} {text}\n")
}

/// `skerry drain`.
pub(crate) async fn drain(args: DrainArgs) -> Result<(), Failure> {
    let names = typed(&args.of.nodes)?;
    let master = Master::open(&args.of.server)?;
    let targets = match &args.of.site {
        Some(site) => vec![(String::new(), site.clone())],
        None => names.into_iter().map(|node| (node, String::new())).collect(),
    };
    let mut report = Report::new(args.of.output.output);
    let (mut refused, mut draining) = (0, Vec::new());
    for (node, site) in &targets {
        let shown = if site.is_empty() { format!("node/{node}") } else { format!("site/{site}") };
        let request = v1::DrainRequest {
            node: node.clone(),
            site: site.clone(),
            deadline_ms: args.deadline.map_or(0, millis),
            force: args.force,
        };
        match master.call(|mut client| async move { client.drain(request).await }).await {
            Ok(answer) => {
                report.add(&shown, &drain_line(&shown, site, &answer), || {
                    json!({"node": node, "site": site, "nodes": answer.nodes, "allocations": answer.allocations})
                })?;
                draining.extend(answer.nodes);
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
        wait(&master, draining, args.timeout).await?;
    }
    told(refused, targets.len(), "drained")
}

fn drain_line(shown: &str, site: &str, answer: &v1::DrainResponse) -> String {
    let left = counted(answer.allocations, "allocation");
    if site.is_empty() {
        return format!("{shown} drains: {left} to move\n");
    }
    format!(
        "{shown} drains: {left} to move from {} ({})\n",
        counted(answer.nodes.len(), "node"),
        answer.nodes.join(", ")
    )
}

/// Waits for all nodes within one time.
async fn wait(master: &Master, nodes: Vec<String>, limit: std::time::Duration) -> Result<(), Failure> {
    let until = Instant::now() + limit;
    for name in nodes {
        let subject = Subject::new(Kind::Node, String::new(), name);
        wait_for(master, &subject, &Goal::Drained, until.saturating_duration_since(Instant::now())).await?;
    }
    Ok(())
}

/// Names as they were typed, with or without `node/`.
fn typed(nodes: &[String]) -> Result<Vec<String>, Failure> {
    let name = |text: &String| match text.parse::<Target>() {
        Ok(Target { kind: Kind::Node, name: Some(name) }) => Ok(name),
        Ok(Target { kind: Kind::Site, name: Some(name) }) => {
            Err(Failure::Usage(format!("for all nodes of a site write --site {name}")))
        }
        Ok(Target { kind, name: Some(_) }) => {
            Err(Failure::Usage(format!("this is about nodes, not about {kind}s")))
        }
        _ => Ok(text.clone()),
    };
    nodes.iter().map(name).collect()
}

async fn of_site(master: &Master, site: &str) -> Result<Vec<String>, Failure> {
    let nodes = list::<v1::Node>(master, &Query::default()).await?.items;
    let names: Vec<String> =
        nodes.into_iter().filter(|node| node.site == site).map(|node| node.name).collect();
    if names.is_empty() {
        return Err(Failure::Told(format!("there is no node at site '{site}'")));
    }
    Ok(names)
}

fn told(refused: usize, of: usize, what: &str) -> Result<(), Failure> {
    match refused {
        0 => Ok(()),
        _ => Err(Failure::Told(format!("{refused} of {of} not {what}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_says_how_much_there_is_to_move() {
        let answer = |nodes: &[&str], allocations| v1::DrainResponse {
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
            allocations,
        };
        assert_eq!(drain_line("node/n1", "", &answer(&["n1"], 1)), "node/n1 drains: 1 allocation to move\n");
        assert_eq!(
            drain_line("site/oslo", "oslo", &answer(&["n1", "n2"], 5)),
            "site/oslo drains: 5 allocations to move from 2 nodes (n1, n2)\n"
        );
    }

    #[test]
    fn names_may_say_their_kind() {
        let names = |texts: &[&str]| typed(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["n1", "node/n2"]).unwrap(), ["n1", "n2"]);
        assert!(names(&["site/oslo"]).unwrap_err().to_string().contains("--site oslo"));
        assert!(names(&["wl/web"]).is_err());
    }
}
