//! What a master knows of its own past, by which it notices that its store was put back to an older copy.
//!
//! The store lists the processes that gave out rows, each with the revision at which it began. A child's cursor names the
//! epoch, the process and the revision of what it was told last. A cursor that is not in that past, as its process is unknown or
//! never came so far, proves that something was given out that the store has lost: it was restored from an older copy, its disk
//! dropped what it had promised to keep, or another master runs on a copy of it. Then nothing may be concluded from what the
//! store lacks. Before anybody is told anything more, the region begins another life: another epoch, in which every child gets
//! everything anew and goes on with what is missing as orphans, a gap in the running numbers, and a whole lease of waiting for
//! what is exclusive. All links are closed, so that every child is met again as one of a former life.
//!
//! A child whose cursor *is* in that past has nothing that the store does not know, so what it was told meanwhile stands. One
//! that is back from an old disk image is such a child. A child of another epoch is met as one of a former life anyway; an epoch
//! that the store never heard of is noticed once, so that what was applied before is not taken for newer than what it holds. A
//! process that has begun another life has noticed all that were before.
//!
//! A child that lies makes its region begin another life, which costs all of them one comparison and is told with the child's
//! name. The second time in one process it has to wait, and each time after that twice as long.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_types::mutant::{self, Mutant};
use skerry_types::{EventLevel, EventSubject, MonoTime};
use skerry_wire::{Cursor, Epoch, Incarnation, RefusalCode, Revision};

use crate::input::{Action, LinkId};
use crate::lease::Leases;
use crate::ledger::{Value, put};
use crate::records::{Asked, ChildName, WorkloadRecord};
use crate::state::RegionState;

/// Processes that are remembered. Only those count that gave out rows, so this is years; a child that heard nothing since is
/// taken for one that proves a loss, which does no harm.
const INCARNATIONS_MAX: usize = 256;
/// Other epochs that are remembered.
const FORMER_MAX: usize = 64;
/// Numbers that are left out when a store begins another life: more than were given since its copy was made, so that none is
/// given twice.
const LOST: u64 = 1 << 20;
/// How long the second loss that a process notices has to wait. The third waits twice as long.
const AGAIN_AFTER: Duration = Duration::from_mins(1);
/// The longest such wait.
const AGAIN_AFTER_MAX: Duration = Duration::from_hours(24);

/// What is kept of the past.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PastRecord {
    /// The life of the region's tables.
    pub(crate) epoch: Epoch,
    /// The processes that gave out rows in it, with the newest revision before each; the oldest first.
    incarnations: Vec<(Incarnation, Revision)>,
    /// Epochs that the store was in, or whose loss was noticed; the oldest first.
    former: Vec<Epoch>,
}

/// The past, and what was noticed of it by this process.
#[derive(Debug)]
pub(crate) struct Past {
    record: PastRecord,
    /// Lives that this process began.
    begun: u32,
    /// Those of them that a child made it begin, and when the last.
    noticed: u32,
    noticed_at: Option<MonoTime>,
}

impl Past {
    pub(crate) fn new(record: PastRecord) -> Self {
        Self { record, begun: 0, noticed: 0, noticed_at: None }
    }

    /// The last process that gave out rows: what is sent was given out by it or by one before it.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.record.incarnations.last().map_or_else(Incarnation::default, |(last, _)| *last)
    }

    /// Whether a child can be at this cursor by all that the store knows, with `newest` as the newest revision.
    fn holds(&self, cursor: Cursor, newest: Revision) -> bool {
        let PastRecord { epoch, incarnations, former } = &self.record;
        if cursor.epoch != *epoch {
            return cursor.epoch == Epoch::default() || former.contains(&cursor.epoch);
        }
        let at = incarnations.iter().rposition(|(known, _)| *known == cursor.incarnation);
        let end = |at: usize| incarnations.get(at + 1).map_or(newest, |(_, began)| *began);
        at.is_some_and(|at| cursor.revision <= end(at))
    }

    /// How much longer the next loss has to wait.
    fn wait(&self, now: MonoTime) -> Duration {
        let Some(last) = self.noticed_at else { return Duration::ZERO };
        let times = 2_u32.saturating_pow(self.noticed.saturating_sub(1));
        AGAIN_AFTER.saturating_mul(times).min(AGAIN_AFTER_MAX).saturating_sub(now.since(last))
    }

    fn leave_epoch(&mut self, epoch: Epoch) {
        if epoch != Epoch::default() && !self.record.former.contains(&epoch) {
            self.record.former.push(epoch);
        }
        let surplus = self.record.former.len().saturating_sub(FORMER_MAX);
        self.record.former.drain(..surplus);
    }
}

impl RegionState {
    /// The life of the region's tables: made at random with the store, and again when it was put back to an older copy.
    pub fn epoch(&self) -> Epoch {
        self.past.record.epoch
    }

    /// A store that is begun gets its first epoch.
    pub(crate) fn begin_store(&mut self) {
        if self.epoch() == Epoch::default() {
            self.past.record.epoch = self.fresh_epoch();
            self.name_incarnation();
        }
    }

