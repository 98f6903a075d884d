//! Lists of nodes, sites, regions and tenants: this region's own, and all below it as they were told.

use std::collections::BTreeMap;

use skerry_types::{
    NodeDigest, NodeName, NodeUsage, Quota, RegionName, SiteDigest, SiteName, TenantName, WallTime,
};

use crate::allocations::Condition;
use crate::api::ApiError;
use crate::listing::{Filter, NodeTotal, NodeView, Page, RegionView, SiteView, TenantView};
use crate::nodes::Node;
use crate::query::parse_token;
use crate::regions::ChildRegion;
use crate::state::RegionState;

/// A thing of a region; the region right below that told of it, if it is not this one's own.
type Place<T> = ((RegionName, T), Option<RegionName>);

impl RegionState {
    pub(crate) fn list_nodes(&self, filter: &Filter) -> Result<Page<NodeView>, ApiError> {
        let own = self.region().clone();
        let mut places: Vec<Place<NodeName>> =
            self.nodes.keys().map(|name| ((own.clone(), name.clone()), None)).collect();
        if filter.below {
            for (teller, region) in &self.regions {
                places.extend(region.nodes.keys().map(|key| (key.clone(), Some(teller.clone()))));
            }
            places.sort();
        }
        let views = behind(places, filter)?.into_iter().filter_map(|((region, name), teller)| {
            let view = match &teller {
                None => self.node_view(&name, self.nodes.get(&name)?),
                Some(teller) => {
                    let child = self.regions.get(teller)?;
                    self.told_node(child, child.nodes.get(&(region.clone(), name.clone()))?)
                }
            };
            let named = filter.name.as_ref().is_none_or(|wanted| wanted == name.as_str());
            let selected = filter.selector.is_empty() || filter.selector.matches(&view.attributes);
            (named && selected).then(|| (token(filter, &region, name.as_str()), view))
        });
        Ok(self.page(filter, views))
    }

    fn node_view(&self, name: &NodeName, node: &Node) -> NodeView {
        NodeView {
            region: self.region().clone(),
            capacity: node.facts.as_ref().map(|facts| facts.capacity).unwrap_or_default(),
            attributes: self.cluster_attributes(name).unwrap_or_default(),
            name: name.clone(),
            site: node.site.clone(),
            facts: node.facts.clone(),
            usage: node.usage,
            reserved: self.cluster_used(name),
            allocations: u32::try_from(node.allocations.len()).unwrap_or(u32::MAX),
            orphans: self.orphans_on(name),
            reachable: node.is_reachable(),
            last_seen: self.last_seen(&node.child),
            joined_at: node.child.record.joined_at,
            certificate_expires: node.child.record.certificate_expires,
            cordoned: self.is_cordoned(name),
            drain: self.drain_view(name),
        }
    }

    fn told_node(&self, teller: &ChildRegion, digest: &NodeDigest) -> NodeView {
        let (reachable, last_seen) = self.heard(teller, &digest.region, digest.reachable, digest.last_seen);
        NodeView {
            region: digest.region.clone(),
            name: digest.node.clone(),
            site: digest.site.clone(),
            facts: None,
            capacity: digest.capacity,
            attributes: digest.attributes.clone(),
            usage: NodeUsage::default(),
            reserved: digest.reserved,
            allocations: digest.allocations,
            orphans: 0,
            reachable,
            last_seen,
            joined_at: digest.joined_at,
            certificate_expires: WallTime(0),
            cordoned: false,
            drain: None,
        }
    }

    /// Whether something in a region below is heard from over every link on the way, and when it was.
    fn heard(
        &self,
        teller: &ChildRegion,
        region: &RegionName,
        reachable: bool,
        last_seen: WallTime,
    ) -> (bool, WallTime) {
        let near = teller.is_reachable();
        match (reachable, near && teller.hears(region)) {
            (true, true) => (true, self.now.wall),
            // It was heard from until the way to it was cut.
            (true, false) if !near => (false, last_seen.max(teller.child.record.last_seen)),
            (true, false) => {
                let cut = teller.regions.get(region).map_or(WallTime(0), |digest| digest.last_seen);
                (false, last_seen.max(cut))
            }
            (false, _) => (false, last_seen),
        }
    }

