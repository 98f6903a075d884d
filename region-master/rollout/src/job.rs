//! A job's completions.

use std::time::Duration;

use skerry_types::{InstanceIndex, JobPolicy};

/// One completion that a job is to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// Its number.
    pub instance: InstanceIndex,
    /// How it stands.
    pub state: CompletionState,
    /// How often it has failed.
    pub failures: u32,
}

/// How a completion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionState {
    /// It has no allocation.
    Waiting,
    /// It has one that is on its way or runs.
    Active,
    /// A region below looks after it.
    Below,
    /// It came to a good end.
    Done,
    /// Its last allocation failed.
    Failed,
}

/// What to do next for a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobPlan {
    /// Completions to start, or to start again.
    pub start: Vec<InstanceIndex>,
    /// Completions to end, for the job is over.
    pub stop: Vec<InstanceIndex>,
    /// How it stands.
    pub state: JobState,
    /// When its deadline comes.
    pub again_in: Option<Duration>,
}

/// How a job stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum JobState {
    /// It goes on.
    #[default]
    Active,
    /// Every completion came to a good end.
    Complete,
    /// It was given up, and why.
    Failed(String),
}

/// What to do next for a job that began `age` ago, of which so many may run on the own nodes at a time. `completions` are in order of their
/// numbers, each once.
///
/// A completion that failed is tried again up to `retries` times; one that has used them up fails the job, and what still
/// runs of it is ended: its result cannot be whole any more. So does the deadline.
pub fn plan(policy: &JobPolicy, room: u32, age: Duration, completions: &[Completion]) -> JobPlan {
    let count = |state| completions.iter().filter(|completion| completion.state == state).count();
    if count(CompletionState::Done) == completions.len() {
        return JobPlan { state: JobState::Complete, ..JobPlan::default() };
    }
    if let Some(why) = failure(policy, age, completions) {
        let active = completions.iter().filter(|completion| completion.state == CompletionState::Active);
        let stop = active.map(|completion| completion.instance).collect();
        return JobPlan { stop, state: JobState::Failed(why), ..JobPlan::default() };
    }
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let room = room.saturating_sub(count(CompletionState::Active));
    let waiting = completions
        .iter()
        .filter(|completion| matches!(completion.state, CompletionState::Waiting | CompletionState::Failed));
    JobPlan {
        start: waiting.take(room).map(|completion| completion.instance).collect(),
        again_in: policy.deadline.map(|deadline| deadline.saturating_sub(age)),
        ..JobPlan::default()
    }
}

/// A region below that has a part of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobPart {
    /// Whether it is heard from.
    pub reachable: bool,
    /// How many it was told that it may run at a time.
    pub given: u32,
    /// How many of its instances have not come to a good end, as far as it said.
    pub left: u32,
}

impl JobPart {
    /// How many it may have running: what is over never runs again, whatever it was told.
    fn held(&self) -> u32 {
        self.given.min(self.left)
    }
}

/// How many of `most` may run on the own nodes at a time.
pub fn room(most: u32, parts: &[JobPart]) -> u32 {
    most.saturating_sub(parts.iter().map(JobPart::held).fold(0, u32::saturating_add))
}

/// How many each region may run of `most`, while `own` run on the own nodes. What a region may have running stays with it, also while it
/// is not heard from; what is free goes to those that are, in their order.
pub fn deal(most: u32, own: u32, parts: &[JobPart]) -> Vec<u32> {
    let mut free = room(most, parts).saturating_sub(own);
    let share = |part: &JobPart| {
        let held = part.held();
        let more = if part.reachable { (part.left - held).min(free) } else { 0 };
        free -= more;
        held + more
    };
    parts.iter().map(share).collect()
}

fn failure(policy: &JobPolicy, age: Duration, completions: &[Completion]) -> Option<String> {
    if let Some(deadline) = policy.deadline.filter(|deadline| age >= *deadline) {
        return Some(format!(
            "it took longer than its deadline of {}",
            skerry_types::show_duration(deadline)
        ));
    }
    let spent = completions.iter().find(|completion| {
        completion.state == CompletionState::Failed && completion.failures > policy.retries
    })?;
    let (instance, failures) = (spent.instance, spent.failures);
    Some(format!("instance {instance} failed {failures} times, {} retries are allowed", policy.retries))
}

