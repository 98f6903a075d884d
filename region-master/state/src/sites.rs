//! The sites of the region: what operators said of them, and what is free there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_federation::{SketchInput, sketch};
use skerry_types::{
    Attributes, Labels, LinkClass, MilliGpu, NodeName, Resources, SiteDigest, SiteName, SiteSpec, Sketch,
    Taint, WallTime,
};

use crate::api::{ApiError, ApiReply, AppliedHow};
use crate::ledger::{SITE, Value, put};
use crate::listing::NodeTotal;
use crate::state::RegionState;

/// Most sites that operators may describe in one region.
const SITES_MAX: usize = 10_000;

/// The sites of the region.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    pub(crate) specs: BTreeMap<SiteName, SiteSpec>,
    pub(crate) nodes: BTreeMap<SiteName, BTreeSet<NodeName>>,
    pub(crate) digests: BTreeMap<SiteName, Arc<SiteDigest>>,
    /// Sites whose digest may be another.
    pub(crate) stale: BTreeSet<SiteName>,
    /// Sites of whose digest only the count of what runs may be another: free room is the same.
    pub(crate) recount: BTreeSet<SiteName>,
}

impl Sites {
    /// All sites that have a node or a description, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &SiteName> {
        let described = self.specs.keys().filter(|name| !self.nodes.contains_key(*name));
        self.nodes.keys().chain(described)
    }

    /// What operators said of a site; only its name when nothing.
    pub(crate) fn spec(&self, name: &SiteName) -> SiteSpec {
        self.specs.get(name).cloned().unwrap_or_else(|| SiteSpec {
            name: name.clone(),
            labels: Labels::new(),
            timezone: None,
            point: None,
            link: LinkClass::default(),
        })
    }

    pub(crate) fn is_known(&self, name: &SiteName) -> bool {
        self.specs.contains_key(name) || self.nodes.contains_key(name)
    }

    pub(crate) fn add_node(&mut self, site: &SiteName, node: &NodeName) {
        self.nodes.entry(site.clone()).or_default().insert(node.clone());
    }

    pub(crate) fn remove_node(&mut self, site: &SiteName, node: &NodeName) {
        if let Some(nodes) = self.nodes.get_mut(site) {
            nodes.remove(node);
            if nodes.is_empty() {
                self.nodes.remove(site);
            }
        }
    }
}

impl RegionState {
    pub(crate) fn apply_site(&mut self, spec: SiteSpec, dry_run: bool) -> Result<ApiReply, ApiError> {
        let how = match self.sites.specs.get(&spec.name) {
            Some(known) if *known == spec => AppliedHow::Unchanged,
            Some(_) => AppliedHow::Changed,
            None if self.sites.specs.len() >= SITES_MAX => {
                return Err(ApiError::Full { what: "sites", count: self.sites.specs.len() });
            }
            None => AppliedHow::Created,
        };
        if how != AppliedHow::Unchanged && !dry_run {
            put(self.outbox.batch(), &Value::SiteV1(spec.clone()));
            let name = spec.name.clone();
            self.sites.specs.insert(name.clone(), spec);
            self.site_changed(&name);
        }
        Ok(ApiReply::Described(how))
    }

    pub(crate) fn delete_site(&mut self, name: &SiteName) -> Result<ApiReply, ApiError> {
        if self.sites.specs.remove(name).is_none() {
            return Err(ApiError::NotFound { what: "description of site", name: name.to_string() });
        }
        self.outbox.batch().delete(SITE, name.as_str());
        self.site_changed(name);
        Ok(ApiReply::Forgotten)
    }

    fn site_changed(&mut self, name: &SiteName) {
        self.cluster_site(name);
        let nodes: Vec<NodeName> = self.sites.nodes.get(name).into_iter().flatten().cloned().collect();
        for node in &nodes {
            self.cluster_upsert(node);
        }
        self.mark_site(name);
        self.room_appeared();
    }