    pub(crate) fn list_sites(&self, filter: &Filter) -> Result<Page<SiteView>, ApiError> {
        let own = self.region().clone();
        let mut places: Vec<Place<SiteName>> =
            self.sites.names().map(|name| ((own.clone(), name.clone()), None)).collect();
        if filter.below {
            for (teller, region) in &self.regions {
                places.extend(region.sites.keys().map(|key| (key.clone(), Some(teller.clone()))));
            }
        }
        places.sort();
        let views = behind(places, filter)?.into_iter().filter_map(|((region, name), teller)| {
            let named = filter.name.as_ref().is_none_or(|wanted| wanted == name.as_str());
            let view = match &teller {
                _ if !named => return None,
                None => self.site_view(&name),
                Some(teller) => {
                    let child = self.regions.get(teller)?;
                    self.told_site(child, child.sites.get(&(region.clone(), name.clone()))?)
                }
            };
            Some((token(filter, &region, name.as_str()), view))
        });
        Ok(self.page(filter, views))
    }

    fn site_view(&self, name: &SiteName) -> SiteView {
        let mut total = NodeTotal::default();
        let mut last_seen = WallTime(0);
        for node_name in self.sites.nodes.get(name).into_iter().flatten() {
            let Some(node) = self.nodes.get(node_name) else { continue };
            last_seen = last_seen.max(self.last_seen(&node.child));
            total.add(&self.node_total(node_name, node));
        }
        SiteView {
            region: self.region().clone(),
            name: name.clone(),
            spec: self.sites.spec(name),
            total,
            last_seen,
        }
    }

    fn told_site(&self, teller: &ChildRegion, digest: &SiteDigest) -> SiteView {
        let mut total = told_total(digest);
        let (reachable, last_seen) =
            self.heard(teller, &digest.region, digest.reachable > 0, digest.last_seen);
        if !reachable {
            total.reachable = 0;
        }
        let (region, name, spec) = (digest.region.clone(), digest.spec.name.clone(), digest.spec.clone());
        SiteView { region, name, spec, total, last_seen }
    }

