//! What the region above is told: which rows may say something else, and what they say.

use std::collections::BTreeSet;
use std::time::Duration;

use skerry_types::{
    MonoTime, NodeDigest, NodeName, RegionDigest, RegionName, SiteName, TenantName, WorkloadKey,
};
use skerry_wire::{DigestRow, RowKey};

use crate::nodes::Node;
use crate::records::Origin;
use crate::regions::{ChildRegion, digest_key, pair};
use crate::state::RegionState;
use skerry_wire::TableId;

/// Shortest time between two looks at digests. A digest that is older costs a round of level 1 at most.
const DIGESTS_EVERY: Duration = Duration::from_secs(2);
/// Shortest time between two looks at what became of shares and of limits: a deployment of thousands of instances is a few dozen rows.
const SHARES_EVERY: Duration = Duration::from_millis(200);

/// A row that goes up. The teller is the region right below that told of it, if it is not this region's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum UpKey {
    Region { teller: Option<RegionName>, region: RegionName },
    Site { teller: Option<RegionName>, region: RegionName, site: SiteName },
    Node { teller: Option<RegionName>, region: RegionName, node: NodeName },
    Share(WorkloadKey),
    Tenant(TenantName),
}

/// Bounds how often something is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    last: Option<MonoTime>,
}

impl Pace {
    fn due(self, every: Duration) -> MonoTime {
        self.last.map_or(MonoTime::default(), |last| last + every)
    }
}

impl UpKey {
    /// Whether somebody may wait for it: what became of shares, and the parts of limits.
    fn is_prompt(&self) -> bool {
        matches!(self, Self::Share(_) | Self::Tenant(_))
    }

    pub(crate) fn row_key(&self) -> RowKey {
        match self {
            Self::Region { region, .. } => RowKey::new(TableId::REGION, region.as_str()),
            Self::Site { region, site, .. } => RowKey::new(TableId::SITE, format!("{region}/{site}")),
            Self::Node { region, node, .. } => RowKey::new(TableId::NODE, format!("{region}/{node}")),
            Self::Share(key) => RowKey::new(TableId::SHARE_STATUS, pair(key)),
            Self::Tenant(name) => RowKey::new(TableId::TENANT_USE, name.as_str()),
        }
    }

    /// The key of a row that a region right below told.
    pub(crate) fn relayed(teller: &RegionName, row: &DigestRow) -> Self {
        let told = Some(teller.clone());
        match row {
            DigestRow::Region(digest) => Self::Region { teller: told, region: digest.region.clone() },
            DigestRow::Site(digest) => {
                Self::Site { teller: told, region: digest.region.clone(), site: digest.spec.name.clone() }
            }
            DigestRow::Node(digest) => {
                Self::Node { teller: told, region: digest.region.clone(), node: digest.node.clone() }
            }
            DigestRow::Share(status) => Self::Share(status.key.clone()),
            DigestRow::Tenant(used) => Self::Tenant(used.tenant.clone()),
        }
    }
}

impl RegionState {
    /// A row may say something else than the region above was told.
    pub(crate) fn mark_up(&mut self, key: UpKey) {
        if self.config.has_parent {
            self.uplink.stale.insert(key);
        }
    }

    pub(crate) fn mark_share(&mut self, key: &WorkloadKey) {
        if self.config.has_parent {
            self.uplink.stale.insert(UpKey::Share(key.clone()));
        }
    }

    pub(crate) fn mark_region(&mut self, teller: Option<&RegionName>) {
        let region = teller.unwrap_or(&self.config.region).clone();
        self.mark_up(UpKey::Region { teller: teller.cloned(), region });
    }

    /// Something about a node or what is on it changed.
    pub(crate) fn mark_node(&mut self, name: &NodeName, site: &SiteName) {
        self.sites.stale.insert(site.clone());
        let region = self.config.region.clone();
        self.mark_up(UpKey::Node { teller: None, region, node: name.clone() });
        self.mark_site(site);
    }

