//! What the tables of many regions have in common, numbered for one decision.

use std::sync::Arc;

use skerry_types::{Labels, Placement, RegionName, Selector, SiteDigest, SpreadBy};

use crate::selecting::Asked;
use crate::table::{ClassRow, Kind, Numbers, SiteRow, SiteTable};

/// Every kind of nodes, set of labels and region that any of some tables has. Numbers count for one decision only.
#[derive(Debug)]
pub(crate) struct Roster<'a> {
    tables: Vec<Numbered<'a>>,
    pub(crate) kinds: Vec<&'a Kind>,
    pub(crate) labels: Vec<&'a Labels>,
    /// Empty where nobody asks for names of regions.
    pub(crate) regions: Vec<&'a RegionName>,
    /// For each table, one after the other, the number of each of its kinds, sets of labels and regions.
    kind_numbers: Vec<u32>,
    labels_numbers: Vec<u32>,
    region_numbers: Vec<u32>,
}

/// A table, and where its part of the roster begins.
#[derive(Debug, Clone, Copy)]
struct Numbered<'a> {
    table: &'a SiteTable,
    sites: usize,
    kinds: usize,
    labels: usize,
    regions: usize,
}

/// A site, with what is true of all its nodes by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) row: &'a SiteRow,
    pub(crate) digest: &'a Arc<SiteDigest>,
    /// Its number among the sites of all tables.
    pub(crate) at: usize,
    pub(crate) labels: u32,
    /// 0 where nobody asks for names of regions.
    pub(crate) region: u32,
}

impl<'a> Roster<'a> {
    /// `placement`: what is asked of them.
    pub(crate) fn new(tables: impl IntoIterator<Item = &'a SiteTable>, placement: &Placement) -> Self {
        let by_region = asks_for_region(placement);
        let mut roster = Self {
            tables: Vec::new(),
            kinds: Vec::new(),
            labels: Vec::new(),
            regions: Vec::new(),
            kind_numbers: Vec::new(),
            labels_numbers: Vec::new(),
            region_numbers: Vec::new(),
        };
        let (mut kinds, mut labels, mut regions) = Default::default();
        let mut sites = 0;
        for table in tables {
            roster.tables.push(Numbered {
                table,
                sites,
                kinds: roster.kind_numbers.len(),
                labels: roster.labels_numbers.len(),
                regions: roster.region_numbers.len(),
            });
            sites += table.len();
            for kind in &table.kinds {
                roster.kind_numbers.push(by_address(&mut kinds, kind, &mut roster.kinds));
            }
            for known in &table.labels {
                roster.labels_numbers.push(by_address(&mut labels, known, &mut roster.labels));
            }
            // Names are looked up far away in memory.
            for name in table.regions.iter().filter(|_| by_region) {
                let known: &mut Numbers<&RegionName> = &mut regions;
                roster.region_numbers.push(known.index_of(name, &mut roster.regions, || name));
            }
        }
        roster
    }

    /// The sites of a region.
    pub(crate) fn sites(&self, region: usize) -> impl Iterator<Item = Site<'a>> {
        let numbered = self.tables.get(region).copied();
        let regions = &self.region_numbers;
        numbered.into_iter().flat_map(move |numbered| {
            let rows = numbered.table.rows.iter().zip(numbered.table.digests());
            rows.zip(numbered.sites..).map(move |((row, digest), at)| Site {
                digest,
                row,
                at,
                labels: self.labels_numbers[numbered.labels + crate::index(row.labels)],
                region: regions.get(numbered.regions + crate::index(row.region)).copied().unwrap_or_default(),
            })
        })
    }

    /// The kind of the nodes of a class in a region's table.
    pub(crate) fn kind(&self, region: usize, class: &ClassRow) -> u32 {
        self.kind_numbers[self.tables[region].kinds + crate::index(class.kind)]
    }

    /// The names of all sites, in the order of their numbers.
    pub(crate) fn site_names(&self) -> impl Iterator<Item = &'a str> {
        let digests = self.tables.iter().flat_map(|numbered| numbered.table.digests());
        digests.map(|digest| digest.spec.name.as_str())
    }
}

fn asks_for_region(placement: &Placement) -> bool {
    let wishes = placement.prefer.iter().map(|wish| &wish.matches);
    let keys = wishes.chain([&placement.require]).flat_map(Selector::keys);
    let spreads = placement.spread.iter().filter_map(|spread| match &spread.by {
        SpreadBy::Attribute(name) => Some(name.as_str()),
        SpreadBy::Site | SpreadBy::Node => None,
    });
    keys.chain(spreads).any(|key| Asked::new(key) == Asked::RegionName)
}

/// What [`Alike`](crate::Alike) made one object has one number.
fn by_address<'a, T>(known: &mut Numbers<*const T>, value: &'a Arc<T>, values: &mut Vec<&'a T>) -> u32 {
    known.index_of(Arc::as_ptr(value), values, || value)
}