    /// How many of a node's allocations run.
    pub(crate) fn running_of(&self, node: &Node) -> u32 {
        let known = node.allocations.iter().filter_map(|id| self.allocations.known(id));
        let runs = known.filter(|known| known.condition == Condition::Running);
        u32::try_from(runs.count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn node_total(&self, name: &NodeName, node: &Node) -> NodeTotal {
        NodeTotal {
            nodes: 1,
            reachable: u32::from(node.is_reachable()),
            allocations: u32::try_from(node.allocations.len()).unwrap_or(u32::MAX),
            running: self.running_of(node),
            capacity: node.facts.as_ref().map(|facts| facts.capacity).unwrap_or_default(),
            reserved: self.cluster_used(name),
        }
    }

    /// The own region and those right below it; with `below`, all.
    pub(crate) fn list_regions(&self, filter: &Filter) -> Result<Page<RegionView>, ApiError> {
        let mut views = BTreeMap::from([(self.region().clone(), self.region_view())]);
        for (name, region) in &self.regions {
            let told = region.regions.keys().filter(|_| filter.below);
            for below in told.chain([name]) {
                views.insert(below.clone(), self.told_region(name, region, below));
            }
        }
        let after = filter.after.as_deref().map(parse_token::<RegionName>).transpose()?;
        let wanted = |name: &RegionName| {
            after.as_ref().is_none_or(|after| name > after)
                && filter.name.as_ref().is_none_or(|wanted| wanted == name.as_str())
        };
        let rows = views.into_iter().filter(|(name, _)| wanted(name));
        Ok(self.page(filter, rows.map(|(name, view)| (name.to_string(), view))))
    }

    fn region_view(&self) -> RegionView {
        let mut total = NodeTotal::default();
        for (name, node) in &self.nodes {
            total.add(&self.node_total(name, node));
        }
        RegionView {
            name: self.region().clone(),
            path: Vec::new(),
            reachable: true,
            last_seen: self.now.wall,
            sites: u32::try_from(self.sites.names().count()).unwrap_or(u32::MAX),
            workloads: u32::try_from(self.workloads.len()).unwrap_or(u32::MAX),
            total,
        }
    }

    fn told_region(&self, teller: &RegionName, region: &ChildRegion, name: &RegionName) -> RegionView {
        let digest = region.region_digest(teller, name);
        let (reachable, last_seen) = match &digest {
            Some(digest) if name != teller => self.heard(region, name, digest.reachable, digest.last_seen),
            _ => (region.is_reachable(), self.last_seen(&region.child)),
        };
        let mut total = NodeTotal::default();
        let sites: Vec<_> = region.sites.values().filter(|site| site.region == *name).collect();
        for site in &sites {
            total.add(&self.told_site(region, site).total);
        }
        RegionView {
            name: name.clone(),
            path: digest.as_ref().map(|digest| digest.path.clone()).unwrap_or_default(),
            reachable,
            last_seen,
            sites: u32::try_from(sites.len()).unwrap_or(u32::MAX),
            workloads: digest.map(|digest| digest.workloads).unwrap_or_default(),
            total,
        }
    }

    pub(crate) fn list_tenants(&self, filter: &Filter) -> Result<Page<TenantView>, ApiError> {
        let after = filter.after.as_deref().map(parse_token::<TenantName>).transpose()?;
        let wanted = |name: &TenantName| {
            after.as_ref().is_none_or(|after| name > after)
                && filter.name.as_ref().is_none_or(|wanted| wanted == name.as_str())
        };
        let names = self.tenant_names().into_iter().filter(wanted);
        let rows = names.filter_map(|name| Some((name.to_string(), self.tenant_view(&name)?)));
        Ok(self.page(filter, rows))
    }

    fn tenant_view(&self, name: &TenantName) -> Option<TenantView> {
        let spec = self.tenant_spec(name)?;
        let parts = self.regions.values().filter_map(|region| region.grants.get(name));
        let granted = parts.map(|grant| grant.escrow).fold(Quota::default(), sum);
        Some(TenantView {
            spec,
            held: self.tenant_limit(name),
            used: self.tenant_used(name),
            granted,
            workloads: self.own_workloads(name),
        })
    }
}

/// What comes behind the page before.
fn behind<T: Ord + std::str::FromStr>(
    places: Vec<Place<T>>,
    filter: &Filter,
) -> Result<Vec<Place<T>>, ApiError> {
    let Some(after) = &filter.after else { return Ok(places) };
    let bad = || ApiError::PageToken { token: after.clone() };
    let (region, name) = match (filter.below, after.split_once('/')) {
        (true, Some((region, name))) => (Some(parse_token::<RegionName>(region)?), name),
        (true, None) => return Err(bad()),
        (false, _) => (None, after.as_str()),
    };
    let name: T = name.parse().map_err(|_| bad())?;
    let is_behind = |((of, at), _): &Place<T>| match &region {
        Some(region) => (of, at) > (region, &name),
        None => *at > name,
    };
    Ok(places.into_iter().filter(is_behind).collect())
}

fn token(filter: &Filter, region: &RegionName, name: &str) -> String {
    if filter.below { format!("{region}/{name}") } else { name.to_owned() }
}

fn told_total(digest: &SiteDigest) -> NodeTotal {
    NodeTotal {
        nodes: digest.nodes,
        reachable: digest.reachable,
        allocations: digest.allocations,
        running: digest.running,
        capacity: digest.capacity,
        reserved: digest.reserved,
    }
}

/// Adds amounts where both say something, and takes what one says where only one does.
fn sum(a: Quota, b: Quota) -> Quota {
    macro_rules! both {
        ($field:ident, $amount:path) => {
            match (a.$field, b.$field) {
                (Some(one), Some(other)) => Some($amount(one.0.saturating_add(other.0))),
                (one, other) => one.or(other),
            }
        };
    }
    Quota {
        cpu: both!(cpu, skerry_types::MilliCpu),
        memory: both!(memory, skerry_types::Bytes),
        disk: both!(disk, skerry_types::Bytes),
        bandwidth: both!(bandwidth, skerry_types::Bandwidth),
        gpu: both!(gpu, skerry_types::MilliGpu),
    }
}