    pub(crate) fn mark_site(&mut self, site: &SiteName) {
        self.sites.stale.insert(site.clone());
        let region = self.config.region.clone();
        self.mark_up(UpKey::Site { teller: None, region, site: site.clone() });
    }

    /// Another number of a site's allocations runs.
    pub(crate) fn recount_site(&mut self, site: &SiteName) {
        self.sites.recount.insert(site.clone());
        let region = self.config.region.clone();
        self.mark_up(UpKey::Site { teller: None, region, site: site.clone() });
    }

    /// A link begins with everything that there is to tell.
    pub(crate) fn mark_all_up(&mut self) {
        let own = self.config.region.clone();
        let mut keys = BTreeSet::from([UpKey::Region { teller: None, region: own.clone() }]);
        let site = |site: &SiteName| UpKey::Site { teller: None, region: own.clone(), site: site.clone() };
        keys.extend(self.sites.names().map(site));
        let node = |node: &NodeName| UpKey::Node { teller: None, region: own.clone(), node: node.clone() };
        keys.extend(self.nodes.keys().map(node));
        for (name, region) in &self.regions {
            keys.extend(region.relayed(name));
        }
        keys.extend(self.workloads.keys().chain(self.refused.keys()).cloned().map(UpKey::Share));
        keys.extend(self.tenant_names().into_iter().map(UpKey::Tenant));
        self.uplink.stale.extend(keys);
        (self.uplink.shares_pace, self.uplink.digests_pace) = (Pace::default(), Pace::default());
    }

    /// When rows that may have changed are to be looked at.
    pub(crate) fn refresh_due(&self) -> Option<MonoTime> {
        let uplink = &self.uplink;
        let due = |share: bool| {
            let pace = if share {
                uplink.shares_pace.due(SHARES_EVERY)
            } else {
                uplink.digests_pace.due(DIGESTS_EVERY)
            };
            uplink.stale.iter().any(|key| key.is_prompt() == share).then_some(pace)
        };
        if !uplink.is_up() {
            return None;
        }
        due(true).into_iter().chain(due(false)).min()
    }

    /// Looks at the rows that may have changed, unless it looked just before.
    pub(crate) fn refresh_up(&mut self) {
        if !self.uplink.is_up() || self.uplink.stale.is_empty() {
            return;
        }
        let now = self.now.mono;
        let shares = now >= self.uplink.shares_pace.due(SHARES_EVERY);
        let digests = now >= self.uplink.digests_pace.due(DIGESTS_EVERY);
        let is_due = |key: &UpKey| if key.is_prompt() { shares } else { digests };
        let (due, rest): (BTreeSet<UpKey>, BTreeSet<UpKey>) =
            std::mem::take(&mut self.uplink.stale).into_iter().partition(is_due);
        self.uplink.stale = rest;
        for key in due {
            let pace =
                if key.is_prompt() { &mut self.uplink.shares_pace } else { &mut self.uplink.digests_pace };
            pace.last = Some(now);
            let mut row = self.up_row(&key);
            let row_key = key.row_key();
            let same = match (&mut row, self.uplink.told.get(&row_key)) {
                (None, None) => true,
                (Some(row), Some(told)) => says_the_same(told, row),
                _ => false,
            };
            if !same {
                self.tell_up(row_key, row);
                self.seal_if_full();
            }
        }
    }

    /// What a row says; `None` when there is nothing to say.
    pub(crate) fn up_row(&mut self, key: &UpKey) -> Option<DigestRow> {
        let row = match key {
            UpKey::Region { teller: None, .. } => Some(DigestRow::Region(self.own_digest())),
            UpKey::Region { teller: Some(teller), region } => {
                self.regions.get(teller)?.region_digest(teller, region).map(DigestRow::Region)
            }
            UpKey::Site { teller: None, site, .. } => {
                self.site_digest(site).map(|digest| DigestRow::Site((*digest).clone()))
            }
            UpKey::Site { teller: Some(teller), region, site } => {
                let digest = self.regions.get(teller)?.sites.get(&(region.clone(), site.clone()))?;
                Some(DigestRow::Site((**digest).clone()))
            }
            UpKey::Node { teller: None, node, .. } => {
                let known = self.nodes.get(node)?;
                Some(DigestRow::Node(self.node_digest(node, known)))
            }
            UpKey::Node { teller: Some(teller), region, node } => {
                let digest = self.regions.get(teller)?.nodes.get(&(region.clone(), node.clone()))?;
                Some(DigestRow::Node((**digest).clone()))
            }
            UpKey::Share(key) => self.share_status(key).map(DigestRow::Share),
            UpKey::Tenant(name) => self.tenant_use(name).map(DigestRow::Tenant),
        }?;
        debug_assert_eq!(digest_key(&row), key.row_key(), "a row stands under its own key");
        Some(row)
    }

