//! The regions below this one: who they are, and what they said.

use std::collections::BTreeMap;
use std::sync::Arc;

use skerry_types::{
    EventLevel, NodeDigest, NodeName, RegionDigest, RegionName, ShareStatus, SiteDigest, SiteName,
    TenantName, TenantUse, WorkloadKey,
};
use skerry_wire::{DigestRow, Epoch, Row, RowKey, TableId};

use crate::api::{ApiError, ApiReply};
use crate::child::Child;
use crate::ledger::{REGION, Value, put};
use crate::records::{ChildName, ChildRecord};
use crate::state::RegionState;

/// A region below this one, with what it tells of itself and of the regions further down.
#[derive(Debug)]
pub(crate) struct ChildRegion {
    pub(crate) child: Child,
    pub(crate) regions: BTreeMap<RegionName, RegionDigest>,
    pub(crate) sites: BTreeMap<(RegionName, SiteName), Arc<SiteDigest>>,
    pub(crate) nodes: BTreeMap<(RegionName, NodeName), Arc<NodeDigest>>,
    pub(crate) statuses: BTreeMap<WorkloadKey, Arc<ShareStatus>>,
    pub(crate) uses: BTreeMap<TenantName, TenantUse>,
}

impl ChildRegion {
    pub(crate) fn new(epoch: Epoch, record: ChildRecord) -> Self {
        Self {
            child: Child::new(epoch, record),
            regions: BTreeMap::new(),
            sites: BTreeMap::new(),
            nodes: BTreeMap::new(),
            statuses: BTreeMap::new(),
            uses: BTreeMap::new(),
        }
    }

    pub(crate) fn is_reachable(&self) -> bool {
        self.child.is_reachable()
    }

    /// Takes up a row that the region sent, now or before a restart.
    fn fold(&mut self, row: &DigestRow) {
        match row {
            DigestRow::Region(digest) => {
                self.regions.insert(digest.region.clone(), digest.clone());
            }
            DigestRow::Site(digest) => {
                let key = (digest.region.clone(), digest.spec.name.clone());
                self.sites.insert(key, Arc::new(digest.clone()));
            }
            DigestRow::Node(digest) => {
                self.nodes.insert((digest.region.clone(), digest.node.clone()), Arc::new(digest.clone()));
            }
            DigestRow::Share(status) => {
                self.statuses.insert(status.key.clone(), Arc::new(status.clone()));
            }
            DigestRow::Tenant(used) => {
                self.uses.insert(used.tenant.clone(), used.clone());
            }
        }
    }

    fn unfold(&mut self, key: &RowKey) {
        let text = key.key.as_str();
        match key.table {
            TableId::REGION => self.regions.retain(|name, _| name.as_str() != text),
            TableId::SITE => self.sites.retain(|(region, site), _| !is_pair(text, region, site)),
            TableId::NODE => self.nodes.retain(|(region, node), _| !is_pair(text, region, node)),
            TableId::SHARE_STATUS => self.statuses.retain(|key, _| !is_pair(text, &key.tenant, &key.name)),
            TableId::TENANT_USE => self.uses.retain(|name, _| name.as_str() != text),
            _ => {}
        }
    }

    /// Takes up a row from disk. One that cannot be read is asked for again with the region's next snapshot.
    pub(crate) fn restore(&mut self, key: RowKey, bytes: &[u8]) {
        if let Ok(row) = DigestRow::decode(bytes) {
            self.fold(&row);
        }
        self.child.held.insert(key);
    }
}

fn is_pair(text: &str, first: &impl ToString, second: &impl ToString) -> bool {
    text.split_once('/').is_some_and(|(a, b)| a == first.to_string() && b == second.to_string())
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
        let decoded = decoded.ok_or_else(|| row.key.key.clone())?;
        let child = ChildName::Region(name.clone());
        let Some((decoded, value)) = decoded.zip(row.value) else {
            self.forget_row(&child, &row.key);
            return Ok(());
        };
        if let Some(region) = self.regions.get_mut(name) {
            region.fold(&decoded);
        }
        self.keep_observed(&child, row.key, value);
        Ok(())
    }

    pub(crate) fn forget_region_row(&mut self, name: &RegionName, key: &RowKey) {
        if let Some(region) = self.regions.get_mut(name) {
            region.unfold(key);
        }
    }

    pub(crate) fn region_reachable(&mut self, _name: &RegionName, _reachable: bool) {
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
        self.regions.remove(name);
        self.outbox.batch().delete(REGION, name.as_str());
        let child = ChildName::Region(name.clone());
        self.clear_child(&child, &held, &tombstones);
        self.tell_child(EventLevel::Info, &child, "Removed", format!("region {name} is removed"));
        self.changed = true;
        Ok(ApiReply::Removed(0))
    }
}