    /// Writes down that this process gives out rows, before it gives out the first.
    pub(crate) fn name_incarnation(&mut self) {
        let incarnation = self.config.incarnation;
        if self.past.incarnation() == incarnation {
            return;
        }
        let known = &mut self.past.record.incarnations;
        known.push((incarnation, self.counters.revision));
        let surplus = known.len().saturating_sub(INCARNATIONS_MAX);
        known.drain(..surplus);
        self.save_past();
    }

    fn save_past(&mut self) {
        put(self.outbox.batch(), &Value::PastV1(self.past.record.clone()));
    }

    /// An epoch that no store of this region was ever in.
    fn fresh_epoch(&self) -> Epoch {
        Epoch(self.scattered().max(1))
    }

    /// The process's random number, and how often it needed another life, scattered over all numbers (the finalizer of splitmix64,
    /// by Steele, Lea and Flood, 2014).
    fn scattered(&self) -> u64 {
        let mut number = self
            .config
            .incarnation
            .0
            .wrapping_add(u64::from(self.past.begun).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// A process that goes on with a store leaves out some numbers, as many as no other does: of what was given by one that a copy
    /// of the store has never heard of, nothing has the name of what is given now, before any child has told of that.
    pub(crate) fn leave_numbers_out(&mut self) {
        if self.epoch() != Epoch::default() && self.past.incarnation() != self.config.incarnation {
            self.counters.serial = self.counters.serial.saturating_add(self.scattered() % LOST);
        }
    }

    /// Whether all that a child was told is known here. If not, its link is not taken, and nothing is told to anybody before
    /// the region has begun another life.
    pub(crate) fn remembers(&mut self, link: LinkId, name: &ChildName, cursor: Cursor) -> bool {
        if self.past.holds(cursor, self.counters.revision) || mutant::is(Mutant::TrustsStore) {
            return true;
        }
        if cursor.epoch != self.epoch() && self.past.begun > 0 {
            // Nobody puts back the store of a master that runs: that life was before the one that this process has begun.
            self.past.leave_epoch(cursor.epoch);
            self.save_past();
            return true;
        }
        let (region, child) = (self.config.region.clone(), name.words());
        let wait = self.past.wait(self.now.mono);
        if !wait.is_zero() {
            let message = format!(
                "{child} holds what region {region} never gave out, which was noticed of another child a while ago: dial again in \
                 {} s",
                wait.as_secs() + 1
            );
            self.refuse(link, RefusalCode::Busy, message);
            return false;
        }
        let what = if cursor.epoch == self.epoch() {
            format!("rows up to {}, and the store is at {}", cursor.revision.0, self.counters.revision.0)
        } else {
            "rows of a life that the store never heard of".to_owned()
        };
        self.past.noticed += 1;
        self.past.noticed_at = Some(self.now.mono);
        let former = self.epoch();
        self.past.leave_epoch(cursor.epoch);
        self.begin_another_life(&format!(
            "{child} holds what this store never gave out ({what}): the store was put back to an older copy, or is another, or a \
             second master runs on a copy of it"
        ));
        if cursor.epoch != former {
            self.keep_word(former);
        }
        false
    }

    /// What this process was told itself is newer than what a child holds of a life that the store never heard of, as nobody puts
    /// back the store of a master that runs.
    fn keep_word(&mut self, former: Epoch) {
        let asked = self.asked();
        let was = Asked { epoch: former, ..asked };
        let records = self.workloads.values().map(|workload| &workload.record);
        let told: Vec<WorkloadRecord> = records.filter(|record| record.asked == was).cloned().collect();
        for record in told {
            self.save_workload(WorkloadRecord { asked, ..record });
            self.seal_if_full();
        }
    }

    /// Somebody says now what a workload is to be.
    pub(crate) fn asked(&self) -> Asked {
        Asked { epoch: self.epoch(), incarnation: self.config.incarnation }
    }

    /// Goes on as a store that was put back to an older copy.
    pub(crate) fn begin_another_life(&mut self, why: &str) {
        let former = self.epoch();
        self.past.begun += 1;
        self.past.leave_epoch(former);
        let epoch = self.fresh_epoch();
        self.past.record.epoch = epoch;
        self.past.record.incarnations.clear();
        self.counters.revision = Revision(self.counters.revision.0.saturating_add(LOST));
        self.counters.serial = self.counters.serial.saturating_add(LOST);
        self.name_incarnation();
        self.leases = Leases::new(self.now.mono);
        let children = self.nodes.values_mut().map(|node| &mut node.child);
        for child in children.chain(self.regions.values_mut().map(|region| &mut region.child)) {
            child.writer.begin_epoch(epoch);
        }
        self.hear_all_again();
        let message = format!(
            "{why}. The region begins another life: nothing that runs is stopped, and what the store does not know goes on as \
             orphans, which 'skerry get allocations' shows as Orphaned: apply their manifests again, or delete them. Nodes that \
             joined since the copy was made have to join again"
        );
        self.tell(EventLevel::Warning, EventSubject::Region, "StoreRestored", message.clone());
        self.act(Action::Warn(message));
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.act(Action::Close { link, reason: "the region begins another life: dial again".to_owned() });
            self.lose_link(link);
            self.seal_if_full();
        }
    }
}
