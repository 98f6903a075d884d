//! When regions that handed instances back are asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skerry_types::{MonoTime, RegionName, WorkloadKey};

use crate::records::SplitRecord;
use crate::split::Deal;
use crate::state::RegionState;

/// Wait before what a region handed back is offered to it again because it has more room; doubles each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest such wait.
const RETRY_MOST: Duration = Duration::from_mins(1);
/// Doublings from the first wait to the longest.
const RETRY_DOUBLINGS: u32 = 6;

/// When instances that no region took are offered again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retry {
    /// Regions that have more room than when they handed back.
    news: BTreeSet<RegionName>,
    not_before: MonoTime,
    times: u32,
}

impl SplitRecord {
    /// Whether somebody handed back instances who is not asked again before there is news of room.
    pub(crate) fn was_handed_back(&self) -> bool {
        self.back.keys().any(|name| !self.refusing.contains(name))
    }
}

impl RegionState {
    /// Forgets who handed back, where there is more room than there was, or the reason is gone; ever more rarely while it does not help.
    pub(crate) fn hear_news(&mut self, key: &WorkloadKey, deal: &mut Deal) {
        let (now, outdated) = (self.now.mono, self.outdated(&deal.split));
        let Some(retry) = self.workloads.get_mut(key).map(|workload| &mut workload.retry) else { return };
        retry.news.extend(outdated);
        retry.news.retain(|name| deal.split.back.contains_key(name));
        if retry.news.is_empty() {
            return;
        }
        if now < retry.not_before {
            let due = retry.not_before;
            return self.wake(key, due);
        }
        for name in std::mem::take(&mut retry.news) {
            deal.split.back.remove(&name);
        }
        deal.split.round = 0;
        let wait = RETRY_FIRST * 2u32.pow(retry.times.min(RETRY_DOUBLINGS));
        retry.not_before = now + wait.min(RETRY_MOST);
        retry.times += 1;
    }

    /// All of a workload has a place. What stood in the way of some on the way there may be gone when the next ones look for one.
    pub(crate) fn split_is_settled(&mut self, key: &WorkloadKey) {
        let mut sharing = self.regions.iter().filter(|(_, region)| region.shares.contains_key(key));
        if !sharing.all(|(name, _)| self.has_answered(name, key)) {
            return;
        }
        if let Some(workload) = self.workloads.get_mut(key) {
            workload.retry = Retry::default();
        }
        let is_settled = |split: &SplitRecord| split.round == 0 && !split.was_handed_back();
        if let Some(mut split) = self.splits.get(key).filter(|split| !is_settled(split)).cloned() {
            split.round = 0;
            let SplitRecord { back, refusing, .. } = &mut split;
            back.retain(|name, _| refusing.contains(name));
            self.save_split(key, split);
        }
    }

    /// The workload is another: what was handed back of the last one is open again.
    pub(crate) fn reset_split(&mut self, key: &WorkloadKey) {
        if let Some(workload) = self.workloads.get_mut(key) {
            workload.retry = Retry::default();
        }
        if let Some(split) = self.splits.get(key) {
            let split =
                SplitRecord { round: 0, back: BTreeMap::new(), refusing: BTreeSet::new(), ..split.clone() };
            self.save_split(key, split);
        }
    }

    /// A region has more of a workload: what has to be beside it may fit there.
    pub(crate) fn company_in(&mut self, region: &RegionName, key: &WorkloadKey) {
        let Some(company) = self.workloads.get(key).map(|workload| Arc::clone(&workload.record.spec)) else {
            return;
        };
        for other in self.lonely.iter().filter(|other| other.tenant == key.tenant && *other != key) {
            let Some(workload) = self.workloads.get_mut(other) else { continue };
            let mut wishes = workload.record.spec.placement.affinity.iter();
            if wishes.any(|wish| wish.weight.is_none() && wish.matches.matches(&company.labels)) {
                workload.retry.news.insert(region.clone());
                self.dirty.insert(other.clone());
            }
        }
    }

    /// A region has more room than it had: what found no place may fit.
    pub(crate) fn room_in(&mut self, region: &RegionName) {
        for key in &self.pending {
            if let Some(workload) = self.workloads.get_mut(key) {
                workload.retry.news.insert(region.clone());
                self.dirty.insert(key.clone());
            }
        }
    }
}
