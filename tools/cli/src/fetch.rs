//! Lists, page by page, and lists that wait for a change.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use skerry_api::{NOT_HEARD_FROM, v1};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use crate::age::millis;
use crate::kind::Kind;
use crate::master::{Client, Master};
use crate::print::say;
use crate::transport::CallError;

/// How long a list that waits for a change is held at most. The master may answer earlier.
const HOLD: Duration = Duration::from_secs(20);

/// Things that the API lists.
pub(crate) trait Listed: Serialize + Clone + PartialEq + Send + Sized + 'static {
    /// What they are called.
    const KIND: Kind;

    /// The region that it is in, which tells it from others of its name; empty where names are enough.
    fn region(&self) -> &str;

    /// Asks for one page.
    fn page(
        client: Client,
        request: v1::ListRequest,
    ) -> impl Future<Output = Result<Response<Page<Self>>, Status>> + Send;
}

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    next: String,
    change: u64,
    not_heard_from: Vec<String>,
}

/// A whole list, and the region's change number that it is at least as new as.
#[derive(Debug)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    pub(crate) change: u64,
    /// Regions that the list lacks as they are not heard from, by name.
    pub(crate) not_heard_from: BTreeSet<String>,
}

impl<T: Listed> List<T> {
    /// What a person must know who reads the list: which regions it lacks. `None` when it is whole.
    pub(crate) fn lack(&self) -> Option<String> {
        let names: Vec<&str> = self.not_heard_from.iter().map(String::as_str).collect();
        match names.as_slice() {
            [] => None,
            [one] => Some(format!("region '{one}' is not heard from: its {}s are not listed", T::KIND)),
            many => Some(format!(
                "regions {} are not heard from: their {}s are not listed",
                many.join(", "),
                T::KIND
            )),
        }
    }

    /// The items, after telling of what is lacking.
    pub(crate) fn told(self) -> Vec<T> {
        if let Some(lack) = self.lack() {
            say(&lack);
        }
        self.items
    }
}

/// Which things to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Empty for every tenant.
    pub(crate) tenant: String,
    /// Empty for every name.
    pub(crate) name: String,
    /// Empty for everything.
    pub(crate) selector: String,
    /// Empty for every workload.
    pub(crate) workload: String,
    /// Whether also what is in regions below is meant.
    pub(crate) below: bool,
    /// Empty for every region that is meant.
    pub(crate) region: String,
}

impl Query {
    fn request(&self) -> v1::ListRequest {
        v1::ListRequest {
            tenant: self.tenant.clone(),
            name: self.name.clone(),
            selector: self.selector.clone(),
            workload: self.workload.clone(),
            below: self.below,
            ..v1::ListRequest::default()
        }
    }
}

/// Lists everything that matches.
pub(crate) async fn list<T: Listed>(master: &Master, query: &Query) -> Result<List<T>, CallError> {
    pages(master, query, query.request(), Duration::ZERO).await
}

/// Lists everything that matches when the region has changed since `change`, or after `patience`, whichever is first.
pub(crate) async fn list_after<T: Listed>(
    master: &Master,
    query: &Query,
    change: u64,
    patience: Duration,
) -> Result<List<T>, CallError> {
    let hold = patience.min(HOLD);
    let wait_ms = u32::try_from(millis(hold)).unwrap_or(u32::MAX);
    pages(master, query, v1::ListRequest { after_change: change, wait_ms, ..query.request() }, hold).await
}

/// Follows the pages, and keeps of them what is in the region that was asked for. The change number is the first page's: what changed behind it is news for the next wait.
async fn pages<T: Listed>(
    master: &Master,
    query: &Query,
    mut request: v1::ListRequest,
    hold: Duration,
) -> Result<List<T>, CallError> {
    let first = master.call_within(hold, |client| T::page(client, request.clone())).await?;
    let not_heard_from = first.not_heard_from.into_iter().collect();
    let mut list = List { items: first.items, change: first.change, not_heard_from };
    let mut next = first.next;
    request.after_change = 0;
    request.wait_ms = 0;
    // A token that leads to itself would never end.
    while !next.is_empty() && next != request.page_token {
        request.page_token = next;
        let page = master.call(|client| T::page(client, request.clone())).await?;
        list.items.extend(page.items);
        list.not_heard_from.extend(page.not_heard_from);
        next = page.next;
    }
    list.items.retain(|item| query.region.is_empty() || item.region() == query.region);
    Ok(list)
}

/// Regions that the master could not ask.
fn not_heard_from(metadata: &MetadataMap) -> Vec<String> {
    let names = metadata.get(NOT_HEARD_FROM).and_then(|names| names.to_str().ok()).unwrap_or_default();
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

/// Lists of one kind, which differ in their names only.
macro_rules! listed {
    ($item:ident, $method:ident, $field:ident, $region:ident) => {
        impl Listed for v1::$item {
            const KIND: Kind = Kind::$item;

            fn region(&self) -> &str {
                &self.$region
            }

            async fn page(
                mut client: Client,
                request: v1::ListRequest,
            ) -> Result<Response<Page<Self>>, Status> {
                let answer = client.$method(request).await?;
                let not_heard_from = not_heard_from(answer.metadata());
                Ok(answer.map(|page| Page {
                    items: page.$field,
                    next: page.next_page_token,
                    change: page.change,
                    not_heard_from,
                }))
            }
        }
    };
}

listed!(Workload, list_workloads, workloads, region);
listed!(Allocation, list_allocations, allocations, region);
listed!(Node, list_nodes, nodes, region);
listed!(Site, list_sites, sites, region);
listed!(Region, list_regions, regions, name);
listed!(Tenant, list_tenants, tenants, region);
listed!(Event, list_events, events, region);

impl Listed for v1::Token {
    const KIND: Kind = Kind::Token;

    fn region(&self) -> &'static str {
        ""
    }

    /// Tokens are few: they come in one piece, and are chosen from here.
    async fn page(mut client: Client, request: v1::ListRequest) -> Result<Response<Page<Self>>, Status> {
        let answer = client.list_tokens(v1::ListTokensRequest {}).await?;
        let wanted = |token: &v1::Token| request.name.is_empty() || token.id == request.name;
        Ok(answer.map(|list| Page {
            items: list.tokens.into_iter().filter(wanted).collect(),
            next: String::new(),
            change: 0,
            not_heard_from: Vec::new(),
        }))
    }
}
