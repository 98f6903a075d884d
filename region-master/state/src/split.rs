//! Level 1: which of a workload's instances the own nodes look after, and which the regions below.

use std::collections::BTreeMap;
use std::sync::Arc;

use skerry_federation::SiteTable;
use skerry_federation::level1::{Beside, Demand, ROUNDS_MAX, RegionView, plan};
use skerry_types::mutant::{self, Mutant};
use skerry_types::{
    Affinity, Desired, InstanceSet, Refusal, RegionName, Resources, Rule, Share, ShareStatus, WorkloadKey,
    WorkloadKind,
};
use skerry_wire::{RegionRow, RowKey, TableId};

use crate::ledger::{SPLIT, Value, put, workload_key};
use crate::placing::Pending;
use crate::records::{SplitRecord, WorkloadRecord};
use crate::regions::{ChildRegion, pair};
use crate::state::RegionState;

/// After this many rounds nothing more is dealt out until something changes: twice what level 1 needs to ask everyone.
const ROUNDS_END: u32 = 2 * ROUNDS_MAX;

/// One look at a workload's split: what it becomes.
pub(crate) struct Deal {
    pub(crate) split: SplitRecord,
    /// What each region below has.
    pub(crate) parts: BTreeMap<RegionName, InstanceSet>,
    /// Instances of regions that are away which are to be replaced, those that are replaced included.
    pub(crate) given_up: BTreeMap<RegionName, InstanceSet>,
    pending: Vec<Pending>,
    /// Exclusive instances that a region may run which is not to have them any more.
    held: InstanceSet,
}

impl RegionState {
    /// Whether anything of a workload may be with another region.
    fn is_split(&self, key: &WorkloadKey) -> bool {
        !self.regions.is_empty() || self.splits.contains_key(key)
    }

    /// Deals out what no region has, and says what the own nodes look after, what nobody takes, and what is exclusive and may
    /// still run where it is not to be any more.
    pub(crate) fn deal(
        &mut self,
        record: &WorkloadRecord,
        wanted: &InstanceSet,
    ) -> (InstanceSet, Vec<Pending>, InstanceSet) {
        let key = &record.spec.key;
        if record.spec.kind == WorkloadKind::Daemon {
            self.share_daemon(record);
            return (wanted.clone(), Vec::new(), InstanceSet::default());
        }
        if !self.is_split(key) {
            return (wanted.clone(), Vec::new(), InstanceSet::default());
        }
        let mut deal = self.present_deal(record, wanted);
        self.hear_parts(key, &mut deal);
        self.hear_news(key, &mut deal);
        self.weigh_disconnected(record, &mut deal);
        self.deal_out(record, wanted, &mut deal);
        let (local, pending) = (deal.split.local.clone(), std::mem::take(&mut deal.pending));
        let held = std::mem::take(&mut deal.held);
        self.settle_deal(record, deal);
        (local, pending, held)
    }

    /// A daemon is every region's: each looks after its own nodes, so there is nothing to deal out.
    fn share_daemon(&mut self, record: &WorkloadRecord) {
        let names: Vec<RegionName> = self.regions.keys().cloned().collect();
        for name in &names {
            self.set_share(name, record, InstanceSet::default());
            self.seal_if_full();
        }
    }

    /// The split as it stands, for what is wanted still.
    pub(crate) fn present_deal(&self, record: &WorkloadRecord, wanted: &InstanceSet) -> Deal {
        let key = &record.spec.key;
        let mut split = self.splits.get(key).cloned().unwrap_or_else(|| {
            // A workload from before there were regions below is where it is.
            let placed = self.allocations_of(key).filter(|a| a.intent.desired == Desired::Run);
            let local = placed.map(|allocation| allocation.intent.instance).collect();
            SplitRecord { local, ..SplitRecord::default() }
        });
        split.local = split.local.union(&self.may_run_here(record)).intersection(wanted);
        split.replaced.retain(|_, instances| {
            *instances = instances.intersection(wanted);
            !instances.is_empty()
        });
        let shares = self.regions.iter().filter_map(|(name, region)| Some((name, region.shares.get(key)?)));
        let parts = shares.map(|(name, share)| (name.clone(), share.instances.intersection(wanted)));
        let mut deal = Deal {
            split,
            parts: parts.collect(),
            given_up: BTreeMap::new(),
            pending: Vec::new(),
            held: InstanceSet::default(),
        };
        self.reclaim(key, wanted, &mut deal);
        deal
    }

