//! Instances of regions that are away, and the two copies of an instance when its region returns.

use skerry_federation::{Contact, Disconnect, RETURN_GRACE, Replacement, Verdict};
use skerry_types::{InstanceIndex, InstanceSet, MonoTime, OnDisconnect, RegionName, WorkloadKey};

use crate::records::WorkloadRecord;
use crate::split::Deal;
use crate::state::RegionState;

/// Before every copy that was started elsewhere: a copy that ran on while its region was away ran longer.
const LONG_AGO: MonoTime = MonoTime(std::time::Duration::ZERO);

impl RegionState {
    /// Decides about instances whose region is away, or was, one replacement for each at most.
    pub(crate) fn weigh_disconnected(&mut self, record: &WorkloadRecord, deal: &mut Deal) {
        let policy = record.spec.on_disconnect;
        let key = &record.spec.key;
        for name in deal.parts.keys().cloned().collect::<Vec<_>>() {
            let Some(region) = self.regions.get(&name) else { continue };
            let due = if region.is_reachable() {
                self.weigh_returned(key, policy, &name, deal)
            } else {
                self.weigh_lost(key, policy, &name, deal)
            };
            if let Some(due) = due {
                self.wake(key, due);
            }
        }
    }

    fn weigh_lost(
        &self,
        key: &WorkloadKey,
        policy: OnDisconnect,
        name: &RegionName,
        deal: &mut Deal,
    ) -> Option<MonoTime> {
        // What a region has of an exclusive workload may run there for as long as it keeps that from us.
        if self.workloads.get(key).is_some_and(|workload| workload.record.spec.exclusive().is_some()) {
            return None;
        }
        let contact = Contact::Lost { since: self.regions.get(name)?.contact_since };
        let question = Disconnect { policy, contact, original_well: Some(LONG_AGO), replacement: None };
        let (verdict, due) = question.decide(self.now.mono);
        let mut given_up = deal.split.replaced.get(name).cloned().unwrap_or_default();
        let completed = self.regions.get(name)?.statuses.get(key).map(|status| status.completed.clone());
        if verdict == Verdict::Replace {
            // What stands in for an instance of another region is not replaced in turn.
            let twice =
                deal.split.replaced.values().fold(InstanceSet::default(), |all, part| all.union(part));
            let lost = deal.parts.get(name)?.difference(&twice);
            given_up = given_up.union(&lost.difference(&completed.unwrap_or_default()));
        }
        if !given_up.is_empty() {
            deal.given_up.insert(name.clone(), given_up);
        }
        due
    }

    fn weigh_returned(
        &self,
        key: &WorkloadKey,
        policy: OnDisconnect,
        name: &RegionName,
        deal: &mut Deal,
    ) -> Option<MonoTime> {
        let mut replaced = deal.split.replaced.get(name).cloned()?;
        let mut next: Option<MonoTime> = None;
        for instance in replaced.clone().iter() {
            let Some(copy) = self.copy_of(key, name, instance, deal) else {
                // Nobody has a copy, so there is nothing to decide.
                replaced.remove(instance);
                continue;
            };
            let question = Disconnect {
                policy,
                contact: Contact::Returned { since: self.regions.get(name)?.contact_since },
                original_well: self.runs_in(key, name, instance).then_some(LONG_AGO),
                replacement: Some(Replacement { well: copy.1.then_some(self.now.mono) }),
            };
            let (verdict, due) = question.decide(self.now.mono);
            match verdict {
                Verdict::Keep | Verdict::Replace => {
                    next = next.into_iter().chain(due).min();
                    continue;
                }
                Verdict::DropOriginal => take_out(deal, Some(name), instance),
                Verdict::DropReplacement => take_out(deal, copy.0.as_ref(), instance),
            }
            replaced.remove(instance);
        }
        // Other copies may become well without a word of this one.
        deal.split.replaced.insert(name.clone(), replaced);
        deal.split.replaced.retain(|_, instances| !instances.is_empty());
        next
    }

    /// Who has the other copy of an instance (`None` for the own nodes), and whether it runs.
    fn copy_of(
        &self,
        key: &WorkloadKey,
        original: &RegionName,
        instance: InstanceIndex,
        deal: &Deal,
    ) -> Option<(Option<RegionName>, bool)> {
        if deal.split.local.contains(instance) {
            let mut placed = self.allocations_of(key).filter(|record| record.intent.instance == instance);
            return Some((None, placed.any(|record| self.runs(record))));
        }
        let others = deal.parts.iter().filter(|(name, _)| *name != original);
        let (name, _) = others.into_iter().find(|(_, instances)| instances.contains(instance))?;
        Some((Some(name.clone()), self.runs_in(key, name, instance)))
    }

    /// Whether an instance runs in a region, as far as is known. What it said before it was away counts only when it has had
    /// time to say otherwise.
    fn runs_in(&self, key: &WorkloadKey, name: &RegionName, instance: InstanceIndex) -> bool {
        let Some(region) = self.regions.get(name) else { return false };
        let settled = region.all_fresh
            || region.fresh.contains(key)
            || self.now.mono >= region.contact_since + RETURN_GRACE;
        let status = region.statuses.get(key).filter(|_| settled);
        status.is_some_and(|status| status.running.contains(instance))
    }
}

fn take_out(deal: &mut Deal, holder: Option<&RegionName>, instance: InstanceIndex) {
    let held = match holder {
        Some(name) => deal.parts.get_mut(name),
        None => Some(&mut deal.split.local),
    };
    if let Some(held) = held {
        held.remove(instance);
    }
}
