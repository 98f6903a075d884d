//! Shares of the region above: workloads that this region looks after in part and never changes.

use std::sync::Arc;

use skerry_types::mutant::{self, Mutant};
use skerry_types::{
    EventLevel, EventSubject, HandedBack, InstanceIndex, InstanceSet, Leave, PartProgress, Phase, Share,
    ShareStatus, WorkloadKey,
};

use crate::api::ApiError;
use crate::ledger::{REFUSED, Value, put, workload_key};
use crate::placing::Pending;
use crate::records::{AllocationRecord, Origin, Received, WorkloadRecord};
use crate::state::RegionState;
use crate::workloads::WORKLOADS_MAX;

/// Most groups of reasons that go up with a share: a row stays small whatever a region is like.
const REASONS_MAX: usize = 8;

impl RegionState {
    /// Takes a share, or says why not.
    pub(crate) fn take_share(&mut self, share: Share) {
        let key = share.spec.key.clone();
        self.counters.serial = self.counters.serial.max(share.floor);
        if let Some(why) = self.objection(&share) {
            return self.refuse_share(share, why);
        }
        self.forget_refused(&key);
        let known = self.workloads.get(&key).map(|workload| workload.record.clone());
        let received = Received {
            owner: share.owner.clone(),
            offer: share.offer,
            instances: share.instances.clone(),
            leave: share.leave.clone(),
            handed_back: Vec::new(),
        };
        if let Some(record) = known.as_ref().filter(|record| !record.deleting)
            && record.received().is_some_and(|known| known.offer == share.offer)
        {
            // It came again, or its leave changed; what was handed back of it stays so.
            let record = self.asked_again(record.clone());
            return self.take_leave(record, share.leave);
        }
        let mut spec = share.spec;
        if let Some(old) = known.as_ref().filter(|old| old.spec.instance == spec.instance) {
            spec.instance = Arc::clone(&old.spec.instance);
        }
        let changed = known.as_ref().is_none_or(|old| old.generation != share.generation);
        if changed {
            let (generation, owner, count) = (share.generation, &share.owner, share.instances.len());
            let message =
                format!("generation {generation} of {key} comes from region {owner}: {count} instances");
            self.tell_workload(&key, "Received", message);
        }
        let now = self.now.wall;
        let record = WorkloadRecord {
            spec: Arc::new(spec),
            generation: share.generation,
            created_at: known.as_ref().map_or(now, |old| old.created_at),
            changed_at: if changed { now } else { known.as_ref().map_or(now, |old| old.changed_at) },
            deleting: false,
            origin: Origin::Parent(received),
            asked: self.asked(),
        };
        if changed {
            let moves = known.filter(|former| former.spec.instance != record.spec.instance);
            if let Some(former) = moves {
                self.begin_rollout(&key, (former.generation, former.spec), record.generation, None);
            }
            self.keep_revision(&record);
        }
        self.save_workload(record.clone());
        self.adopt_orphans(&record);
        // An offer is made anew: what the own nodes and regions could not hold is open again.
        self.reset_split(&key);
    }

    /// The region above still wants what it gave before this region's store was put back: its orphans are its allocations.
    fn asked_again(&mut self, mut record: WorkloadRecord) -> WorkloadRecord {
        let former = std::mem::replace(&mut record.asked, self.asked());
        if former.epoch != record.asked.epoch {
            self.save_workload(record.clone());
            self.adopt_orphans(&record);
        }
        record
    }

    fn take_leave(&mut self, mut record: WorkloadRecord, leave: Leave) {
        if let Origin::Parent(received) = &mut record.origin
            && received.leave != leave
        {
            received.leave = leave;
            self.save_workload(record);
        }
    }

    /// Why a share cannot be taken.
    fn objection(&self, share: &Share) -> Option<String> {
        let own = &self.config.region;
        match self.workloads.get(&share.spec.key) {
            Some(workload) if workload.record.received().is_none() => Some(format!(
                "region {own} has a workload '{}' of its own: rename one of them, or delete the one in {own}",
                share.spec.key
            )),
            None if self.workloads.len() >= WORKLOADS_MAX => {
                Some(format!("region {own} holds {WORKLOADS_MAX} workloads, the most it may"))
            }
            _ => None,
        }
    }

    fn refuse_share(&mut self, share: Share, why: String) {
        let key = share.spec.key.clone();
        if self.refused.get(&key).is_none_or(|(_, known)| *known != why) {
            let message = format!("the share of region {} is refused: {why}", share.owner);
            self.tell(EventLevel::Warning, EventSubject::Workload(key.clone()), "ShareRefused", message);
        }
        put(self.outbox.batch(), &Value::RefusedV1(share.clone(), why.clone()));
        self.refused.insert(key.clone(), (share, why));
        self.mark_share(&key);
        self.changed = true;
    }

