//! `logs`: what containers wrote, from their nodes.

use skerry_api::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;

use super::get::{absent, only};
use super::lines::{LineStyle, Lines, Printed};
use super::split_tenant;
use crate::age::{millis, now};
use crate::args::LogsArgs;
use crate::failure::Failure;
use crate::fetch::{Query, list};
use crate::kind::{Kind, Target};
use crate::master::Master;
use crate::print::{out_bytes, plain, say};
use crate::transport::CallError;

/// Pieces of log on their way to the terminal. When the terminal is slow this fills, and then the nodes wait.
const QUEUE: usize = 16;

/// One container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    /// The region that it is in.
    region: String,
    allocation: String,
    container: String,
    /// Empty when there is only one source.
    prefix: String,
}

/// `skerry logs`.
pub(crate) async fn run(args: LogsArgs) -> Result<(), Failure> {
    let master = Master::open(&args.server)?;
    let allocations = allocations(&master, &args).await?;
    let sources = sources(&allocations, args.container.as_deref())?;
    if args.follow && sources.len() > 1 {
        together(&master, &sources, &args).await
    } else {
        one_by_one(&master, &sources, &args).await
    }
}

/// The allocations that are meant.
async fn allocations(master: &Master, args: &LogsArgs) -> Result<Vec<v1::Allocation>, Failure> {
    let target = args.source.parse::<Target>().ok().filter(|target| target.name.is_some());
    let (kind, name) = match target {
        Some(Target { kind: kind @ (Kind::Workload | Kind::Allocation), name: Some(name) }) => (kind, name),
        Some(other) => {
            return Err(Failure::Usage(format!(
                "{}s have no logs: name an allocation or workload/NAME",
                other.kind
            )));
        }
        None => (Kind::Allocation, args.source.clone()),
    };
    let (tenant, name) = split_tenant(kind, args.tenant.name(), name);
    let region = args.region.clone().unwrap_or_default();
    let mut query = Query { tenant, below: true, region, ..Query::default() };
    match kind {
        Kind::Workload => query.workload.clone_from(&name),
        _ => query.name.clone_from(&name),
    }
    let mut found = list::<v1::Allocation>(master, &query).await?.told();
    if kind == Kind::Workload {
        // Of a stopped allocation nothing is left on its node.
        found.retain(|one| one.phase != "stopped");
    }
    if found.is_empty() {
        return Err(none(master, kind, &name, &query.tenant).await);
    }
    match kind {
        Kind::Allocation => Ok(vec![only(Kind::Allocation, &name, found)?]),
        _ => Ok(found),
    }
}

/// Why there is nothing: a workload may exist without an instance anywhere, and a workload's name is easily taken for an
/// allocation's.
async fn none(master: &Master, kind: Kind, name: &str, tenant: &str) -> Failure {
    let query = Query { tenant: tenant.to_owned(), name: name.to_owned(), ..Query::default() };
    let is_workload = list::<v1::Workload>(master, &query).await.is_ok_and(|found| !found.items.is_empty());
    match (kind, is_workload) {
        (Kind::Workload, true) => Failure::Told(format!(
            "workload '{name}' has no allocation: 'skerry describe workload {name}' says why"
        )),
        (_, true) => Failure::Told(format!(
            "there is no allocation '{name}', but a workload of that name: skerry logs workload/{name}"
        )),
        _ => absent(kind, name, tenant),
    }
}

/// One source for each container that is meant, with a prefix where there are several.
fn sources(allocations: &[v1::Allocation], container: Option<&str>) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for one in allocations {
        let names = one.containers.iter().map(|container| container.name.as_str());
        let chosen: Vec<&str> = names.filter(|name| container.is_none_or(|wanted| wanted == *name)).collect();
        let several = chosen.len() > 1;
        sources.extend(chosen.into_iter().map(|name| Source {
            region: one.region.clone(),
            allocation: one.id.clone(),
            container: name.to_owned(),
            prefix: if several { format!("[{}/{name}] ", one.id) } else { format!("[{}] ", one.id) },
        }));
    }
    match (sources.as_mut_slice(), container) {
        ([], Some(wanted)) => Err(no_container(allocations, wanted)),
        // The node has not said which containers there are: it may know of one.
        ([], None) => Ok(allocations.iter().map(unnamed).collect()),
        ([only], _) => {
            only.prefix.clear();
            Ok(sources)
        }
        _ => Ok(sources),
    }
}

fn unnamed(allocation: &v1::Allocation) -> Source {
    Source {
        region: allocation.region.clone(),
        allocation: allocation.id.clone(),
        container: String::new(),
        prefix: String::new(),
    }
}

