//! Jobs: instances that come to an end, once each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_rollout::job::{self, Completion, CompletionState, JobPart, JobState};
use skerry_types::mutant::{self, Mutant};
use skerry_types::{
    AllocationId, AllocationStatus, ContainerStatus, Desired, EventLevel, EventSubject, Generation,
    InstanceIndex, InstanceSet, JobPolicy, Leave, Phase, RegionName, WallTime, WorkloadKey, WorkloadKind,
};

use crate::ledger::{JOB, Value, put, workload_key};
use crate::records::WorkloadRecord;
use crate::regions::ChildRegion;
use crate::state::RegionState;

/// Results kept of a job: its last ends, for people. With 1 KiB of log each they stay far below the bound of a row.
const RESULTS_MAX: usize = 20;

/// How far a job is, kept over restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    /// The generation that this is of; another one begins anew.
    pub(crate) generation: Generation,
    pub(crate) began_at: WallTime,
    pub(crate) done: InstanceSet,
    /// How often an instance failed; those that did not are not here.
    pub(crate) failures: BTreeMap<InstanceIndex, u32>,
    /// Why it was given up.
    pub(crate) failed: Option<String>,
    pub(crate) ended_at: Option<WallTime>,
    pub(crate) results: VecDeque<JobResult>,
}

/// How an instance of a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// Its allocation.
    pub allocation: AllocationId,
    /// Which instance.
    pub instance: InstanceIndex,
    /// When, by the master's clock.
    pub at: WallTime,
    /// Whether it ended well.
    pub success: bool,
    /// How its containers ended.
    pub containers: Vec<ContainerStatus>,
}

/// What regions below say of a job's instances.
#[derive(Debug, Default)]
struct Below {
    completed: InstanceSet,
    failed: InstanceSet,
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobView {
    /// Instances that ended well.
    pub completed: u32,
    /// Ends that were none.
    pub failures: u32,
    /// Instances that go on.
    pub active: u32,
    /// Why it was given up.
    pub failed: Option<String>,
    /// When it was over.
    pub ended_at: Option<WallTime>,
    /// Its last ends.
    pub results: Vec<JobResult>,
}

impl RegionState {
    /// Works a job off: `set` is what the own nodes look after, out of `wanted`.
    pub(crate) fn reconcile_job(
        &mut self,
        record: &WorkloadRecord,
        policy: &JobPolicy,
        set: &InstanceSet,
        wanted: &InstanceSet,
    ) {
        let key = &record.spec.key;
        let below = self.heard_below(key, record.generation);
        let job = self.present_job(record, wanted, &below);
        // A changed job begins anew, and so does one that has fewer instances. Of one that is done an orphan may run still.
        self.stop_where(key, |known| {
            let (instance, generation) = (known.instance, known.record.intent.generation);
            generation != record.generation || !set.contains(instance) || job.done.contains(instance)
        });
        if job.ended_at.is_some() {
            return self.life.timers.clear(key);
        }
        let run = self.allocations.of(key).filter(|known| known.desired == Desired::Run);
        let active: BTreeSet<InstanceIndex> = run.map(|known| known.instance).collect();
        let completion = |instance: InstanceIndex| {
            if set.contains(instance) {
                return completion(&job, instance, active.contains(&instance));
            }
            match (job.done.contains(instance), below.failed.contains(instance)) {
                (true, _) => Completion { instance, state: CompletionState::Done, failures: 0 },
                (false, false) => Completion { instance, state: CompletionState::Below, failures: 0 },
                // The region that has it tried as often as it may.
                (false, true) => {
                    let failures = policy.retries.saturating_add(1);
                    Completion { instance, state: CompletionState::Failed, failures }
                }
            }
        };
        let completions: Vec<Completion> = wanted.iter().map(completion).collect();
        let told = record.received().map_or(u32::MAX, |received| received.leave.parallelism);
        let (most, parts) = (policy.parallelism.min(told), self.job_parts(record, &job.done));
        let plan =
            job::plan(policy, job::room(most, &parts), self.now.wall.since(job.began_at), &completions);
        let running = active.intersection(&set.iter().collect()).count();
        match plan.state {
            JobState::Active => {}
            JobState::Complete => self.end_job(key, &job, None),
            JobState::Failed(why) => {
                self.end_job(key, &job, Some(why));
                self.stop_where(key, |known| plan.stop.contains(&known.instance));
            }
        }
        let pending = self.place_missing(record, &plan.start.iter().copied().collect());
        let homeless: u32 = pending.iter().map(|pending| pending.instances.len()).sum();
        self.found_no_place(pending);
        let started = number(plan.start.len()).saturating_sub(homeless);
        self.deal_parallelism(record, &job::deal(most, number(running) + started, &parts));
        match plan.again_in {
            Some(wait) => self.life.timers.set(key, self.now.mono + wait.max(Duration::from_millis(10))),
            None => self.life.timers.clear(key),
        }
    }