    fn own_digest(&self) -> RegionDigest {
        let own = self.workloads.values().filter(|workload| workload.record.origin == Origin::Own).count();
        RegionDigest {
            region: self.config.region.clone(),
            path: Vec::new(),
            workloads: u32::try_from(own).unwrap_or(u32::MAX),
            reachable: true,
            last_seen: self.now.wall,
        }
    }

    fn node_digest(&self, name: &NodeName, node: &Node) -> NodeDigest {
        NodeDigest {
            region: self.config.region.clone(),
            site: node.site.clone(),
            node: name.clone(),
            reachable: node.is_reachable(),
            last_seen: self.last_seen(&node.child),
            joined_at: node.child.record.joined_at,
            capacity: node.facts.as_ref().map(|facts| facts.capacity).unwrap_or_default(),
            reserved: self.cluster_used(name),
            allocations: u32::try_from(node.allocations.len()).unwrap_or(u32::MAX),
            attributes: self.cluster_attributes(name).unwrap_or_default(),
        }
    }
}

impl ChildRegion {
    /// What is known of itself or of a region further down, as this region tells it.
    pub(crate) fn region_digest(&self, own: &RegionName, region: &RegionName) -> Option<RegionDigest> {
        let mut digest = self.regions.get(region)?.clone();
        if region == own {
            digest.path.clear();
            digest.reachable = self.is_reachable();
            digest.last_seen = self.child.record.last_seen;
        } else {
            digest.path.insert(0, own.clone());
        }
        Some(digest)
    }

    /// Keys of all that it told and that goes further up as it is.
    pub(crate) fn relayed(&self, own: &RegionName) -> impl Iterator<Item = UpKey> {
        let teller = || Some(own.clone());
        let regions =
            self.regions.keys().map(move |region| UpKey::Region { teller: teller(), region: region.clone() });
        let sites = self.sites.keys().map(move |(region, site)| UpKey::Site {
            teller: teller(),
            region: region.clone(),
            site: site.clone(),
        });
        let nodes = self.nodes.keys().map(move |(region, node)| UpKey::Node {
            teller: teller(),
            region: region.clone(),
            node: node.clone(),
        });
        regions.chain(sites).chain(nodes)
    }
}

/// Whether two rows differ at most in when something that is still heard from was last heard from: while a link is up, nobody
/// has to be told so again and again. The row is as it was afterwards; it is not copied for the look.
fn says_the_same(told: &DigestRow, row: &mut DigestRow) -> bool {
    let seen = match (told, &mut *row) {
        (DigestRow::Region(told), DigestRow::Region(row)) if told.reachable && row.reachable => {
            (told.last_seen, &mut row.last_seen)
        }
        (DigestRow::Node(told), DigestRow::Node(row)) if told.reachable && row.reachable => {
            (told.last_seen, &mut row.last_seen)
        }
        (DigestRow::Site(told), DigestRow::Site(row)) if told.reachable > 0 && row.reachable > 0 => {
            (told.last_seen, &mut row.last_seen)
        }
        (told, row) => return told == row,
    };
    let now = std::mem::replace(seen.1, seen.0);
    let same = told == row;
    match row {
        DigestRow::Region(row) => row.last_seen = now,
        DigestRow::Node(row) => row.last_seen = now,
        DigestRow::Site(row) => row.last_seen = now,
        DigestRow::Share(_) | DigestRow::Tenant(_) => {}
    }
    same
}
