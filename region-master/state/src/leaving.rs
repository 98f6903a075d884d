//! Numbers that a region was to give up and has not said that it did: they go to nobody else meanwhile.
//!
//! A region that is cut off goes on with what it had, whatever was taken back from it since. When such a number is wanted
//! again, it goes back to the region that may still run it; what `on_disconnect` says of a region that is away then holds for
//! it as for any other.

use std::collections::BTreeMap;

use skerry_types::{InstanceSet, RegionName, ShareStatus, WorkloadKey};
use skerry_wire::{RowKey, TableId};

use crate::records::SplitRecord;
use crate::regions::{ChildRegion, pair};
use crate::split::Deal;
use crate::state::RegionState;

impl RegionState {
    /// Forgets what regions said that they gave up, and gives what is wanted again back to those that may still have it.
    pub(crate) fn reclaim(&self, key: &WorkloadKey, wanted: &InstanceSet, deal: &mut Deal) {
        deal.split.leaving.retain(|name, leaving| {
            *leaving = self
                .regions
                .get(name)
                .map_or_else(InstanceSet::default, |region| region.kept_of(key, leaving));
            !leaving.is_empty()
        });
        let mut missing = wanted.difference(&deal.split.local);
        for instances in deal.parts.values() {
            missing = missing.difference(instances);
        }
        if missing.is_empty() {
            return;
        }
        // One that is heard from has it rather than one that may have been replaced by it.
        let mut holders: Vec<(bool, RegionName)> = Vec::new();
        for name in deal.split.leaving.keys().filter(|name| !deal.split.back.contains_key(*name)) {
            let away = self.regions.get(name).is_some_and(|region| !region.is_reachable());
            holders.push((away, name.clone()));
        }
        holders.sort();
        for (_, name) in holders {
            let Some(leaving) = deal.split.leaving.get(&name) else { continue };
            let again = leaving.intersection(&missing);
            if !again.is_empty() {
                missing = missing.difference(&again);
                let part = deal.parts.entry(name).or_default();
                *part = part.union(&again);
            }
        }
    }

    /// Remembers what each region has to give up by a deal, but for what it handed back by itself.
    pub(crate) fn note_leaving(
        &self,
        key: &WorkloadKey,
        parts: &BTreeMap<RegionName, InstanceSet>,
        split: &mut SplitRecord,
    ) {
        for (name, region) in &self.regions {
            let mut leaving = split.leaving.remove(name).unwrap_or_default();
            if let Some(share) = region.shares.get(key) {
                let returned = region.answer(key).map(returned_of).unwrap_or_default();
                leaving = leaving.union(&share.instances.difference(&returned));
            }
            if let Some(part) = parts.get(name) {
                leaving = leaving.difference(part);
            }
            if !leaving.is_empty() {
                split.leaving.insert(name.clone(), leaving);
            }
        }
    }

    /// Whether no region below can have anything of a workload that was taken back.
    pub(crate) fn is_gone_below(&self, key: &WorkloadKey) -> bool {
        !self.regions.values().any(|region| region.may_have(key))
    }
}

impl ChildRegion {
    /// What it said to the present offer.
    fn answer(&self, key: &WorkloadKey) -> Option<&ShareStatus> {
        let (share, status) = self.shares.get(key).zip(self.statuses.get(key))?;
        (share.offer == status.offer).then_some(&**status)
    }

    /// Whether it said something of a workload, or was sent something that it has not got rid of on disk.
    fn may_have(&self, key: &WorkloadKey) -> bool {
        let share = RowKey::new(TableId::SHARE, pair(key));
        self.statuses.contains_key(key) || self.child.writer.tombstones().any(|gone| *gone == share)
    }

    /// Those of the numbers it was to give up that it may have still.
    fn kept_of(&self, key: &WorkloadKey, leaving: &InstanceSet) -> InstanceSet {
        if !self.shares.contains_key(key) {
            return if self.may_have(key) { leaving.clone() } else { InstanceSet::default() };
        }
        match self.answer(key) {
            None => leaving.clone(),
            Some(status) => {
                let kept = status.placed.union(&status.running).union(&status.unreachable);
                kept.difference(&returned_of(status)).intersection(leaving)
            }
        }
    }
}

/// What a region does not have by its own word.
fn returned_of(status: &ShareStatus) -> InstanceSet {
    status.handed_back.iter().fold(InstanceSet::default(), |all, part| all.union(&part.instances))
}