    fn forget_refused(&mut self, key: &WorkloadKey) {
        if self.refused.remove(key).is_some() {
            self.outbox.batch().delete(REFUSED, workload_key(key));
            self.mark_share(key);
        }
    }

    /// The region above takes a share back.
    pub(crate) fn drop_share(&mut self, text: &str) {
        let Some(key) = parse_key(text) else { return };
        self.forget_refused(&key);
        let Some(workload) = self.workloads.get(&key) else { return };
        let record = &workload.record;
        let Some(received) = record.received().filter(|_| !record.deleting) else { return };
        let message = format!("region {} takes its share of {key} back", received.owner);
        let (asked, changed_at) = (self.asked(), self.now.wall);
        let record = WorkloadRecord { deleting: true, changed_at, asked, ..record.clone() };
        self.tell_workload(&key, "Withdrawn", message);
        self.save_workload(record);
    }

    /// A share that the region above has not got. What it gave in a former life goes on as it is until it gives it again, or
    /// somebody deletes it here: its store came from an older copy.
    pub(crate) fn miss_share(&mut self, text: &str, is_another_life: bool) {
        let known = parse_key(text).and_then(|key| self.workloads.get(&key));
        let Some(record) = known.map(|workload| workload.record.clone()) else {
            return self.drop_share(text);
        };
        let Some(received) = record.received().filter(|received| !received.is_orphan()) else { return };
        if !is_another_life {
            return self.drop_share(text);
        }
        let (key, owner) = (record.spec.key.clone(), &received.owner);
        let message = format!(
            "the region above does not know the share of {key} that came from region {owner}: it goes on; apply {key} there again, \
             or delete it here"
        );
        self.tell(EventLevel::Warning, EventSubject::Workload(key), "Orphaned", message);
        let origin = Origin::Parent(Received { offer: Received::NO_OFFER, ..received.clone() });
        self.save_workload(WorkloadRecord { origin, ..record });
    }

    /// Whether a workload is a share that nobody above knows of.
    pub(crate) fn is_orphaned_share(&self, key: &WorkloadKey) -> bool {
        let received = self.workloads.get(key).and_then(|workload| workload.record.received());
        received.is_some_and(Received::is_orphan)
    }

    /// A share that was refused may be taken when what stood in its way is gone.
    pub(crate) fn reconsider_refused(&mut self, key: &WorkloadKey) {
        if let Some((share, _)) = self.refused.get(key).cloned() {
            self.take_share(share);
        }
    }

    /// Refuses to change what is another region's.
    pub(crate) fn check_owned(&self, key: &WorkloadKey) -> Result<(), ApiError> {
        let received = self.workloads.get(key).and_then(|workload| workload.record.received());
        match received {
            Some(received) => {
                Err(ApiError::OwnedElsewhere { key: key.clone(), owner: received.owner.clone() })
            }
            None => Ok(()),
        }
    }

    /// Hands back what found no place. It is not tried again before the next offer.
    pub(crate) fn hand_back(&mut self, record: &WorkloadRecord, pending: &[Pending]) {
        let Some(received) = record.received() else { return };
        let mut received = received.clone();
        for part in pending {
            let full = received.handed_back.len() >= REASONS_MAX;
            let groups = received.handed_back.iter();
            let known = groups
                .enumerate()
                .find(|(at, known)| known.reasons == part.reasons || full && at + 1 == REASONS_MAX);
            match known.map(|(at, _)| at) {
                Some(at) => add(&mut received.handed_back[at].instances, &part.instances),
                None => received
                    .handed_back
                    .push(HandedBack { instances: part.instances.clone(), reasons: part.reasons.clone() }),
            }
            let reasons: Vec<String> = part.reasons.iter().map(ToString::to_string).collect();
            let message = format!(
                "{} instances have no place and are handed back to the region above: {}",
                part.instances.len(),
                reasons.join("; ")
            );
            let subject = EventSubject::Workload(record.spec.key.clone());
            self.tell(EventLevel::Warning, subject, "HandedBack", message);
        }
        let record = WorkloadRecord { origin: Origin::Parent(received), ..record.clone() };
        put(self.outbox.batch(), &Value::WorkloadV1(record.clone()));
        if let Some(workload) = self.workloads.get_mut(&record.spec.key) {
            workload.record = record;
        }
        self.changed = true;
    }

