//! Lists: of this region, and of those below it.
//!
//! What regions digest upwards (regions, sites, nodes, tenants) the brain lists by itself. Workloads, allocations and events
//! are asked of each region below, one page at a time: this region's first, then those below in the order of their names.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::iter;
use skerry_api::v1;
use skerry_region_state::{ApiCall, ApiReply, Filter};
use skerry_types::RegionName;
use tonic::{Request, Response, Status};

use super::callers::who;
use super::paging::{Merged, PageOf, Place};
use super::read::filter;
use super::{Answer, Api, invalid, unexpected};
use crate::below::{self, CALLS_AT_ONCE};
use crate::view;

/// After this long a list answers with what it has, and says where to go on.
const LIST_WAIT: Duration = Duration::from_secs(8);

impl Api {
    /// The brain's own page.
    async fn page<P: PageOf>(
        &self,
        request: &v1::ListRequest,
        call: fn(Filter) -> ApiCall,
        show: fn(&Self, ApiReply) -> Result<P, Status>,
    ) -> Result<P, Status> {
        let filter = filter(request)?;
        self.wait(request).await;
        show(self, self.ask(call(filter)).await?)
    }

    /// A list that the brain knows whole.
    async fn known<P: PageOf>(
        &self,
        request: Request<v1::ListRequest>,
        call: fn(Filter) -> ApiCall,
        show: fn(&Self, ApiReply) -> Result<P, Status>,
    ) -> Answer<P> {
        Ok(Response::new(self.page(request.get_ref(), call, show).await?))
    }

    /// A list that regions below must be asked for.
    async fn asked<P: PageOf>(
        &self,
        request: Request<v1::ListRequest>,
        call: fn(Filter) -> ApiCall,
        show: fn(&Self, ApiReply) -> Result<P, Status>,
    ) -> Answer<P> {
        if !request.get_ref().below {
            return self.known(request, call, show).await;
        }
        let user = who(&request);
        let request = request.into_inner();
        let place = Place::read(&request.page_token)?;
        let most = usize::try_from(skerry_api::PAGE_MAX).map_err(invalid)?;
        let room = usize::try_from(request.page_size).map_err(invalid)?;
        let room = if room == 0 { most } else { room.min(most) };
        let mut merged = Merged::<P>::new(room);
        let mut open = true;
        if place.region.is_none() {
            let own = v1::ListRequest {
                below: false,
                page_size: u32::try_from(room).map_err(invalid)?,
                page_token: place.inner.clone(),
                ..request.clone()
            };
            let page = self.page(&own, call, show).await?;
            open = merged.take(place.clone(), page);
        }
        if open {
            self.ask_below(&user, &request, place, &mut merged).await?;
        }
        Ok(merged.answer())
    }

    /// Goes on with the regions right below, several at a time, until the page is full or time is over.
    async fn ask_below<P: PageOf>(
        &self,
        user: &str,
        request: &v1::ListRequest,
        place: Place,
        merged: &mut Merged<P>,
    ) -> Result<(), Status> {
        let began = Instant::now();
        let children = self.children().await?;
        let left = children.into_iter().filter(|name| place.region.as_ref().is_none_or(|from| name >= from));
        let left: Vec<Place> = left
            .map(|region| {
                let inner =
                    if place.region.as_ref() == Some(&region) { place.inner.clone() } else { String::new() };
                Place { region: Some(region), inner }
            })
            .collect();
        for several in left.chunks(CALLS_AT_ONCE) {
            if merged.room == 0 || began.elapsed() > LIST_WAIT {
                merged.next = several.first().cloned();
                return Ok(());
            }
            let page_size = u32::try_from(merged.room).map_err(invalid)?;
            let asked = iter(several.to_vec()).map(|place| async {
                let page = self.page_of::<P>(user, request, &place, page_size).await;
                (place, page)
            });
            let answers: Vec<_> = asked.buffered(CALLS_AT_ONCE).collect().await;
            for (place, page) in answers {
                match page {
                    Ok((page, silent)) => {
                        merged.silent.extend(silent);
                        if !merged.take(place, page) {
                            return Ok(());
                        }
                    }
                    Err(error) => {
                        let name = place.region.map(|region| region.to_string()).unwrap_or_default();
                        tracing::debug!(region = name, %error, "a region is not heard from for a list");
                        merged.silent.push(name);
                    }
                }
            }
        }
        Ok(())
    }