#[cfg(test)]
mod tests {
    use CompletionState::{Active, Below, Done, Failed, Waiting};

    use super::*;

    fn completions(states: &[(CompletionState, u32)]) -> Vec<Completion> {
        let numbered = (0..).zip(states);
        numbered
            .map(|(n, (state, failures))| Completion {
                instance: InstanceIndex(n),
                state: *state,
                failures: *failures,
            })
            .collect()
    }

    #[test]
    fn a_job_is_worked_off() {
        let minute = Duration::from_mins(1);
        let policy = JobPolicy { parallelism: 2, retries: 1, deadline: Some(minute) };
        let check = |age, states: &[(CompletionState, u32)], start: &[u32], stop: &[u32], word: &str| {
            let plan = plan(&policy, 2, Duration::from_secs(age), &completions(states));
            let numbers = |list: &[InstanceIndex]| list.iter().map(|i| i.0).collect::<Vec<_>>();
            assert_eq!(
                (numbers(&plan.start), numbers(&plan.stop)),
                (start.to_vec(), stop.to_vec()),
                "{states:?}"
            );
            let found = match &plan.state {
                JobState::Active => "active",
                JobState::Complete => "complete",
                JobState::Failed(why) => why,
            };
            assert!(found.contains(word), "{found}");
        };
        check(0, &[(Waiting, 0), (Waiting, 0), (Waiting, 0)], &[0, 1], &[], "active");
        check(0, &[(Active, 0), (Waiting, 0), (Waiting, 0)], &[1], &[], "active");
        check(0, &[(Active, 0), (Active, 0), (Waiting, 0)], &[], &[], "active");
        check(0, &[(Below, 0), (Below, 0), (Waiting, 0)], &[2], &[], "active");
        check(60, &[(Below, 0), (Active, 0)], &[], &[1], "deadline of 1m");
        check(0, &[(Done, 0), (Failed, 1), (Waiting, 0)], &[1, 2], &[], "active");
        check(0, &[(Done, 0), (Failed, 2), (Active, 0)], &[], &[2], "instance 1 failed 2 times");
        check(60, &[(Done, 0), (Active, 0), (Waiting, 0)], &[], &[1], "deadline of 1m");
        check(90, &[(Done, 0), (Done, 1)], &[], &[], "complete");
    }

    #[test]
    fn what_is_free_goes_to_regions_that_are_heard_from() {
        let check = |most, own, parts: &[(bool, u32, u32)], expect: &[u32]| {
            let part = |&(reachable, given, left)| JobPart { reachable, given, left };
            let parts: Vec<JobPart> = parts.iter().map(part).collect();
            assert_eq!(deal(most, own, &parts), expect, "{most} less {own} among {parts:?}");
        };
        check(5, 2, &[(true, 0, 2), (true, 0, 9)], &[2, 1]);
        check(5, 0, &[(false, 0, 9), (true, 0, 9)], &[0, 5]);
        check(5, 0, &[(false, 3, 9), (true, 0, 9)], &[3, 2]);
        // What came to an end gives its part to others, wherever it was.
        check(5, 0, &[(false, 3, 1), (true, 2, 9)], &[1, 4]);
        check(5, 0, &[(true, 3, 0), (true, 2, 2)], &[0, 2]);
        check(2, 5, &[(true, 3, 9), (true, 0, 9)], &[3, 0]);
        check(2, 0, &[(true, u32::MAX, 1), (true, 0, 9)], &[1, 1]);
    }

    #[test]
    fn the_deadline_is_named_in_time() {
        let policy = JobPolicy { parallelism: 1, retries: 0, deadline: Some(Duration::from_secs(10)) };
        let plan = plan(&policy, 1, Duration::from_secs(4), &completions(&[(Active, 0)]));
        assert_eq!(plan.again_in, Some(Duration::from_secs(6)));
    }
}