    /// The regions below that have a part of a job, in their order.
    fn job_parts(&self, record: &WorkloadRecord, done: &InstanceSet) -> Vec<JobPart> {
        let key = &record.spec.key;
        let part = |(name, region): (&RegionName, &ChildRegion)| JobPart {
            reachable: region.is_reachable(),
            given: self.parallelism_below(name, record),
            left: region.shares.get(key).map_or(0, |share| share.instances.difference(done).len()),
        };
        self.holders(key).map(part).collect()
    }

    /// Tells regions below how many instances of a job they may run at a time, those to which that is news.
    fn deal_parallelism(&mut self, record: &WorkloadRecord, dealt: &[u32]) {
        for (name, parallelism) in self.part_names(&record.spec.key).iter().zip(dealt) {
            let leave = Leave { parallelism: *parallelism, ..self.leave_of(name, record) };
            self.tell_leave(name, &record.spec.key, leave);
        }
    }

    /// How many instances a region below was told that it may run at a time: of a job none before they are dealt out.
    pub(crate) fn parallelism_below(&self, name: &RegionName, record: &WorkloadRecord) -> u32 {
        if !matches!(record.spec.kind, WorkloadKind::Job(_)) {
            return u32::MAX;
        }
        let share = self.regions.get(name).and_then(|region| region.shares.get(&record.spec.key));
        let told = share.filter(|share| share.generation == record.generation);
        told.map_or(0, |share| share.leave.parallelism)
    }

    /// What regions below say of instances of this generation; what they say of an earlier one is another job's.
    fn heard_below(&self, key: &WorkloadKey, generation: Generation) -> Below {
        let statuses = self.regions.values().filter_map(|region| region.statuses.get(key));
        let mut below = Below::default();
        for status in statuses.filter(|status| status.generation == generation) {
            below.completed = below.completed.union(&status.completed);
            below.failed = below.failed.union(&status.failed);
        }
        below
    }

    /// How far a job is, with what regions below say: they may be given no part of it any more, and it has still been done.
    fn present_job(&mut self, record: &WorkloadRecord, wanted: &InstanceSet, below: &Below) -> JobRecord {
        let mut job = self.job(record);
        let done = job.done.union(&below.completed);
        // All of a share was done, and then it was given more.
        let goes_on = job.ended_at.is_some()
            && job.failed.is_none()
            && record.received().is_some()
            && !wanted.difference(&done).is_empty();
        if done != job.done || goes_on {
            job.done = done;
            job.ended_at = job.ended_at.filter(|_| !goes_on);
            self.save_job(&record.spec.key, job.clone());
            self.mark_share(&record.spec.key);
        }
        job
    }

    /// Whether it was given up: nothing of it is to run anywhere.
    pub(crate) fn is_given_up(&self, record: &WorkloadRecord) -> bool {
        let job = self.life.jobs.get(&record.spec.key);
        job.is_some_and(|job| job.generation == record.generation && job.failed.is_some())
    }

