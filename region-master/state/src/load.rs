//! Begins with what the store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_allocator::Cluster;
use skerry_federation::Alike;
use skerry_types::mutant::{self, Mutant};
use skerry_types::{NodeName, Now, Outbox, RegionName, SiteName, TableName, WorkloadSpec};
use skerry_wire::{Epoch, RegionRow, Revision, RowKey};

use crate::allocations::Allocations;
use crate::lease::Leases;
use crate::ledger::{
    ALLOCATION, DOWN, Ledger, LedgerRow, LoadError, OBSERVED, TOMBSTONE, child_key, down_key, down_row_key,
};
use crate::nodes::Node;
use crate::past::Past;
use crate::records::{AllocationRecord, ChildName, Origin};
use crate::regions::ChildRegion;
use crate::sites::Sites;
use crate::state::{RegionConfig, RegionState};
use crate::tenants::Tenants;
use crate::uplink::Uplink;
use crate::workloads::Workload;

impl RegionState {
    /// Begins with what the store holds.
    pub fn load(
        config: RegionConfig,
        now: Now,
        rows: impl IntoIterator<Item = LedgerRow>,
    ) -> Result<Self, LoadError> {
        let ledger = Ledger::read(rows)?;
        let (epoch, own) = (ledger.past.epoch, Epoch(config.incarnation.0));
        let mut state = Self {
            config,
            now,
            outbox: Outbox::default(),
            uplink: Uplink::new(own, ledger.counters.up.next(), ledger.uplink),
            past: Past::new(ledger.past),
            counters: ledger.counters,
            workloads: ledger
                .workloads
                .into_iter()
                .map(|(key, record)| (key, Workload::new(record)))
                .collect(),
            allocations: Allocations::default(),
            nodes: ledger
                .nodes
                .into_iter()
                .map(|(name, record)| (name, Box::new(Node::new(epoch, record))))
                .collect(),
            regions: ledger
                .regions
                .into_iter()
                .map(|(name, record)| (name, ChildRegion::new(epoch, record, now.mono)))
                .collect(),
            alike: Alike::default(),
            links: BTreeMap::new(),
            tokens: ledger.tokens,
            events: ledger.events,
            cluster: Cluster::default(),
            sites: Sites { specs: ledger.sites, ..Sites::default() },
            refused: ledger.refused,
            splits: ledger.splits,
            tenants: Tenants::new(ledger.tenants, ledger.grants),
            waiting: Vec::new(),
            wakes: BTreeSet::new(),
            dirty: BTreeSet::new(),
            pending: BTreeSet::new(),
            lonely: BTreeSet::new(),
            reserved: BTreeMap::new(),
            making_way: BTreeMap::new(),
            turn: None,
            unfinished: false,
            stuck: Vec::new(),
            life: ledger.life,
            leases: Leases::new(now.mono),
            refused_orphans: BTreeMap::new(),
            touched: BTreeSet::new(),
            changed: false,
            change: 0,
        };
        state.begin_store();
        state.leave_numbers_out();
        for (name, key, revision) in ledger.tombstones {
            match state.child_mut(&name) {
                Some(child) => child.writer.set(revision, key, None),
                None => state.clear(TOMBSTONE, child_key(&name, &key)),
            }
        }
        let mut placed: Vec<AllocationRecord> = ledger.allocations.into_values().collect();
        for record in &mut placed {
            if let Some((name, _)) = state.nodes.get_key_value(&record.node) {
                record.node = name.clone();
                state.allocations.insert(record.clone());
            } else {
                state.clear(ALLOCATION, record.intent.id.as_str().into());
            }
        }
        for (name, key, bytes) in ledger.observed {
            state.restore_observed(&name, &key, &bytes);
        }
        for (name, revision, row) in ledger.down {
            state.restore_down(&name, revision, row);
        }
        let names: Vec<(NodeName, SiteName)> =
            state.nodes.iter().map(|(name, node)| (name.clone(), node.site.clone())).collect();
        let described: Vec<SiteName> = state.sites.specs.keys().cloned().collect();
        for site in &described {
            state.cluster_site(site);
        }
        for (name, site) in &names {
            state.sites.add_node(site, name);
            state.cluster_upsert(name);
        }
        for record in &placed {
            if state.nodes.contains_key(&record.node) {
                state.show_allocation(record);
                if !mutant::is(Mutant::RestartForgetsRoom) {
                    state.cluster_occupy(record);
                }
            }
        }
        state.restore_charges();
        state.restore_life();
        state.dirty = state.workloads.keys().cloned().collect();
        state.finish();
        Ok(state)
    }

    fn restore_observed(&mut self, name: &ChildName, key: &RowKey, bytes: &[u8]) {
        let restored = match name {
            ChildName::Node(node) => self.restore_node_row(node, key, bytes),
            ChildName::Region(region) => {
                self.regions.get_mut(region).map(|region| region.restore(key.clone(), bytes))
            }
        };
        if restored.is_none() {
            self.clear(OBSERVED, child_key(name, key));
        }
    }

    fn restore_charges(&mut self) {
        let own = self.workloads.values().filter(|workload| workload.record.origin == Origin::Own);
        let specs: Vec<Arc<WorkloadSpec>> = own.map(|workload| Arc::clone(&workload.record.spec)).collect();
        for spec in &specs {
            self.charge(None, Some(spec));
        }
        let names = self.tenant_names();
        self.tenants.stale.extend(names);
    }

    fn restore_down(&mut self, name: &RegionName, revision: Revision, row: RegionRow) {
        let key = down_row_key(&row);
        let Some(region) = self.regions.get_mut(name) else {
            return self.clear(DOWN, down_key(name, &key));
        };
        region.child.writer.set(revision, key, Some(row.encode().into()));
        match row {
            RegionRow::Share(share) => {
                let key = share.spec.key.clone();
                region.shares.insert(key.clone(), share);
                region.note_pending(&key);
            }
            RegionRow::Tenant(grant) => {
                region.grants.insert(grant.spec.name.clone(), grant);
            }
        }
    }

    /// Removes a row that the removal of its child, cut short, left behind.
    fn clear(&mut self, table: TableName, key: Vec<u8>) {
        self.outbox.batch().delete(table, key);
        self.seal_if_full();
    }
}
