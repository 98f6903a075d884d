//! The regions below this one: who they are, and what they said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_federation::{Alike, SiteTable};
use skerry_types::{
    EventLevel, InstanceSet, MonoTime, NodeDigest, NodeName, RegionDigest, RegionName, Resources, Share,
    ShareStatus, SiteDigest, SiteName, TenantGrant, TenantName, TenantUse, WorkloadKey,
};
use skerry_wire::{DigestRow, Epoch, Row, RowKey, TableId};

use crate::api::{ApiError, ApiReply};
use crate::child::Child;
use crate::digests::UpKey;
use crate::ledger::{DOWN, REGION, Value, down_key, put};
use crate::received::parse_key;
use crate::records::{ChildName, ChildRecord};
use crate::state::RegionState;

/// A region below this one, with what it tells of itself and of the regions further down.
#[derive(Debug)]
pub(crate) struct ChildRegion {
    pub(crate) child: Child,
    pub(crate) regions: BTreeMap<RegionName, RegionDigest>,
    pub(crate) sites: BTreeMap<(RegionName, SiteName), Arc<SiteDigest>>,
    /// The sites that are heard from, as level 1 reads them; `None` when they have changed.
    table: Option<Arc<SiteTable>>,
    pub(crate) nodes: BTreeMap<(RegionName, NodeName), Arc<NodeDigest>>,
    pub(crate) statuses: BTreeMap<WorkloadKey, Arc<ShareStatus>>,
    pub(crate) uses: BTreeMap<TenantName, TenantUse>,
    /// What it was given of workloads.
    pub(crate) shares: BTreeMap<WorkloadKey, Share>,
    pub(crate) grants: BTreeMap<TenantName, TenantGrant>,
    /// What it was offered and is not known to have placed.
    pub(crate) in_flight: BTreeMap<WorkloadKey, Resources>,
    /// Since when it is heard from, or is not.
    pub(crate) contact_since: MonoTime,
    /// Workloads that it spoke of since then.
    pub(crate) fresh: BTreeSet<WorkloadKey>,
    /// Whether it has said since then all that it has to say.
    pub(crate) all_fresh: bool,
}

impl ChildRegion {
    pub(crate) fn new(epoch: Epoch, record: ChildRecord, now: MonoTime) -> Self {
        Self {
            child: Child::new(epoch, record),
            regions: BTreeMap::new(),
            sites: BTreeMap::new(),
            table: None,
            nodes: BTreeMap::new(),
            statuses: BTreeMap::new(),
            uses: BTreeMap::new(),
            shares: BTreeMap::new(),
            grants: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            contact_since: now,
            fresh: BTreeSet::new(),
            all_fresh: false,
        }
    }

    pub(crate) fn is_reachable(&self) -> bool {
        self.child.is_reachable()
    }

    /// Takes up a row that the region sent, now or before a restart.
    fn fold(&mut self, row: DigestRow) {
        match row {
            DigestRow::Region(digest) => {
                self.table = None;
                self.regions.insert(digest.region.clone(), digest);
            }
            DigestRow::Site(digest) => {
                self.table = None;
                let key = (digest.region.clone(), digest.spec.name.clone());
                self.sites.insert(key, Arc::new(digest));
            }
            DigestRow::Node(digest) => {
                self.nodes.insert((digest.region.clone(), digest.node.clone()), Arc::new(digest));
            }
            DigestRow::Share(status) => {
                self.statuses.insert(status.key.clone(), Arc::new(status));
            }
            DigestRow::Tenant(used) => {
                self.uses.insert(used.tenant.clone(), used);
            }
        }
    }

    /// Forgets a row, and gives what it said.
    fn unfold(&mut self, key: &RowKey) -> Option<DigestRow> {
        let text = &*key.key;
        match key.table {
            TableId::REGION => {
                self.table = None;
                self.regions.remove(&text.parse().ok()?).map(DigestRow::Region)
            }
            TableId::SITE => {
                self.table = None;
                let (region, site) = text.split_once('/')?;
                let gone = self.sites.remove(&(region.parse().ok()?, site.parse().ok()?))?;
                Some(DigestRow::Site((*gone).clone()))
            }
            TableId::NODE => {
                let (region, node) = text.split_once('/')?;
                let gone = self.nodes.remove(&(region.parse().ok()?, node.parse().ok()?))?;
                Some(DigestRow::Node((*gone).clone()))
            }
            TableId::SHARE_STATUS => {
                let gone = self.statuses.remove(&parse_key(text)?)?;
                Some(DigestRow::Share((*gone).clone()))
            }
            TableId::TENANT_USE => self.uses.remove(&text.parse().ok()?).map(DigestRow::Tenant),
            _ => None,
        }
    }