    /// The time zone of a node's site.
    pub(crate) fn timezone_of(&self, node: &NodeName) -> Option<String> {
        self.sites.specs.get(&self.nodes.get(node)?.site)?.timezone.clone()
    }

    /// What the region tells of one of its sites; `None` when there is no such site.
    pub(crate) fn site_digest(&mut self, name: &SiteName) -> Option<Arc<SiteDigest>> {
        if self.sites.stale.remove(name) || !self.sites.digests.contains_key(name) {
            if !self.sites.is_known(name) {
                self.sites.digests.remove(name);
                return None;
            }
            let digest = Arc::new(self.compute_site(name));
            self.sites.digests.insert(name.clone(), digest);
        }
        if self.sites.recount.remove(name) {
            let (running, last_seen) = self.count_running(name);
            if let Some(digest) = self.sites.digests.get_mut(name) {
                let digest = Arc::make_mut(digest);
                (digest.running, digest.last_seen) = (running, last_seen);
            }
        }
        self.sites.digests.get(name).cloned()
    }

    /// How many allocations of a site's nodes run, and when the last of its nodes was heard.
    fn count_running(&self, name: &SiteName) -> (u32, WallTime) {
        let names = self.sites.nodes.get(name).into_iter().flatten();
        let nodes = names.filter_map(|name| self.nodes.get(name));
        nodes.fold((0, WallTime(0)), |(running, last_seen), node| {
            (running + self.running_of(node), last_seen.max(self.last_seen(&node.child)))
        })
    }

    /// What the region tells of all of its sites.
    pub(crate) fn site_digests(&mut self) -> Vec<Arc<SiteDigest>> {
        let names: Vec<SiteName> = self.sites.names().cloned().collect();
        names.iter().filter_map(|name| self.site_digest(name)).collect()
    }

    fn compute_site(&self, name: &SiteName) -> SiteDigest {
        let mut total = NodeTotal::default();
        let mut last_seen = WallTime(0);
        let mut open: Vec<(Attributes, Vec<Taint>, Resources, u32)> = Vec::new();
        for node_name in self.sites.nodes.get(name).into_iter().flatten() {
            let Some(node) = self.nodes.get(node_name) else { continue };
            total.add(&self.node_total(node_name, node));
            last_seen = last_seen.max(self.last_seen(&node.child));
            let takes_more = node.is_reachable() && !self.is_cordoned(node_name);
            let Some(facts) = node.facts.as_ref().filter(|_| takes_more) else { continue };
            let held = self.cluster.allocations(node_name).unwrap_or_default();
            let slots = facts.allocations.get().saturating_sub(held);
            let attributes = self.cluster_attributes(node_name).unwrap_or_default();
            open.push((attributes, facts.taints.clone(), self.free_room(node_name), slots));
        }
        SiteDigest {
            region: self.config.region.clone(),
            spec: self.sites.spec(name),
            nodes: total.nodes,
            reachable: total.reachable,
            allocations: total.allocations,
            running: total.running,
            capacity: total.capacity,
            reserved: total.reserved,
            last_seen,
            sketch: sketch_of(&open),
        }
    }

    /// What is free on a node; of graphics processors those that are wholly free, and the largest part that any other has free.
    fn free_room(&self, name: &NodeName) -> Resources {
        let free = self.cluster.free(name).unwrap_or_default();
        let gpus = || self.cluster.free_gpus(name);
        let whole: u64 = gpus().filter(|free| *free == 1000).sum();
        let part = gpus().filter(|free| *free < 1000).max().unwrap_or_default();
        Resources { gpu: MilliGpu(whole + part), ..free }
    }
}

fn sketch_of(open: &[(Attributes, Vec<Taint>, Resources, u32)]) -> Sketch {
    sketch(open.iter().map(|(attributes, taints, free, slots)| SketchInput {
        attributes,
        taints,
        free: *free,
        slots: *slots,
    }))
}