    /// Takes back what regions say that they cannot or will not have. Only an answer to the present offer counts.
    fn hear_parts(&self, key: &WorkloadKey, deal: &mut Deal) {
        let mut handed_back = false;
        for (name, instances) in &mut deal.parts {
            let Some(region) = self.regions.get(name) else { continue };
            let Some((share, status)) = region.shares.get(key).zip(region.statuses.get(key)) else {
                continue;
            };
            if share.offer != status.offer {
                continue;
            }
            let (back, reasons) = taken_back(status, instances);
            let was_refused = deal.split.refusing.contains(name);
            match (&status.refused, back.is_empty()) {
                (None, true) if was_refused => {
                    deal.split.refusing.remove(name);
                    deal.split.back.remove(name);
                }
                // That it let go of what is exclusive does not mean that it has room for it.
                (None, true) => {}
                (None, false) if mutant::is(Mutant::AsksAgainAndAgain) => {
                    *instances = instances.difference(&back);
                }
                (refused, _) => {
                    if refused.is_some() {
                        deal.split.refusing.insert(name.clone());
                    }
                    handed_back |= !back.is_empty();
                    *instances = instances.difference(&back);
                    deal.split.back.insert(name.clone(), (back.len(), reasons));
                }
            }
        }
        deal.split.round += u32::from(handed_back);
    }

    /// Deals out the instances that nobody has.
    fn deal_out(&mut self, record: &WorkloadRecord, wanted: &InstanceSet, deal: &mut Deal) {
        let mut missing = wanted.difference(&deal.split.local);
        for (name, instances) in &deal.parts {
            let kept = match deal.given_up.get(name) {
                Some(given_up) => instances.difference(given_up),
                None => instances.clone(),
            };
            missing = missing.difference(&kept);
        }
        let held = self.may_run_below(record, &missing, deal);
        if !held.is_empty() {
            missing = missing.difference(&held);
            deal.held = held;
        }
        if missing.is_empty() {
            return;
        }
        if deal.split.round >= ROUNDS_END {
            deal.pending.push(Pending { instances: missing, reasons: self.why_handed_back(&deal.split) });
            return;
        }
        let views = self.region_views(record, deal);
        let spec = &record.spec;
        let demand =
            Demand { instance: &spec.instance, placement: &spec.placement, wanted, round: deal.split.round };
        let plan = plan(&demand, &views);
        let mut added_all = InstanceSet::default();
        for (name, part) in plan.parts {
            added_all = added_all.union(&part.added);
            if name == self.config.region {
                deal.split.local = deal.split.local.union(&part.added);
            } else if !part.added.is_empty() {
                let instances = deal.parts.entry(name).or_default();
                *instances = instances.union(&part.added);
            }
        }
        for (name, given_up) in &deal.given_up {
            let replaced = deal.split.replaced.entry(name.clone()).or_default();
            *replaced = replaced.union(&given_up.intersection(&added_all));
        }
        deal.split.replaced.retain(|_, instances| !instances.is_empty());
        if !plan.unplaced.is_empty() {
            deal.pending.push(Pending { instances: plan.unplaced, reasons: plan.reasons });
        }
    }

    /// The regions as level 1 sees them: the own nodes first.
    pub(crate) fn region_views(&mut self, record: &WorkloadRecord, deal: &Deal) -> Vec<RegionView> {
        let own = self.config.region.clone();
        let mut local = RegionView::new(own.clone());
        local.local = true;
        local.sites = Arc::new(SiteTable::new(self.site_digests(), &mut self.alike));
        local.existing = deal.split.local.clone();
        local.handed_back = self.handed_back(&deal.split, &own);
        local.beside = self.beside(record, None);
        let mut views = vec![local];
        let tables: Vec<Arc<SiteTable>> =
            self.regions.values_mut().map(|region| region.site_table(&mut self.alike)).collect();
        for ((name, region), sites) in self.regions.iter().zip(tables) {
            let mut view = RegionView::new(name.clone());
            view.reachable = region.is_reachable();
            view.sites = sites;
            view.existing = deal.parts.get(name).cloned().unwrap_or_default();
            view.given_up = deal.given_up.get(name).cloned().unwrap_or_default();
            view.pending = region.pending(&record.spec.key);
            view.handed_back = self.handed_back(&deal.split, name);
            view.beside = self.beside(record, Some(name));
            views.push(view);
        }
        views
    }

