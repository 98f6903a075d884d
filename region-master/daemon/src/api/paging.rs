//! Pages that are put together of several regions' pages.

use prost::Message;
use skerry_api::v1;
use skerry_types::RegionName;
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

use super::invalid;

/// Begins a page token that goes on in this region; no region has such a name.
const HERE: &str = ".";

/// A page of a list.
pub(crate) trait PageOf: Message + Default {
    /// What it is a list of.
    type Item: Send;
    /// The call's name.
    const METHOD: &'static str;
    fn new(items: Vec<Self::Item>, next: String, change: u64) -> Self;
    fn into_parts(self) -> (Vec<Self::Item>, String, u64);
}

macro_rules! page_of {
    ($($page:ident: $items:ident of $item:ident by $method:literal;)*) => {
        $(impl PageOf for v1::$page {
            type Item = v1::$item;
            const METHOD: &'static str = $method;

            fn new($items: Vec<v1::$item>, next_page_token: String, change: u64) -> Self {
                Self { $items, next_page_token, change }
            }

            fn into_parts(self) -> (Vec<v1::$item>, String, u64) {
                (self.$items, self.next_page_token, self.change)
            }
        })*
    };
}

page_of! {
    ListWorkloadsResponse: workloads of Workload by "ListWorkloads";
    ListAllocationsResponse: allocations of Allocation by "ListAllocations";
    ListEventsResponse: events of Event by "ListEvents";
    ListNodesResponse: nodes of Node by "ListNodes";
    ListSitesResponse: sites of Site by "ListSites";
    ListRegionsResponse: regions of Region by "ListRegions";
    ListTenantsResponse: tenants of Tenant by "ListTenants";
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `None`: in this region.
    pub(super) region: Option<RegionName>,
    /// That region's own page token; empty for its beginning.
    pub(super) inner: String,
}

impl Place {
    pub(super) fn read(token: &str) -> Result<Self, Status> {
        if token.is_empty() {
            return Ok(Self { region: None, inner: String::new() });
        }
        let bad =
            || invalid(format!("the page token '{token}' is not of this list: begin again without one"));
        let (region, inner) = token.split_once(':').ok_or_else(bad)?;
        let region = (region != HERE).then(|| region.parse().map_err(|_| bad())).transpose()?;
        Ok(Self { region, inner: inner.to_owned() })
    }

    fn token(&self) -> String {
        let region = self.region.as_ref().map_or(HERE, RegionName::as_str);
        format!("{region}:{}", self.inner)
    }
}

/// A page under construction.
pub(super) struct Merged<P: PageOf> {
    items: Vec<P::Item>,
    /// How many more it takes.
    pub(super) room: usize,
    change: u64,
    /// Regions that it lacks.
    pub(super) silent: Vec<String>,
    pub(super) next: Option<Place>,
}

impl<P: PageOf> Merged<P> {
    pub(super) fn new(room: usize) -> Self {
        Self { items: Vec::new(), room, change: 0, silent: Vec::new(), next: None }
    }

    /// Takes a region's page; false when the list ends here for now.
    pub(super) fn take(&mut self, from: Place, page: P) -> bool {
        let (items, next, change) = page.into_parts();
        if from.region.is_none() {
            self.change = change;
        }
        // Several regions were asked for as much as there was room; one that is too much is asked again.
        if items.len() > self.room {
            self.next = Some(from);
            return false;
        }
        self.room -= items.len();
        self.items.extend(items);
        if !next.is_empty() {
            self.next = Some(Place { inner: next, ..from });
        }
        self.next.is_none()
    }
    /// The answer; what it lacks stands in its metadata.
    pub(super) fn answer(self) -> Response<P> {
        let Merged { items, change, mut silent, next, .. } = self;
        let next = next.map(|place| place.token()).unwrap_or_default();
        let mut response = Response::new(P::new(items, next, change));
        silent.sort();
        silent.dedup();
        if let (false, Ok(names)) = (silent.is_empty(), MetadataValue::try_from(silent.join(","))) {
            response.metadata_mut().insert(skerry_api::NOT_HEARD_FROM, names);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(room: usize) -> Merged<v1::ListEventsResponse> {
        Merged::new(room)
    }

    fn page(count: usize, next: &str) -> v1::ListEventsResponse {
        PageOf::new(vec![v1::Event::default(); count], next.to_owned(), 7)
    }

    fn place(token: &str) -> Place {
        Place::read(token).unwrap()
    }

    #[test]
    fn page_tokens_name_region_and_place() {
        for token in [".:", ".:a:b", "south:", "south:x:1"] {
            assert_eq!(place(token).token(), token);
        }
        assert_eq!(place("").token(), ".:");
        assert_eq!(place(".:a:b").inner, "a:b");
        assert!(Place::read("south").is_err());
        assert!(Place::read("So uth:").is_err());
    }

    #[test]
    fn a_page_takes_whole_pages_only() {
        let mut list = merged(5);
        assert!(list.take(place(""), page(2, "")));
        assert_eq!((list.change, list.room), (7, 3));
        assert!(list.take(place("a:"), page(0, "")));
        assert!(!list.take(place("b:"), page(4, "")), "it does not fit and is asked again");
        assert_eq!((list.items.len(), list.next), (2, Some(place("b:"))));

        let mut list = merged(5);
        assert!(!list.take(place(""), page(2, "more")));
        assert_eq!(list.next, Some(place(".:more")));
        let mut list = merged(5);
        assert!(!list.take(place("a:x"), page(5, "y")));
        assert_eq!((list.room, list.next), (0, Some(place("a:y"))));
    }
}