    /// Instances for which a job was given up here; the region above gives up the whole.
    pub(crate) fn given_up(&self, record: &WorkloadRecord, wanted: &InstanceSet) -> InstanceSet {
        let job = self.life.jobs.get(&record.spec.key).filter(|_| self.is_given_up(record));
        job.map(|job| wanted.difference(&job.done)).unwrap_or_default()
    }

    pub(crate) fn job(&mut self, record: &WorkloadRecord) -> JobRecord {
        let key = &record.spec.key;
        if let Some(job) = self.life.jobs.get(key).filter(|job| job.generation == record.generation) {
            return job.clone();
        }
        let (generation, began_at) = (record.generation, self.now.wall);
        let fresh = JobRecord { generation, began_at, ..JobRecord::default() };
        self.save_job(key, fresh.clone());
        fresh
    }

    fn save_job(&mut self, key: &WorkloadKey, job: JobRecord) {
        put(self.outbox.batch(), &Value::JobV1(key.clone(), job.clone()));
        self.life.jobs.insert(key.clone(), job);
        self.changed = true;
    }

    pub(crate) fn forget_job(&mut self, key: &WorkloadKey) {
        if self.life.jobs.remove(key).is_some() {
            self.outbox.batch().delete(JOB, workload_key(key));
        }
    }

    /// An instance of a job came to an end: that is kept, and its allocation goes.
    pub(crate) fn job_instance_ended(&mut self, status: &AllocationStatus) {
        let Some(allocation) = self.allocations.get(&status.id).filter(|a| a.intent.desired == Desired::Run)
        else {
            return;
        };
        let (key, instance, generation) =
            (allocation.intent.workload.clone(), allocation.intent.instance, allocation.intent.generation);
        if let Some(mut job) = self.life.jobs.get(&key).filter(|job| job.generation == generation).cloned() {
            let success = status.phase == Phase::Completed;
            if success && mutant::is(Mutant::ForgetsCompletions) {
                job.failures.remove(&instance);
            } else if success {
                job.done.insert(instance);
            } else {
                *job.failures.entry(instance).or_default() += 1;
            }
            job.results.push_back(JobResult {
                allocation: status.id.clone(),
                instance,
                at: self.now.wall,
                success,
                containers: status.containers.clone(),
            });
            while job.results.len() > RESULTS_MAX {
                job.results.pop_front();
            }
            self.save_job(&key, job);
        }
        self.stop(&status.id);
        self.dirty.insert(key);
    }

    fn end_job(&mut self, key: &WorkloadKey, job: &JobRecord, failed: Option<String>) {
        let (level, reason, message) = match &failed {
            None => (EventLevel::Info, "JobComplete", format!("all instances of {key} ended well")),
            Some(why) => (EventLevel::Warning, "JobFailed", format!("{key} is given up: {why}")),
        };
        self.tell(level, EventSubject::Workload(key.clone()), reason, message);
        if failed.is_some() {
            // Regions below are to end what they have of it.
            self.dirty.insert(key.clone());
        }
        self.save_job(key, JobRecord { failed, ended_at: Some(self.now.wall), ..job.clone() });
    }

    pub(crate) fn job_view(&self, key: &WorkloadKey) -> Option<JobView> {
        let job = self.life.jobs.get(key)?;
        let active =
            self.allocations_of(key).filter(|allocation| allocation.intent.desired == Desired::Run).count();
        Some(JobView {
            completed: job.done.len(),
            failures: job.failures.values().sum(),
            active: u32::try_from(active).unwrap_or(u32::MAX),
            failed: job.failed.clone(),
            ended_at: job.ended_at,
            results: job.results.iter().cloned().collect(),
        })
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn completion(job: &JobRecord, instance: InstanceIndex, active: bool) -> Completion {
    let failures = job.failures.get(&instance).copied().unwrap_or(0);
    let state = match (job.done.contains(instance), active) {
        (true, _) => CompletionState::Done,
        (false, true) => CompletionState::Active,
        (false, false) if failures > 0 => CompletionState::Failed,
        (false, false) => CompletionState::Waiting,
    };
    Completion { instance, state, failures }
}