    /// Whether a region further down is heard from by the one above it, and so on up to this one.
    pub(crate) fn hears(&self, region: &RegionName) -> bool {
        let reachable = |name: &RegionName| self.regions.get(name).is_none_or(|digest| digest.reachable);
        let path = self.regions.get(region).map(|digest| digest.path.as_slice()).unwrap_or_default();
        reachable(region) && path.iter().all(reachable)
    }

    /// The sites that are heard from, laid out for level 1. Made when their digests came, so that a decision over a thousand
    /// regions does not wait for it.
    pub(crate) fn site_table(&mut self, alike: &mut Alike) -> Arc<SiteTable> {
        if let Some(table) = &self.table {
            return Arc::clone(table);
        }
        let heard = self.sites.values().filter(|site| self.hears(&site.region)).cloned().collect();
        let table = Arc::new(SiteTable::new(heard, alike));
        self.table = Some(Arc::clone(&table));
        table
    }

    /// Whether a site has more of something free than it last said, so that what found no place may fit.
    fn is_roomier(&self, row: &DigestRow) -> bool {
        if let DigestRow::Region(region) = row {
            return region.reachable && self.regions.get(&region.region).is_none_or(|known| !known.reachable);
        }
        let DigestRow::Site(site) = row else { return false };
        let Some(known) = self.sites.get(&(site.region.clone(), site.spec.name.clone())) else { return true };
        let (free, was) =
            (site.capacity.saturating_sub(&site.reserved), known.capacity.saturating_sub(&known.reserved));
        let kinds = |one: &SiteDigest, other: &SiteDigest| {
            let mut both = one.sketch.classes.iter().zip(&other.sketch.classes);
            one.sketch.classes.len() == other.sketch.classes.len()
                && both.all(|(one, other)| one.attributes == other.attributes && one.taints == other.taints)
        };
        !was.fits(&free)
            // One that takes allocations again has no more free than before.
            || site.sketch.nodes() > known.sketch.nodes()
            || site.reachable > known.reachable
            || site.spec != known.spec
            || site.allocations < known.allocations
            || !kinds(site, known)
    }

    /// Whether more instances of a workload have a place there than it last said.
    fn is_fuller(&self, row: &DigestRow) -> bool {
        let DigestRow::Share(status) = row else { return false };
        let known = self.statuses.get(&status.key).map_or(0, |known| known.placed.len());
        status.placed.len() > known
    }

    /// Keys of the rows that go down to it.
    fn down_keys(&self) -> impl Iterator<Item = RowKey> {
        let shares = self.shares.keys().map(|key| RowKey::new(TableId::SHARE, pair(key)));
        shares.chain(self.grants.keys().map(|name| RowKey::new(TableId::TENANT, name.as_str())))
    }

    /// Takes up a row from disk. One that cannot be read is asked for again with the region's next snapshot.
    pub(crate) fn restore(&mut self, key: RowKey, bytes: &[u8]) {
        if let Ok(row) = DigestRow::decode(bytes) {
            self.fold(row);
        }
        self.child.held.insert(key);
    }
}

/// The key that a digest's row goes under.
pub(crate) fn digest_key(row: &DigestRow) -> RowKey {
    match row {
        DigestRow::Share(status) => RowKey::new(TableId::SHARE_STATUS, pair(&status.key)),
        DigestRow::Site(digest) => {
            RowKey::new(TableId::SITE, format!("{}/{}", digest.region, digest.spec.name))
        }
        DigestRow::Region(digest) => RowKey::new(TableId::REGION, digest.region.as_str()),
        DigestRow::Node(digest) => RowKey::new(TableId::NODE, format!("{}/{}", digest.region, digest.node)),
        DigestRow::Tenant(used) => RowKey::new(TableId::TENANT_USE, used.tenant.as_str()),
    }
}

/// A workload's key as it stands in keys of rows: `TENANT/NAME`.
pub(crate) fn pair(key: &WorkloadKey) -> String {
    format!("{}/{}", key.tenant, key.name)
}

impl RegionState {
    pub(crate) fn save_region(&mut self, name: &RegionName) {
        if let Some(region) = self.regions.get(name) {
            put(self.outbox.batch(), &Value::RegionV1(name.clone(), region.child.record.clone()));
            self.changed = true;
        }
    }