    /// How many instances of the workloads that a placement names are in a region; nothing is said of a region that has
    /// workloads of its own, for nobody here knows their labels.
    fn beside(&self, record: &WorkloadRecord, region: Option<&RegionName>) -> Beside {
        let placement = &record.spec.placement;
        let silent = placement.affinity.is_empty() && placement.anti_affinity.is_empty();
        let child = region.and_then(|name| self.regions.get(name));
        let owns = child.is_some_and(|child| child.regions.values().any(|digest| digest.workloads > 0));
        if silent || owns {
            return Beside::default();
        }
        let tenant = &record.spec.key.tenant;
        let others: Vec<_> = self
            .workloads
            .iter()
            .filter(|(key, _)| key.tenant == *tenant && **key != record.spec.key)
            .collect();
        let count = |affinity: &Affinity| {
            let named =
                others.iter().filter(|(_, other)| affinity.matches.matches(&other.record.spec.labels));
            let counts = named.map(|(key, _)| match child {
                Some(child) => child.shares.get(*key).map_or(0, |share| share.instances.len()),
                None => u32::try_from(self.allocations.count_of(key)).unwrap_or(u32::MAX),
            });
            counts.fold(0, u32::saturating_add)
        };
        Beside {
            affinity: placement.affinity.iter().map(count).collect(),
            anti_affinity: placement.anti_affinity.iter().map(count).collect(),
        }
    }

    /// Writes what became of the split, and sends shares that changed.
    fn settle_deal(&mut self, record: &WorkloadRecord, deal: Deal) {
        let key = &record.spec.key;
        let mut split = deal.split;
        self.note_leaving(key, &deal.parts, &mut split);
        self.save_split(key, split);
        for (name, instances) in deal.parts {
            self.set_share(&name, record, instances);
            self.seal_if_full();
        }
    }

    /// Whether a region has said what became of its present offer.
    pub(crate) fn has_answered(&self, name: &RegionName, key: &WorkloadKey) -> bool {
        let Some(region) = self.regions.get(name) else { return true };
        let Some(share) = region.shares.get(key) else { return false };
        region.statuses.get(key).is_some_and(|status| status.offer == share.offer)
    }

    pub(crate) fn save_split(&mut self, key: &WorkloadKey, split: SplitRecord) {
        if self.splits.get(key) != Some(&split) {
            put(self.outbox.batch(), &Value::SplitV1(key.clone(), split.clone()));
            self.splits.insert(key.clone(), split);
        }
    }

    /// Gives a region its part of a workload, anew when anything of it changed. A region that refused keeps an empty part: by
    /// that it can say when it no longer refuses.
    fn set_share(&mut self, name: &RegionName, record: &WorkloadRecord, instances: InstanceSet) {
        let (key, offer) = (&record.spec.key, self.counters.revision.0 + 1);
        let owner = record.received().map_or(&self.config.region, |received| &received.owner).clone();
        let leave = self.leave_of(name, record);
        let Some(region) = self.regions.get_mut(name) else { return };
        let status = region.statuses.get(key);
        let refuses = status.is_some_and(|status| status.refused.is_some());
        let lets_go = region.has_let_go(key) || record.spec.exclusive().is_none();
        if instances.is_empty() && !refuses && lets_go && record.spec.kind != WorkloadKind::Daemon {
            return self.withdraw_share(name, key);
        }
        let generation = record.generation;
        let floor = record.spec.exclusive().map_or(0, |_| self.counters.serial);
        // A generation is one spec.
        let same = |known: &Share| {
            known.generation == generation && known.instances == instances && known.owner == owner
        };
        // What was handed back and is given again at one look is the same to us, and not to the region.
        let again = |known: &Share| {
            let answer = status.filter(|status| status.offer == known.offer);
            let back = answer.map(|status| taken_back(status, &instances).0);
            back.is_some_and(|back| !back.is_empty()) && !mutant::is(Mutant::AsksAgainAndAgain)
        };
        if region.shares.get(key).is_some_and(|known| same(known) && !again(known)) {
            return;
        }
        let spec = (*record.spec).clone();
        let share = Share { spec, generation, owner, instances, offer, floor, leave };
        region.shares.insert(key.clone(), share.clone());
        region.note_pending(key);
        let revision = self.send_down(name, RegionRow::Share(share));
        debug_assert_eq!(revision.0, offer, "an offer is the revision that it was made in");
        self.changed = true;
    }