    /// What the region above is told of a share.
    pub(crate) fn share_status(&self, key: &WorkloadKey) -> Option<ShareStatus> {
        if let Some((share, why)) = self.refused.get(key) {
            let mut status = blank(key, share.generation, share.offer);
            status.refused = Some(why.clone());
            return Some(status);
        }
        let record = &self.workloads.get(key)?.record;
        let received = record.received()?;
        // While a region below has not said what it has of what is exclusive, neither does this one.
        let is_sure = record.spec.exclusive().is_none() || self.have_answered(key);
        let mut status = blank(key, record.generation, if is_sure { received.offer } else { 0 });
        if !mutant::is(Mutant::HidesHandBacks) {
            status.handed_back.clone_from(&received.handed_back);
        }
        status.serial = record.spec.exclusive().map_or(0, |_| self.counters.serial);
        let mut sets = Sets::default();
        for allocation in self.allocations_of(key) {
            self.count(record, allocation, &mut sets);
        }
        sets.fill(&mut status);
        let due = self.due_view(record);
        (status.last_due, status.next_due) = (due.last, due.next);
        let moving = self.life.moving.get(key).filter(|moving| moving.generation == record.generation);
        let total = received.instances.len();
        status.progress = moving
            .map_or(PartProgress { total, ..PartProgress::default() }, |moving| moving.progress.as_part());
        status.progress.matching = self.wave_members(record);
        if let Some(job) = self.life.jobs.get(key).filter(|job| job.generation == record.generation) {
            add(&mut status.completed, &job.done);
            // One that is tried again has not failed.
            status.failed = self.given_up(record, &received.instances);
        }
        for region in self.regions.values() {
            let Some(below) = region.statuses.get(key) else { continue };
            add(&mut status.placed, &below.placed);
            add(&mut status.running, &below.running);
            if below.generation == record.generation {
                add(&mut status.failed, &below.failed);
                add(&mut status.completed, &below.completed);
            }
            add(&mut status.unreachable, &below.unreachable);
            if region.shares.get(key).is_some_and(|share| share.generation == below.generation)
                && below.generation == record.generation
            {
                add(&mut status.current, &below.current);
            }
            if !region.is_reachable() {
                add(&mut status.unreachable, &below.running);
            }
        }
        // What a region below may still have is not given to anybody else further up.
        for leaving in self.splits.get(key).into_iter().flat_map(|split| split.leaving.values()) {
            add(&mut status.unreachable, leaving);
        }
        Some(status)
    }

    fn count(&self, record: &WorkloadRecord, allocation: &AllocationRecord, sets: &mut Sets) {
        let instance = allocation.intent.instance;
        // One that is to stop may run still, and nobody else may have what is exclusive meanwhile.
        if allocation.intent.desired == skerry_types::Desired::Run || record.spec.exclusive().is_some() {
            sets.placed.push(instance);
        }
        if !self.nodes.get(&allocation.node).is_some_and(|node| node.is_reachable()) {
            sets.unreachable.push(instance);
        }
        let Some(status) = self.status_of(allocation) else { return };
        let current = allocation.intent.spec == record.spec.instance;
        match status.phase {
            Phase::Running => {
                sets.running.push(instance);
                if current && self.is_well(allocation) {
                    sets.current.push(instance);
                }
            }
            Phase::Failed | Phase::Backoff if current => sets.failed.push(instance),
            Phase::Completed if allocation.intent.generation == record.generation => {
                sets.completed.push(instance);
            }
            _ => {}
        }
    }

    /// Whether every container runs, and is healthy and ready where something says what that is.
    pub(crate) fn is_well(&self, allocation: &AllocationRecord) -> bool {
        let probed = allocation
            .intent
            .spec
            .containers
            .iter()
            .any(|container| container.probes.health.is_some() || container.probes.ready.is_some());
        self.status_of(allocation)
            .is_some_and(|status| status.phase == Phase::Running && (!probed || status.ready_since.is_some()))
    }
}

#[derive(Default)]
struct Sets {
    placed: Vec<InstanceIndex>,
    running: Vec<InstanceIndex>,
    current: Vec<InstanceIndex>,
    failed: Vec<InstanceIndex>,
    completed: Vec<InstanceIndex>,
    unreachable: Vec<InstanceIndex>,
}

impl Sets {
    fn fill(self, status: &mut ShareStatus) {
        status.placed = self.placed.into_iter().collect();
        status.running = self.running.into_iter().collect();
        status.current = self.current.into_iter().collect();
        status.failed = self.failed.into_iter().collect();
        status.completed = self.completed.into_iter().collect();
        status.unreachable = self.unreachable.into_iter().collect();
    }
}

fn add(all: &mut InstanceSet, more: &InstanceSet) {
    *all = all.union(more);
}

fn blank(key: &WorkloadKey, generation: skerry_types::Generation, offer: u64) -> ShareStatus {
    ShareStatus {
        key: key.clone(),
        generation,
        offer,
        placed: InstanceSet::default(),
        running: InstanceSet::default(),
        current: InstanceSet::default(),
        failed: InstanceSet::default(),
        progress: PartProgress::default(),
        completed: InstanceSet::default(),
        unreachable: InstanceSet::default(),
        handed_back: Vec::new(),
        refused: None,
        serial: 0,
        last_due: None,
        next_due: None,
    }
}

/// Reads `TENANT/NAME`.
pub(crate) fn parse_key(text: &str) -> Option<WorkloadKey> {
    let (tenant, name) = text.split_once('/')?;
    Some(WorkloadKey { tenant: tenant.parse().ok()?, name: name.parse().ok()? })
}