    /// Takes a row that a region sent. An error is the key of a row that cannot be read.
    pub(crate) fn take_region_row(&mut self, name: &RegionName, row: Row) -> Result<(), String> {
        let decoded = row.value.as_deref().map(DigestRow::decode).transpose();
        let decoded = decoded.ok().filter(|row_| row_.as_ref().is_none_or(|r| digest_key(r) == row.key));
        let decoded = decoded.ok_or_else(|| row.key.key.to_string())?;
        let child = ChildName::Region(name.clone());
        let Some((decoded, value)) = decoded.zip(row.value) else {
            self.forget_row(&child, &row.key);
            return Ok(());
        };
        let (mut roomier, mut fuller) = (false, false);
        let relayed = UpKey::relayed(name, &decoded);
        let serial = if let DigestRow::Share(status) = &decoded { status.serial } else { 0 };
        if let Some(region) = self.regions.get_mut(name) {
            (roomier, fuller) = (region.is_roomier(&decoded), region.is_fuller(&decoded));
            region.fold(decoded);
        }
        self.keep_observed(&child, row.key, value);
        match &relayed {
            UpKey::Share(key) => {
                self.counters.serial = self.counters.serial.max(serial);
                self.part_changed(name, key);
                if fuller {
                    self.company_in(name, key);
                }
            }
            UpKey::Site { .. } | UpKey::Region { .. } if roomier => self.room_in(name),
            UpKey::Tenant(tenant) => self.use_changed(tenant),
            UpKey::Site { .. } | UpKey::Region { .. } | UpKey::Node { .. } => {}
        }
        self.mark_up(relayed);
        Ok(())
    }

    pub(crate) fn forget_region_row(&mut self, name: &RegionName, key: &RowKey) {
        let Some(region) = self.regions.get_mut(name) else { return };
        let gone = region.unfold(key);
        if let Some(row) = &gone {
            self.mark_up(UpKey::relayed(name, row));
        }
        match gone {
            Some(DigestRow::Share(status)) => self.part_changed(name, &status.key),
            Some(DigestRow::Tenant(used)) => self.use_changed(&used.tenant),
            _ => {}
        }
    }

    /// A region has said on this link all that it has to say: what it does not say anew is as it was.
    pub(crate) fn all_told(&mut self, name: &RegionName) {
        let Some(region) = self.regions.get_mut(name).filter(|region| !region.all_fresh) else { return };
        region.all_fresh = true;
        let keys: Vec<WorkloadKey> = region.shares.keys().cloned().collect();
        self.dirty.extend(keys);
    }

    /// A region says something else of a workload.
    fn part_changed(&mut self, name: &RegionName, key: &WorkloadKey) {
        if let Some(region) = self.regions.get_mut(name) {
            region.note_pending(key);
            region.fresh.insert(key.clone());
        }
        self.dirty.insert(key.clone());
        self.mark_share(key);
    }

    /// A region is heard from, or is not any more.
    pub(crate) fn region_reachable(&mut self, name: &RegionName, reachable: bool) {
        let now = self.now.mono;
        let Some(region) = self.regions.get_mut(name) else { return };
        region.contact_since = now;
        region.fresh.clear();
        region.all_fresh = false;
        let keys: Vec<WorkloadKey> = region.shares.keys().cloned().collect();
        for key in keys {
            self.mark_share(&key);
            self.dirty.insert(key);
        }
        if reachable {
            self.room_in(name);
        }
        self.all_tenants_changed();
        self.mark_region(Some(name));
        self.changed = true;
    }

    /// Removes a region for good. What it had of workloads is placed elsewhere.
    pub(crate) fn remove_region(&mut self, name: &RegionName) -> Result<ApiReply, ApiError> {
        let Some(region) = self.regions.get(name) else {
            return Err(ApiError::NotFound { what: "region", name: name.to_string() });
        };
        if region.child.link.is_some() {
            return Err(ApiError::RegionConnected { region: name.clone() });
        }
        let held: Vec<RowKey> = region.child.held.iter().cloned().collect();
        let tombstones: Vec<RowKey> = region.child.writer.tombstones().cloned().collect();
        let shares: Vec<(WorkloadKey, InstanceSet)> =
            region.shares.iter().map(|(key, share)| (key.clone(), share.instances.clone())).collect();
        let down: Vec<RowKey> = region.down_keys().collect();
        let relayed: Vec<UpKey> = region.relayed(name).collect();
        self.regions.remove(name);
        for key in relayed {
            self.mark_up(key);
        }
        self.outbox.batch().delete(REGION, name.as_str());
        let child = ChildName::Region(name.clone());
        self.clear_child(&child, &held, &tombstones);
        for key in &down {
            self.outbox.batch().delete(DOWN, down_key(name, key));
            self.seal_if_full();
        }
        for (key, _) in &shares {
            self.forget_region_in_split(name, key);
            self.dirty.insert(key.clone());
        }
        let count = shares.iter().fold(0, |sum: u32, (_, instances)| sum.saturating_add(instances.len()));
        self.all_tenants_changed();
        let message = format!("region {name} is removed; {count} instances are placed elsewhere");
        self.tell_child(EventLevel::Info, &child, "Removed", message);
        self.changed = true;
        Ok(ApiReply::Removed(count))
    }
}