fn no_container(allocations: &[v1::Allocation], wanted: &str) -> Failure {
    let known = allocations.first().map(|one| {
        let names: Vec<&str> = one.containers.iter().map(|container| container.name.as_str()).collect();
        format!(
            "allocation '{}' has {}",
            one.id,
            if names.is_empty() { "none yet".to_owned() } else { names.join(", ") }
        )
    });
    Failure::Told(format!("there is no container '{wanted}': {}", known.unwrap_or_default()))
}

async fn one_by_one(master: &Master, sources: &[Source], args: &LogsArgs) -> Result<(), Failure> {
    for source in sources {
        let mut stream = open(master, source, args).await?;
        let mut lines = Lines::new(style(source, args));
        while let Some(piece) = master.next(&mut stream, args.follow).await? {
            print(source, &lines.take(&piece.data))?;
        }
        print(source, &lines.finish())?;
    }
    Ok(())
}

/// Follows several at once. One that fails is told, and the others go on.
async fn together(master: &Master, sources: &[Source], args: &LogsArgs) -> Result<(), Failure> {
    let (send, mut pieces) = mpsc::channel::<(usize, v1::LogsResponse)>(QUEUE);
    let mut tasks = JoinSet::new();
    for (index, source) in sources.iter().enumerate() {
        let stream = open(master, source, args).await?;
        tasks.spawn(forward(master.clone(), index, stream, send.clone()));
    }
    drop(send);
    let mut lines: Vec<Lines> = sources.iter().map(|source| Lines::new(style(source, args))).collect();
    while let Some((index, piece)) = pieces.recv().await {
        print(&sources[index], &lines[index].take(&piece.data))?;
    }
    for (source, lines) in sources.iter().zip(&mut lines) {
        print(source, &lines.finish())?;
    }
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        if let Ok((index, Err(error))) = ended {
            say(&format!("{}: {error}", sources[index].allocation));
            failed = Some(error);
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

async fn forward(
    master: Master,
    index: usize,
    mut stream: Streaming<v1::LogsResponse>,
    send: mpsc::Sender<(usize, v1::LogsResponse)>,
) -> (usize, Result<(), CallError>) {
    loop {
        match master.next(&mut stream, true).await {
            Ok(Some(piece)) => {
                // Nobody reads any more: the command is ending.
                if send.send((index, piece)).await.is_err() {
                    return (index, Ok(()));
                }
            }
            Ok(None) => return (index, Ok(())),
            Err(error) => return (index, Err(error)),
        }
    }
}

async fn open(
    master: &Master,
    source: &Source,
    args: &LogsArgs,
) -> Result<Streaming<v1::LogsResponse>, CallError> {
    let request = v1::LogsRequest {
        allocation: source.allocation.clone(),
        container: source.container.clone(),
        tail: args.tail.unwrap_or(0),
        since_ms: args.since.map_or(0, |since| now().0.saturating_sub(millis(since))),
        follow: args.follow,
        region: source.region.clone(),
    };
    master.call(|mut client| async move { client.logs(request).await }).await
}

fn style(source: &Source, args: &LogsArgs) -> LineStyle {
    LineStyle { prefix: source.prefix.clone(), timestamps: args.timestamps }
}

fn print(source: &Source, printed: &Printed) -> Result<(), Failure> {
    for note in &printed.notes {
        say(&format!("{}: {}", source.allocation, plain(note)));
    }
    if printed.data.is_empty() { Ok(()) } else { Ok(out_bytes(&printed.data)?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocation(id: &str, containers: &[&str]) -> v1::Allocation {
        let containers = containers
            .iter()
            .map(|name| v1::Container { name: (*name).to_owned(), ..v1::Container::default() });
        v1::Allocation { id: id.to_owned(), containers: containers.collect(), ..v1::Allocation::default() }
    }

    #[test]
    fn prefixes_tell_sources_apart_and_no_more() {
        let check = |allocations: &[v1::Allocation], container: Option<&str>, expect: &[(&str, &str)]| {
            let found = sources(allocations, container).unwrap();
            let found: Vec<(&str, &str)> =
                found.iter().map(|source| (source.container.as_str(), source.prefix.as_str())).collect();
            assert_eq!(found, expect);
        };
        let one = allocation("web-0-1", &["web"]);
        let two = allocation("web-1-2", &["web"]);
        let pair = allocation("pod-0-3", &["app", "side"]);
        check(std::slice::from_ref(&one), None, &[("web", "")]);
        check(&[one.clone(), two], None, &[("web", "[web-0-1] "), ("web", "[web-1-2] ")]);
        check(std::slice::from_ref(&pair), None, &[("app", "[pod-0-3/app] "), ("side", "[pod-0-3/side] ")]);
        check(std::slice::from_ref(&pair), Some("side"), &[("side", "")]);
        check(&[allocation("new-0-4", &[])], None, &[("", "")]);
        let error = sources(&[pair], Some("other")).unwrap_err().to_string();
        assert!(error.contains("app, side"), "{error}");
    }
}