    fn withdraw_share(&mut self, name: &RegionName, key: &WorkloadKey) {
        let Some(region) = self.regions.get_mut(name) else { return };
        if region.shares.remove(key).is_some() {
            region.note_pending(key);
            self.withdraw(name, RowKey::new(TableId::SHARE, pair(key)));
            self.changed = true;
        }
    }

    /// A region is removed: what it had is missing, and what stood in for it is the instance.
    pub(crate) fn forget_region_in_split(&mut self, name: &RegionName, key: &WorkloadKey) {
        if let Some(mut split) = self.splits.get(key).cloned() {
            split.replaced.remove(name);
            split.leaving.remove(name);
            split.back.remove(name);
            split.refusing.remove(name);
            self.save_split(key, split);
        }
    }

    /// The own nodes cannot hold these: other regions are asked. False when there is nobody to ask.
    pub(crate) fn hand_on(&mut self, record: &WorkloadRecord, stuck: &[Pending]) -> bool {
        let key = &record.spec.key;
        let alone = self.regions.is_empty() || record.spec.kind == WorkloadKind::Daemon;
        let Some(mut split) = self.splits.get(key).filter(|_| !alone).cloned() else { return false };
        let all = stuck.iter().fold(InstanceSet::default(), |all, part| all.union(&part.instances));
        let reasons = stuck.first().map(|part| part.reasons.clone()).unwrap_or_default();
        split.local = split.local.difference(&all);
        split.round += 1;
        split.back.insert(self.config.region.clone(), (all.len(), reasons));
        self.save_split(key, split);
        true
    }

    /// The own nodes will hold these when others have left.
    pub(crate) fn keep_local(&mut self, key: &WorkloadKey, helped: &[Pending]) {
        let Some(mut split) = self.splits.get(key).filter(|_| !helped.is_empty()).cloned() else { return };
        for part in helped {
            split.local = split.local.union(&part.instances);
        }
        split.back.remove(&self.config.region);
        self.save_split(key, split);
    }

    /// Takes all shares of a workload back. True when no region has anything of it any more.
    pub(crate) fn withdraw_shares(&mut self, key: &WorkloadKey) -> bool {
        let names: Vec<RegionName> = self
            .regions
            .iter()
            .filter(|(_, region)| region.shares.contains_key(key))
            .map(|(name, _)| name.clone())
            .collect();
        if !names.is_empty() {
            // It may come again before all of them have heard.
            let mut split = self.splits.get(key).cloned().unwrap_or_default();
            self.note_leaving(key, &BTreeMap::new(), &mut split);
            self.save_split(key, split);
        }
        for name in &names {
            self.withdraw_share(name, key);
            self.seal_if_full();
        }
        self.is_gone_below(key)
    }

    pub(crate) fn forget_split(&mut self, key: &WorkloadKey) {
        if self.splits.remove(key).is_some() {
            self.outbox.batch().delete(SPLIT, workload_key(key));
        }
    }
}

impl ChildRegion {
    /// What was offered to it, but for this workload, and is not known to be placed.
    fn pending(&self, but: &WorkloadKey) -> Resources {
        let others = self.in_flight.iter().filter(|(key, _)| *key != but);
        others.fold(Resources::ZERO, |sum, (_, part)| sum + *part)
    }

    /// Counts what is on its way of a workload.
    pub(crate) fn note_pending(&mut self, key: &WorkloadKey) {
        let Some(share) = self.shares.get(key) else {
            self.in_flight.remove(key);
            return;
        };
        let waiting = match self.statuses.get(key) {
            Some(status) if status.offer == share.offer => InstanceSet::default(),
            Some(status) => share.instances.difference(&status.placed),
            None => share.instances.clone(),
        };
        if waiting.is_empty() {
            self.in_flight.remove(key);
        } else {
            let each = share.spec.instance.resources();
            self.in_flight.insert(key.clone(), each.times(waiting.len()));
        }
    }
}

/// What a region does not take of its part, and why.
fn taken_back(status: &ShareStatus, instances: &InstanceSet) -> (InstanceSet, Vec<Refusal>) {
    if let Some(why) = &status.refused {
        let rule = Rule::HandedBack { why: why.clone() };
        return (instances.clone(), vec![Refusal { rule, nodes: 1 }]);
    }
    let back = status.handed_back.iter().fold(InstanceSet::default(), |all, part| all.union(&part.instances));
    let reasons = status.handed_back.first().map(|part| part.reasons.clone()).unwrap_or_default();
    (back.intersection(instances), reasons)
}
