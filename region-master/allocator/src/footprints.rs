//! Where the instances of each workload are, for the affinities of others.

use std::collections::BTreeMap;

use skerry_types::{Labels, TenantName, WorkloadKey, WorkloadName};

use crate::classes::index;

/// The number of a workload with a set of labels, while it has instances.
pub(crate) type FootprintId = u32;
/// The number of a node for as long as it is known. Unlike its slot it does not change when other nodes come and go.
pub(crate) type Seat = u32;

/// Where the instances of each workload are. Generations of one workload that have other labels are apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Footprints {
    ids: BTreeMap<TenantName, BTreeMap<WorkloadName, Vec<FootprintId>>>,
    all: Vec<Footprint>,
    unused: Vec<FootprintId>,
}

#[derive(Debug, Clone)]
pub(crate) struct Footprint {
    pub(crate) key: WorkloadKey,
    pub(crate) labels: Labels,
    /// Instances by node.
    pub(crate) seats: BTreeMap<Seat, u32>,
}

impl Footprints {
    /// The number of a workload with these labels. It is kept while something is counted under it: count something before another
    /// workload is asked for.
    pub(crate) fn id(&mut self, key: &WorkloadKey, labels: &Labels) -> FootprintId {
        if let Some(id) = self.of(key).find(|id| self.get(*id).labels == *labels) {
            return id;
        }
        let footprint = Footprint { key: key.clone(), labels: labels.clone(), seats: BTreeMap::new() };
        let id = if let Some(id) = self.unused.pop() {
            self.all[index(id)] = footprint;
            id
        } else {
            self.all.push(footprint);
            FootprintId::try_from(self.all.len() - 1).expect("a region has fewer than 2^32 workloads")
        };
        let names = self.ids.entry(key.tenant.clone()).or_default();
        names.entry(key.name.clone()).or_default().push(id);
        id
    }

    pub(crate) fn get(&self, id: FootprintId) -> &Footprint {
        &self.all[index(id)]
    }

    /// Counts one instance at a node.
    pub(crate) fn add(&mut self, id: FootprintId, seat: Seat) {
        *self.all[index(id)].seats.entry(seat).or_default() += 1;
    }

    /// Takes one instance at a node away.
    pub(crate) fn remove(&mut self, id: FootprintId, seat: Seat) {
        let seats = &mut self.all[index(id)].seats;
        if let Some(count) = seats.get_mut(&seat) {
            *count -= 1;
            if *count == 0 {
                seats.remove(&seat);
            }
        }
        self.forget_if_empty(id);
    }

    /// Frees the number when nothing is counted under it.
    pub(crate) fn forget_if_empty(&mut self, id: FootprintId) {
        let Footprint { key, seats, .. } = &self.all[index(id)];
        if !seats.is_empty() {
            return;
        }
        let Some(names) = self.ids.get_mut(&key.tenant) else { return };
        let Some(ids) = names.get_mut(&key.name) else { return };
        let known = ids.len();
        ids.retain(|other| *other != id);
        if ids.len() == known {
            return;
        }
        if ids.is_empty() {
            names.remove(&key.name);
        }
        if names.is_empty() {
            self.ids.remove(&self.all[index(id)].key.tenant);
        }
        self.unused.push(id);
    }

    /// What there is of one workload.
    pub(crate) fn of(&self, key: &WorkloadKey) -> impl Iterator<Item = FootprintId> {
        let ids = self.ids.get(&key.tenant).and_then(|names| names.get(&key.name));
        ids.into_iter().flatten().copied()
    }

    /// The other workloads of a workload's tenant.
    pub(crate) fn others(&self, key: &WorkloadKey) -> impl Iterator<Item = &Footprint> {
        let names = self.ids.get(&key.tenant).into_iter().flatten();
        names.filter(|(name, _)| **name != key.name).flat_map(|(_, ids)| ids).map(|id| self.get(*id))
    }
}