    async fn page_of<P: PageOf>(
        &self,
        user: &str,
        request: &v1::ListRequest,
        place: &Place,
        page_size: u32,
    ) -> Result<(P, Vec<String>), Status> {
        let Some(region) = &place.region else { return Err(unexpected()) };
        let request = v1::ListRequest {
            page_token: place.inner.clone(),
            page_size,
            after_change: 0,
            wait_ms: 0,
            ..request.clone()
        };
        below::ask(&self.links, region, P::METHOD, user, &request).await
    }

    /// The regions right below this one, by name.
    async fn children(&self) -> Result<Vec<RegionName>, Status> {
        let mut children = Vec::new();
        let mut after = None;
        loop {
            let filter = Filter { below: true, after, ..Filter::default() };
            let ApiReply::Regions(page) = self.ask(ApiCall::Regions(filter)).await? else {
                return Err(unexpected());
            };
            let right_below =
                |view: &&skerry_region_state::RegionView| view.path.is_empty() && view.name != self.region;
            children.extend(page.items.iter().filter(right_below).map(|view| view.name.clone()));
            after = page.next;
            if after.is_none() {
                children.sort();
                return Ok(children);
            }
        }
    }

    pub(super) async fn workloads(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Answer<v1::ListWorkloadsResponse> {
        // To a region above, what came from there is not news.
        let show =
            if request.extensions().get::<FromAbove>().is_some() { owned_workloads } else { workloads };
        self.asked(request, ApiCall::Workloads, show).await
    }

    pub(super) async fn allocations(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Answer<v1::ListAllocationsResponse> {
        self.asked(request, ApiCall::Allocations, |_, reply| {
            let ApiReply::Allocations(page) = reply else { return Err(unexpected()) };
            let items = page.items.iter().map(view::allocation).collect();
            Ok(PageOf::new(items, page.next.unwrap_or_default(), page.change))
        })
        .await
    }

    pub(super) async fn events(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListEventsResponse> {
        self.asked(request, ApiCall::Events, |api, reply| {
            let ApiReply::Events(page) = reply else { return Err(unexpected()) };
            let items = page.items.into_iter().map(|event| view::event(&api.region, event)).collect();
            Ok(PageOf::new(items, page.next.unwrap_or_default(), page.change))
        })
        .await
    }

    pub(super) async fn nodes(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListNodesResponse> {
        self.known(request, ApiCall::Nodes, |_, reply| {
            let ApiReply::Nodes(page) = reply else { return Err(unexpected()) };
            let items = page.items.iter().map(view::node).collect();
            Ok(PageOf::new(items, page.next.unwrap_or_default(), page.change))
        })
        .await
    }

    pub(super) async fn sites(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListSitesResponse> {
        self.known(request, ApiCall::Sites, |_, reply| {
            let ApiReply::Sites(page) = reply else { return Err(unexpected()) };
            let items = page.items.iter().map(view::site).collect();
            Ok(PageOf::new(items, page.next.unwrap_or_default(), page.change))
        })
        .await
    }

    pub(super) async fn regions(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListRegionsResponse> {
        self.known(request, ApiCall::Regions, |api, reply| {
            let ApiReply::Regions(page) = reply else { return Err(unexpected()) };
            let parent = api.ca.parent();
            let items =
                page.items.iter().map(|view| view::region(&api.region, parent.as_ref(), view)).collect();
            Ok(PageOf::new(items, page.next.unwrap_or_default(), page.change))
        })
        .await
    }

    pub(super) async fn tenants(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListTenantsResponse> {
        self.known(request, ApiCall::Tenants, |api, reply| {
            let ApiReply::Tenants(page) = reply else { return Err(unexpected()) };
            let items = page.items.iter().map(|tenant| view::tenant(&api.region, tenant)).collect();
            Ok(PageOf::new(items, page.next.unwrap_or_default(), page.change))
        })
        .await
    }
}

/// Marks a request that comes from the region above.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromAbove;

fn workloads(_: &Api, reply: ApiReply) -> Result<v1::ListWorkloadsResponse, Status> {
    let ApiReply::Workloads(page) = reply else { return Err(unexpected()) };
    let items = page.items.iter().map(view::workload).collect();
    Ok(PageOf::new(items, page.next.unwrap_or_default(), page.change))
}

fn owned_workloads(api: &Api, reply: ApiReply) -> Result<v1::ListWorkloadsResponse, Status> {
    let ApiReply::Workloads(page) = reply else { return Err(unexpected()) };
    let owned = page.items.iter().filter(|view| view.owner == api.region);
    Ok(PageOf::new(owned.map(view::workload).collect(), page.next.unwrap_or_default(), page.change))
}
